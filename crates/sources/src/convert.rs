//! API objects to validated inputs: one object in, one value of the model out.
//!
//! A broken object hurts only itself, and never opens anything:
//!
//! - a broken Kubernetes NetworkPolicy goes on isolating its pods, and what is broken in it admits
//!   nobody (docs/decisions/0001-broken-network-policy-fails-closed.md);
//! - a broken rule of any other policy admits nobody or denies everything, by its action; a policy
//!   that does not say where it stands or whom it governs is absent
//!   (docs/decisions/0011-broken-tiered-policies.md);
//! - of a network set, endpoint slice or node what cannot be read is left out, and said to be
//!   missing: rules that deny by it deny everybody
//!   (docs/decisions/0013-incomplete-sets-fail-closed.md);
//! - any other broken object is absent: a pod that is not known is closed (K37), a pool or
//!   neighbour that is not known is not used.
//!
//! What depends on several objects (pools that overlap) is decided in [`crate::relations`].

mod advertisement;
mod agent_configuration;
mod bgp;
mod bgp_filter;
mod bgp_peer;
mod cidr;
mod cluster_network_policy;
mod community;
mod end;
mod endpoint_slice;
mod host_endpoint;
mod kubernetes_policy;
mod labels;
mod network_set;
mod policy_rule;
mod pool;
mod port;
mod service;
mod tier;
mod tiered_policy;
mod workload;

use std::sync::Arc;

use brindle_model::cluster::{
    EndpointSlice, IpPool, Namespace, NetworkSet, NetworkSetId, Node, Pod, Service, ServiceAccount,
    Update,
};
use brindle_model::host::HostEndpoint;
use brindle_model::policy::{Policy, Tier};
use brindle_model::routing::filter::BgpFilter;
use brindle_model::routing::{BgpConfiguration, BgpPeer};
use brindle_model::selector::{Scope, Selector};
use brindle_model::settings::AgentConfiguration;
use brindle_model::verdict::PolicyId;
use k8s_openapi::api::networking::v1::NetworkPolicySpec;

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
    /// A service account.
    ServiceAccount(Arc<ServiceAccount>),
    /// A Service.
    Service(Arc<Service>),
    /// An endpoint slice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A policy of any kind.
    Policy(Arc<Policy>),
    /// A tier.
    Tier(Arc<Tier>),
    /// A network set of either kind.
    NetworkSet(Arc<NetworkSet>),
    /// An address pool.
    IpPool(Arc<IpPool>),
    /// Speaker settings.
    BgpConfiguration(Arc<BgpConfiguration>),
    /// A BGP neighbour.
    BgpPeer(Arc<BgpPeer>),
    /// A host endpoint.
    HostEndpoint(Arc<HostEndpoint>),
    /// Rules for the routes of BGP neighbours.
    BgpFilter(Arc<BgpFilter>),
    /// Settings of agents.
    AgentConfiguration(Arc<AgentConfiguration>),
}

/// What an object means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    /// The input; `None` if the object is to count as absent: it is broken, or means nothing, as a
    /// host-network pod does.
    pub input: Option<Input>,
    /// What is wrong with the object, shape problems included.
    pub problems: Vec<Problem>,
}

/// Converts the object `key`. A pure function of its arguments but for the strings shared in
/// `names`.
pub fn convert(key: &ObjectKey, decoded: &Decoded, names: &mut Interner) -> Conversion {
    let mut problems = Problems::muting(decoded.replaced.clone());
    let object = decoded.object.as_ref();
    let input = object.and_then(|object| self::object(key, object, names, &mut problems));
    let problems = decoded.problems.iter().cloned().chain(problems.into_vec()).collect();
    Conversion { input, problems }
}

fn object(
    key: &ObjectKey,
    object: &Object,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Input> {
    match object {
        Object::Namespace(namespace) => {
            workload::namespace(key, namespace, names, problems).map(wrap(Input::Namespace))
        }
        Object::Node(node) => Some(wrap(Input::Node)(workload::node(node, names, problems))),
        Object::Pod(pod) => workload::pod(pod, names, problems).map(wrap(Input::Pod)),
        Object::ServiceAccount(account) => {
            let account = workload::service_account(account, names, problems);
            Some(wrap(Input::ServiceAccount)(account))
        }
        Object::Service(service) => Some(wrap(Input::Service)(service::service(service, problems))),
        Object::EndpointSlice(slice) => {
            endpoint_slice::endpoint_slice(slice, names, problems).map(wrap(Input::EndpointSlice))
        }
        Object::Tier(tier) => tier::tier(key, &tier.spec, problems).map(wrap(Input::Tier)),
        Object::NetworkSet(set) => {
            let set = network_set::network_set(&set.metadata, &set.spec, names, problems);
            Some(wrap(Input::NetworkSet)(set))
        }
        Object::GlobalNetworkSet(set) => {
            let set = network_set::network_set(&set.metadata, &set.spec, names, problems);
            Some(wrap(Input::NetworkSet)(set))
        }
        Object::IpPool(pool) => pool::pool(&pool.spec, problems).map(wrap(Input::IpPool)),
        Object::BgpConfiguration(config) => {
            bgp::configuration(key, &config.spec, problems).map(wrap(Input::BgpConfiguration))
        }
        Object::BgpPeer(peer) => bgp::peer(&peer.spec, names, problems).map(wrap(Input::BgpPeer)),
        Object::HostEndpoint(endpoint) => {
            host_endpoint::host_endpoint(&endpoint.metadata, &endpoint.spec, names, problems)
                .map(wrap(Input::HostEndpoint))
        }
        Object::BgpFilter(filter) => {
            bgp_filter::filter(&filter.spec, problems).map(wrap(Input::BgpFilter))
        }
        Object::AgentConfiguration(configuration) => {
            agent_configuration::configuration(key, &configuration.spec, names, problems)
                .map(wrap(Input::AgentConfiguration))
        }
        policy => self::policy(key, policy, names, problems).map(wrap(Input::Policy)),
    }
}

/// Converts a policy of any kind; `None` for another object.
fn policy(
    key: &ObjectKey,
    object: &Object,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Policy> {
    match object {
        Object::KubernetesNetworkPolicy(policy) => {
            let absent = NetworkPolicySpec::default();
            let spec = policy.spec.as_ref().unwrap_or(&absent);
            Some(kubernetes_policy::policy(key, spec, names, problems))
        }
        Object::ClusterNetworkPolicy(policy) => {
            cluster_network_policy::policy(&policy.spec, names, problems)
        }
        Object::NetworkPolicy(policy) => {
            tiered_policy::namespaced(key, &policy.spec, names, problems)
        }
        Object::GlobalNetworkPolicy(policy) => tiered_policy::global(&policy.spec, names, problems),
        Object::StagedNetworkPolicy(policy) => {
            let staged = is_staged(policy.spec.staged_action.as_deref(), problems);
            let policy = tiered_policy::namespaced(key, &policy.spec.policy, names, problems);
            policy.filter(|_| staged)
        }
        Object::StagedGlobalNetworkPolicy(policy) => {
            let staged = is_staged(policy.spec.staged_action.as_deref(), problems);
            tiered_policy::global(&policy.spec.policy, names, problems).filter(|_| staged)
        }
        Object::StagedKubernetesNetworkPolicy(policy) => {
            let staged = is_staged(policy.spec.staged_action.as_deref(), problems);
            let policy = kubernetes_policy::policy(key, &policy.spec.kubernetes(), names, problems);
            Some(policy).filter(|_| staged)
        }
        _ => None,
    }
}

/// Whether a staged policy is to be judged (C7).
fn is_staged(action: Option<&str>, problems: &mut Problems) -> bool {
    match action {
        None | Some("Set") => true,
        Some("Ignore") => false,
        Some(action @ ("Delete" | "Learn")) => {
            let message = format!("{action} is not supported: only what would be added is judged");
            problems.error("spec.stagedAction", message);
            false
        }
        Some(other) => {
            problems.error("spec.stagedAction", format!("`{other}` is not one of Set, Ignore"));
            false
        }
    }
}

/// Reads a selector in the selector language.
fn expression(
    text: &str,
    scope: Scope,
    at: &str,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Selector> {
    match Selector::parse_with(text, scope, &mut |text| names.intern(text)) {
        Ok(selector) => Some(selector),
        Err(error) => {
            problems.error(at, error.to_string());
            None
        }
    }
}

fn wrap<T>(variant: fn(Arc<T>) -> Input) -> impl FnOnce(T) -> Input {
    move |value| variant(Arc::new(value))
}

/// The update that gives the object `key` this value; `None` for a kind that never is an input.
///
/// # Panics
/// The value is of another kind than the key.
pub fn update(key: &ObjectKey, input: Option<Input>) -> Option<Update> {
    let name = key.name.clone();
    macro_rules! value {
        ($variant:ident) => {
            input.map(|input| match input {
                Input::$variant(value) => value,
                other => panic!("{key} cannot have the value {other:?}"),
            })
        };
    }
    if let Some(kind) = key.kind.policy() {
        let id = PolicyId { name, namespace: key.namespace.clone(), kind };
        return Some(Update::Policy(id, value!(Policy)));
    }
    Some(match key.kind {
        Kind::Namespace => Update::Namespace(name, value!(Namespace)),
        Kind::Node => Update::Node(name, value!(Node)),
        Kind::Pod => Update::Pod(key.namespaced_name(), value!(Pod)),
        Kind::ServiceAccount => {
            Update::ServiceAccount(key.namespaced_name(), value!(ServiceAccount))
        }
        Kind::Service => Update::Service(key.namespaced_name(), value!(Service)),
        Kind::EndpointSlice => Update::EndpointSlice(key.namespaced_name(), value!(EndpointSlice)),
        Kind::Tier => Update::Tier(name, value!(Tier)),
        Kind::NetworkSet | Kind::GlobalNetworkSet => {
            let id = NetworkSetId { namespace: key.namespace.clone(), name };
            Update::NetworkSet(id, value!(NetworkSet))
        }
        Kind::IpPool => Update::IpPool(name, value!(IpPool)),
        Kind::BgpConfiguration => Update::BgpConfiguration(name, value!(BgpConfiguration)),
        Kind::BgpPeer => Update::BgpPeer(name, value!(BgpPeer)),
        Kind::HostEndpoint => Update::HostEndpoint(name, value!(HostEndpoint)),
        Kind::BgpFilter => Update::BgpFilter(name, value!(BgpFilter)),
        Kind::AgentConfiguration => Update::AgentConfiguration(name, value!(AgentConfiguration)),
        _ => return None,
    })
}
