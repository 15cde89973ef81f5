//! From the decision to the queues of the peers.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::group::{self, Member, NOBODY, Outgoing};
use super::intern::Interner;
use super::peer::Peer;
use super::{Local, PeerId, PeerSession, Rib, source};
use crate::export::{self, ExportQueue, Exported, Source};
use crate::family::Family;

impl Rib {
    /// Runs the decision for every dirty prefix and queues what peers must learn of it.
    pub(crate) fn decide(&mut self) {
        while let Some(prefix) = self.dirty.pop_first() {
            self.contain(prefix, |rib| rib.decide_one(prefix));
        }
        let is_fresh = |id: &&PeerId| self.peers.get(id).is_some_and(|peer| peer.fresh);
        for id in self.alone.iter().filter(is_fresh).copied().collect::<Vec<_>>() {
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
        for id in &self.alone {
            if let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.fresh) {
                tell(prefix, best.as_ref(), *id, peer, &self.local, &mut self.exports);
            }
        }
        self.tell_groups(prefix, best.as_ref());
    }

    /// Decides once for all members of a group, then for those that may be an exception.
    fn tell_groups(&mut self, prefix: IpNet, best: Option<&Source>) {
        let (local, exports) = (&self.local, &mut self.exports);
        let mut export = |to, session: &PeerSession| {
            let exported = export::export(prefix, best?, to, local, session).ok()?.0;
            Some(exports.intern(exported))
        };
        let mut out_of_place = Vec::new();
        for group in self.groups.all.values_mut() {
            let told = export(NOBODY, &group.session);
            for id in group.exceptions(&prefix, best, told.as_deref(), local) {
                let Some(peer) = self.peers.get_mut(&id) else { continue };
                let Some(session) = peer.established().cloned() else { continue };
                let own = export(id, &session);
                group.set_apart(prefix, id, peer, own, told.as_ref());
                if peer.member.as_ref().is_some_and(Member::is_out_of_place) {
                    out_of_place.push(id);
                }
            }
            group.queue.set(prefix, told);
        }
        for id in out_of_place {
            self.leave(id);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.alone_for_good = true;
            }
        }
    }

    /// What goes to a peer next: what is queued for it alone, what its group was told, then the
    /// End-of-RIB of each family, once.
    pub(crate) fn poll_outgoing(&mut self, id: PeerId) -> Option<Outgoing> {
        self.decide();
        let peer = self.peers.get_mut(&id)?;
        let session = peer.established()?.clone();
        if let Some(update) = peer.queue.next(&session.negotiated) {
            return Some(Outgoing::Own(update));
        }
        if self.alone.contains(&id) {
            self.join(id, &session);
        }
        let shared = self.next_shared(id);
        shared.or_else(|| {
            let peer = self.peers.get_mut(&id)?;
            peer.next_end_of_rib(self.in_sync).map(Outgoing::Own)
        })
    }

    fn next_shared(&mut self, id: PeerId) -> Option<Outgoing> {
        let peer = self.peers.get_mut(&id)?;
        let group = self.groups.all.get_mut(&peer.member.as_ref()?.group)?;
        let next = group.next(peer, id);
        for laggard in group.laggards(&self.peers) {
            self.leave(laggard);
        }
        next
    }

    /// Lets a peer that has all it shall have share it with others.
    fn join(&mut self, id: PeerId, session: &PeerSession) {
        let Some(peer) = self.peers.get(&id) else { return };
        if peer.alone_for_good || !peer.over.is_empty() {
            return;
        }
        let Some(common) = group::in_common(session) else { return };
        let to = match self.groups.find(&common) {
            Some(group) => group,
            None => {
                let queue = self.told_to_all(&common);
                self.groups.make(common, queue)
            }
        };
        if let Some(peer) = self.peers.get_mut(&id) {
            self.groups.join(id, peer, to);
            if peer.member.is_some() {
                self.alone.remove(&id);
            }
        }
    }

    /// A queue of which everything was sent.
    fn told_to_all(&mut self, session: &PeerSession) -> ExportQueue {
        let mut queue = ExportQueue::default();
        for (prefix, entry) in self.loc.iter() {
            let best = source(entry, &self.peers);
            let exported = best
                .as_ref()
                .and_then(|best| export::export(*prefix, best, NOBODY, &self.local, session).ok());
            queue.adopt(*prefix, exported.map(|(exported, _)| self.exports.intern(exported)));
        }
        queue
    }

    /// Gives a peer its own queue again.
    pub(super) fn leave(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.member.is_some()) {
            self.groups.leave(id, peer);
            self.alone.insert(id);
        }
    }

    /// The session of a peer is over, or another one.
    pub(super) fn forget_member(&mut self, id: PeerId) {
        self.alone.remove(&id);
        if let Some(peer) = self.peers.get_mut(&id) {
            self.groups.forget(id, peer);
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
        let waits = |id: &&PeerId| self.peers.get(id).is_some_and(|peer| !peer.over.is_empty());
        for id in self.alone.iter().filter(waits).copied().collect::<Vec<_>>() {
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
