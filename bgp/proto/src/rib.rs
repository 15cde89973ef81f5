//! The routing tables of the speaker (RFC 4271 §3.2, §9), without sessions, sockets or a clock.
//!
//! ```text
//!  update ─► import check ─► Adj-RIB-In (per peer) ─┐
//!  originate ───────────────────────────────────────┼─► Loc-RIB ─► decision ─┬─► poll_event
//!  peer_down, mark_stale, sweep ────────────────────┘   (prefix → paths)     └─► export ─► queue ─► poll_updates
//! ```
//!
//! - **Change is lazy.** What arrives marks prefixes dirty; only a poll runs the decision for
//!   them. A prefix that changes ten times between two polls is decided, reported and
//!   advertised once. Whoever must defer selection (RFC 4724 §4.1) does not poll.
//! - **Reports are differences.** [`Rib::poll_event`] says nothing that it said before, and
//!   [`Rib::poll_updates`] sends a peer nothing that it has.
//! - **Attribute sets are interned**: a set that 10,000 prefixes share exists once.
//! - **Order is that of prefixes and peers**, never that of a hash table.

mod adj_in;
mod advertise;
mod explain;
mod group;
mod import;
mod intern;
mod loc;
mod peer;
mod quarantine;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::attribute::{Attributes, Community, Outcome};
use crate::capability::Role;
use crate::export::{Exported, Learned, Source};
use crate::family::{Family, FamilySet};
use crate::message::{NextHop, Update};
use crate::negotiated::Negotiated;
use crate::policy::{self, AnyCommunity, Exceeded, PeerPolicy};

use adj_in::Received;
use group::Groups;
use import::Judged;
use intern::Interner;
use loc::{Entry, LocRib};
use peer::Peer;

pub(crate) use explain::{Inward, Outward, Place};
pub(crate) use group::Outgoing;
pub use import::Rejection;
pub use loc::{LocPath, LocRoute};
pub use peer::{AdvertisedRoute, FamilyCounts, ReceivedRoute};

/// Names a peer; the caller chooses and never gives one name to two peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// Next hop of the IPv4 routes that we originate.
    pub next_hop_ipv4: Option<IpAddr>,
    /// Next hop of the IPv6 routes that we originate.
    pub next_hop_ipv6: Option<IpAddr>,
    /// Whether traffic shall go elsewhere, and how peers are told.
    pub drain: Option<Drain>,
    /// What stands for us in CLUSTER_LISTs (RFC 4456 §7).
    pub cluster_id: Ipv4Addr,
}

/// How a node is taken out of service while its sessions stay up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Routes carry GRACEFUL_SHUTDOWN (RFC 8326), and LOCAL_PREF 0 inside the AS: whoever has
    /// another path takes it, and nothing is lost where there is none.
    GracefulShutdown,
    /// Nothing is advertised; forwarding goes on for what is still under way.
    Withdraw,
}

/// What the tables must know of an Established session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSession {
    /// What the OPENs agreed on.
    pub negotiated: Negotiated,
    /// The peer's BGP identifier.
    pub router_id: Ipv4Addr,
    /// The peer's address on the session.
    pub peer_address: IpAddr,
    /// Our address on the session.
    pub local_address: IpAddr,
    /// Our role to the peer (RFC 9234).
    pub role: Option<Role>,
    /// What is taken in and let out.
    pub policy: PeerPolicy,
}

/// What is said of a prefix that this node originates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// What it is, for the operator: `this node originates it: …`. May be empty.
    pub words: Arc<str>,
    /// What it carries before any filter changes it.
    pub communities: Vec<AnyCommunity>,
}

impl Origin {
    /// What filters begin with.
    pub(crate) fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::default();
        policy::add_communities(&mut attributes, &self.communities);
        attributes
    }
}

/// A route without its prefix: what is interned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) next_hop: NextHop,
}

/// What the owner of the forwarding table must know. A prefix that we originate ourselves is
/// not forwarded by BGP and never reported as [`RibEvent::Best`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RibEvent {
    /// Forward this prefix over these paths, all of equal cost. Replaces what was said before.
    Best {
        /// The destination.
        prefix: IpNet,
        /// At least one; by next hop, no two alike.
        paths: Vec<BestPath>,
    },
    /// No path is left.
    Withdrawn {
        /// The destination.
        prefix: IpNet,
    },
}

/// One of the equal paths to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BestPath {
    /// Where to.
    pub next_hop: NextHop,
    /// Who said so; of several the first.
    pub peer: PeerId,
}

/// Adj-RIBs-In, Loc-RIB and Adj-RIBs-Out.
#[derive(Clone, Debug)]
pub struct Rib {
    local: Local,
    peers: BTreeMap<PeerId, Peer>,
    loc: LocRib,
    groups: Groups,
    /// Peers of open sessions that share nothing.
    alone: BTreeSet<PeerId>,
    routes: Interner<Route>,
    exports: Interner<Exported>,
    /// Prefixes whose paths changed since the last decision.
    dirty: BTreeSet<IpNet>,
    /// Prefixes whose decision changed since the last event.
    decided: BTreeSet<IpNet>,
    /// All local sources have said what to originate.
    in_sync: bool,
    /// Prefixes without a decision: ours panicked.
    broken: BTreeSet<IpNet>,
    /// Where a test wants a panic.
    #[cfg(any(test, feature = "fault-injection"))]
    pub(crate) fault: Option<IpNet>,
}

impl Rib {
    /// Empty tables.
    pub fn new(local: Local) -> Self {
        Self {
            local,
            peers: BTreeMap::new(),
            loc: LocRib::default(),
            groups: Groups::default(),
            alone: BTreeSet::new(),
            routes: Interner::default(),
            exports: Interner::default(),
            dirty: BTreeSet::new(),
            decided: BTreeSet::new(),
            in_sync: false,
            broken: BTreeSet::new(),
            #[cfg(any(test, feature = "fault-injection"))]
            fault: None,
        }
    }

    /// Replaces our own facts; what they change for routes that peers have is advertised anew.
    pub fn set_local(&mut self, local: Local) {
        if self.local != local {
            self.local = local;
            self.dirty.extend(self.loc.prefixes());
        }
    }

    /// All local sources have said what to originate: from now on End-of-RIB may go out
    /// (RFC 4724 §4.1).
    pub fn set_in_sync(&mut self) {
        self.in_sync = true;
    }

    /// Originates a prefix like that from now on.
    pub fn originate(&mut self, prefix: IpNet, origin: Origin) {
        let prefix = prefix.trunc();
        let entry = self.loc.entry(prefix);
        if entry.origin.as_deref() != Some(&origin) {
            entry.origin = Some(Arc::new(origin));
            self.dirty.insert(prefix);
        }
    }

    /// Stops originating it.
    pub fn withdraw(&mut self, prefix: IpNet) {
        let prefix = prefix.trunc();
        if let Some(entry) = self.loc.get_mut(&prefix) {
            entry.origin = None;
            self.dirty.insert(prefix);
        }
    }

    /// A session is Established: everything that the peer may have goes into its queue, then
    /// End-of-RIB. Routes that were kept as stale stay until [`Rib::sweep`].
    pub fn peer_up(&mut self, id: PeerId, session: PeerSession) {
        self.forget_member(id);
        self.alone.insert(id);
        let peer = self.peers.entry(id).or_default();
        peer.open(session);
        // Its identifier may be another one now, and with it the choice among equals.
        self.dirty.extend(peer.received.prefixes());
    }

    /// The session is over. Routes of the families in `keep` stay as stale ones, the others go.
    /// Unknown peers are none of our business.
    pub fn peer_down(&mut self, id: PeerId, keep: FamilySet) {
        self.forget_member(id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.close();
        for family in Family::ALL {
            match keep.contains(family) {
                true => self.mark_stale(id, family),
                false => self.drop_routes(id, |prefix, _| Family::of(prefix) == family),
            }
        }
    }

    /// Forgets a peer and its routes.
    pub fn remove_peer(&mut self, id: PeerId) {
        self.peer_down(id, FamilySet::NONE);
        self.peers.remove(&id);
    }

    /// Forgets a peer and every path of it, whatever state an interrupted update left them in.
    pub fn purge(&mut self, id: PeerId) {
        self.forget_member(id);
        self.peers.remove(&id);
        self.dirty.extend(self.loc.remove_paths_of(id));
    }

    /// Marks a peer's routes of a family as from before its restart. Those marked already go: a
    /// second restart in a row ends their time (RFC 4724 §4.2).
    pub fn mark_stale(&mut self, id: PeerId, family: Family) {
        self.sweep(id, family);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for (prefix, received) in peer.received.iter_mut() {
            received.stale = Family::of(prefix) == family || received.stale;
        }
    }

    /// Removes a peer's routes of a family that are still stale: End-of-RIB came, or their time
    /// is over (RFC 4724 §4.2).
    pub fn sweep(&mut self, id: PeerId, family: Family) {
        self.drop_routes(id, |prefix, received| received.stale && Family::of(prefix) == family);
    }

    /// The restart time of a peer is over, and it asked that its routes of a family stay for long: stale
    /// ones are marked, which makes them the last resort everywhere, but for those that may not be
    /// kept (RFC 9494 §4.2).
    pub fn keep_for_long(&mut self, id: PeerId, family: Family) {
        let concerned = move |prefix: &IpNet, received: &Received| {
            received.stale && Family::of(prefix) == family
        };
        self.drop_routes(id, |prefix, received| {
            let refused = received.route.attributes.communities.contains(&Community::NO_LLGR);
            refused && concerned(prefix, received)
        });
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for (prefix, received) in peer.received.iter_mut() {
            if !concerned(prefix, received) {
                continue;
            }
            let mut attributes = (*received.route.attributes).clone();
            attributes.mark_stale();
            let attributes = Arc::new(attributes);
            let next_hop = received.route.next_hop;
            received.route = self.routes.intern(Route { attributes, next_hop });
        }
        self.judge_again(id, concerned);
    }

    /// Takes in an UPDATE as decoded: withdrawals first, then routes, then what RFC 7606 made
    /// of errors. Ignored from a peer that is not up.
    pub fn update(&mut self, id: PeerId, update: &Update) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.established().cloned() else { return };
        for prefix in &update.withdrawn {
            if peer.received.remove(prefix) && self.loc.remove_path(prefix, id) {
                self.dirty.insert(*prefix);
            }
        }
        for reach in &update.reach {
            if peer.disabled.contains(reach.family) {
                continue;
            }
            let attributes = update.attributes.clone();
            let route = self.routes.intern(Route { attributes, next_hop: reach.next_hop });
            let judge = import::Judge::new(&route, &session, &self.local, &mut self.routes);
            for prefix in &reach.prefixes {
                let Judged { rejection, used } = judge.judge(prefix, &mut self.routes);
                let received = Received { route: route.clone(), stale: false, rejection };
                peer.received.insert(*prefix, received);
                if self.loc.set_route(prefix, id, used) {
                    self.dirty.insert(*prefix);
                }
            }
        }
        if let Some(family) = update.end_of_rib {
            peer.end_of_rib_received.insert(family);
        }
        for error in &update.errors {
            if let Outcome::DisableFamily(family) = error.outcome {
                self.disable(id, family);
            }
        }
    }

    /// Replaces the policy of a peer: everything that it advertised is judged anew, and what it
    /// shall have of ours is another difference to what it has. No session notices.
    pub fn set_policy(&mut self, id: PeerId, policy: PeerPolicy) {
        self.leave(id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = &mut peer.session else { return };
        let session = Arc::new(PeerSession { policy, ..(**session).clone() });
        peer.session = Some(session);
        peer.fresh = peer.established().is_some();
        peer.alone_for_good = false;
        self.judge_again(id, |_, _| true);
    }

    /// Judges routes of a peer again, which themselves or whose policy have changed.
    fn judge_again(&mut self, id: PeerId, concerned: impl Fn(&IpNet, &Received) -> bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.session.clone() else { return };
        for (prefix, received) in peer.received.iter_mut() {
            if !concerned(prefix, received) {
                continue;
            }
            let judge =
                import::Judge::new(&received.route, &session, &self.local, &mut self.routes);
            let Judged { rejection, used } = judge.judge(prefix, &mut self.routes);
            received.rejection = rejection;
            if self.loc.set_route(prefix, id, used) {
                self.dirty.insert(*prefix);
            }
        }
    }

    /// The limit that a peer's prefixes pass, if one does.
    pub(crate) fn exceeded(&self, id: PeerId) -> Option<Exceeded> {
        let peer = self.peers.get(&id)?;
        let limits = peer.established()?.policy.max_prefixes?;
        limits.exceeded(|family| peer.received.count(family))
    }

    /// RFC 4760 §7: all routes of the family go and no more are taken while the session lasts.
    fn disable(&mut self, id: PeerId, family: Family) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.disabled.insert(family);
        }
        self.drop_routes(id, |prefix, _| Family::of(prefix) == family);
    }

    /// Sends a peer all its routes of a family again (RFC 2918 §4).
    pub fn refresh(&mut self, id: PeerId, family: Family) {
        self.decide();
        self.leave(id);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.queue.resend(family);
        }
    }

    /// What changed for the forwarding table. Prefixes come in order; each at most once until
    /// the next change.
    pub fn poll_event(&mut self) -> Option<RibEvent> {
        self.decide();
        while let Some(prefix) = self.decided.pop_first() {
            let Some(entry) = self.loc.get_mut(&prefix) else { continue };
            let event = entry.report(prefix);
            if entry.is_empty() {
                self.loc.remove(&prefix);
            }
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// The next UPDATE for a peer; it fits one message of its session. `None` when the peer has
    /// everything, or is not up.
    pub fn poll_updates(&mut self, id: PeerId) -> Option<Update> {
        self.poll_outgoing(id).map(|outgoing| match outgoing {
            Outgoing::Own(update) => update,
            Outgoing::Shared(shared) => shared.update.clone(),
        })
    }

    /// Routes of a peer by family.
    pub fn counts(&self, id: PeerId, family: Family) -> FamilyCounts {
        let counts = |peer| peer_counts(&self.groups, peer, family);
        self.peers.get(&id).map(counts).unwrap_or_default()
    }

    /// A peer's Adj-RIB-In, in order of prefix.
    pub fn received(&self, id: PeerId) -> Vec<ReceivedRoute> {
        self.peers.get(&id).map(Peer::received_routes).unwrap_or_default()
    }

    /// What a peer has from us, in order of prefix.
    pub fn advertised(&self, id: PeerId) -> Vec<AdvertisedRoute> {
        let routes = |peer| Peer::advertised_routes(peer, &self.groups.advertised(peer));
        self.peers.get(&id).map(routes).unwrap_or_default()
    }

    /// The session of a peer, while it is Established.
    pub(crate) fn session(&self, id: PeerId) -> Option<&PeerSession> {
        self.peers.get(&id)?.established().map(|session| &**session)
    }

    /// How many routes the tables hold, each as often as a table has it.
    pub(crate) fn routes_held(&self) -> usize {
        let held = |peer: &Peer| peer.received.len() + peer.queue.advertised().count();
        let shared = self.groups.all.values().map(|group| group.queue.advertised().count());
        self.peers.values().map(held).chain(shared).sum::<usize>() + self.loc.iter().count()
    }

    /// Where packets are to go, by prefix, as of the last decision.
    pub(crate) fn forwarding(&mut self) -> BTreeMap<IpNet, Vec<IpAddr>> {
        self.decide();
        let next_hops = |entry: &Entry| {
            let paths = entry.forwarding_paths();
            paths.iter().map(|path| path.next_hop.address()).collect::<Vec<_>>()
        };
        let routes = self.loc.iter().map(|(prefix, entry)| (*prefix, next_hops(entry)));
        routes.filter(|(_, next_hops)| !next_hops.is_empty()).collect()
    }

    /// Prefixes that we originate, in order.
    pub fn originated(&self) -> impl Iterator<Item = IpNet> {
        self.loc.iter().filter(|(_, entry)| entry.origin.is_some()).map(|(prefix, _)| *prefix)
    }

    /// Every prefix with its paths, in order of prefix.
    pub fn routes(&self) -> impl Iterator<Item = LocRoute> {
        self.loc.iter().map(|(prefix, entry)| entry.view(*prefix))
    }

    /// How many prefixes have a path from a peer.
    pub fn learned_prefixes(&self) -> usize {
        self.loc.iter().filter(|(_, entry)| entry.best().is_some()).count()
    }

    /// Removes routes of a peer that fit a condition.
    fn drop_routes(&mut self, id: PeerId, condition: impl Fn(&IpNet, &Received) -> bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.received.retain(|prefix, received| {
            let goes = condition(prefix, received);
            if goes && self.loc.remove_path(prefix, id) {
                self.dirty.insert(*prefix);
            }
            !goes
        });
    }
}

/// The numbers of a peer, with what it has by its group.
fn peer_counts(groups: &Groups, peer: &Peer, family: Family) -> FamilyCounts {
    peer.counts(family, groups.count(peer, family))
}

/// The outcome of a decision as far as peers are told of it.
fn source(entry: &Entry, peers: &BTreeMap<PeerId, Peer>) -> Option<Source> {
    if let Some(origin) = &entry.origin {
        return Some(Source::Ours(origin.clone()));
    }
    let path = entry.best()?;
    let session = peers.get(&path.peer)?.session.as_ref()?;
    Some(Source::Learned(Learned {
        peer: path.peer,
        route: path.route.clone(),
        kind: session.negotiated.peer_kind(),
        is_client: session.policy.reflector_client,
        router_id: session.router_id,
    }))
}
