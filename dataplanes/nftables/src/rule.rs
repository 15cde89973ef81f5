//! Rules as lowering writes them: each criterion has one spelling in nft syntax (`text.rs`) and one
//! in kernel expressions (`expr.rs`).

use std::sync::Arc;

use brindle_model::Name;
use brindle_model::net::{Family, PortRange, Protocol};
use brindle_model::verdict::DecisionId;
use ipnet::IpNet;

use crate::table::Verdict;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What must hold, checked in this order.
    pub criteria: Vec<Criterion>,
    /// Whether packets that match are counted.
    pub counter: bool,
    /// What happens then.
    pub target: Target,
    /// Who decided: names namespace, policy and rule.
    pub comment: String,
    /// The same for programs: whose packets the counter counts. Several if they are joined.
    pub decisions: Arc<[DecisionId]>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One verdict.
    Verdict(Verdict),
    /// The verdict of a map's element, or none if there is no such element.
    Map(MapKey, Name),
    /// Tells userspace of the packet; the next rule goes on.
    Log(Log),
    /// Sets or takes away [`HOST_ACCEPTED_MARK`](brindle_dataplane_core::HOST_ACCEPTED_MARK); the
    /// next rule goes on.
    Mark(bool),
    /// Keeps connection tracking from the packet; the next rule goes on.
    NoTrack,
}

/// A packet told to userspace over nfnetlink_log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    /// Who listens.
    pub group: u16,
    /// What is told beside the packet: at most 127 bytes.
    pub prefix: Name,
    /// At most so often; further packets go on untold.
    pub per_second: u32,
}

/// What a verdict map is asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MapKey {
    /// The group of the interface the packet came in on.
    InputGroup,
    /// The group of the interface it goes out on.
    OutputGroup,
    /// Group of the input interface, source address and connection state; a `Family` criterion
    /// stands before it.
    KnownFlow(Family),
    /// Protocol and destination port.
    Service,
}

/// A side of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// Connection states, as bits of `ct state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtState {
    /// Established or related.
    Accepted,
    /// Invalid.
    Invalid,
}

/// A criterion. `equal: false` negates it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Criterion {
    /// Connection tracking's opinion.
    CtState(CtState),
    /// The connection's mark has the bit that says that it is revoked.
    Revoked,
    /// The family.
    Family(Family),
    /// The packet's mark says that an early stage of its interface admitted it.
    HostAccepted,
    /// The interface has this name.
    Interface { input: bool, name: Name },
    /// The interface's name begins with the pod prefix.
    PodInterface { input: bool, equal: bool },
    /// The group of the input interface may send from this source address.
    OwnSource { family: Family, set: Name },
    /// The upper-layer protocol.
    Protocol { equal: bool, protocol: Protocol },
    /// The upper-layer protocol is in a set.
    ProtocolSet { equal: bool, set: Name },
    /// ICMP or ICMPv6 type, inclusive; a `Protocol` criterion stands before it.
    IcmpType { family: Family, equal: bool, first: u8, last: u8 },
    /// ICMP or ICMPv6 code, likewise.
    IcmpCode { family: Family, equal: bool, code: u8 },
    /// The address lies in a prefix.
    Prefix { side: Side, equal: bool, net: IpNet },
    /// The address is in a set.
    Address { side: Side, family: Family, equal: bool, set: Name },
    /// The port lies in a range; the protocol is known to have ports.
    Ports { side: Side, equal: bool, range: PortRange },
    /// The port is in a set, likewise.
    PortSet { side: Side, equal: bool, set: Name },
    /// (address of one side, protocol, port of a side) is in a set, likewise.
    Tuple { address: Side, port: Side, family: Family, equal: bool, set: Name },
}

impl Criterion {
    /// The set it asks.
    pub fn set(&self) -> Option<&Name> {
        match self {
            Self::OwnSource { set, .. }
            | Self::ProtocolSet { set, .. }
            | Self::Address { set, .. }
            | Self::PortSet { set, .. }
            | Self::Tuple { set, .. } => Some(set),
            _ => None,
        }
    }
}
