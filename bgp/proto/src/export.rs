//! What a peer is told (RFC 4271 §9.1.3, §9.2): a pure function of one decision and the session.
//!
//! Nothing leaves by default but what this node originates: a node between two top-of-rack
//! routers must not become transit (RFC 8212).

mod queue;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::attribute::{Attributes, Community};
use crate::decision::DEFAULT_LOCAL_PREF;
use crate::family::Family;
use crate::message::NextHop;
use crate::negotiated::{Negotiated, PeerKind};
use crate::rib::{Local, PeerSession, Route};

pub(crate) use queue::ExportQueue;

/// A route without its prefix, as one peer gets it: the key of the export queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Exported {
    pub(crate) family: Family,
    pub(crate) next_hop: NextHop,
    pub(crate) attributes: Arc<Attributes>,
}

/// A prefix that we originate.
pub(crate) fn originated(prefix: IpNet, local: &Local, session: &PeerSession) -> Option<Exported> {
    let family = carried(prefix, session)?;
    let next_hop = own_next_hop(family, local, session)?;
    let mut attributes = Attributes::default();
    match session.negotiated.peer_kind() {
        PeerKind::Internal => attributes.local_pref = Some(DEFAULT_LOCAL_PREF),
        PeerKind::External => attributes.as_path.prepend(session.negotiated.local_as),
    }
    Some(Exported { family, next_hop, attributes: Arc::new(attributes) })
}

/// A prefix whose best path we learned from a peer of the kind `from`.
pub(crate) fn learned(
    prefix: IpNet,
    route: &Route,
    from: PeerKind,
    local: &Local,
    session: &PeerSession,
) -> Option<Exported> {
    let to = session.negotiated.peer_kind();
    // RFC 4271 §9.2: what an internal peer said, every internal peer has heard.
    let told_inside = from == PeerKind::Internal && to == PeerKind::Internal;
    if !session.policy.transit || told_inside || forbidden(&route.attributes, to) {
        return None;
    }
    let family = carried(prefix, session)?;
    let mut attributes = (*route.attributes).clone();
    let next_hop = match to {
        PeerKind::Internal => {
            attributes.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
            usable(route.next_hop, family, session)
        }
        PeerKind::External => {
            leave_as(&mut attributes, &session.negotiated);
            None
        }
    };
    let next_hop = next_hop.or_else(|| own_next_hop(family, local, session))?;
    Some(Exported { family, next_hop, attributes: Arc::new(attributes) })
}

/// What stays inside the AS: MED of another AS (§5.1.4), LOCAL_PREF (§5.1.5), reflection
/// (RFC 4456 §8), confederation segments (RFC 5065 §4.1).
fn leave_as(attributes: &mut Attributes, session: &Negotiated) {
    attributes.med = None;
    attributes.local_pref = None;
    attributes.originator_id = None;
    attributes.cluster_list.clear();
    attributes.as_path.segments.retain(|segment| !segment.kind.is_confederation());
    attributes.as_path.prepend(session.local_as);
}

/// Well-known communities (RFC 1997).
fn forbidden(attributes: &Attributes, to: PeerKind) -> bool {
    attributes.communities.iter().any(|community| match *community {
        Community::NO_ADVERTISE => true,
        Community::NO_EXPORT | Community::NO_EXPORT_SUBCONFED => to == PeerKind::External,
        _ => false,
    })
}

fn carried(prefix: IpNet, session: &PeerSession) -> Option<Family> {
    Some(Family::of(&prefix)).filter(|family| session.negotiated.families.contains(*family))
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
