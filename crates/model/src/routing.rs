//! Routing: validated BGP inputs, and what the compiler makes of them for one node.

pub mod advertisement;
pub mod filter;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use crate::Name;
use crate::labels::Labels;
use crate::routing::advertisement::{Origination, PrefixAdvertisement};
use crate::routing::filter::PeerFilter;
use crate::selector::Selector;

/// `BGPConfiguration`: the object `default`, overlaid field by field by `node.<name>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BgpConfiguration {
    /// The node's AS; 64512 unless said.
    pub as_number: Option<u32>,
    /// The BGP identifier; the node's IPv4 address unless said.
    pub router_id: Option<Ipv4Addr>,
    /// TCP port to listen on; 179 unless said.
    pub listen_port: Option<u16>,
    /// Whether every node peers with every other by iBGP; yes unless said.
    pub node_to_node_mesh: Option<bool>,
    /// Seconds that a peer keeps our routes while we restart (RFC 4724 §3); 120 unless said.
    pub restart_time: Option<u16>,
    /// Seconds that a peer keeps our routes after that (RFC 9494 §3.1); none unless said.
    pub long_lived_stale_time: Option<u32>,
    /// Hold time in seconds (RFC 4271 §4.2); 90 unless said.
    pub hold_time: Option<u16>,
    /// Whether to offer that a NOTIFICATION ends no forwarding (RFC 8538); no unless said.
    pub notification_restart: Option<bool>,
    /// How the node is taken out of service; in service unless said.
    pub drain: Option<Drain>,
    /// What stands for the node in CLUSTER_LISTs; the BGP identifier unless said.
    pub cluster_id: Option<Ipv4Addr>,
    /// Ranges of the cluster IPs of Services that are announced; none unless said.
    pub service_cluster_ips: Option<Vec<IpNet>>,
    /// The same of external IPs.
    pub service_external_ips: Option<Vec<IpNet>>,
    /// The same of load balancer IPs.
    pub service_load_balancer_ips: Option<Vec<IpNet>>,
    /// Whether ranges of load balancer IPs are announced whole; yes unless said. Otherwise each
    /// address is, once a Service has it.
    pub service_load_balancer_aggregation: Option<bool>,
    /// Communities of what is announced; none unless said.
    pub prefix_advertisements: Option<Vec<PrefixAdvertisement>>,
}

/// How a node is taken out of service while its sessions stay up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub enum Drain {
    /// It is in service.
    #[default]
    No,
    /// Its routes are the last to be used (RFC 8326).
    GracefulShutdown,
    /// It advertises nothing.
    Withdraw,
}

/// `BGPPeer`: a neighbour of the nodes it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpPeer {
    /// Which nodes peer with it.
    pub nodes: NodeScope,
    /// The neighbour's address, or a range of them.
    pub address: PeerAddress,
    /// The neighbour's port; 179 unless said.
    pub port: u16,
    /// The neighbour's AS.
    pub as_number: u32,
    /// Wait for the neighbour to connect (RFC 4271 §8.1.1 PassiveTcpEstablishment).
    pub passive: bool,
    /// What else was said of it.
    pub settings: PeerSettings,
    /// Names of the filters that its routes go through, in order.
    pub filters: Vec<Name>,
}

/// Where a neighbour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum PeerAddress {
    /// There.
    One(IpAddr),
    /// Whoever connects from an address in here is one.
    Range {
        /// The addresses.
        net: IpNet,
        /// How many there may be at once, at least 1.
        max_peers: u16,
    },
}

impl PeerAddress {
    /// All addresses that it stands for.
    pub fn net(&self) -> IpNet {
        match self {
            Self::One(address) => (*address).into(),
            Self::Range { net, .. } => *net,
        }
    }
}

impl std::fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(address) => address.fmt(f),
            Self::Range { net, .. } => net.fmt(f),
        }
    }
}

/// What a neighbour's sessions need besides its address; the same on every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PeerSettings {
    /// How far away it may be.
    pub hops: Hops,
    /// Where the password of TCP MD5 signatures stands (RFC 2385).
    pub password: Option<PasswordSource>,
    /// No session is wanted, and these are the words for it (RFC 9003).
    pub shutdown: Option<Arc<str>>,
    /// How many prefixes it may advertise.
    pub max_prefixes: Option<MaxPrefixes>,
    /// How many prefixes it is told of.
    pub max_prefixes_out: Option<MaxPrefixesOut>,
    /// It is our client (RFC 4456).
    pub reflector_client: bool,
    /// What we are to it (RFC 9234).
    pub role: Option<Role>,
    /// No session without a role of it that fits.
    pub require_role: bool,
    /// Watch it by BFD.
    pub bfd: Option<Bfd>,
}

/// Where a password stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PasswordSource {
    /// In this file of the node.
    File(Arc<Path>),
    /// In a Secret of Brindle's namespace.
    Secret {
        /// The Secret.
        name: Name,
        /// The key in it.
        key: Arc<str>,
    },
}

/// A role on a session (RFC 9234 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Role {
    /// Sells transit.
    Provider,
    /// Passes routes on between its clients.
    RouteServer,
    /// Of a route server.
    RouteServerClient,
    /// Buys transit.
    Customer,
    /// Neither sells nor buys.
    Peer,
}

/// Timing of BFD (RFC 5880).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Bfd {
    /// How often to send at most, milliseconds, 10 to 60000.
    pub min_tx: u16,
    /// How often to receive at most, milliseconds, 10 to 60000.
    pub min_rx: u16,
    /// Missed packets that are too many, at least 2.
    pub multiplier: u8,
}

/// How many prefixes a neighbour may advertise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MaxPrefixes {
    /// For IPv4; no limit unless given.
    pub ipv4: Option<u32>,
    /// For IPv6; no limit unless given.
    pub ipv6: Option<u32>,
    /// From how many percent on to warn.
    pub warn_percent: u8,
    /// Seconds after which it may come back; without, once it is configured otherwise.
    pub restart_after: Option<u32>,
}

/// How many prefixes a neighbour is told of; the others are withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MaxPrefixesOut {
    /// For IPv4; no limit unless given.
    pub ipv4: Option<u32>,
    /// For IPv6; no limit unless given.
    pub ipv6: Option<u32>,
    /// From how many percent on to warn.
    pub warn_percent: u8,
}

/// How far away a neighbour may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub enum Hops {
    /// On the link if external, anywhere if internal.
    #[default]
    Usual,
    /// What is sent has this TTL, at least 1.
    Multihop(u8),
    /// TTL security (RFC 5082) with this many hops, 1 to 254.
    Security(u8),
}

/// Which nodes an object applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeScope {
    /// The one with this name.
    Named(Name),
    /// Those with matching labels.
    Selected(Selector),
}

impl NodeScope {
    /// Whether a node with this name and these labels is meant.
    pub fn includes(&self, name: &str, labels: &Labels) -> bool {
        match self {
            Self::Named(n) => **n == *name,
            Self::Selected(selector) => selector.matches(labels),
        }
    }
}

/// Default AS number of a cluster (RFC 6996 private use).
pub const DEFAULT_AS: u32 = 64512;

/// What this node's speaker and route table must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Routing {
    /// The speaker's identity; `None` while the node or its BGP identifier is not known: no
    /// session is opened then.
    pub speaker: Option<Speaker>,
    /// Neighbours by name of the object (or `mesh.<node>`).
    pub peers: BTreeMap<Name, Peer>,
    /// Prefixes to originate.
    pub originate: BTreeMap<IpNet, Origination>,
}

/// Identity of the local speaker.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Speaker {
    /// Local AS.
    pub as_number: u32,
    /// BGP identifier (RFC 6286: any non-zero value, unique within the AS).
    pub router_id: Ipv4Addr,
    /// TCP port to listen on.
    pub listen_port: u16,
    /// Restart time advertised in the graceful-restart capability, seconds.
    pub restart_time: u16,
    /// Long-lived stale time, seconds; 0 for none (RFC 9494).
    pub long_lived_stale_time: u32,
    /// Hold time proposed in OPEN, seconds.
    pub hold_time: u16,
    /// Offer that a NOTIFICATION ends no forwarding (RFC 8538).
    pub notification_restart: bool,
    /// How the node is taken out of service.
    pub drain: Drain,
    /// What stands for us in CLUSTER_LISTs; the BGP identifier unless given.
    pub cluster_id: Option<Ipv4Addr>,
    /// The node's own addresses: next hops of what it originates, one a family.
    pub next_hops: Vec<IpAddr>,
}

/// A resolved neighbour.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Peer {
    /// Its address, or a range of them.
    pub address: PeerAddress,
    /// Its port.
    pub port: u16,
    /// Its AS; equal to ours makes it iBGP.
    pub as_number: u32,
    /// Do not connect, only accept.
    pub passive: bool,
    /// What else was said of it; the default for a node of the mesh.
    pub settings: PeerSettings,
    /// What its routes go through, in order.
    pub filters: Vec<PeerFilter>,
    /// Why there is no session with it on this node: what was asked for does not fit its AS.
    pub unfit: Option<Arc<str>>,
}

impl PeerSettings {
    /// What of the settings means nothing between these two ASes, as the words of a refusal. A
    /// session without it is not what was asked for.
    pub fn unfit(&self, node_as: u32, peer_as: u32) -> Option<Arc<str>> {
        let internal = node_as == peer_as;
        let words = if internal && self.role.is_some() {
            format!(
                "spec.localRole is for external neighbours (RFC 9234), and this node is of the \
                 neighbour's AS {peer_as}: check asNumber here and in BGPConfiguration"
            )
        } else if !internal && self.reflector_client {
            format!(
                "spec.routeReflectorClient is for internal neighbours (RFC 4456), and the neighbour \
                 is of AS {peer_as}, this node of AS {node_as}: check asNumber here and in \
                 BGPConfiguration"
            )
        } else {
            return None;
        };
        Some(words.into())
    }
}

/// One change of [`Routing`]; a batch carries them in this order of variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The speaker's identity is now this.
    Speaker(Option<Speaker>),
    /// A neighbour is new, different or gone.
    Peer(Name, Option<Peer>),
    /// Announce this prefix like that from now on.
    Originate(IpNet, Origination),
    /// Stop announcing it.
    Withdraw(IpNet),
}
