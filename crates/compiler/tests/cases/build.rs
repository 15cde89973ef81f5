//! Short ways to write inputs.

use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::NamespacedName;
use brindle_model::cluster::{
    Attachment, EndpointId, EndpointSlice, NamedPort, Namespace, NetworkSet, NetworkSetId, Pod,
    Update,
};
use brindle_model::net::Protocol;
use brindle_model::policy::{
    Action, Criteria, DEFAULT_TIER, End, Ends, Order, Peer, Policy, Port, PortSpec, Rule, Tier,
    TierEnd,
};
use brindle_model::ruleset::Stage;
use brindle_model::selector::Selector;
use brindle_model::verdict::{PolicyId, PolicyKind};

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
    let pod = Pod { labels, addresses: addrs(addresses).into(), ..Pod::default() };
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
    let (tier, order, stage) = (DEFAULT_TIER.into(), order.into(), Stage::Normal);
    let policy = Policy { tier, order, subject: subject.into(), stage, ingress, egress };
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

pub fn network_set(namespace: Option<&str>, name: &str, app: &str, nets: &[&str]) -> Update {
    let id = NetworkSetId { namespace: namespace.map(Into::into), name: name.into() };
    let labels = [("app", app)].into_iter().collect();
    let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
    Update::NetworkSet(id, Some(Arc::new(NetworkSet { labels, nets, incomplete: false })))
}

pub fn tier(name: &str, order: u32, end: TierEnd) -> Update {
    Update::Tier(name.into(), Some(Arc::new(Tier { order: order.into(), end })))
}

pub fn slice(namespace: &str, name: &str, service: &str, addresses: &[&str], port: u16) -> Update {
    let slice = EndpointSlice {
        service: service.into(),
        addresses: addrs(addresses),
        ports: vec![(Protocol::TCP, port)],
        ..EndpointSlice::default()
    };
    Update::EndpointSlice(NamespacedName::new(namespace, name), Some(Arc::new(slice)))
}

/// A policy of a kind and tier for everybody, with these ingress rules.
pub fn in_tier(kind: PolicyKind, name: &str, tier: &str, ingress: Vec<Rule>) -> Update {
    let id = PolicyId { name: name.into(), namespace: None, kind };
    let policy = Policy {
        tier: tier.into(),
        order: Order::LAST,
        subject: Selector::All.into(),
        stage: Stage::Normal,
        ingress: Some(ingress),
        egress: None,
    };
    Update::Policy(id, Some(Arc::new(policy)))
}

/// An Allow of what comes from this end.
pub fn from(source: End) -> Rule {
    let criteria = Criteria::Ends(Arc::new(Ends { source, ..Ends::default() }));
    Rule { index: 0, action: Action::Allow, criteria }
}
