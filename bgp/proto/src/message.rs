//! The five messages of BGP-4 (RFC 4271 §4, RFC 2918) as owned, validated values.

mod notification;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::attribute::{AttributeError, Attributes};
use crate::capability::Capability;
use crate::family::{AfiSafi, Family};

pub use notification::{MAX_COMMUNICATION, Notification, NotificationCode};

/// Octets of the header: marker, length, type (RFC 4271 §4.1).
pub const HEADER_LEN: usize = 19;
/// Longest message without the extended message capability (RFC 4271 §4.1).
pub const MAX_MESSAGE_LEN: usize = 4096;
/// Longest message with it (RFC 8654 §3).
pub const MAX_EXTENDED_MESSAGE_LEN: usize = 65535;
/// Stands for an AS number that does not fit two octets (RFC 6793 §9).
pub const AS_TRANS: u16 = 23456;

/// One BGP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 1.
    Open(Open),
    /// Type 2.
    Update(Update),
    /// Type 3.
    Notification(Notification),
    /// Type 4.
    Keepalive,
    /// Type 5 (RFC 2918).
    RouteRefresh(RouteRefresh),
}

/// OPEN (RFC 4271 §4.2); the version is always 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS: the four-octet one where the capability is there (RFC 6793 §4.1),
    /// else the two-octet field. Encoding writes [`AS_TRANS`] into the field if it does not fit.
    pub as_number: u32,
    /// Proposed hold time, seconds; 0 or at least 3.
    pub hold_time: u16,
    /// BGP identifier (RFC 6286).
    pub router_id: Ipv4Addr,
    /// Capabilities in order of appearance (RFC 5492), duplicates included.
    pub capabilities: Vec<Capability>,
}

/// ROUTE-REFRESH (RFC 2918 §3, RFC 7313 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// Which family; any pair may come.
    pub family: AfiSafi,
    /// What is said about it.
    pub kind: RefreshKind,
}

/// The demarcation octet of a ROUTE-REFRESH (RFC 7313 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// Send me all your routes.
    Request,
    /// A refresh begins (BoRR).
    Begin,
    /// A refresh ends (EoRR).
    End,
    /// A value that RFC 7313 §5 tells to ignore.
    Unknown(u8),
}

/// UPDATE (RFC 4271 §4.3) with the multiprotocol attributes (RFC 4760) already taken apart.
///
/// What a decoder returns is ready for the RIB: prefixes that RFC 7606 treats as withdrawn
/// stand among [`Update::withdrawn`]. What an encoder takes may need several wire messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Prefixes of either family that are no longer reachable.
    pub withdrawn: Vec<IpNet>,
    /// What became reachable, by next hop.
    pub reach: Vec<Reach>,
    /// The attributes of everything in [`Update::reach`]; meaningless if that is empty.
    pub attributes: Arc<Attributes>,
    /// The sender has sent all its routes of this family (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// What was wrong and what came of it (RFC 7606); empty on messages that we build.
    pub errors: Vec<AttributeError>,
}

/// Prefixes of one family with their next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The family of every prefix.
    pub family: Family,
    /// Where to send what is addressed to them.
    pub next_hop: NextHop,
    /// The prefixes, host bits zero.
    pub prefixes: Vec<IpNet>,
}

/// A next hop (RFC 4271 §5.1.3, RFC 2545 §3, RFC 8950 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NextHop {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, for either family.
    V6 {
        /// The global address; link-local itself if the peer has no other.
        global: Ipv6Addr,
        /// The link-local address, where the sender shares the link.
        link_local: Option<Ipv6Addr>,
    },
}

impl NextHop {
    /// The address to route to: the global one.
    pub fn address(&self) -> IpAddr {
        match *self {
            Self::V4(address) => address.into(),
            Self::V6 { global, .. } => global.into(),
        }
    }
}

impl From<IpAddr> for NextHop {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(global) => Self::V6 { global, link_local: None },
        }
    }
}

impl Update {
    /// The End-of-RIB marker of a family (RFC 4724 §2).
    pub fn end_of_rib(family: Family) -> Self {
        Self { end_of_rib: Some(family), ..Self::default() }
    }

    /// A withdrawal.
    pub fn withdraw(prefixes: Vec<IpNet>) -> Self {
        Self { withdrawn: prefixes, ..Self::default() }
    }
}
