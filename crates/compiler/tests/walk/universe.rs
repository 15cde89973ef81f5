//! A universe of few names, labels and addresses, and random edits of it.

mod objects;
mod policies;
mod selectors;

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::cluster::{
    Attachment, EndpointId, EndpointSlice, Namespace, NetworkSet, NetworkSetId, Node, Pod,
    ServiceAccount, Update,
};
use brindle_model::host::{HostEndpoint, HostLink};
use brindle_model::policy::{Policy, Tier};
use brindle_model::settings::NodeOptions;
use brindle_model::verdict::PolicyId;
use brindle_model::{Name, NamespacedName};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

/// The node that is compiled for.
pub const NODE: &str = "n1";

/// The current value of every key.
#[derive(Clone, Default)]
pub struct Inputs {
    pub namespaces: BTreeMap<Name, Arc<Namespace>>,
    pub service_accounts: BTreeMap<NamespacedName, Arc<ServiceAccount>>,
    pub network_sets: BTreeMap<NetworkSetId, Arc<NetworkSet>>,
    pub slices: BTreeMap<NamespacedName, Arc<EndpointSlice>>,
    pub nodes: BTreeMap<Name, Arc<Node>>,
    pub tiers: BTreeMap<Name, Arc<Tier>>,
    pub pods: BTreeMap<NamespacedName, Arc<Pod>>,
    pub policies: BTreeMap<PolicyId, Arc<Policy>>,
    pub endpoints: BTreeMap<EndpointId, Arc<Attachment>>,
    pub host_endpoints: BTreeMap<Name, Arc<HostEndpoint>>,
    pub host_links: BTreeMap<Name, Arc<HostLink>>,
    pub node_options: Option<Arc<NodeOptions>>,
    others: BTreeMap<String, Update>,
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn updates<K: Clone, V: Clone>(
    map: &BTreeMap<K, V>,
    update: fn(K, Option<V>) -> Update,
) -> Vec<Update> {
    map.iter().map(|(key, value)| update(key.clone(), Some(value.clone()))).collect()
}

impl Inputs {
    /// Takes over one update.
    pub fn set(&mut self, update: Update) {
        match update {
            Update::Namespace(key, value) => put(&mut self.namespaces, key, value),
            Update::ServiceAccount(key, value) => put(&mut self.service_accounts, key, value),
            Update::NetworkSet(key, value) => put(&mut self.network_sets, key, value),
            Update::EndpointSlice(key, value) => put(&mut self.slices, key, value),
            Update::Node(key, value) => put(&mut self.nodes, key, value),
            Update::Tier(key, value) => put(&mut self.tiers, key, value),
            Update::Pod(key, value) => put(&mut self.pods, key, value),
            Update::Policy(key, value) => put(&mut self.policies, key, value),
            Update::Endpoint(key, value) => put(&mut self.endpoints, key, value),
            Update::HostEndpoint(key, value) => put(&mut self.host_endpoints, key, value),
            Update::HostLink(key, value) => put(&mut self.host_links, key, value),
            Update::NodeOptions(value) => self.node_options = value,
            other => {
                let gone = other.absence();
                put(&mut self.others, format!("{gone:?}"), (other != gone).then_some(other));
            }
        }
    }

    /// Every current value as an update.
    pub fn updates(&self) -> impl Iterator<Item = Update> {
        [
            updates(&self.namespaces, Update::Namespace),
            updates(&self.service_accounts, Update::ServiceAccount),
            updates(&self.network_sets, Update::NetworkSet),
            updates(&self.slices, Update::EndpointSlice),
            updates(&self.nodes, Update::Node),
            updates(&self.tiers, Update::Tier),
            updates(&self.pods, Update::Pod),
            updates(&self.policies, Update::Policy),
            updates(&self.endpoints, Update::Endpoint),
            updates(&self.host_endpoints, Update::HostEndpoint),
            updates(&self.host_links, Update::HostLink),
            self.node_options.iter().map(|o| Update::NodeOptions(Some(o.clone()))).collect(),
            self.others.values().cloned().collect(),
        ]
        .into_iter()
        .flatten()
    }
}

/// One random edit; three of four set a value, the others delete.
pub fn edit() -> impl Strategy<Value = Update> {
    (any_object(), weighted(0.75, Just(())))
        .prop_map(|(update, kept)| kept.map_or(update.absence(), |()| update))
}

/// Many objects of every kind.
pub fn full() -> impl Strategy<Value = Vec<Update>> {
    let namespaces = NAMESPACES.map(|name| {
        objects::namespace().prop_map(move |v| Update::Namespace(name.into(), Some(Arc::new(v))))
    });
    (namespaces, prop::collection::vec(any_object(), 30))
        .prop_map(|(namespaces, others)| others.into_iter().chain(namespaces).collect())
}

fn any_object() -> impl Strategy<Value = Update> {
    fn some<T: std::fmt::Debug>(
        value: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = Option<Arc<T>>> {
        value.prop_map(|value| Some(Arc::new(value)))
    }
    let name = |names: &'static [&'static str]| select(names).prop_map(Name::from);
    let in_namespace = |names: &'static [&'static str]| {
        (select(&NAMESPACES[..]), select(names)).prop_map(|(ns, n)| NamespacedName::new(ns, n))
    };
    prop_oneof![
        2 => (name(&NAMESPACES), some(objects::namespace()))
            .prop_map(|(k, v)| Update::Namespace(k, v)),
        2 => (in_namespace(&ACCOUNTS), some(objects::service_account()))
            .prop_map(|(k, v)| Update::ServiceAccount(k, v)),
        4 => (objects::network_set_id(), some(objects::network_set()))
            .prop_map(|(k, v)| Update::NetworkSet(k, v)),
        6 => (in_namespace(&["1", "2"]), some(objects::slice()))
            .prop_map(|(k, v)| Update::EndpointSlice(k, v)),
        3 => (in_namespace(&["api", "db"]), some(objects::service()))
            .prop_map(|(k, v)| Update::Service(k, v)),
        2 => (name(&["n1", "n2", "n3"]), some(objects::node()))
            .prop_map(|(k, v)| Update::Node(k, v)),
        2 => (name(&TIERS), some(policies::tier())).prop_map(|(k, v)| Update::Tier(k, v)),
        6 => (in_namespace(&PODS), some(objects::pod())).prop_map(|(k, v)| Update::Pod(k, v)),
        8 => (policies::id(), some(policies::policy())).prop_map(|(k, v)| Update::Policy(k, v)),
        6 => (objects::endpoint_id(), some(objects::attachment()))
            .prop_map(|(k, v)| Update::Endpoint(k, v)),
        2 => (name(&["default", "node.n1", "node.n2"]), some(objects::configuration()))
            .prop_map(|(k, v)| Update::BgpConfiguration(k, v)),
        1 => (name(&["a", "b", "mesh.n2"]), some(objects::peer()))
            .prop_map(|(k, v)| Update::BgpPeer(k, v)),
        4 => (name(&["ha", "hb", "hc"]), some(objects::host_endpoint()))
            .prop_map(|(k, v)| Update::HostEndpoint(k, v)),
        2 => (name(&["eth0", "eth1", "lo", "brd1"]), some(objects::host_link()))
            .prop_map(|(k, v)| Update::HostLink(k, v)),
        1 => some(objects::node_options()).prop_map(Update::NodeOptions),
        1 => (name(&["f", "g"]), some(objects::filter()))
            .prop_map(|(k, v)| Update::BgpFilter(k, v)),
        1 => select(&BLOCKS[..]).prop_map(|net| Update::Block(net.parse().unwrap(), Some(()))),
    ]
}

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PODS: [&str; 2] = ["p", "q"];
const ACCOUNTS: [&str; 2] = ["s", "t"];
/// Tiers that edits make, built-in ones among them; policies name others too.
const TIERS: [&str; 4] = ["early", "late", "default", "kube-baseline"];
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
const NETS: [&str; 14] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.65.0.0/26",
    "10.65.0.0/30",
    "10.65.0.0/31",
    "10.65.0.2/32",
    "10.65.0.3/32",
    "128.0.0.0/1",
    "::/0",
    "fd00::/16",
    "fd00:65::/126",
    "fd00:65::/127",
    "fd00:65::2/128",
    "fd00:65::3/128",
];
