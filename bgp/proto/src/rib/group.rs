//! Peers that are told the same share one Adj-RIB-Out.
//!
//! ```text
//!   decision ─► queue ─► log  [UPDATE][UPDATE][UPDATE] ─► members, each from where it is
//!         └───► own queue of a member, for prefixes of which it is told something else
//! ```
//! A reflector would otherwise decide, hold and encode each route once for every client. The queue is
//! that of a peer which is nobody in particular; what leaves it is encoded once and stays in the log
//! until every member has read it.
//!
//! - A prefix is **set apart** for a member that is not told of it like the others: it told us itself,
//!   or is the next hop. The member's own queue has it then, and the log is cut for this member.
//! - A peer **joins** once it was sent all that it shall have, so that a new session costs nobody else
//!   anything.
//! - It **leaves**, with an own queue that knows what it has, when it falls too far behind, wants
//!   everything again, or gets another policy. A slow peer holds no memory but its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::peer::Peer;
use super::{Local, PeerId, PeerSession};
use crate::encode::{EncodeError, encode};
use crate::export::{Cut, ExportQueue, Exported, Progress, Source};
use crate::family::Family;
use crate::message::{Message, NextHop, Update};
use crate::negotiated::{Negotiated, NlriErrors, PeerKind};

/// How much of a log may wait for its slowest reader, octets.
const MAX_LOG: usize = 8 * 1024 * 1024;
/// Beyond so many prefixes of its own a member gains nothing.
const MAX_APART: usize = 4096;
/// What an entry of a log takes beside its octets, and a prefix of it.
const ENTRY: usize = 256;
const PREFIX: usize = 32;
/// The peer that is nobody in particular.
pub(super) const NOBODY: PeerId = PeerId(u32::MAX);

/// Names a group; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupId(u32);

/// An UPDATE for many peers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) update: Update,
    /// Its octets, the same for all of them.
    pub(crate) octets: Result<Vec<u8>, EncodeError>,
}

#[derive(Clone, Debug)]
struct Entry {
    shared: Arc<Shared>,
    /// What the members had of its prefixes before it.
    before: Vec<(IpNet, Option<Arc<Exported>>)>,
    /// How many members have not read it.
    unread: usize,
    weight: usize,
}

/// Where a member stands.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) group: GroupId,
    /// Position in the log of what it reads next.
    at: u64,
    /// Prefixes that are its own queue's.
    apart: BTreeSet<IpNet>,
    /// The end of the log when `apart` was looked through last.
    tidied: u64,
}

/// Peers with one Adj-RIB-Out.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// What the sessions of all members have in common.
    pub(super) session: PeerSession,
    pub(super) queue: ExportQueue,
    log: VecDeque<Entry>,
    /// Position of its first entry.
    base: u64,
    weight: usize,
    members: BTreeSet<PeerId>,
    router_ids: HashMap<Ipv4Addr, BTreeSet<PeerId>>,
    addresses: HashMap<IpAddr, BTreeSet<PeerId>>,
    /// For whom a prefix is set apart.
    apart: HashMap<IpNet, BTreeSet<PeerId>>,
}

/// All groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    pub(super) all: BTreeMap<GroupId, Group>,
    next: u32,
}

/// What of a session says what the peer is told; `None` if that hangs on what it has already.
pub(super) fn in_common(session: &PeerSession) -> Option<PeerSession> {
    if session.policy.max_prefixes_out.is_some() {
        return None;
    }
    let peer_as = match session.negotiated.peer_kind() {
        PeerKind::Internal => session.negotiated.local_as,
        PeerKind::External => 0,
    };
    Some(PeerSession {
        negotiated: Negotiated {
            peer_as,
            hold_time: 0,
            route_refresh: false,
            enhanced_route_refresh: false,
            notification_restart: false,
            nlri_errors: NlriErrors::default(),
            ..session.negotiated.clone()
        },
        router_id: Ipv4Addr::UNSPECIFIED,
        peer_address: Ipv4Addr::UNSPECIFIED.into(),
        ..session.clone()
    })
}

fn addresses(next_hop: NextHop) -> [Option<IpAddr>; 2] {
    let link_local = match next_hop {
        NextHop::V6 { link_local, .. } => link_local.map(IpAddr::from),
        NextHop::V4(_) => None,
    };
    [Some(next_hop.address()), link_local]
}

impl Groups {
    /// The group for sessions of this kind.
    pub(super) fn find(&self, session: &PeerSession) -> Option<GroupId> {
        self.all.iter().find(|(_, group)| group.session == *session).map(|(id, _)| *id)
    }

    /// A new group whose members have been told of what is in the queue.
    pub(super) fn make(&mut self, session: PeerSession, queue: ExportQueue) -> GroupId {
        self.next += 1;
        let group = Group {
            session,
            queue,
            log: VecDeque::new(),
            base: 0,
            weight: 0,
            members: BTreeSet::new(),
            router_ids: HashMap::new(),
            addresses: HashMap::new(),
            apart: HashMap::new(),
        };
        self.all.insert(GroupId(self.next), group);
        GroupId(self.next)
    }

    /// A peer that has nothing waiting is a member from now on, unless it differs in too much.
    pub(super) fn join(&mut self, id: PeerId, peer: &mut Peer, to: GroupId) {
        let Some(group) = self.all.get_mut(&to) else { return };
        let Some(session) = peer.established().cloned() else { return };
        let both = peer.queue.advertised().chain(group.queue.advertised()).map(|(p, _)| *p);
        let both: HashSet<IpNet> = both.chain(group.queue.waiting().copied()).collect();
        let differs = |prefix: &IpNet| {
            peer.queue.has(prefix) != group.queue.has(prefix)
                || group.queue.progress(prefix) == Progress::Waiting
        };
        let apart: BTreeSet<IpNet> = both.into_iter().filter(differs).collect();
        if apart.len() > MAX_APART {
            peer.alone_for_good = true;
            return;
        }
        let mut queue = ExportQueue::default();
        for prefix in &apart {
            queue.adopt(*prefix, peer.queue.has(prefix).cloned());
            group.apart.entry(*prefix).or_default().insert(id);
        }
        peer.queue = queue;
        group.members.insert(id);
        group.router_ids.entry(session.router_id).or_default().insert(id);
        group.addresses.entry(session.peer_address).or_default().insert(id);
        let at = group.end();
        peer.member = Some(Member { group: to, at, apart, tidied: at });
    }

    /// A member has its own queue again, which knows what it has and shall have.
    pub(super) fn leave(&mut self, id: PeerId, peer: &mut Peer) {
        let Some(member) = peer.member.take() else { return };
        let Some(group) = self.all.get(&member.group) else { return };
        let (has, touched) = group.state_at(member.at);
        for (prefix, exported) in has {
            if !member.apart.contains(&prefix) {
                peer.queue.adopt(prefix, Some(exported));
            }
        }
        for prefix in touched.iter().chain(group.queue.waiting()) {
            if !member.apart.contains(prefix) {
                peer.queue.set(*prefix, group.queue.wanted(prefix).cloned());
            }
        }
        peer.member = Some(member);
        self.forget(id, peer);
    }

    /// The same, of one that has lost all.
    pub(super) fn forget(&mut self, id: PeerId, peer: &mut Peer) {
        let Some(member) = peer.member.take() else { return };
        let Some(group) = self.all.get_mut(&member.group) else { return };
        group.members.remove(&id);
        if let Some(session) = &peer.session {
            remove(&mut group.router_ids, &session.router_id, id);
            remove(&mut group.addresses, &session.peer_address, id);
        }
        member.apart.iter().for_each(|prefix| remove(&mut group.apart, prefix, id));
        group.read_to_end(member.at);
        if group.members.is_empty() {
            self.all.remove(&member.group);
        }
    }

    fn membership<'a>(&'a self, peer: &'a Peer) -> Option<(&'a Member, &'a Group)> {
        let member = peer.member.as_ref()?;
        Some((member, self.all.get(&member.group)?))
    }

    /// What a peer has by its group, beside its own queue.
    pub(super) fn advertised(&self, peer: &Peer) -> HashMap<IpNet, Arc<Exported>> {
        let Some((member, group)) = self.membership(peer) else { return HashMap::new() };
        let (mut has, _) = group.state_at(member.at);
        member.apart.iter().for_each(|prefix| drop(has.remove(prefix)));
        has
    }

    /// How many prefixes of a family that is.
    pub(super) fn count(&self, peer: &Peer, family: Family) -> usize {
        let Some((member, group)) = self.membership(peer) else { return 0 };
        let of_family = |prefix: &&IpNet| Family::of(prefix) == family;
        if member.at < group.end() {
            return self.advertised(peer).keys().filter(of_family).count();
        }
        let all = group.queue.advertised().map(|(prefix, _)| prefix).filter(of_family).count();
        let known = |prefix: &&IpNet| group.queue.has(prefix).is_some();
        all - member.apart.iter().filter(of_family).filter(known).count()
    }

    /// How far a prefix is on its way to a peer.
    pub(super) fn progress(&self, peer: &Peer, prefix: &IpNet) -> Progress {
        match self.membership(peer) {
            Some((member, group)) if !member.apart.contains(prefix) => {
                let unread = group.unread(member.at);
                let mut touched = unread.flat_map(|entry| &entry.before).map(|(p, _)| p);
                match touched.any(|touched| touched == prefix) {
                    true => Progress::Waiting,
                    false => group.queue.progress(prefix),
                }
            }
            _ => peer.queue.progress(prefix),
        }
    }
}

fn remove<K: std::hash::Hash + Eq>(map: &mut HashMap<K, BTreeSet<PeerId>>, key: &K, id: PeerId) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

impl Group {
    fn end(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    fn unread(&self, at: u64) -> impl DoubleEndedIterator<Item = &Entry> {
        let read = usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.log.iter().skip(read)
    }

    /// What a member that stands there has, and which prefixes it has yet to read of.
    fn state_at(&self, at: u64) -> (HashMap<IpNet, Arc<Exported>>, HashSet<IpNet>) {
        let told = self.queue.advertised().map(|(prefix, exported)| (*prefix, exported.clone()));
        let mut has: HashMap<_, _> = told.collect();
        let mut touched = HashSet::new();
        for (prefix, before) in self.unread(at).rev().flat_map(|entry| &entry.before) {
            touched.insert(*prefix);
            match before {
                Some(exported) => drop(has.insert(*prefix, exported.clone())),
                None => drop(has.remove(prefix)),
            }
        }
        (has, touched)
    }

    /// The members that may be told something else than the others: who told us, who began, who is
    /// the next hop; and those for whom the prefix is set apart already.
    pub(super) fn exceptions(
        &self,
        prefix: &IpNet,
        source: Option<&Source>,
        told: Option<&Exported>,
        local: &Local,
    ) -> BTreeSet<PeerId> {
        let mut ids = self.apart.get(prefix).cloned().unwrap_or_default();
        let mut hops = vec![local.next_hop_ipv4, local.next_hop_ipv6];
        if let Some(Source::Learned(learned)) = source {
            ids.extend(self.members.get(&learned.peer));
            ids.extend(self.router_ids.get(&learned.originator()).into_iter().flatten());
            hops.extend(addresses(learned.route.next_hop));
        }
        hops.extend(told.into_iter().flat_map(|told| addresses(told.next_hop)));
        for hop in hops.into_iter().flatten() {
            ids.extend(self.addresses.get(&hop).into_iter().flatten());
        }
        ids
    }

    /// A member shall have this of a prefix, and the others that.
    pub(super) fn set_apart(
        &mut self,
        prefix: IpNet,
        id: PeerId,
        peer: &mut Peer,
        own: Option<Arc<Exported>>,
        others: Option<&Arc<Exported>>,
    ) {
        let Some(member) = &mut peer.member else { return };
        if !member.apart.contains(&prefix) {
            if own.as_ref() == others {
                return;
            }
            let has = self.has_at(member.at, &prefix);
            peer.queue.adopt(prefix, has);
            member.apart.insert(prefix);
            self.apart.entry(prefix).or_default().insert(id);
        }
        peer.queue.set(prefix, own);
    }

    /// What a member that stands there has of a prefix.
    fn has_at(&self, at: u64, prefix: &IpNet) -> Option<Arc<Exported>> {
        let mut touched = self.unread(at).flat_map(|entry| &entry.before);
        let before = touched.find(|(touched, _)| touched == prefix).map(|(_, before)| before);
        before.map_or_else(|| self.queue.has(prefix).cloned(), Clone::clone)
    }

    /// The next UPDATE that a member has not read.
    pub(super) fn next(&mut self, peer: &mut Peer, id: PeerId) -> Option<Outgoing> {
        loop {
            let member = peer.member.as_mut()?;
            if member.at == self.end() && !self.grow() {
                self.tidy(peer, id);
                return None;
            }
            let shared = self.read(&mut member.at)?;
            let reached = shared.update.reach.iter().flat_map(|reach| &reach.prefixes);
            let mut prefixes = shared.update.withdrawn.iter().chain(reached);
            if member.apart.is_empty() || !prefixes.any(|prefix| member.apart.contains(prefix)) {
                return Some(Outgoing::Shared(shared));
            }
            let mut update = shared.update.clone();
            update.withdrawn.retain(|prefix| !member.apart.contains(prefix));
            update.reach.iter_mut().for_each(|reach| {
                reach.prefixes.retain(|prefix| !member.apart.contains(prefix));
            });
            update.reach.retain(|reach| !reach.prefixes.is_empty());
            if !update.withdrawn.is_empty() || !update.reach.is_empty() {
                return Some(Outgoing::Own(update));
            }
        }
    }

    /// Moves an UPDATE from the queue to the log, if one waits.
    fn grow(&mut self) -> bool {
        let negotiated = &self.session.negotiated;
        let Some(Cut { update, before }) = self.queue.cut(negotiated) else { return false };
        let mut octets = Vec::new();
        let message = Message::Update(update);
        let octets = match encode(&message, negotiated, &mut octets) {
            Ok(()) => Ok(octets),
            Err(error) => Err(error),
        };
        let Message::Update(update) = message else { return false };
        let len = octets.as_ref().map_or(0, Vec::len);
        let weight = ENTRY + PREFIX * before.len() + len;
        self.weight += weight;
        let (shared, unread) = (Arc::new(Shared { update, octets }), self.members.len());
        self.log.push_back(Entry { shared, before, unread, weight });
        true
    }

    /// The members that hold up too long a log.
    pub(super) fn laggards(&self, peers: &BTreeMap<PeerId, Peer>) -> Vec<PeerId> {
        if self.weight <= MAX_LOG {
            return Vec::new();
        }
        let at = |id: &PeerId| peers.get(id).and_then(|peer| Some(peer.member.as_ref()?.at));
        self.members.iter().filter(|id| at(id) == Some(self.base)).copied().collect()
    }

    fn read(&mut self, at: &mut u64) -> Option<Arc<Shared>> {
        let index = usize::try_from(at.checked_sub(self.base)?).ok()?;
        let entry = self.log.get_mut(index)?;
        *at += 1;
        entry.unread = entry.unread.saturating_sub(1);
        let shared = entry.shared.clone();
        self.drop_read();
        Some(shared)
    }

    fn read_to_end(&mut self, at: u64) {
        let read = usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let unread = self.log.iter_mut().skip(read);
        unread.for_each(|entry| entry.unread = entry.unread.saturating_sub(1));
        self.drop_read();
    }

    fn drop_read(&mut self) {
        while self.log.front().is_some_and(|entry| entry.unread == 0) {
            self.weight -= self.log.pop_front().map_or(0, |entry| entry.weight);
            self.base += 1;
        }
    }

    /// A member that has read all: what is no longer special is the group's again.
    fn tidy(&mut self, peer: &mut Peer, id: PeerId) {
        let end = self.end();
        let Some(member) = &mut peer.member else { return };
        if member.tidied == end || !peer.queue.is_drained() {
            return;
        }
        member.tidied = end;
        let queue = &mut peer.queue;
        let as_others = |prefix: &IpNet| queue.has(prefix) == self.queue.has(prefix);
        let common: Vec<IpNet> = member.apart.iter().copied().filter(as_others).collect();
        for prefix in common {
            queue.forget(&prefix);
            member.apart.remove(&prefix);
            remove(&mut self.apart, &prefix, id);
        }
    }
}

impl Member {
    /// Whether the member differs from the others in too much.
    pub(super) fn is_out_of_place(&self) -> bool {
        self.apart.len() > MAX_APART
    }
}

/// What goes to a peer next; it fits one message of its session.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// To this peer only.
    Own(Update),
    /// To many.
    Shared(Arc<Shared>),
}
