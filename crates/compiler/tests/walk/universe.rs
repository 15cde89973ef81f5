//! A universe of few names, labels and addresses, and random edits of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::cluster::{Attachment, EndpointId, NamedPort, Namespace, Node, Pod, Update};
use brindle_model::labels::{Labels, NAMESPACE_NAME_LABEL};
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::{DEFAULT_TIER, Order, Peer, Policy, Port, PortSpec, Rule};
use brindle_model::routing::{BgpConfiguration, BgpPeer, NodeScope, PeerSettings};
use brindle_model::selector::Selector;
use brindle_model::verdict::PolicyId;
use brindle_model::{Name, NamespacedName};
use ipnet::IpNet;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// The node that is compiled for.
pub const NODE: &str = "n1";

/// The current value of every key.
#[derive(Clone, Default)]
pub struct Inputs {
    pub namespaces: BTreeMap<Name, Arc<Namespace>>,
    pub pods: BTreeMap<NamespacedName, Arc<Pod>>,
    pub policies: BTreeMap<PolicyId, Arc<Policy>>,
    pub endpoints: BTreeMap<EndpointId, Arc<Attachment>>,
    others: BTreeMap<String, Update>,
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

impl Inputs {
    /// Takes over one update.
    pub fn set(&mut self, update: Update) {
        match update {
            Update::Namespace(key, value) => put(&mut self.namespaces, key, value),
            Update::Pod(key, value) => put(&mut self.pods, key, value),
            Update::Policy(key, value) => put(&mut self.policies, key, value),
            Update::Endpoint(key, value) => put(&mut self.endpoints, key, value),
            other => {
                let gone = other.absence();
                put(&mut self.others, format!("{gone:?}"), (other != gone).then_some(other));
            }
        }
    }

    /// Every current value as an update.
    pub fn updates(&self) -> impl Iterator<Item = Update> {
        let namespaces =
            self.namespaces.clone().into_iter().map(|(k, v)| Update::Namespace(k, Some(v)));
        let pods = self.pods.clone().into_iter().map(|(k, v)| Update::Pod(k, Some(v)));
        let policies = self.policies.clone().into_iter().map(|(k, v)| Update::Policy(k, Some(v)));
        let endpoints =
            self.endpoints.clone().into_iter().map(|(k, v)| Update::Endpoint(k, Some(v)));
        let others = self.others.clone().into_values();
        namespaces.chain(pods).chain(policies).chain(endpoints).chain(others)
    }
}

/// One random edit; three of four set a value, the others delete.
pub fn edit() -> impl Strategy<Value = Update> {
    fn maybe<T: std::fmt::Debug>(
        value: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = Option<Arc<T>>> {
        weighted(0.75, value.prop_map(Arc::new))
    }
    let name = |names: &'static [&'static str]| select(names).prop_map(Name::from);
    prop_oneof![
        2 => (name(&NAMESPACES), maybe(namespace())).prop_map(|(k, v)| Update::Namespace(k, v)),
        6 => (pod_name(), maybe(pod())).prop_map(|(k, v)| Update::Pod(k, v)),
        5 => (policy_id(), maybe(policy())).prop_map(|(k, v)| Update::Policy(k, v)),
        5 => (endpoint_id(), maybe(attachment())).prop_map(|(k, v)| Update::Endpoint(k, v)),
        1 => (name(&["n1", "n2", "n3"]), maybe(node())).prop_map(|(k, v)| Update::Node(k, v)),
        1 => (name(&["default", "node.n1", "node.n2"]), maybe(configuration()))
            .prop_map(|(k, v)| Update::BgpConfiguration(k, v)),
        1 => (name(&["a", "b", "mesh.n2"]), maybe(peer())).prop_map(|(k, v)| Update::BgpPeer(k, v)),
        1 => (select(&BLOCKS[..]), any::<bool>())
            .prop_map(|(net, v)| Update::Block(net.parse().unwrap(), v.then_some(()))),
    ]
}

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const BLOCKS: [&str; 2] = ["10.65.0.0/26", "fd00:65::/122"];
const VALUES: [&str; 3] = ["a", "b", ""];
const ADDRESSES: [&str; 8] = [
    "10.65.0.1",
    "10.65.0.2",
    "10.65.0.3",
    "10.65.0.4",
    "fd00:65::1",
    "fd00:65::2",
    "fd00:65::3",
    "fd00:65::4",
];
const NODE_ADDRESSES: [&str; 4] = ["192.0.2.1", "192.0.2.2", "fd00::1", "fd00::2"];
const NETS: [&str; 9] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.65.0.0/26",
    "10.65.0.0/30",
    "10.65.0.2/32",
    "::/0",
    "fd00::/16",
    "fd00:65::/126",
    "fd00:65::2/128",
];

fn labels(keys: &'static [&'static str]) -> impl Strategy<Value = Labels> {
    prop::collection::vec(weighted(0.6, select(&VALUES[..])), keys.len()).prop_map(|values| {
        keys.iter().zip(values).filter_map(|(key, value)| Some((*key, value?))).collect()
    })
}

fn addresses(of: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<IpAddr>> {
    subsequence(of, 0..=most).prop_map(|a| a.iter().map(|a| a.parse().unwrap()).collect())
}

fn namespace() -> impl Strategy<Value = Namespace> {
    labels(&["team"]).prop_map(|labels| Namespace { labels })
}

fn pod_name() -> impl Strategy<Value = NamespacedName> {
    (select(&NAMESPACES[..]), select(&["p", "q"][..]))
        .prop_map(|(ns, p)| NamespacedName::new(ns, p))
}

fn pod() -> impl Strategy<Value = Pod> {
    let port = (port_name(), protocol(), select(&[80, 8080, 65535][..]));
    let port = port.prop_map(|(name, protocol, port)| NamedPort { name, protocol, port });
    (labels(&["app", "role"]), addresses(&ADDRESSES, 2), prop::collection::vec(port, 0..3))
        .prop_map(|(labels, addresses, ports)| Pod { labels, addresses, ports, ..Pod::default() })
}

fn port_name() -> impl Strategy<Value = Name> {
    select(&["http", "dns"][..]).prop_map(Name::from)
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(&[Protocol::TCP, Protocol::UDP, Protocol::SCTP][..])
}

fn endpoint_id() -> impl Strategy<Value = EndpointId> {
    (pod_name(), select(&["c1", "c2"][..])).prop_map(|(pod, container)| EndpointId {
        pod,
        container_id: container.into(),
        interface: "eth0".into(),
    })
}

fn attachment() -> impl Strategy<Value = Attachment> {
    let interface = select(&["brd1", "brd2", "brd3"][..]);
    (interface, addresses(&ADDRESSES, 2)).prop_map(|(host_interface, addresses)| Attachment {
        host_interface: host_interface.into(),
        addresses,
    })
}

fn policy_id() -> impl Strategy<Value = PolicyId> {
    (select(&["deny", "web"][..]), select(&NAMESPACES[..]))
        .prop_map(|(name, ns)| PolicyId::network_policy(&NamespacedName::new(ns, name)))
}

fn policy() -> impl Strategy<Value = Policy> {
    let rules = || weighted(0.7, prop::collection::vec(rule(), 0..3));
    (select(&[0u32, 1000, 1001][..]), selector(), rules(), rules()).prop_map(
        |(order, subject, ingress, egress)| Policy {
            tier: DEFAULT_TIER.into(),
            order: Order::from(order),
            subject,
            ingress,
            egress,
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let peers = weighted(0.8, prop::collection::vec(peer_entry(), 0..3));
    let ports = weighted(0.6, prop::collection::vec(port_entry(), 0..3));
    (0u32..3, peers, ports).prop_map(|(index, peers, ports)| Rule::allow(index, peers, ports))
}

fn peer_entry() -> impl Strategy<Value = Peer> {
    let net = || select(&NETS[..]).prop_map(|net| net.parse::<IpNet>().unwrap());
    prop_oneof![
        3 => selector().prop_map(Peer::Pods),
        1 => (net(), prop::collection::vec(net(), 0..2))
            .prop_map(|(cidr, except)| Peer::IpBlock { cidr, except }),
    ]
}

fn port_entry() -> impl Strategy<Value = Port> {
    let spec = prop_oneof![
        Just(PortSpec::Any),
        (79u16..82, 0u16..3)
            .prop_map(|(first, more)| PortSpec::Range(PortRange { first, last: first + more })),
        port_name().prop_map(PortSpec::Named),
    ];
    (protocol(), spec).prop_map(|(protocol, port)| Port { protocol: Some(protocol), port })
}

/// What conversion makes of label selectors: a conjunction of simple terms.
fn selector() -> impl Strategy<Value = Selector> {
    let key = || select(&["app", "role", "pcns.team"][..]).prop_map(Name::from);
    let values = || subsequence(&VALUES[..], 1..3);
    let one_of = (key(), values())
        .prop_map(|(key, values)| Selector::In(key, values.into_iter().map(Name::from).collect()));
    let in_namespace =
        select(&NAMESPACES[..]).prop_map(|ns| Selector::equals(NAMESPACE_NAME_LABEL, ns));
    let term = prop_oneof![
        4 => one_of,
        1 => key().prop_map(Selector::Has),
        3 => in_namespace,
    ];
    let term = (term, weighted(0.2, Just(()))).prop_map(|(term, negated)| match negated {
        Some(()) => Selector::Not(Box::new(term)),
        None => term,
    });
    prop_oneof![
        9 => prop::collection::vec(term, 0..3).prop_map(Selector::and),
        1 => Just(Selector::None),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    (labels(&["rack"]), addresses(&NODE_ADDRESSES, 2)).prop_map(|(labels, addresses)| Node {
        labels,
        addresses,
        ..Node::default()
    })
}

fn configuration() -> impl Strategy<Value = BgpConfiguration> {
    (weighted(0.5, 64512u32..64514), weighted(0.3, any::<bool>())).prop_map(|(as_number, mesh)| {
        BgpConfiguration { as_number, node_to_node_mesh: mesh, ..BgpConfiguration::default() }
    })
}

fn peer() -> impl Strategy<Value = BgpPeer> {
    let scope = prop_oneof![
        select(&["n1", "n2"][..]).prop_map(|name| NodeScope::Named(name.into())),
        select(&VALUES[..]).prop_map(|v| NodeScope::Selected(Selector::equals("rack", v))),
        Just(NodeScope::Selected(Selector::All)),
    ];
    let address = select(&["192.0.2.1", "192.0.2.2", "192.0.2.254"][..]);
    (scope, address).prop_map(|(nodes, address)| BgpPeer {
        nodes,
        address: address.parse().unwrap(),
        port: 179,
        as_number: 65000,
        passive: false,
        settings: PeerSettings::default(),
    })
}
