//! What the tables hold for one peer: Adj-RIB-In, Adj-RIB-Out and where both stand.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;

use super::adj_in::{AdjRibIn, Received};
use super::group::Member;
use super::{PeerSession, Rejection, Route};
use crate::attribute::Attributes;
use crate::decision::Candidate;
use crate::export::{ExportQueue, Exported};
use crate::family::{Family, FamilySet};
use crate::message::{NextHop, Update};

/// One peer's side of the tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// The session, or the last one while stale routes of it are kept.
    pub(super) session: Option<Arc<PeerSession>>,
    up: bool,
    /// The session is new: its queue must be filled from the whole Loc-RIB.
    pub(super) fresh: bool,
    pub(super) received: AdjRibIn,
    /// Families given up for the rest of the session (RFC 4760 §7).
    pub(super) disabled: FamilySet,
    pub(super) end_of_rib_received: FamilySet,
    end_of_rib_sent: FamilySet,
    pub(super) queue: ExportQueue,
    /// The peers with which it shares what it has, and how far it is there.
    pub(super) member: Option<Member>,
    /// It differs from every group in too much to share.
    pub(super) alone_for_good: bool,
    /// What the peer may have and is not told of: it would be more than its limit.
    pub(super) over: BTreeSet<IpNet>,
}

/// Numbers of routes of one family with one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyCounts {
    /// Prefixes that the peer advertised.
    pub received: usize,
    /// Of these, those that take part in the decision.
    pub accepted: usize,
    /// Of the received, those from before the peer's restart.
    pub stale: usize,
    /// Prefixes that the peer has from us.
    pub advertised: usize,
    /// Prefixes that are withheld from it because they are more than its limit.
    pub withheld: usize,
    /// The peer has sent End-of-RIB.
    pub end_of_rib_received: bool,
    /// We have sent End-of-RIB.
    pub end_of_rib_sent: bool,
    /// The family was given up after an unreadable attribute (RFC 7606 §2).
    pub disabled: bool,
}

/// A route as a peer advertised it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRoute {
    /// The destination.
    pub prefix: IpNet,
    /// Where to.
    pub next_hop: NextHop,
    /// What the peer said of the path.
    pub attributes: Arc<Attributes>,
    /// From before the peer's restart.
    pub stale: bool,
    /// Why it is not used.
    pub rejection: Option<Rejection>,
}

/// A route as a peer has it from us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedRoute {
    /// The destination.
    pub prefix: IpNet,
    /// Where to.
    pub next_hop: NextHop,
    /// What we said of the path.
    pub attributes: Arc<Attributes>,
}

impl Peer {
    /// A new session: nothing was sent on it yet.
    pub(super) fn open(&mut self, session: PeerSession) {
        self.close();
        self.session = Some(Arc::new(session));
        self.up = true;
        self.fresh = true;
    }

    /// The session is over; its Adj-RIB-Out with it.
    pub(super) fn close(&mut self) {
        self.up = false;
        self.fresh = false;
        self.disabled = FamilySet::NONE;
        self.end_of_rib_received = FamilySet::NONE;
        self.end_of_rib_sent = FamilySet::NONE;
        self.queue = ExportQueue::default();
        self.alone_for_good = false;
        self.over.clear();
    }

    /// The session, while it is Established.
    pub(super) fn established(&self) -> Option<&Arc<PeerSession>> {
        self.session.as_ref().filter(|_| self.up)
    }

    /// A route of this peer as the decision sees it.
    pub(super) fn candidate<'a>(&self, route: &'a Route) -> Option<Candidate<'a>> {
        let session = self.session.as_ref()?;
        Some(Candidate {
            attributes: &route.attributes,
            peer_kind: session.negotiated.peer_kind(),
            router_id: session.router_id,
            peer_address: session.peer_address,
        })
    }

    /// The End-of-RIB of each family, once.
    pub(super) fn next_end_of_rib(&mut self, in_sync: bool) -> Option<Update> {
        let negotiated = &self.established()?.clone().negotiated;
        let sent = self.end_of_rib_sent;
        let family =
            negotiated.families.iter().find(|family| in_sync && !sent.contains(*family))?;
        self.end_of_rib_sent.insert(family);
        Some(Update::end_of_rib(family))
    }

    /// `shared` is what it has by its group.
    pub(super) fn counts(&self, family: Family, shared: usize) -> FamilyCounts {
        let of_family = || {
            let wanted = |(prefix, _): &(&IpNet, &Received)| Family::of(prefix) == family;
            self.received.iter().filter(wanted).map(|(_, received)| received)
        };
        FamilyCounts {
            received: self.received.count(family),
            accepted: of_family().filter(|received| received.rejection.is_none()).count(),
            stale: of_family().filter(|received| received.stale).count(),
            advertised: shared
                + self.queue.advertised().filter(|(p, _)| Family::of(p) == family).count(),
            withheld: self.over.iter().filter(|prefix| Family::of(prefix) == family).count(),
            end_of_rib_received: self.end_of_rib_received.contains(family),
            end_of_rib_sent: self.end_of_rib_sent.contains(family),
            disabled: self.disabled.contains(family),
        }
    }

    /// The Adj-RIB-Out in order of prefix; `shared` is what it has by its group.
    pub(super) fn advertised_routes(
        &self,
        shared: &HashMap<IpNet, Arc<Exported>>,
    ) -> Vec<AdvertisedRoute> {
        let mut routes: Vec<AdvertisedRoute> = self
            .queue
            .advertised()
            .chain(shared)
            .map(|(prefix, exported)| AdvertisedRoute {
                prefix: *prefix,
                next_hop: exported.next_hop,
                attributes: exported.attributes.clone(),
            })
            .collect();
        routes.sort_unstable_by_key(|route| route.prefix);
        routes
    }

    /// The Adj-RIB-In in order of prefix.
    pub(super) fn received_routes(&self) -> Vec<ReceivedRoute> {
        let mut routes: Vec<ReceivedRoute> = self
            .received
            .iter()
            .map(|(prefix, received)| ReceivedRoute {
                prefix: *prefix,
                next_hop: received.route.next_hop,
                attributes: received.route.attributes.clone(),
                stale: received.stale,
                rejection: received.rejection,
            })
            .collect();
        routes.sort_unstable_by_key(|route| route.prefix);
        routes
    }
}
