//! Values to typed objects.
//!
//! Most kinds decode whole or not at all. Policies decode piece by piece, because one broken piece
//! must not open what the others close (see the modules).

mod agent_configuration;
mod cluster_network_policy;
mod host_endpoint;
mod kubernetes_policy;
mod listings;
mod pieces;
mod tiered_policy;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::object::{Kind, Object, ObjectKey};
use crate::problem::{Problem, Problems};

/// What became of an object's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The object; `None` if it is not of the shape of its kind. Pieces of a policy that could not be
    /// decoded are replaced by such as every reader takes for broken.
    pub object: Option<Object>,
    /// What is wrong with its shape.
    pub problems: Vec<Problem>,
    /// Paths of the replaced pieces: what a converter has to say about those is not of interest.
    pub replaced: BTreeSet<String>,
}

/// Decodes the value of the object `key`.
pub(crate) fn decode(key: &ObjectKey, value: Value) -> Decoded {
    match key.kind {
        Kind::Namespace => whole(value, Object::Namespace),
        Kind::Node => listings::node(key, &value),
        Kind::Pod => whole(value, Object::Pod),
        Kind::ServiceAccount => whole(value, Object::ServiceAccount),
        Kind::Service => whole(value, Object::Service),
        Kind::EndpointSlice => listings::endpoint_slice(key, &value),
        Kind::KubernetesNetworkPolicy => kubernetes_policy::decode(key, &value),
        Kind::ClusterNetworkPolicy => cluster_network_policy::decode(key, &value),
        Kind::Tier => whole(value, Object::Tier),
        Kind::NetworkPolicy => tiered_policy::namespaced(key, value),
        Kind::GlobalNetworkPolicy => tiered_policy::global(key, value),
        Kind::StagedNetworkPolicy => tiered_policy::staged_namespaced(key, value),
        Kind::StagedGlobalNetworkPolicy => tiered_policy::staged_global(key, value),
        Kind::StagedKubernetesNetworkPolicy => tiered_policy::staged_kubernetes(key, value),
        Kind::NetworkSet => listings::network_set(key, &value),
        Kind::GlobalNetworkSet => listings::global_network_set(key, &value),
        Kind::IpPool => whole(value, Object::IpPool),
        Kind::BgpConfiguration => whole(value, Object::BgpConfiguration),
        Kind::BgpPeer => whole(value, Object::BgpPeer),
        Kind::BgpFilter => whole(value, Object::BgpFilter),
        Kind::HostEndpoint => host_endpoint::decode(value),
        Kind::AgentConfiguration => agent_configuration::decode(value),
    }
}

fn whole<T: DeserializeOwned>(value: Value, wrap: impl FnOnce(Box<T>) -> Object) -> Decoded {
    let mut problems = Problems::default();
    let object = typed(&value, "", &mut problems).map(|object| wrap(Box::new(object)));
    Decoded { object, problems: problems.into_vec(), replaced: BTreeSet::new() }
}

/// Decodes the part of an object at path `at`; what hinders it goes to `problems`.
fn typed<T: DeserializeOwned>(value: &Value, at: &str, problems: &mut Problems) -> Option<T> {
    match serde_path_to_error::deserialize(value) {
        Ok(typed) => Some(typed),
        Err(error) => {
            let path = error.path().to_string();
            let field = match (at, path.as_str()) {
                (_, ".") => at.to_owned(),
                ("", _) => path,
                (_, p) if p.starts_with('[') => format!("{at}{path}"),
                _ => format!("{at}.{path}"),
            };
            problems.error(field, error.into_inner().to_string());
            None
        }
    }
}
