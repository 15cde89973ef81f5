//! What both sides of a session agreed on: all that coding and decoding depend on.

use crate::capability::Capability;
use crate::family::{AFI_IPV6, Family, FamilySet};
use crate::message::{MAX_EXTENDED_MESSAGE_LEN, MAX_MESSAGE_LEN, Open};

/// Options of an open session, from the two OPEN messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Our AS on this session.
    pub local_as: u32,
    /// The peer's AS.
    pub peer_as: u32,
    /// AS numbers are four octets in AS_PATH and AGGREGATOR (RFC 6793).
    pub four_octet_as: bool,
    /// UPDATE, NOTIFICATION and ROUTE-REFRESH may have 65535 octets (RFC 8654).
    pub extended_messages: bool,
    /// Families that both sides carry.
    pub families: FamilySet,
    /// IPv4 routes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// The peer answers ROUTE-REFRESH (RFC 2918).
    pub route_refresh: bool,
    /// Refreshes are demarcated (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// A NOTIFICATION ends no forwarding, unless it is a Hard Reset (RFC 8538).
    pub notification_restart: bool,
    /// The peer knows what LLGR_STALE means (RFC 9494 §4.3).
    pub long_lived_restart: bool,
    /// Hold time in seconds: the smaller of both (RFC 4271 §4.2); 0 for none.
    pub hold_time: u16,
    /// What an unreadable multiprotocol attribute costs.
    pub nlri_errors: NlriErrors,
}

/// RFC 7606 §2 leaves a choice where the prefixes of a multiprotocol attribute cannot be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NlriErrors {
    /// Reset the session.
    #[default]
    ResetSession,
    /// Give up the family and keep the session.
    DisableFamily,
}

/// Inside or outside our AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerKind {
    /// eBGP.
    External,
    /// iBGP.
    Internal,
}

impl Negotiated {
    /// Before the OPEN came: short messages, no family, nothing agreed.
    pub fn before_open(local_as: u32) -> Self {
        Self {
            local_as,
            peer_as: 0,
            four_octet_as: false,
            extended_messages: false,
            families: FamilySet::NONE,
            extended_next_hop: false,
            route_refresh: false,
            enhanced_route_refresh: false,
            notification_restart: false,
            long_lived_restart: false,
            hold_time: 0,
            nlri_errors: NlriErrors::ResetSession,
        }
    }

    /// From the OPEN we sent and the OPEN that came.
    pub fn new(ours: &Open, theirs: &Open) -> Self {
        let both = |wanted: fn(&Capability) -> bool| {
            ours.capabilities.iter().any(wanted) && theirs.capabilities.iter().any(wanted)
        };
        Self {
            local_as: ours.as_number,
            peer_as: theirs.as_number,
            four_octet_as: both(|c| matches!(c, Capability::FourOctetAs(_))),
            extended_messages: both(|c| matches!(c, Capability::ExtendedMessage)),
            families: families(ours, theirs),
            extended_next_hop: both(is_ipv4_over_ipv6),
            route_refresh: both(|c| matches!(c, Capability::RouteRefresh)),
            enhanced_route_refresh: both(|c| matches!(c, Capability::EnhancedRouteRefresh)),
            notification_restart: both(
                |c| matches!(c, Capability::GracefulRestart(restart) if restart.notification),
            ),
            long_lived_restart: both(|c| matches!(c, Capability::LongLivedGracefulRestart(_))),
            hold_time: ours.hold_time.min(theirs.hold_time),
            nlri_errors: NlriErrors::ResetSession,
        }
    }

    /// Whether the peer is in our AS.
    pub fn peer_kind(&self) -> PeerKind {
        if self.local_as == self.peer_as { PeerKind::Internal } else { PeerKind::External }
    }

    /// Longest UPDATE, NOTIFICATION or ROUTE-REFRESH, octets, header included.
    pub fn max_message_len(&self) -> usize {
        if self.extended_messages { MAX_EXTENDED_MESSAGE_LEN } else { MAX_MESSAGE_LEN }
    }
}

fn is_ipv4_over_ipv6(capability: &Capability) -> bool {
    let ipv4 = Family::Ipv4Unicast.afi_safi();
    matches!(capability, Capability::ExtendedNextHop(pairs)
        if pairs.iter().any(|p| p.family == ipv4 && p.next_hop_afi == AFI_IPV6))
}

/// Without any multiprotocol capability a side carries IPv4 unicast alone (RFC 4760 §8).
fn families(ours: &Open, theirs: &Open) -> FamilySet {
    let (ours, theirs) = (advertised(ours), advertised(theirs));
    ours.iter().filter(|family| theirs.contains(*family)).collect()
}

fn advertised(open: &Open) -> FamilySet {
    let mut named = open.capabilities.iter().filter_map(|capability| match capability {
        Capability::Multiprotocol(pair) => Some(*pair),
        _ => None,
    });
    let mut set: FamilySet = named.clone().filter_map(|pair| pair.family()).collect();
    if named.next().is_none() {
        set.insert(Family::Ipv4Unicast);
    }
    set
}
