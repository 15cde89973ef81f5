//! Validated inputs. An update is a key and an optional value: `None` is absence, whether the
//! object was deleted, never existed or was rejected (style habit 3). Updates may be repeated,
//! reverted, reordered and coalesced; only the last value of each key counts.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::host::{HostEndpoint, HostLink};
use crate::labels::Labels;
use crate::net::{PortRange, Protocol};
use crate::policy::{Policy, Tier};
use crate::routing::filter::BgpFilter;
use crate::routing::{BgpConfiguration, BgpPeer};
use crate::settings::{AgentConfiguration, NodeOptions};
use crate::verdict::PolicyId;
use crate::{List, Name, NamespacedName};

/// One change of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// A namespace.
    Namespace(Name, Option<Arc<Namespace>>),
    /// A pod, anywhere in the cluster.
    Pod(NamespacedName, Option<Arc<Pod>>),
    /// A policy of any kind.
    Policy(PolicyId, Option<Arc<Policy>>),
    /// A tier. The built-in ones exist without an update ([`Tier::BUILT_IN`]).
    Tier(Name, Option<Arc<Tier>>),
    /// A network set of either kind.
    NetworkSet(NetworkSetId, Option<Arc<NetworkSet>>),
    /// A service account.
    ServiceAccount(NamespacedName, Option<Arc<ServiceAccount>>),
    /// An endpoint slice.
    EndpointSlice(NamespacedName, Option<Arc<EndpointSlice>>),
    /// A Service.
    Service(NamespacedName, Option<Arc<Service>>),
    /// A node.
    Node(Name, Option<Arc<Node>>),
    /// An address pool.
    IpPool(Name, Option<Arc<IpPool>>),
    /// Speaker settings: `default`, or `node.<name>` for one node.
    BgpConfiguration(Name, Option<Arc<BgpConfiguration>>),
    /// A BGP neighbour.
    BgpPeer(Name, Option<Arc<BgpPeer>>),
    /// Rules for the routes of BGP neighbours.
    BgpFilter(Name, Option<Arc<BgpFilter>>),
    /// A pod's attachment to this node, as the CNI plugin made it.
    Endpoint(EndpointId, Option<Arc<Attachment>>),
    /// A block of pod addresses with affinity to this node.
    Block(IpNet, Option<()>),
    /// A host endpoint, of any node.
    HostEndpoint(Name, Option<Arc<HostEndpoint>>),
    /// An interface of this node that is no pod's.
    HostLink(Name, Option<Arc<HostLink>>),
    /// Settings of agents.
    AgentConfiguration(Name, Option<Arc<AgentConfiguration>>),
    /// What of them concerns this node's policing; none is as if nobody had said anything.
    NodeOptions(Option<Arc<NodeOptions>>),
}

impl Update {
    /// The update that takes the value of the same key away.
    pub fn absence(&self) -> Self {
        match self.clone() {
            Self::Namespace(key, _) => Self::Namespace(key, None),
            Self::Pod(key, _) => Self::Pod(key, None),
            Self::Policy(key, _) => Self::Policy(key, None),
            Self::Tier(key, _) => Self::Tier(key, None),
            Self::NetworkSet(key, _) => Self::NetworkSet(key, None),
            Self::ServiceAccount(key, _) => Self::ServiceAccount(key, None),
            Self::EndpointSlice(key, _) => Self::EndpointSlice(key, None),
            Self::Service(key, _) => Self::Service(key, None),
            Self::Node(key, _) => Self::Node(key, None),
            Self::IpPool(key, _) => Self::IpPool(key, None),
            Self::BgpConfiguration(key, _) => Self::BgpConfiguration(key, None),
            Self::BgpPeer(key, _) => Self::BgpPeer(key, None),
            Self::BgpFilter(key, _) => Self::BgpFilter(key, None),
            Self::Endpoint(key, _) => Self::Endpoint(key, None),
            Self::Block(key, _) => Self::Block(key, None),
            Self::HostEndpoint(key, _) => Self::HostEndpoint(key, None),
            Self::HostLink(key, _) => Self::HostLink(key, None),
            Self::AgentConfiguration(key, _) => Self::AgentConfiguration(key, None),
            Self::NodeOptions(_) => Self::NodeOptions(None),
        }
    }
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its labels, with `kubernetes.io/metadata.name` set (K12).
    pub labels: Labels,
}

/// The addresses of a pod. Most have one, which then lies in the pod itself: who fills a set visits
/// as many pods as it has members.
pub type PodAddresses = SmallVec<[IpAddr; 1]>;

/// A pod with a network of its own. Host-network pods are not pods for policy (K27): a source
/// reports them as absent, and finished pods with no addresses (K38).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Which of all pods that ever had this name, where that is known.
    pub uid: Option<Uid>,
    /// The node it is scheduled to, once it is.
    pub node: Option<Name>,
    /// Its own labels, system prefixes stripped (C12).
    pub labels: Labels,
    /// The service account it runs as, in its namespace.
    pub service_account: Option<Name>,
    /// Addresses it owns, of either family (K35).
    pub addresses: PodAddresses,
    /// Named ports of all its containers, init and sidecar containers included (K22).
    pub ports: List<NamedPort>,
}

// Of these a cluster has hundreds of thousands.
const _: () = assert!(size_of::<Pod>() <= 14 * size_of::<usize>());

/// Kubernetes' identity of a pod: 128 bits, written as a UUID, or as 32 hexadecimal digits where it is
/// the hash of a static pod's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uid([u8; 16]);

impl Uid {
    /// Reads either form; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let is_hexadecimal = digits.len() == 32 && digits.bytes().all(|c| c.is_ascii_hexdigit());
        is_hexadecimal
            .then(|| u128::from_str_radix(&digits, 16).ok())?
            .map(|n| Self(n.to_be_bytes()))
    }
}

/// A service account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its labels.
    pub labels: Labels,
}

/// Identity of a NetworkSet, or of a GlobalNetworkSet, which has no namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct NetworkSetId {
    /// The object's namespace.
    pub namespace: Option<Name>,
    /// The object's name.
    pub name: Name,
}

impl NetworkSetId {
    /// The set that stands for the addresses of a host endpoint: no object has such a name.
    pub fn of_host_endpoint(name: &Name) -> Self {
        Self { namespace: None, name: format!("HostEndpoint {name}").into() }
    }
}

/// Prefixes that selectors pick by label, like an endpoint that owns them (C27).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSet {
    /// Its own labels, system prefixes stripped (C12, C13).
    pub labels: Labels,
    /// The prefixes, without host bits; they may overlap and nest.
    pub nets: Vec<IpNet>,
    /// Whether something that may have been a prefix could not be read: a rule that denies takes
    /// the set for everything, one that admits for no more than `nets`.
    pub incomplete: bool,
}

/// Some endpoints of a Service (C26).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The Service, in the slice's namespace.
    pub service: Name,
    /// Addresses of all endpoints, ready or not.
    pub addresses: Vec<IpAddr>,
    /// The ports that all of them serve; a port without a number is not among them.
    pub ports: Vec<(Protocol, u16)>,
    /// As [`NetworkSet::incomplete`], of addresses and ports.
    pub incomplete: bool,
    /// The nodes of endpoints that are ready, in order, each once.
    pub ready_on: Vec<Name>,
}

/// The addresses of a Service, as far as they can be announced. Which endpoints it has, its slices
/// say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `spec.clusterIPs`.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`, those that nodes answer for (`ipMode: VIP`).
    pub load_balancer_ips: Vec<IpAddr>,
    /// `internalTrafficPolicy: Local`: a node without endpoints drops what comes to `cluster_ips`.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`: the same of the other addresses.
    pub external_local: bool,
}

/// A container port with a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    /// The name.
    pub name: Name,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its labels.
    pub labels: Labels,
    /// Its `InternalIP` addresses, at most one a family is used.
    pub addresses: Vec<IpAddr>,
    /// All its addresses: what a peer that names nodes matches (A10).
    pub all_addresses: Vec<IpAddr>,
    /// As [`NetworkSet::incomplete`], of `all_addresses`.
    pub incomplete: bool,
}

/// An address pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpPool {
    /// The range that blocks are cut from.
    pub cidr: IpNet,
    /// Prefix length of a block.
    pub block_size: u8,
    /// No new address comes from a disabled pool; existing ones stay routed.
    pub disabled: bool,
}

/// Identity of a pod's attachment. The container id keeps a late DEL of a pod's predecessor from
/// taking away its successor of the same name (K39).
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct EndpointId {
    /// The pod.
    pub pod: NamespacedName,
    /// `CNI_CONTAINERID`.
    pub container_id: Name,
    /// `CNI_IFNAME`, the name inside the pod.
    pub interface: Name,
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pod, self.interface)
    }
}

/// How a pod hangs on this node.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Attachment {
    /// The host side of the veth pair; at most 15 bytes, begins with [`HOST_INTERFACE_PREFIX`].
    pub host_interface: Name,
    /// The pod's addresses, at most one a family.
    pub addresses: Vec<IpAddr>,
}

/// Every host-side pod interface begins so. An interface with this prefix that no endpoint claims
/// is closed (K37): that is how an unknown workload is recognised.
pub const HOST_INTERFACE_PREFIX: &str = "brd";

/// First of the interface groups ([`link_group`]) that pods have. Administrators number theirs from
/// zero, which is what every other interface has.
const FIRST_GROUP: u32 = 1 << 30;

/// The group (`IFLA_GROUP`) of a host-side pod interface: a number that follows from its name, by
/// which a dataplane knows the interface more cheaply than by the name. At least 2³⁰, less than
/// 2³¹, so that tools that print it as a signed number show the same.
///
/// Two names may have one group. Who makes interfaces avoids it; a dataplane closes both.
pub fn link_group(host_interface: &str) -> u32 {
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(host_interface.as_bytes()).into();
    FIRST_GROUP | (u32::from_be_bytes([a, b, c, d]) & (FIRST_GROUP - 1))
}

/// A range for convenience of tests and conversions.
impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self::single(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Running pods keep their groups over an upgrade of the agent, so these never change.
    #[test]
    fn groups_follow_from_names() {
        assert_eq!(link_group("brd0123456789ab"), 1_984_829_035);
        assert!((0..10_000).all(|i| link_group(&format!("brd{i:012x}")) >> 30 == 1));
    }
}
