//! What a table holds: sets, maps, chains, rules. The vocabulary that lowering, the text printer,
//! the netlink encoder and the read-back share.

use std::net::IpAddr;

use brindle_model::Name;
use brindle_model::net::{PortRange, Protocol};
use ipnet::IpNet;

use crate::rule::Rule;

/// The table's name, in family `inet`. The name is the ownership mark: everything in
/// `inet brindle` is ours and is made to look as desired, and nothing outside it is touched.
pub const TABLE: &str = "brindle";
/// Comment of the table: tells a reader whose it is, and which layout wrote it.
pub const TABLE_COMMENT: &str = "managed by brindle-agent, layout 2; edits are reverted";

/// Longest comment that is written, in bytes: userdata of nft holds 128 with the final NUL.
const MAX_COMMENT: usize = 120;

/// Makes a text fit to be a comment: `nft` knows no escape for a quote, and cuts nothing itself.
pub fn comment(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| match c {
            '"' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    if clean.len() <= MAX_COMMENT {
        return clean;
    }
    let ellipsis = "…";
    let mut end = MAX_COMMENT - ellipsis.len();
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ellipsis}", &clean[..end])
}

/// One field of a set's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// An IPv4 address.
    Ipv4Addr,
    /// An IPv6 address.
    Ipv6Addr,
    /// An upper-layer protocol number.
    InetProto,
    /// A port.
    InetService,
    /// The group of an interface.
    Devgroup,
    /// A state of a connection.
    CtState,
}

/// What a set or map is, without its elements. It never changes under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSpec {
    /// The fields of the key; several are a concatenation.
    pub key: Vec<Field>,
    /// Whether elements are intervals.
    pub interval: bool,
    /// Whether it maps keys to verdicts.
    pub verdicts: bool,
    /// The most elements it takes, if that is known: the kernel then chooses a plain hash table,
    /// which is faster to ask than one that can grow.
    pub size: Option<u32>,
    /// What it holds.
    pub comment: String,
}

/// A key of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An address.
    Addr(IpAddr),
    /// A prefix, in an interval set.
    Net(IpNet),
    /// Address, protocol, port.
    Tuple(IpAddr, Protocol, u16),
    /// The group of a pod's interface ([`link_group`](brindle_model::cluster::link_group)).
    Group(u32),
    /// The same, and an address that the pod may send from.
    Source(u32, IpAddr),
    /// The same, and the state of a connection in which the pod may do so without being judged.
    KnownFlow(u32, IpAddr, KnownState),
    /// A range of ports, in an interval set.
    Ports(PortRange),
    /// A protocol.
    Protocol(Protocol),
    /// A protocol and a port.
    Service(Protocol, u16),
}

/// A state of connections that policy has admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KnownState {
    /// Packets went in both directions.
    Established,
    /// An ICMP error that quotes a known connection.
    Related,
}

impl KnownState {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Established, Self::Related];
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key.
    pub key: Key,
    /// The value, in a map.
    pub verdict: Option<Verdict>,
    /// Whose it is; may be empty.
    pub comment: String,
}

impl Element {
    /// An element of a set.
    pub fn of(key: Key) -> Self {
        Self { key, verdict: None, comment: String::new() }
    }
}

/// What a rule or map element decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// This base chain lets the packet go on.
    Accept,
    /// The packet ends here.
    Drop,
    /// The chain that jumped here goes on.
    Return,
    /// Another chain goes on, and may come back.
    Jump(Name),
    /// Another chain goes on, and does not come back.
    Goto(Name),
}

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPoint {
    /// Packets for this node.
    Input,
    /// Packets that pass through.
    Forward,
    /// Packets that come in, before it is known where they go.
    Prerouting,
    /// Packets that this node sends.
    Output,
}

/// A base chain's hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hook {
    /// The hook.
    pub point: HookPoint,
    /// The priority: lower runs earlier (`filter` is 0).
    pub priority: i32,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Set for a base chain.
    pub hook: Option<Hook>,
    /// What it is for. It never changes under one name.
    pub comment: String,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}
