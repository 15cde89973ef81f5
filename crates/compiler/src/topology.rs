//! Routing of one node: its speaker, its neighbours, the prefixes it originates.
//!
//! **Settings** are the object `default`, overlaid field by field by `node.<name>`.
//!
//! **Speaker.** The BGP identifier is the configured one, else the node's IPv4 address, else 32 bits
//! of a hash of the node's name (RFC 6286 §2.1 asks for any non-zero number that is unique within
//! the AS; should two names collide, the peers refuse each other and `routerId` is the way out).
//! While the node is not known or has no address there is no speaker and no neighbour.
//!
//! **Mesh.** Unless switched off on either side, a node peers with every other node under the name
//! `mesh.<node>`. One session carries both families (MP-BGP), over IPv4 if both nodes have it, else
//! over IPv6; nodes without a common family do not peer. Both ends compute the same session, and
//! both connect; the speaker resolves the collision (RFC 4271 §6.8).
//!
//! **One neighbour for one address.** A session is told from others by the remote address, so of
//! several neighbours with one address, or one range of them, the first counts: objects before the mesh, then by name.
//! The others are listed as shadowed. A node is never its own neighbour.
//!
//! **What does not fit.** Whether a neighbour is internal is known only here, where its AS and the
//! node's meet. One that is asked to be what it cannot be travels on with the reason, and the speaker
//! keeps its session down.
//!
//! **Filters** are looked up by name; one that is not there travels on as absent, and closes the
//! neighbour.
//!
//! **Prefixes** are the node's blocks and what [`crate::announcements`] says of Services, with the
//! communities that the settings give to either.
//!
//! Neighbours are computed anew whenever a node, a peer, a filter or the settings change. That is a few words
//! a node, and nodes change rarely; blocks and
//! Services, which come and go with pods, are followed one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use brindle_model::cluster::{EndpointSlice, Node};
use brindle_model::net::Family;
use brindle_model::routing::advertisement::{Origin, Origination, PrefixAdvertisement};
use brindle_model::routing::filter::{BgpFilter, PeerFilter};
use brindle_model::routing::{
    BgpConfiguration, BgpPeer, Change, DEFAULT_AS, Drain, Peer, PeerAddress, PeerSettings, Routing,
    Speaker,
};
use brindle_model::{Name, NamespacedName};
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::announcements::{Announcements, Terms};
use crate::nodes::Nodes;
use crate::slices::Slices;
use crate::table::{Before, Table};

/// The port of BGP (RFC 4271 §8.2.1).
const BGP_PORT: u16 = 179;
/// Restart time in seconds unless said.
const RESTART_TIME: u16 = 120;
/// Hold time in seconds unless said (RFC 4271 §10).
const HOLD_TIME: u16 = 90;

/// Inputs of routing, and what they make for this node.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    node: Name,
    pub configurations: Table<Name, Arc<BgpConfiguration>>,
    pub peers: Table<Name, Arc<BgpPeer>>,
    pub filters: Table<Name, Arc<BgpFilter>>,
    pub blocks: Table<IpNet, ()>,
    pub announcements: Announcements,
    communities: Vec<PrefixAdvertisement>,
    routing: Routing,
    shadowed: BTreeMap<Name, Name>,
}

/// What routing follows and others keep.
pub(crate) struct Surroundings<'a> {
    pub nodes: &'a Nodes,
    /// Whether a node changed since the last advance.
    pub nodes_changed: bool,
    pub slices: &'a Slices,
    /// The slices that changed since, each with its value before.
    pub slices_changed: &'a Before<NamespacedName, Arc<EndpointSlice>>,
}

/// Settings of one node with every default filled in.
struct Settings {
    as_number: u32,
    router_id: Option<Ipv4Addr>,
    listen_port: u16,
    mesh: bool,
    restart_time: u16,
    long_lived_stale_time: u32,
    hold_time: u16,
    notification_restart: bool,
    drain: Drain,
    cluster_id: Option<Ipv4Addr>,
}

impl Topology {
    pub fn new(node: Name) -> Self {
        Self {
            node,
            configurations: Table::default(),
            peers: Table::default(),
            filters: Table::default(),
            blocks: Table::default(),
            announcements: Announcements::default(),
            communities: Vec::new(),
            routing: Routing::default(),
            shadowed: BTreeMap::new(),
        }
    }

    /// Whether anything was noted since the last advance.
    pub fn has_pending(&self) -> bool {
        self.configurations.has_pending()
            || self.peers.has_pending()
            || self.filters.has_pending()
            || self.blocks.has_pending()
            || self.announcements.services.has_pending()
    }

    /// Takes over what was noted, and what others changed; returns what it changes for this node.
    pub fn advance(&mut self, around: &Surroundings<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        let configurations = self.configurations.advance();
        let peers = self.peers.advance();
        let filters = self.filters.advance();
        let settings_changed =
            !configurations.is_empty() || !peers.is_empty() || !filters.is_empty();
        if around.nodes_changed || settings_changed {
            self.renew_sessions(around.nodes, &mut changes);
        }
        let mut prefixes: BTreeSet<IpNet> = self.blocks.advance().into_keys().collect();
        let renewed = around.nodes_changed || !configurations.is_empty();
        let terms = renewed.then(|| {
            let node = around.nodes.get(&self.node);
            Terms::new(self.layers(&self.node), node.map(|node| &**node))
        });
        let slices = (around.slices, around.slices_changed);
        prefixes.extend(self.announcements.advance(&self.node, terms, slices.0, slices.1));
        if !configurations.is_empty() {
            let said = |layer: &BgpConfiguration| layer.prefix_advertisements.clone();
            let said = self.layers(&self.node).into_iter().flatten().find_map(said);
            let communities = said.unwrap_or_default();
            if communities != self.communities {
                self.communities = communities;
                prefixes.extend(self.routing.originate.keys());
            }
        }
        self.renew_prefixes(&prefixes, &mut changes);
        changes
    }

    /// Decides anew about prefixes: first what is announced, then what no longer is.
    fn renew_prefixes(&mut self, prefixes: &BTreeSet<IpNet>, changes: &mut Vec<Change>) {
        let mut withdrawn = Vec::new();
        for prefix in prefixes {
            match self.origination(prefix) {
                Some(now) if self.routing.originate.get(prefix) == Some(&now) => {}
                Some(now) => {
                    changes.push(Change::Originate(*prefix, now.clone()));
                    self.routing.originate.insert(*prefix, now);
                }
                None if self.routing.originate.remove(prefix).is_some() => {
                    withdrawn.push(Change::Withdraw(*prefix));
                }
                None => {}
            }
        }
        changes.append(&mut withdrawn);
    }

    /// How a prefix is announced. What is a block stays one, whatever Services say of it.
    fn origination(&self, prefix: &IpNet) -> Option<Origination> {
        let origin = match self.blocks.get(prefix) {
            Some(()) => Origin::Block,
            None => self.announcements.origin(prefix)?,
        };
        let fitting = self.communities.iter().filter(|entry| entry.cidr.contains(prefix));
        let mut communities = Vec::new();
        for community in fitting.flat_map(|entry| &entry.communities) {
            if !communities.contains(community) {
                communities.push(*community);
            }
        }
        Some(Origination { origin, communities })
    }

    /// What this node announces.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// See [`Announcements::remark`].
    pub fn service_remark(&self, slices: &Slices, prefix: &IpNet) -> Option<String> {
        self.announcements.remark(&self.node, slices, prefix)
    }

    /// What this node announces, without the inputs.
    pub fn into_routing(self) -> Routing {
        self.routing
    }

    /// Neighbours that are not used because another has their address: name, and name of the other.
    pub fn shadowed(&self) -> &BTreeMap<Name, Name> {
        &self.shadowed
    }

    /// What of the neighbours' objects does not become a session on this node, by name.
    pub fn peer_remarks(&self) -> BTreeMap<Name, String> {
        let unfit = self.routing.peers.iter().filter_map(|(name, peer)| {
            peer.unfit.as_ref().map(|why| (name.clone(), format!("no session: {why}")))
        });
        let shadowed = self.shadowed.iter().filter(|(name, _)| self.peers.get(&**name).is_some());
        let shadowed = shadowed.map(|(name, other)| {
            let words = format!("no session: `{other}` has the same address; remove one of both");
            (name.clone(), words)
        });
        unfit.chain(shadowed).collect()
    }

    fn renew_sessions(&mut self, nodes: &Nodes, changes: &mut Vec<Change>) {
        let speaker = self.speaker(nodes);
        let (peers, shadowed) = match &speaker {
            Some(speaker) => self.neighbours(nodes, speaker),
            None => Default::default(),
        };
        if self.routing.speaker != speaker {
            changes.push(Change::Speaker(speaker.clone()));
        }
        let names: BTreeSet<&Name> = self.routing.peers.keys().chain(peers.keys()).collect();
        for name in names {
            let peer = peers.get(name);
            if self.routing.peers.get(name) != peer {
                changes.push(Change::Peer(name.clone(), peer.cloned()));
            }
        }
        self.routing.speaker = speaker;
        self.routing.peers = peers;
        self.shadowed = shadowed;
    }

    /// What is said of a node, the more specific first.
    fn layers(&self, node: &str) -> [Option<&BgpConfiguration>; 2] {
        let base = self.configurations.get("default").map(|c| &**c);
        let own = self.configurations.get(format!("node.{node}").as_str()).map(|c| &**c);
        [own, base]
    }

    fn settings(&self, node: &str) -> Settings {
        fn overlaid<T: Copy>(
            layers: [Option<&BgpConfiguration>; 2],
            field: impl Fn(&BgpConfiguration) -> Option<T>,
        ) -> Option<T> {
            layers.into_iter().flatten().find_map(field)
        }
        let layers = self.layers(node);
        Settings {
            as_number: overlaid(layers, |c| c.as_number).unwrap_or(DEFAULT_AS),
            router_id: overlaid(layers, |c| c.router_id),
            listen_port: overlaid(layers, |c| c.listen_port).unwrap_or(BGP_PORT),
            mesh: overlaid(layers, |c| c.node_to_node_mesh).unwrap_or(true),
            restart_time: overlaid(layers, |c| c.restart_time).unwrap_or(RESTART_TIME),
            long_lived_stale_time: overlaid(layers, |c| c.long_lived_stale_time).unwrap_or(0),
            hold_time: overlaid(layers, |c| c.hold_time).unwrap_or(HOLD_TIME),
            notification_restart: overlaid(layers, |c| c.notification_restart).unwrap_or(false),
            drain: overlaid(layers, |c| c.drain).unwrap_or_default(),
            cluster_id: overlaid(layers, |c| c.cluster_id),
        }
    }

    fn speaker(&self, nodes: &Nodes) -> Option<Speaker> {
        let next_hops = usable(nodes.get(&self.node)?);
        let settings = self.settings(&self.node);
        let router_id = settings.router_id.unwrap_or_else(|| match next_hops.first() {
            Some(IpAddr::V4(addr)) => *addr,
            _ => hashed_id(&self.node),
        });
        (!next_hops.is_empty()).then_some(Speaker {
            as_number: settings.as_number,
            router_id,
            listen_port: settings.listen_port,
            restart_time: settings.restart_time,
            long_lived_stale_time: settings.long_lived_stale_time,
            hold_time: settings.hold_time,
            notification_restart: settings.notification_restart,
            drain: settings.drain,
            cluster_id: settings.cluster_id,
            next_hops,
        })
    }

    /// This node's neighbours, and those that are shadowed.
    fn neighbours(
        &self,
        nodes: &Nodes,
        speaker: &Speaker,
    ) -> (BTreeMap<Name, Peer>, BTreeMap<Name, Name>) {
        let mut peers = BTreeMap::new();
        let mut shadowed = BTreeMap::new();
        let mut by_address: BTreeMap<IpNet, Name> =
            speaker.next_hops.iter().map(|addr| ((*addr).into(), self.node.clone())).collect();
        for (name, peer) in self.configured(nodes, speaker).chain(self.mesh(nodes, speaker)) {
            let rival = match by_address.get(&peer.address.net()) {
                Some(other) => Some(other.clone()),
                None => peers.contains_key(&name).then(|| name.clone()),
            };
            if let Some(rival) = rival {
                shadowed.entry(name).or_insert(rival);
                continue;
            }
            by_address.insert(peer.address.net(), name.clone());
            peers.insert(name, peer);
        }
        (peers, shadowed)
    }

    fn configured(&self, nodes: &Nodes, speaker: &Speaker) -> impl Iterator<Item = (Name, Peer)> {
        let node_as = speaker.as_number;
        let labels = nodes.get(&self.node).map(|node| &node.labels);
        let meant =
            move |peer: &BgpPeer| labels.is_some_and(|l| peer.nodes.includes(&self.node, l));
        self.peers.iter().filter(move |(_, peer)| meant(peer)).map(move |(name, peer)| {
            let BgpPeer { address, port, as_number, passive, ref settings, .. } = **peer;
            let settings = settings.clone();
            let filters = peer.filters.iter().map(|name| self.filter(name)).collect();
            let unfit = settings.unfit(node_as, as_number);
            (name.clone(), Peer { address, port, as_number, passive, settings, filters, unfit })
        })
    }

    /// A filter by its name, absent or not.
    fn filter(&self, name: &Name) -> PeerFilter {
        PeerFilter { name: name.clone(), rules: self.filters.get(name).cloned() }
    }

    fn mesh<'a>(
        &'a self,
        nodes: &'a Nodes,
        speaker: &'a Speaker,
    ) -> impl Iterator<Item = (Name, Peer)> + 'a {
        let wanted = self.settings(&self.node).mesh;
        let others = nodes.iter().filter(move |(name, _)| wanted && **name != self.node);
        others.filter_map(|(name, node)| {
            let settings = self.settings(name);
            let address = PeerAddress::One(common_family(&speaker.next_hops, &usable(node))?);
            settings.mesh.then(|| {
                let (port, as_number) = (settings.listen_port, settings.as_number);
                let settings = PeerSettings::default();
                let filters = Vec::new();
                let (passive, unfit) = (false, None);
                let peer = Peer { address, port, as_number, passive, settings, filters, unfit };
                (format!("mesh.{name}").into(), peer)
            })
        })
    }
}

/// The addresses of a node that are used: the first of each family, IPv4 before IPv6.
fn usable(node: &Node) -> Vec<IpAddr> {
    let first = |family| node.addresses.iter().find(move |addr| Family::of(**addr) == family);
    Family::ALL.into_iter().filter_map(first).copied().collect()
}

/// The first of `theirs` whose family is among `ours`.
fn common_family(ours: &[IpAddr], theirs: &[IpAddr]) -> Option<IpAddr> {
    let shared = |theirs: &&IpAddr| ours.iter().any(|a| Family::of(*a) == Family::of(**theirs));
    theirs.iter().find(shared).copied()
}

/// A BGP identifier out of a name: never zero, equal on every run.
fn hashed_id(name: &str) -> Ipv4Addr {
    let digest = Sha256::digest(name.as_bytes());
    let bits = u32::from_be_bytes(digest[..4].try_into().expect("a SHA-256 digest has 32 bytes"));
    Ipv4Addr::from_bits(bits.max(1))
}

#[cfg(test)]
mod tests;
