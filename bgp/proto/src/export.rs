//! What a peer is told (RFC 4271 §9.1.3, §9.2): a pure function of one decision and the session.
//!
//! Nothing leaves by default but what this node originates: a node between two top-of-rack
//! routers must not become transit (RFC 8212). Filters come between what the AS keeps for itself and
//! our own AS in the path, so that they see and set what the peer gets ([`crate::policy`]).

mod queue;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::attribute::{Attributes, Community};
use crate::decision::DEFAULT_LOCAL_PREF;
use crate::family::Family;
use crate::message::NextHop;
use crate::negotiated::PeerKind;
use crate::policy::{self, AnyCommunity, Change, Direction, RuleRef, Subject, Verdict};
use crate::rib::{Drain, Local, Origin, PeerId, PeerSession, Route};
use crate::roles;

pub(crate) use queue::{Cut, ExportQueue, Progress};

/// A route without its prefix, as one peer gets it: the key of the export queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Exported {
    pub(crate) family: Family,
    pub(crate) next_hop: NextHop,
    pub(crate) attributes: Arc<Attributes>,
}

/// Where a prefix comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// We originate it.
    Ours(Arc<Origin>),
    /// The best path was learned from a peer.
    Learned(Learned),
}

/// The best path and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Learned {
    pub(crate) peer: PeerId,
    pub(crate) route: Arc<Route>,
    pub(crate) kind: PeerKind,
    /// The peer is a client of ours (RFC 4456).
    pub(crate) is_client: bool,
    pub(crate) router_id: Ipv4Addr,
}

impl Learned {
    /// Who brought the route into the AS (RFC 4456 §8).
    pub(crate) fn originator(&self) -> Ipv4Addr {
        self.route.attributes.originator_id.unwrap_or(self.router_id)
    }

    /// Whether telling a peer is reflecting: both are internal, and one is a client.
    fn is_reflected_to(&self, session: &PeerSession) -> bool {
        let kinds = (self.kind, session.negotiated.peer_kind());
        kinds == (PeerKind::Internal, PeerKind::Internal)
            && (self.is_client || session.policy.reflector_client)
    }
}

/// Why a peer is not told of a prefix, in the order in which it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The session does not carry the family.
    Family,
    /// The node is taken out of service.
    Drained,
    /// A peer knows what it told us.
    ToldUs,
    /// RFC 4271 §9.2: what an internal peer said, every internal peer has heard.
    ToldInside,
    /// RFC 4456 §8: the peer brought it into the AS.
    Originator,
    /// RFC 9234 §5: it is for customers only, and the peer is none.
    OnlyToCustomer,
    /// RFC 9494 §4.3: it is stale for long, and the peer would not know.
    LongLivedStale,
    /// A well-known community keeps it here (RFC 1997).
    Community(Community),
    /// A filter is broken.
    BrokenFilter,
    /// This rule rejects it.
    Rejected(RuleRef),
    /// It was learned, and no rule lets it out.
    Learned,
    /// No next hop fits it.
    NextHop,
    /// The peer has as many prefixes as it is to have.
    Limit(usize),
}

/// What one peer gets of a prefix, and the rule that says so, if one does.
pub(crate) fn export(
    prefix: IpNet,
    source: &Source,
    to: PeerId,
    local: &Local,
    session: &PeerSession,
) -> Result<(Exported, Option<RuleRef>), Withheld> {
    let family = Family::of(&prefix);
    if !session.negotiated.families.contains(family) {
        return Err(Withheld::Family);
    }
    if local.drain == Some(Drain::Withdraw) {
        return Err(Withheld::Drained);
    }
    let kind = session.negotiated.peer_kind();
    let reflected = matches!(source, Source::Learned(learned) if learned.is_reflected_to(session));
    let is_client = kind == PeerKind::Internal && session.policy.reflector_client;
    let told_by_default = session.policy.transit || reflected || is_client;
    let mut attributes = match source {
        Source::Ours(origin) => origin.attributes(),
        Source::Learned(learned) => {
            allowed(learned, to, session)?;
            if session.policy.filters.is_empty() && !told_by_default {
                return Err(Withheld::Learned);
            }
            (*learned.route.attributes).clone()
        }
    };
    let kept = match (source, kind) {
        (Source::Learned(learned), PeerKind::Internal) => {
            usable(learned.route.next_hop, family, session)
        }
        _ => None,
    };
    if kind == PeerKind::External {
        leave_as(&mut attributes);
    }
    // What is reflected keeps its next hop, or does not go (RFC 4456 §10).
    let own = || own_next_hop(family, local, session).filter(|_| !reflected);
    let next_hop = kept.or_else(own);
    let learned = matches!(source, Source::Learned(..));
    let subject =
        Subject { prefix: &prefix, attributes: &attributes, next_hop, peer_kind: kind, learned };
    let (rule, changes) = match session.policy.judge(Direction::Export, &subject) {
        Verdict::Accept(rule, changes) => (Some(rule), changes),
        Verdict::Reject(rule) => return Err(Withheld::Rejected(rule)),
        Verdict::Broken => return Err(Withheld::BrokenFilter),
        Verdict::NoMatch if learned && !told_by_default => return Err(Withheld::Learned),
        Verdict::NoMatch => (None, &[][..]),
    };
    let stale = learned && attributes.is_stale();
    let next_hop = match policy::apply(changes, &mut attributes) {
        Some(address) => usable(address.into(), family, session),
        None => next_hop,
    };
    if stale {
        attributes.mark_stale();
    }
    if local.drain == Some(Drain::GracefulShutdown) {
        let graceful = Change::AddCommunity(AnyCommunity::Standard(Community::GRACEFUL_SHUTDOWN));
        policy::apply(&[graceful, Change::SetLocalPref(0)], &mut attributes);
    }
    if let (Source::Learned(learned), true) = (source, reflected) {
        attributes.originator_id = Some(learned.originator());
        attributes.cluster_list.insert(0, local.cluster_id);
    }
    attributes.only_to_customer = attributes.only_to_customer.or(roles::mark_told(session));
    match kind {
        PeerKind::Internal => {
            attributes.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
        }
        PeerKind::External => {
            attributes.local_pref = None;
            attributes.as_path.prepend(session.negotiated.local_as);
        }
    }
    let next_hop = next_hop.ok_or(Withheld::NextHop)?;
    Ok((Exported { family, next_hop, attributes: Arc::new(attributes) }, rule))
}

/// Whether what was learned may go on to a peer, whatever its policy says.
fn allowed(learned: &Learned, to: PeerId, session: &PeerSession) -> Result<(), Withheld> {
    let (attributes, kind) = (&learned.route.attributes, session.negotiated.peer_kind());
    if learned.peer == to {
        return Err(Withheld::ToldUs);
    }
    if (learned.kind, kind) == (PeerKind::Internal, PeerKind::Internal) {
        if !learned.is_reflected_to(session) {
            return Err(Withheld::ToldInside);
        }
        if learned.originator() == session.router_id {
            return Err(Withheld::Originator);
        }
    }
    if attributes.only_to_customer.is_some() && !roles::takes_marked(session) {
        return Err(Withheld::OnlyToCustomer);
    }
    if attributes.is_stale() && !session.negotiated.long_lived_restart {
        return Err(Withheld::LongLivedStale);
    }
    match attributes.communities.iter().find(|community| keeps_here(**community, kind)) {
        Some(community) => Err(Withheld::Community(*community)),
        None => Ok(()),
    }
}

/// What stays inside the AS: MED of another AS (§5.1.4), LOCAL_PREF (§5.1.5), reflection
/// (RFC 4456 §8), confederation segments (RFC 5065 §4.1).
fn leave_as(attributes: &mut Attributes) {
    attributes.med = None;
    attributes.local_pref = None;
    attributes.originator_id = None;
    attributes.cluster_list.clear();
    attributes.as_path.segments.retain(|segment| !segment.kind.is_confederation());
}

/// Well-known communities (RFC 1997).
fn keeps_here(community: Community, to: PeerKind) -> bool {
    match community {
        Community::NO_ADVERTISE => true,
        Community::NO_EXPORT | Community::NO_EXPORT_SUBCONFED => to == PeerKind::External,
        _ => false,
    }
}

/// Our configured next hop of the family, else our address on the session.
fn own_next_hop(family: Family, local: &Local, session: &PeerSession) -> Option<NextHop> {
    let configured = match family {
        Family::Ipv4Unicast => local.next_hop_ipv4,
        Family::Ipv6Unicast => local.next_hop_ipv6,
    };
    [configured, Some(session.local_address)]
        .into_iter()
        .flatten()
        .find_map(|address| usable(address.into(), family, session))
}

/// A next hop is of the route's family (or RFC 8950 is negotiated) and never the peer's own
/// address (RFC 4271 §5.1.3).
fn usable(next_hop: NextHop, family: Family, session: &PeerSession) -> Option<NextHop> {
    let fits = match (next_hop.address(), family) {
        (IpAddr::V4(_), Family::Ipv4Unicast) | (IpAddr::V6(_), Family::Ipv6Unicast) => true,
        (IpAddr::V6(_), Family::Ipv4Unicast) => session.negotiated.extended_next_hop,
        (IpAddr::V4(_), Family::Ipv6Unicast) => false,
    };
    let peers = match next_hop {
        NextHop::V6 { link_local: Some(address), .. } => session.peer_address == address,
        _ => false,
    };
    (fits && !peers && next_hop.address() != session.peer_address).then_some(next_hop)
}
