//! Path attributes (RFC 4271 §5 and the extensions a datacenter fabric uses) as values, and
//! what RFC 7606 makes of a malformed one.

mod as_path;
mod error;

use std::net::Ipv4Addr;

pub use as_path::{AsPath, MAX_SEGMENT, Segment, SegmentKind};
pub use error::{AttributeError, Outcome};

/// Everything a route carries but its next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attributes {
    /// ORIGIN (RFC 4271 §5.1.1).
    pub origin: Origin,
    /// AS_PATH, merged with AS4_PATH where the peer speaks two octets (RFC 6793 §4.2.3).
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC (§5.1.4).
    pub med: Option<u32>,
    /// LOCAL_PREF (§5.1.5); never on an eBGP session.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE (§5.1.6).
    pub atomic_aggregate: bool,
    /// AGGREGATOR (§5.1.7), merged with AS4_AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES (RFC 1997).
    pub communities: Vec<Community>,
    /// ORIGINATOR_ID (RFC 4456 §8).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456 §8), nearest cluster first.
    pub cluster_list: Vec<Ipv4Addr>,
    /// EXTENDED COMMUNITIES (RFC 4360), raw.
    pub extended_communities: Vec<[u8; 8]>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large_communities: Vec<LargeCommunity>,
    /// Only to Customer (RFC 9234 §5).
    pub only_to_customer: Option<u32>,
    /// Optional transitive attributes that we do not know, by type.
    pub unknown: Vec<UnknownAttribute>,
}

impl Attributes {
    /// Whether the route is stale for long: the last resort (RFC 9494 §4.3).
    pub fn is_stale(&self) -> bool {
        self.communities.contains(&Community::LLGR_STALE)
    }

    /// Marks it so.
    pub fn mark_stale(&mut self) {
        if !self.is_stale() {
            self.communities.push(Community::LLGR_STALE);
        }
    }
}

/// ORIGIN; the order is that of preference (RFC 4271 §9.1.2.2 b).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// Interior to the originating AS.
    #[default]
    Igp,
    /// Learned by EGP (RFC 904).
    Egp,
    /// By other means.
    Incomplete,
}

/// AGGREGATOR: who aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Aggregator {
    /// Its AS.
    pub as_number: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
}

/// A standard community (RFC 1997): AS in the upper half, value in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Community(pub u32);

impl Community {
    /// Not to eBGP peers (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// To no peer at all (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// Not out of a member AS of a confederation (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
    /// Traffic should go elsewhere before we leave (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// Stale for long (RFC 9494).
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// Not to be kept stale for long (RFC 9494).
    pub const NO_LLGR: Self = Self(0xffff_0007);
}

impl std::fmt::Display for Community {
    /// As routers print it: `65001:100`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// A large community (RFC 8092 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LargeCommunity {
    /// Global administrator: an AS.
    pub global: u32,
    /// First operator-defined part.
    pub local1: u32,
    /// Second operator-defined part.
    pub local2: u32,
}

impl std::fmt::Display for LargeCommunity {
    /// RFC 8092 §5: `65001:1:2`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

/// An optional transitive attribute that passes through unread (RFC 4271 §5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnknownAttribute {
    /// Attribute type.
    pub kind: u8,
    /// Attribute value. It goes out with the Partial bit set, always.
    pub value: Vec<u8>,
}

/// Attribute types (IANA registry).
pub mod kind {
    #![expect(missing_docs, reason = "the names are those of the registry")]
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MULTI_EXIT_DISC: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH_NLRI: u8 = 14;
    pub const MP_UNREACH_NLRI: u8 = 15;
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const LARGE_COMMUNITY: u8 = 32;
    pub const ONLY_TO_CUSTOMER: u8 = 35;
}
