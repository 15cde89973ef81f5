//! The packet: what the oracle, the ruleset evaluator and the probes all speak of.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::net::{Family, Protocol};
use crate::{Name, NamespacedName};

/// The upper-layer header of a packet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Transport {
    /// TCP with source and destination port.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// UDP with source and destination port.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// SCTP with source and destination port.
    Sctp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP or ICMPv6, by the packet's family.
    Icmp {
        /// Message type.
        icmp_type: u8,
        /// Message code.
        code: u8,
    },
    /// Any other protocol, by number.
    Other(u8),
}

/// One packet as a policy hook sees it: after DNAT, before any SNAT of this node (K19, K25).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Packet {
    /// Source address; of the same family as `destination`.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Upper-layer header.
    pub transport: Transport,
}

impl Packet {
    /// The packet's family.
    pub fn family(&self) -> Family {
        Family::of(self.destination)
    }

    /// The upper-layer protocol number.
    pub fn protocol(&self) -> Protocol {
        match self.transport {
            Transport::Tcp { .. } => Protocol::TCP,
            Transport::Udp { .. } => Protocol::UDP,
            Transport::Sctp { .. } => Protocol::SCTP,
            Transport::Icmp { .. } if self.family() == Family::V4 => Protocol::ICMP,
            Transport::Icmp { .. } => Protocol::ICMPV6,
            Transport::Other(n) => Protocol(n),
        }
    }

    /// Source and destination port, where the protocol has ports.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.transport {
            Transport::Tcp { source, destination }
            | Transport::Udp { source, destination }
            | Transport::Sctp { source, destination } => Some((source, destination)),
            Transport::Icmp { .. } | Transport::Other(_) => None,
        }
    }

    /// ICMP type and code, where the packet is ICMP or ICMPv6.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        match self.transport {
            Transport::Icmp { icmp_type, code } => Some((icmp_type, code)),
            _ => None,
        }
    }
}

/// `tcp 10.0.0.1:4711 -> 10.0.0.2:80`, `icmp type 8 code 0 10.0.0.1 -> 10.0.0.2`.
impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, transport } = *self;
        let protocol = self.protocol();
        match (transport, self.ports()) {
            (_, Some((from, to))) => {
                let ends = [(source, from), (destination, to)].map(SocketAddr::from);
                write!(f, "{protocol} {} -> {}", ends[0], ends[1])
            }
            (Transport::Icmp { icmp_type, code }, None) => {
                write!(f, "{protocol} type {icmp_type} code {code} {source} -> {destination}")
            }
            (_, None) => write!(f, "protocol {protocol} {source} -> {destination}"),
        }
    }
}

/// Who sent a packet. It decides which hooks it passes, which its addresses alone do not (K30).
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Origin {
    /// A pod with a network of its own.
    Pod(NamespacedName),
    /// A process in the network namespace of a node (host-network pods included, K27).
    Node(Name),
    /// Somebody outside the cluster.
    Outside,
}

/// What connection tracking says of a packet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum ConnState {
    /// First packet of a flow: policy decides.
    New,
    /// Belongs to an accepted flow, either direction (K31).
    Established,
    /// ICMP error about an accepted flow (K32).
    Related,
    /// Fits no flow: dropped before policy (C9).
    Invalid,
}

/// A packet with its origin and connection state: the question put to the oracle.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Flow {
    /// Who sent it.
    pub origin: Origin,
    /// The packet.
    pub packet: Packet,
    /// Its connection state.
    pub state: ConnState,
}
