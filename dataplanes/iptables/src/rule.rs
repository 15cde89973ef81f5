//! Rules as lowering writes them, and their spelling for `iptables-restore`.
//!
//! The spelling is one that every version since 1.6 reads. It need not be the one that `-save`
//! prints: [`canon`](crate::canon) lets the tool itself say that.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::net::{Family, PortRange, Protocol};
use brindle_model::verdict::DecisionId;
use ipnet::IpNet;

use brindle_dataplane_core::{HOST_ACCEPTED_MARK, REVOKED_MARK};

/// What `multiport` takes in one match; a range counts twice.
pub const PORT_SLOTS: usize = 15;
/// The longest log prefix (`struct xt_nflog_info`), bytes without its NUL.
pub const MAX_LOG_PREFIX: usize = 63;
/// The longest comment that is written; the kernel takes 255 bytes.
const MAX_COMMENT: usize = 200;

/// A chain's rules, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What must hold, checked in this order.
    pub criteria: Vec<Criterion>,
    /// What happens then.
    pub target: Target,
    /// Who decided, for people; may be empty.
    pub comment: String,
    /// The same for programs: whose packets the rule's counter counts.
    pub decisions: Arc<[DecisionId]>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The packet leaves the table.
    Accept,
    /// The packet ends here.
    Drop,
    /// The chain that jumped here goes on.
    Return,
    /// Another chain goes on, and may come back.
    Jump(Name),
    /// Another chain goes on; what it returns to is the last jump.
    Goto(Name),
    /// Nothing but the counter; the next rule goes on.
    Count,
    /// Connection tracking keeps away; the next rule goes on. In table `raw` alone.
    NoTrack,
    /// The packet gets [`HOST_ACCEPTED_MARK`], or loses it; the next rule goes on.
    Mark(bool),
    /// Tells userspace of the packet over nfnetlink_log; the next rule goes on.
    Log {
        /// Who listens.
        group: u16,
        /// What is told beside the packet: at most [`MAX_LOG_PREFIX`] bytes that need no escape.
        prefix: Name,
    },
}

/// A side of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// How a set is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// By the address of a side.
    Address(Side),
    /// By address, protocol and port of a side.
    Tuple(Side),
    /// By source address and input interface.
    OwnSource,
}

/// A criterion. `equal: false` negates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// The input or output interface; a name that ends in `+` stands for all that begin so.
    Interface { input: bool, equal: bool, name: Name },
    /// The upper-layer protocol; not 0, which would mean any.
    Protocol { equal: bool, protocol: Protocol },
    /// The address lies in a prefix. One a side and rule.
    Prefix { side: Side, equal: bool, net: IpNet },
    /// The port lies in one of the ranges, [`PORT_SLOTS`] at most; a `Protocol` stands before it.
    Ports { protocol: Protocol, side: Side, equal: bool, ranges: Vec<PortRange> },
    /// ICMP or ICMPv6 type and code; a `Protocol` stands before it. The type is not 255, which
    /// would mean any.
    Icmp { family: Family, equal: bool, icmp_type: u8, code: Option<u8> },
    /// A set holds it.
    Set { set: Name, lookup: Lookup, equal: bool },
    /// The connection is known: established, or related to one that is.
    Known,
    /// Connection tracking cannot place the packet.
    Invalid,
    /// The connection's mark has the bit that says that it is revoked.
    Revoked,
    /// The packet has [`HOST_ACCEPTED_MARK`].
    HostAccepted,
    /// At most so often a second.
    Limit(u32),
}

/// Slots of a `multiport` match that a range takes.
pub fn slots(range: PortRange) -> usize {
    if range.first == range.last { 1 } else { 2 }
}

fn not(equal: bool) -> &'static str {
    if equal { "" } else { "! " }
}

impl Display for Side {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "src",
            Self::Destination => "dst",
        })
    }
}

impl Display for Lookup {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(side) => write!(f, "{side}"),
            Self::Tuple(side) => write!(f, "{side},{side}"),
            Self::OwnSource => f.write_str("src,src"),
        }
    }
}

impl Display for Criterion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface { input, equal, name } => {
                write!(f, "{}-{} {name}", not(*equal), if *input { "i" } else { "o" })
            }
            Self::Protocol { equal, protocol } => write!(f, "{}-p {protocol}", not(*equal)),
            Self::Prefix { side, equal, net } => {
                let option = if *side == Side::Source { "s" } else { "d" };
                write!(f, "{}-{option} {net}", not(*equal))
            }
            Self::Ports { protocol, side, equal, ranges } => {
                let option = if *side == Side::Source { "sport" } else { "dport" };
                let not = not(*equal);
                match (&ranges[..], *protocol) {
                    ([range], Protocol::TCP | Protocol::UDP) => {
                        write!(f, "-m {protocol} {not}--{option} {}", Ports(&[*range]))
                    }
                    (ranges, _) => write!(f, "-m multiport {not}--{option}s {}", Ports(ranges)),
                }
            }
            Self::Icmp { family, equal, icmp_type, code } => {
                let (module, option) = match family {
                    Family::V4 => ("icmp", "icmp-type"),
                    Family::V6 => ("icmp6", "icmpv6-type"),
                };
                write!(f, "-m {module} {}--{option} {icmp_type}", not(*equal))?;
                code.map_or(Ok(()), |code| write!(f, "/{code}"))
            }
            Self::Set { set, lookup, equal } => {
                write!(f, "-m set {}--match-set {set} {lookup}", not(*equal))
            }
            Self::Known => f.write_str("-m conntrack --ctstate RELATED,ESTABLISHED"),
            Self::Invalid => f.write_str("-m conntrack --ctstate INVALID"),
            Self::Revoked => write!(f, "-m connmark --mark {REVOKED_MARK:#x}/{REVOKED_MARK:#x}"),
            Self::HostAccepted => {
                write!(f, "-m mark --mark {HOST_ACCEPTED_MARK:#x}/{HOST_ACCEPTED_MARK:#x}")
            }
            Self::Limit(rate) => write!(f, "-m limit --limit {rate}/second --limit-burst {rate}"),
        }
    }
}

/// Ports as `multiport` reads them.
struct Ports<'a>(&'a [PortRange]);

impl Display for Ports<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, PortRange { first, last }) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            write!(f, "{first}")?;
            if last > first {
                write!(f, ":{last}")?;
            }
        }
        Ok(())
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("-j ACCEPT"),
            Self::Drop => f.write_str("-j DROP"),
            Self::Return => f.write_str("-j RETURN"),
            Self::Jump(chain) => write!(f, "-j {chain}"),
            Self::Goto(chain) => write!(f, "-g {chain}"),
            Self::Count => Ok(()),
            Self::NoTrack => f.write_str("-j CT --notrack"),
            Self::Mark(set) => {
                let value = if *set { HOST_ACCEPTED_MARK } else { 0 };
                write!(f, "-j MARK --set-xmark {value:#x}/{HOST_ACCEPTED_MARK:#x}")
            }
            Self::Log { group, prefix } => {
                write!(f, "-j NFLOG --nflog-prefix \"{prefix}\" --nflog-group {group}")
            }
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for criterion in &self.criteria {
            write!(f, "{gap}{criterion}")?;
            gap = " ";
        }
        if !self.comment.is_empty() {
            write!(f, "{gap}-m comment --comment \"{}\"", self.comment)?;
            gap = " ";
        }
        match &self.target {
            Target::Count => Ok(()),
            target => write!(f, "{gap}{target}"),
        }
    }
}

/// Makes a text fit to be a comment: nothing that `iptables-restore` or `-save` would escape.
pub fn comment(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).map(escaped).collect();
    if clean.len() <= MAX_COMMENT {
        return clean;
    }
    format!("{}...", &clean[..MAX_COMMENT - 3])
}

fn escaped(c: char) -> char {
    match c {
        '"' | '\'' | '\\' | '`' => '_',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_need_no_escape_and_are_cut() {
        assert_eq!(comment("a \"b\" 'c' \\ ä\n"), "a _b_ _c_ _   ");
        assert_eq!(comment(&"x".repeat(300)).len(), MAX_COMMENT);
    }
}
