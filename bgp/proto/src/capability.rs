//! Capabilities of an OPEN (RFC 5492).

use std::fmt;

use crate::family::AfiSafi;

/// One capability. What this speaker does not know stays raw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Code 1: carries this family (RFC 4760 §8).
    Multiprotocol(AfiSafi),
    /// Code 2 (RFC 2918 §2).
    RouteRefresh,
    /// Code 5 (RFC 8950 §4).
    ExtendedNextHop(Vec<ExtendedNextHop>),
    /// Code 6 (RFC 8654 §2).
    ExtendedMessage,
    /// Code 9 (RFC 9234 §4.1).
    Role(Role),
    /// Code 64 (RFC 4724 §3).
    GracefulRestart(GracefulRestart),
    /// Code 65: the sender's AS in four octets (RFC 6793 §3).
    FourOctetAs(u32),
    /// Code 70 (RFC 7313 §3.1).
    EnhancedRouteRefresh,
    /// Code 71 (RFC 9494 §3).
    LongLivedGracefulRestart(Vec<LongLivedFamily>),
    /// Code 73: names for operators, UTF-8 or not.
    Fqdn {
        /// Host name.
        host: Vec<u8>,
        /// Domain name.
        domain: Vec<u8>,
    },
    /// Any other.
    Unknown {
        /// Capability code.
        code: u8,
        /// Capability value, at most 255 octets.
        value: Vec<u8>,
    },
}

/// One triple of the extended next hop capability (RFC 8950 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedNextHop {
    /// Routes of this family …
    pub family: AfiSafi,
    /// … may have a next hop of this address family.
    pub next_hop_afi: u16,
}

/// The sender's BGP role (RFC 9234 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sender is a provider.
    Provider,
    /// Sender is a route server.
    RouteServer,
    /// Sender is a client of a route server.
    RouteServerClient,
    /// Sender is a customer.
    Customer,
    /// Sender is a lateral peer.
    Peer,
    /// A value without a name in the registry.
    Unassigned(u8),
}

/// Graceful restart capability (RFC 4724 §3, RFC 8538 §2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// R bit: the sender has just restarted.
    pub restarted: bool,
    /// N bit: NOTIFICATION does not end forwarding (RFC 8538).
    pub notification: bool,
    /// Seconds the sender needs to come back; the field holds 4095, more is sent as that.
    pub restart_time: u16,
    /// Families it preserves, each once.
    pub families: Vec<RestartFamily>,
}

/// One family of a graceful restart capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartFamily {
    /// The family.
    pub family: AfiSafi,
    /// F bit: forwarding state was preserved over the restart.
    pub forwarding: bool,
}

/// One family of a long-lived graceful restart capability (RFC 9494 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLivedFamily {
    /// The family.
    pub family: AfiSafi,
    /// F bit: forwarding state was preserved.
    pub forwarding: bool,
    /// Long-lived stale time, seconds; the field holds 24 bits, more is sent as its greatest.
    pub stale_time: u32,
}

impl Role {
    /// The octet of the wire.
    pub fn octet(self) -> u8 {
        match self {
            Self::Provider => 0,
            Self::RouteServer => 1,
            Self::RouteServerClient => 2,
            Self::Customer => 3,
            Self::Peer => 4,
            Self::Unassigned(octet) => octet,
        }
    }

    /// Whether a session between these two makes sense (RFC 9234 §4.2, table 2).
    pub fn fits(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Provider, Self::Customer)
                | (Self::Customer, Self::Provider)
                | (Self::RouteServer, Self::RouteServerClient)
                | (Self::RouteServerClient, Self::RouteServer)
                | (Self::Peer, Self::Peer)
        )
    }

    /// From the octet of the wire.
    pub fn from_octet(octet: u8) -> Self {
        match octet {
            0 => Self::Provider,
            1 => Self::RouteServer,
            2 => Self::RouteServerClient,
            3 => Self::Customer,
            4 => Self::Peer,
            other => Self::Unassigned(other),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider => f.write_str("provider"),
            Self::RouteServer => f.write_str("route server"),
            Self::RouteServerClient => f.write_str("route server client"),
            Self::Customer => f.write_str("customer"),
            Self::Peer => f.write_str("peer"),
            Self::Unassigned(octet) => write!(f, "{octet}, which is no role"),
        }
    }
}

impl Capability {
    /// The capability code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => code::MULTIPROTOCOL,
            Self::RouteRefresh => code::ROUTE_REFRESH,
            Self::ExtendedNextHop(_) => code::EXTENDED_NEXT_HOP,
            Self::ExtendedMessage => code::EXTENDED_MESSAGE,
            Self::Role(_) => code::ROLE,
            Self::GracefulRestart(_) => code::GRACEFUL_RESTART,
            Self::FourOctetAs(_) => code::FOUR_OCTET_AS,
            Self::EnhancedRouteRefresh => code::ENHANCED_ROUTE_REFRESH,
            Self::LongLivedGracefulRestart(_) => code::LONG_LIVED_GRACEFUL_RESTART,
            Self::Fqdn { .. } => code::FQDN,
            Self::Unknown { code, .. } => *code,
        }
    }
}

/// Capability codes (IANA registry).
pub(crate) mod code {
    pub(crate) const MULTIPROTOCOL: u8 = 1;
    pub(crate) const ROUTE_REFRESH: u8 = 2;
    pub(crate) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(crate) const EXTENDED_MESSAGE: u8 = 6;
    pub(crate) const ROLE: u8 = 9;
    pub(crate) const GRACEFUL_RESTART: u8 = 64;
    pub(crate) const FOUR_OCTET_AS: u8 = 65;
    pub(crate) const ENHANCED_ROUTE_REFRESH: u8 = 70;
    pub(crate) const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
    pub(crate) const FQDN: u8 = 73;
}
