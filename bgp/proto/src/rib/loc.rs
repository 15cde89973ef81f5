//! Loc-RIB: every usable path of every prefix, and which of them were chosen (RFC 4271 §9.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::peer::Peer;
use super::{BestPath, Origin, PeerId, RibEvent, Route};
use crate::attribute::Attributes;
use crate::decision::{Candidate, select};
use crate::message::NextHop;

/// A usable route of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) peer: PeerId,
    pub(super) route: Arc<Route>,
}

/// What is known of one prefix.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// We originate it.
    pub(super) origin: Option<Arc<Origin>>,
    /// One path a peer. After a decision the best comes first, then those of equal cost, then
    /// the rest, each part by peer.
    paths: Vec<Path>,
    /// How many paths are of equal cost, the best one counted.
    equal: usize,
    /// What the last event said; empty for nothing.
    reported: Box<[BestPath]>,
}

impl Entry {
    /// The chosen path among those of peers.
    pub(super) fn best(&self) -> Option<&Path> {
        self.paths.first()
    }

    /// Paths in the order of the last decision.
    pub(super) fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// What the owner of the forwarding table was told last.
    pub(super) fn reported(&self) -> &[BestPath] {
        &self.reported
    }

    /// For an operator.
    pub(super) fn view(&self, prefix: IpNet) -> LocRoute {
        let path = |(i, path): (usize, &Path)| LocPath {
            peer: path.peer,
            next_hop: path.route.next_hop,
            attributes: path.route.attributes.clone(),
            chosen: i < self.equal,
        };
        let paths = self.paths.iter().enumerate().map(path).collect();
        LocRoute { prefix, origin: self.origin.clone(), paths }
    }

    /// Whether nothing is known and nothing has to be taken back.
    pub(super) fn is_empty(&self) -> bool {
        self.origin.is_none() && self.paths.is_empty() && self.reported.is_empty()
    }

    /// Forgets every path, whatever state an interrupted decision left them in. What we originate
    /// stays known, and is decided about again with the next change.
    pub(super) fn clear(&mut self) {
        self.paths.clear();
        self.equal = 0;
    }

    /// Orders the paths.
    pub(super) fn decide(&mut self, peers: &BTreeMap<PeerId, Peer>) {
        self.paths.sort_unstable_by_key(|path| path.peer);
        let candidates: Vec<Candidate<'_>> = self
            .paths
            .iter()
            .filter_map(|path| peers.get(&path.peer)?.candidate(&path.route))
            .collect();
        debug_assert_eq!(candidates.len(), self.paths.len(), "a path goes before its peer does");
        let Some(selection) = select(&candidates) else {
            self.equal = 0;
            return;
        };
        self.equal = selection.multipath.len();
        let rank = |i: usize| match () {
            () if i == selection.best => 0,
            () if selection.multipath.contains(&i) => 1,
            () => 2,
        };
        let mut ranked: Vec<(u8, Path)> =
            self.paths.drain(..).enumerate().map(|(i, path)| (rank(i), path)).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        self.paths.extend(ranked.into_iter().map(|(_, path)| path));
    }

    /// The difference between the decision and the last event.
    pub(super) fn report(&mut self, prefix: IpNet) -> Option<RibEvent> {
        let paths = self.forwarding_paths();
        if *paths == *self.reported {
            return None;
        }
        self.reported = paths.clone().into_boxed_slice();
        Some(match paths.is_empty() {
            true => RibEvent::Withdrawn { prefix },
            false => RibEvent::Best { prefix, paths },
        })
    }

    /// Where packets are to go; nowhere for what we originate.
    pub(super) fn forwarding_paths(&self) -> Vec<BestPath> {
        if self.origin.is_some() {
            return Vec::new();
        }
        let path = |path: &Path| BestPath { next_hop: path.route.next_hop, peer: path.peer };
        let mut paths: Vec<BestPath> = self.paths.iter().take(self.equal).map(path).collect();
        paths.sort_unstable();
        paths.dedup_by_key(|path| path.next_hop);
        paths
    }
}

/// A prefix of the Loc-RIB as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocRoute {
    /// The destination.
    pub prefix: IpNet,
    /// We originate it, and that wins over every path.
    pub origin: Option<Arc<Origin>>,
    /// Usable paths of peers, the best one first, then those of equal cost.
    pub paths: Vec<LocPath>,
}

/// One usable path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocPath {
    /// Who advertised it.
    pub peer: PeerId,
    /// Where to.
    pub next_hop: NextHop,
    /// What the peer said of it.
    pub attributes: Arc<Attributes>,
    /// Of equal cost with the best one.
    pub chosen: bool,
}

/// The table.
#[derive(Clone, Debug, Default)]
pub(super) struct LocRib {
    entries: BTreeMap<IpNet, Entry>,
}

impl LocRib {
    pub(super) fn entry(&mut self, prefix: IpNet) -> &mut Entry {
        self.entries.entry(prefix).or_default()
    }

    pub(super) fn get_mut(&mut self, prefix: &IpNet) -> Option<&mut Entry> {
        self.entries.get_mut(prefix)
    }

    pub(super) fn get(&self, prefix: &IpNet) -> Option<&Entry> {
        self.entries.get(prefix)
    }

    pub(super) fn remove(&mut self, prefix: &IpNet) {
        self.entries.remove(prefix);
    }

    pub(super) fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.entries.keys().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&IpNet, &Entry)> {
        self.entries.iter()
    }

    /// Gives the prefix this route of a peer, or none of it; whether anything changed.
    pub(super) fn set_route(
        &mut self,
        prefix: &IpNet,
        peer: PeerId,
        route: Option<Arc<Route>>,
    ) -> bool {
        match route {
            Some(route) => self.set_path(*prefix, Path { peer, route }),
            None => self.remove_path(prefix, peer),
        }
    }

    /// Adds or replaces the path of a peer; whether anything changed.
    fn set_path(&mut self, prefix: IpNet, path: Path) -> bool {
        let paths = &mut self.entries.entry(prefix).or_default().paths;
        match paths.iter_mut().find(|known| known.peer == path.peer) {
            Some(known) if *known == path => return false,
            Some(known) => *known = path,
            None => {
                paths.reserve_exact(1);
                paths.push(path);
            }
        }
        true
    }

    /// Removes every path of a peer; returns the prefixes that lost one.
    pub(super) fn remove_paths_of(&mut self, peer: PeerId) -> Vec<IpNet> {
        let prefixes: Vec<IpNet> = self.entries.keys().copied().collect();
        prefixes.into_iter().filter(|prefix| self.remove_path(prefix, peer)).collect()
    }

    /// Removes the path of a peer; whether there was one.
    pub(super) fn remove_path(&mut self, prefix: &IpNet, peer: PeerId) -> bool {
        let Some(entry) = self.entries.get_mut(prefix) else { return false };
        let before = entry.paths.len();
        entry.paths.retain(|path| path.peer != peer);
        entry.paths.len() < before
    }
}
