//! The table in nft syntax. What is printed here and loaded with `nft -f` equals what the netlink
//! encoder writes; a test holds the two together.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use brindle_dataplane_core::{HOST_ACCEPTED_MARK, REVOKED_MARK};
use brindle_model::cluster::HOST_INTERFACE_PREFIX;
use brindle_model::net::{Family, PortRange};

use crate::rule::{Criterion, CtState, Log, MapKey, Rule, Side, Target};
use crate::table::{Element, Field, Hook, HookPoint, Key, KnownState, SetSpec, Verdict};

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::Devgroup => "devgroup",
            Self::CtState => "ct_state",
        })
    }
}

/// The body of `add set` or `add map`.
impl Display for SetSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{ type ")?;
        for (i, field) in self.key.iter().enumerate() {
            write!(f, "{}{field}", if i == 0 { "" } else { " . " })?;
        }
        if self.verdicts {
            f.write_str(" : verdict")?;
        }
        f.write_str(";")?;
        if self.interval {
            f.write_str(" flags interval;")?;
        }
        if let Some(size) = self.size {
            write!(f, " size {size};")?;
        }
        if !self.comment.is_empty() {
            write!(f, " comment \"{}\";", self.comment)?;
        }
        f.write_str(" }")
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => write!(f, "{addr}"),
            Self::Net(net) => write!(f, "{net}"),
            Self::Tuple(addr, protocol, port) => write!(f, "{addr} . {} . {port}", protocol.0),
            Self::Group(group) => write!(f, "{group}"),
            Self::Source(group, addr) => write!(f, "{group} . {addr}"),
            Self::KnownFlow(group, addr, state) => {
                let state = match state {
                    KnownState::Established => "established",
                    KnownState::Related => "related",
                };
                write!(f, "{group} . {addr} . {state}")
            }
            Self::Ports(range) => write!(f, "{range}"),
            Self::Protocol(protocol) => write!(f, "{}", protocol.0),
            Self::Service(protocol, port) => write!(f, "{} . {port}", protocol.0),
        }
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if !self.comment.is_empty() {
            write!(f, " comment \"{}\"", self.comment)?;
        }
        match &self.verdict {
            Some(verdict) => write!(f, " : {verdict}"),
            None => Ok(()),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

/// The body of `add chain` for a base chain.
impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let point = match self.point {
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Prerouting => "prerouting",
            HookPoint::Output => "output",
        };
        write!(f, "type filter hook {point} priority {}; policy accept;", self.priority)
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for criterion in &self.criteria {
            write!(f, "{criterion} ")?;
        }
        if self.counter {
            f.write_str("counter ")?;
        }
        match &self.target {
            Target::Verdict(verdict) => write!(f, "{verdict}")?,
            Target::Map(key, map) => write!(f, "{key} vmap @{map}")?,
            Target::Log(log) => write!(f, "{log}")?,
            Target::Mark(true) => {
                write!(f, "meta mark set meta mark | {HOST_ACCEPTED_MARK:#010x}")?;
            }
            Target::Mark(false) => {
                write!(f, "meta mark set meta mark & {:#010x}", !HOST_ACCEPTED_MARK)?;
            }
            Target::NoTrack => f.write_str("notrack")?,
        }
        if self.comment.is_empty() {
            return Ok(());
        }
        write!(f, " comment \"{}\"", self.comment)
    }
}

impl Display for MapKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputGroup => f.write_str("iifgroup"),
            Self::OutputGroup => f.write_str("oifgroup"),
            Self::KnownFlow(family) => write!(f, "iifgroup . {} saddr . ct state", header(*family)),
            Self::Service => f.write_str("meta l4proto . th dport"),
        }
    }
}

impl Display for Log {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { group, prefix, per_second } = self;
        write!(f, "limit rate {per_second}/second burst {per_second} packets ")?;
        write!(f, "log prefix \"{prefix}\" group {group}")
    }
}

fn relation(equal: bool) -> &'static str {
    if equal { "" } else { "!= " }
}

fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn address(side: Side) -> &'static str {
    match side {
        Side::Source => "saddr",
        Side::Destination => "daddr",
    }
}

fn port(side: Side) -> &'static str {
    match side {
        Side::Source => "sport",
        Side::Destination => "dport",
    }
}

fn icmp(family: Family) -> &'static str {
    match family {
        Family::V4 => "icmp",
        Family::V6 => "icmpv6",
    }
}

impl Display for Criterion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::CtState(CtState::Accepted) => f.write_str("ct state established,related"),
            Self::CtState(CtState::Invalid) => f.write_str("ct state invalid"),
            Self::Revoked => write!(f, "ct mark & {REVOKED_MARK:#010x} != 0x00000000"),
            Self::HostAccepted => {
                write!(f, "meta mark & {HOST_ACCEPTED_MARK:#010x} != 0x00000000")
            }
            Self::Interface { input, name } => {
                write!(f, "{} \"{name}\"", if *input { "iifname" } else { "oifname" })
            }
            Self::Family(Family::V4) => f.write_str("meta nfproto ipv4"),
            Self::Family(Family::V6) => f.write_str("meta nfproto ipv6"),
            Self::PodInterface { input, equal } => {
                let key = if *input { "iifname" } else { "oifname" };
                write!(f, "{key} {}\"{HOST_INTERFACE_PREFIX}*\"", relation(*equal))
            }
            Self::OwnSource { family, set } => {
                write!(f, "iifgroup . {} saddr @{set}", header(*family))
            }
            Self::Protocol { equal, protocol } => {
                write!(f, "meta l4proto {}{}", relation(*equal), protocol.0)
            }
            Self::ProtocolSet { equal, set } => {
                write!(f, "meta l4proto {}@{set}", relation(*equal))
            }
            Self::IcmpType { family, equal, first, last } if first == last => {
                write!(f, "{} type {}{first}", icmp(*family), relation(*equal))
            }
            Self::IcmpType { family, equal, first, last } => {
                write!(f, "{} type {}{first}-{last}", icmp(*family), relation(*equal))
            }
            Self::IcmpCode { family, equal, code } => {
                write!(f, "{} code {}{code}", icmp(*family), relation(*equal))
            }
            Self::Prefix { side, equal, net } => {
                let (family, side) = (header(Family::of_net(*net)), address(*side));
                write!(f, "{family} {side} {}", relation(*equal))?;
                let host = net.prefix_len() == net.max_prefix_len();
                if host { write!(f, "{}", net.addr()) } else { write!(f, "{net}") }
            }
            Self::Address { side, family, equal, set } => {
                write!(f, "{} {} {}@{set}", header(*family), address(*side), relation(*equal))
            }
            Self::Ports { side, equal, range: PortRange { first, last } } => {
                write!(f, "th {} {}{first}", port(*side), relation(*equal))?;
                if first == last { Ok(()) } else { write!(f, "-{last}") }
            }
            Self::PortSet { side, equal, set } => {
                write!(f, "th {} {}@{set}", port(*side), relation(*equal))
            }
            Self::Tuple { address: addr, port: of, family, equal, set } => {
                let (family, addr, of) = (header(*family), address(*addr), port(*of));
                write!(f, "{family} {addr} . meta l4proto . th {of} {}@{set}", relation(*equal))
            }
        }
    }
}

/// The family of an address as a set's field.
pub fn address_field(family: Family) -> Field {
    match family {
        Family::V4 => Field::Ipv4Addr,
        Family::V6 => Field::Ipv6Addr,
    }
}

/// An address's octets.
pub fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}
