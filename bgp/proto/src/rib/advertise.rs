//! From the decision to the queues of the peers.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::intern::Interner;
use super::peer::Peer;
use super::{Local, PeerId, Rib, source};
use crate::export::{self, Exported, Source};
use crate::family::Family;

impl Rib {
    /// Runs the decision for every dirty prefix and queues what peers must learn of it.
    pub(crate) fn decide(&mut self) {
        while let Some(prefix) = self.dirty.pop_first() {
            self.contain(prefix, |rib| rib.decide_one(prefix));
        }
        let fresh = self.peers.iter().filter(|(_, peer)| peer.fresh).map(|(id, _)| *id);
        for id in fresh.collect::<Vec<_>>() {
            self.fill(id);
        }
        self.readmit();
    }

    fn decide_one(&mut self, prefix: IpNet) {
        let Some(entry) = self.loc.get_mut(&prefix) else { return };
        #[cfg(any(test, feature = "fault-injection"))]
        assert_ne!(self.fault, Some(prefix), "injected fault");
        entry.decide(&self.peers);
        self.decided.insert(prefix);
        let best = source(entry, &self.peers);
        for (id, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.fresh) {
            tell(prefix, best.as_ref(), *id, peer, &self.local, &mut self.exports);
        }
    }

    /// Fills the queue of a new session from the whole table.
    fn fill(&mut self, id: PeerId) {
        let bests: Vec<(IpNet, Option<Source>)> =
            self.loc.iter().map(|(prefix, entry)| (*prefix, source(entry, &self.peers))).collect();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.fresh = false;
        peer.over.clear();
        Family::ALL.into_iter().for_each(|family| peer.shrink(family));
        for (prefix, best) in bests {
            tell(prefix, best.as_ref(), id, peer, &self.local, &mut self.exports);
        }
    }

    /// Gives places that became free to what was withheld for want of one.
    fn readmit(&mut self) {
        let waiting = self.peers.iter().filter(|(_, peer)| !peer.over.is_empty());
        for id in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            while let Some(peer) = self.peers.get_mut(&id)
                && let Some(prefix) = peer.next_over()
            {
                let best = self.loc.get(&prefix);
                let best = best.and_then(|entry| source(entry, &self.peers));
                let Some(peer) = self.peers.get_mut(&id) else { break };
                tell(prefix, best.as_ref(), id, peer, &self.local, &mut self.exports);
            }
        }
    }
}

impl Peer {
    /// How many prefixes of a family the peer is told of at most.
    pub(super) fn limit(&self, family: Family) -> Option<usize> {
        let limits = self.established()?.policy.max_prefixes_out?;
        limits.of(family).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }

    fn has_place(&self, family: Family) -> bool {
        self.limit(family).is_none_or(|limit| self.queue.count(family) < limit)
    }

    /// The first of what was withheld that has a place now; it is withheld no more.
    fn next_over(&mut self) -> Option<IpNet> {
        let first = |family: Family| {
            // All of IPv4 comes before all of IPv6.
            let from = match family {
                Family::Ipv4Unicast => IpNet::V4(Ipv4Net::default()),
                Family::Ipv6Unicast => IpNet::V6(Ipv6Net::default()),
            };
            self.over.range(from..).next().copied().filter(|p| Family::of(p) == family)
        };
        let open = Family::ALL.into_iter().filter(|family| self.has_place(*family));
        let prefix = open.filter_map(first).next()?;
        self.over.take(&prefix)
    }

    /// Withholds the last prefixes of a family for which there is no place any more.
    fn shrink(&mut self, family: Family) {
        let Some(limit) = self.limit(family) else { return };
        if self.queue.count(family) > limit {
            let beyond: BTreeSet<IpNet> =
                self.queue.prefixes(family).into_iter().skip(limit).collect();
            beyond.iter().for_each(|prefix| self.queue.set(*prefix, None));
            self.over.extend(beyond);
        }
    }
}

/// Puts what a peer shall have of a prefix into its queue.
fn tell(
    prefix: IpNet,
    best: Option<&Source>,
    id: PeerId,
    peer: &mut Peer,
    local: &Local,
    exports: &mut Interner<Exported>,
) {
    let Some(session) = peer.established() else { return };
    let exported = best.and_then(|best| export::export(prefix, best, id, local, session).ok());
    peer.over.remove(&prefix);
    if exported.is_some() && !peer.queue.shall_have(&prefix) && !peer.has_place(Family::of(&prefix))
    {
        peer.over.insert(prefix);
        return;
    }
    peer.queue.set(prefix, exported.map(|(exported, _)| exports.intern(exported)));
}
