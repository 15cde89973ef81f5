//! Short ways to write inputs.

use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::NamespacedName;
use brindle_model::cluster::{Attachment, EndpointId, NamedPort, Namespace, Pod, Update};
use brindle_model::net::Protocol;
use brindle_model::policy::{DEFAULT_TIER, Peer, Policy, Port, PortSpec, Rule};
use brindle_model::selector::Selector;
use brindle_model::verdict::PolicyId;

pub fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addrs(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| addr(text)).collect()
}

pub fn app(value: &str) -> Selector {
    Selector::equals("app", value)
}

pub fn namespace(name: &str, labels: &[(&str, &str)]) -> Update {
    let labels = labels.iter().copied().collect();
    Update::Namespace(name.into(), Some(Arc::new(Namespace { labels })))
}

/// A pod with one label, `app`.
pub fn pod(namespace: &str, name: &str, app: &str, addresses: &[&str]) -> Update {
    let labels = [("app", app)].into_iter().collect();
    let pod = Pod { labels, addresses: addrs(addresses), ..Pod::default() };
    Update::Pod(NamespacedName::new(namespace, name), Some(Arc::new(pod)))
}

/// The same pod with a named TCP port.
pub fn with_port(pod: Update, name: &str, port: u16) -> Update {
    let Update::Pod(key, Some(pod)) = pod else { panic!("not a pod: {pod:?}") };
    let mut pod = Arc::unwrap_or_clone(pod);
    pod.ports.push(NamedPort { name: name.into(), protocol: Protocol::TCP, port });
    Update::Pod(key, Some(Arc::new(pod)))
}

pub fn attach(namespace: &str, name: &str, container: &str, addresses: &[&str]) -> Update {
    let id = EndpointId {
        pod: NamespacedName::new(namespace, name),
        container_id: container.into(),
        interface: "eth0".into(),
    };
    let host_interface = format!("brd{container}").into();
    Update::Endpoint(id, Some(Arc::new(Attachment { host_interface, addresses: addrs(addresses) })))
}

pub fn policy_id(namespace: &str, name: &str) -> PolicyId {
    PolicyId::network_policy(&NamespacedName::new(namespace, name))
}

pub fn policy(
    namespace: &str,
    name: &str,
    order: u32,
    subject: Selector,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
) -> Update {
    let policy =
        Policy { tier: DEFAULT_TIER.into(), order: order.into(), subject, ingress, egress };
    Update::Policy(policy_id(namespace, name), Some(Arc::new(policy)))
}

pub fn rule(peers: Option<Vec<Peer>>, ports: Option<Vec<Port>>) -> Rule {
    Rule::allow(0, peers, ports)
}

/// Everybody, on one named TCP port.
pub fn named_port_rule(name: &str) -> Rule {
    let port = PortSpec::Named(name.into());
    rule(None, Some(vec![Port { protocol: Some(Protocol::TCP), port }]))
}

/// The deletion of an update's object.
pub fn gone(update: &Update) -> Update {
    match update.clone() {
        Update::Namespace(key, _) => Update::Namespace(key, None),
        Update::Pod(key, _) => Update::Pod(key, None),
        Update::Endpoint(key, _) => Update::Endpoint(key, None),
        Update::Policy(key, _) => Update::Policy(key, None),
        other => panic!("no deletion for {other:?}"),
    }
}
