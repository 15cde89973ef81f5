//! API objects to validated inputs: one object in, one value of the model out.
//!
//! A broken object hurts only itself, and never opens anything:
//!
//! - a broken NetworkPolicy goes on isolating its pods, and what is broken in it admits nobody
//!   (docs/decisions/0001-broken-network-policy-fails-closed.md);
//! - any other broken object is absent: a pod that is not known is closed (K37), a pool or
//!   neighbour that is not known is not used.
//!
//! What depends on several objects (pools that overlap) is decided in [`crate::pools`].

mod bgp;
mod bgp_peer;
mod cidr;
mod labels;
mod network_policy;
mod pool;
mod port;
mod workload;

use std::sync::Arc;

use brindle_model::cluster::{IpPool, Namespace, Node, Pod, Update};
use brindle_model::policy::Policy;
use brindle_model::routing::{BgpConfiguration, BgpPeer};
use brindle_model::verdict::PolicyId;

use crate::decode::Decoded;
use crate::intern::Interner;
use crate::object::{Kind, Object, ObjectKey};
use crate::problem::{Problem, Problems};

/// A validated input, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A namespace.
    Namespace(Arc<Namespace>),
    /// A node.
    Node(Arc<Node>),
    /// A pod.
    Pod(Arc<Pod>),
    /// A policy.
    Policy(Arc<Policy>),
    /// An address pool.
    IpPool(Arc<IpPool>),
    /// Speaker settings.
    BgpConfiguration(Arc<BgpConfiguration>),
    /// A BGP neighbour.
    BgpPeer(Arc<BgpPeer>),
}

/// What an object means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    /// The input; `None` if the object is to count as absent: it is broken, or a host-network pod.
    pub input: Option<Input>,
    /// What is wrong with the object, shape problems included.
    pub problems: Vec<Problem>,
}

/// Converts the object `key`. A pure function of its arguments but for the strings shared in
/// `names`.
pub fn convert(key: &ObjectKey, decoded: &Decoded, names: &mut Interner) -> Conversion {
    let mut problems = Problems::muting(decoded.replaced.clone());
    let input = decoded.object.as_ref().and_then(|object| match object {
        Object::Namespace(namespace) => {
            workload::namespace(key, namespace, names, &mut problems).map(wrap(Input::Namespace))
        }
        Object::Node(node) => workload::node(node, names, &mut problems).map(wrap(Input::Node)),
        Object::Pod(pod) => workload::pod(pod, names, &mut problems).map(wrap(Input::Pod)),
        Object::NetworkPolicy(policy) => {
            Some(network_policy::policy(key, policy, names, &mut problems)).map(wrap(Input::Policy))
        }
        Object::IpPool(pool) => pool::pool(&pool.spec, &mut problems).map(wrap(Input::IpPool)),
        Object::BgpConfiguration(config) => {
            bgp::configuration(key, &config.spec, &mut problems).map(wrap(Input::BgpConfiguration))
        }
        Object::BgpPeer(peer) => {
            bgp::peer(&peer.spec, names, &mut problems).map(wrap(Input::BgpPeer))
        }
    });
    let problems = decoded.problems.iter().cloned().chain(problems.into_vec()).collect();
    Conversion { input, problems }
}

fn wrap<T>(variant: fn(Arc<T>) -> Input) -> impl FnOnce(T) -> Input {
    move |value| variant(Arc::new(value))
}

/// The update that gives the object `key` this value.
///
/// # Panics
/// The value is of another kind than the key.
pub fn update(key: &ObjectKey, input: Option<Input>) -> Update {
    let name = key.name.clone();
    macro_rules! value {
        ($variant:ident) => {
            input.map(|input| match input {
                Input::$variant(value) => value,
                other => panic!("{key} cannot have the value {other:?}"),
            })
        };
    }
    match key.kind {
        Kind::Namespace => Update::Namespace(name, value!(Namespace)),
        Kind::Node => Update::Node(name, value!(Node)),
        Kind::Pod => Update::Pod(key.namespaced_name(), value!(Pod)),
        Kind::NetworkPolicy => {
            Update::Policy(PolicyId::network_policy(&key.namespaced_name()), value!(Policy))
        }
        Kind::IpPool => Update::IpPool(name, value!(IpPool)),
        Kind::BgpConfiguration => Update::BgpConfiguration(name, value!(BgpConfiguration)),
        Kind::BgpPeer => Update::BgpPeer(name, value!(BgpPeer)),
    }
}
