//! Connection tracking over ctnetlink: entries read, judged again, and our bit of their mark.
//!
//! An entry stands for a flow, both directions of it. What policy says of the flow is what it says
//! of its first packet as the forward hook saw it: sent by the original source, to the destination
//! after DNAT, which is where replies come from.
//!
//! Numbers are those of `linux/netfilter/nfnetlink_conntrack.h`.

mod decode;
mod judge;
mod socket;

use brindle_model::net::Family;
use brindle_model::packet::{Packet, Transport};

pub use decode::decode;
pub use judge::{Locals, refusal};
pub use socket::{ConntrackError, Dump, Marker, Which};

use crate::REVOKED_MARK;

/// One tracked connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How the kernel finds it.
    pub key: Key,
    /// The first packet as it was sent.
    pub original: Packet,
    /// A reply to it as the kernel expects it.
    pub reply: Packet,
    /// The connection that announced this one (`ct state related`): an FTP data connection has its
    /// control connection here.
    pub master: Option<Key>,
    /// The whole mark, other programs' bits included.
    pub mark: u32,
}

impl Entry {
    /// The first packet as the policy hook saw it: after DNAT, before SNAT (K19, K25).
    pub fn first_packet(&self) -> Packet {
        let destination = self.reply.ports().map(|(source, _)| source);
        let port = |port| destination.unwrap_or(port);
        let transport = match self.original.transport {
            Transport::Tcp { source, destination } => {
                Transport::Tcp { source, destination: port(destination) }
            }
            Transport::Udp { source, destination } => {
                Transport::Udp { source, destination: port(destination) }
            }
            Transport::Sctp { source, destination } => {
                Transport::Sctp { source, destination: port(destination) }
            }
            other => other,
        };
        Packet { source: self.original.source, destination: self.reply.source, transport }
    }

    /// The entry of a connection that began with this packet, and that nothing rewrites.
    #[cfg(any(test, feature = "testing"))]
    pub fn begun_by(packet: Packet) -> Self {
        let back = match packet.transport {
            Transport::Tcp { source: destination, destination: source } => {
                Transport::Tcp { source, destination }
            }
            Transport::Udp { source: destination, destination: source } => {
                Transport::Udp { source, destination }
            }
            Transport::Sctp { source: destination, destination: source } => {
                Transport::Sctp { source, destination }
            }
            other => other,
        };
        let reply =
            Packet { source: packet.destination, destination: packet.source, transport: back };
        let key = Key { family: packet.family(), tuple: Vec::new(), zone: None };
        Self { key, original: packet, reply, master: None, mark: 0 }
    }

    /// Whether our bit says that it is revoked.
    pub fn is_revoked(&self) -> bool {
        self.mark & REVOKED_MARK != 0
    }
}

/// Asks whether the kernel has connection tracking with marks, and offers it over netlink.
///
/// # Errors
/// It does not.
pub fn probe() -> Result<(), ConntrackError> {
    Dump::start(Which::Revoked)?.next_entries().map(drop)
}

/// Clears our bit from every entry of the thread's network namespace. Returns how many had it.
///
/// # Errors
/// The kernel could not be asked, or refused.
pub fn clear_revoked() -> Result<usize, ConntrackError> {
    let mut marker = Marker::open()?;
    let mut dump = Dump::start(Which::Revoked)?;
    let mut cleared = 0;
    while let Some(entries) = dump.next_entries()? {
        let changes: Vec<_> = entries.into_iter().map(|entry| (entry.key, false)).collect();
        cleared += marker.mark(&changes)?;
    }
    Ok(cleared)
}

/// What names an entry: family, original tuple and zone, as the kernel wrote them, so that what is
/// not understood of them (zones of one direction) comes back to it unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    family: Family,
    tuple: Vec<u8>,
    zone: Option<Vec<u8>>,
}

/// Subsystem and message types.
const SUBSYSTEM: u16 = libc::NFNL_SUBSYS_CTNETLINK as u16;
const MSG_NEW: u16 = 0;
const MSG_GET: u16 = 1;

/// Attributes of an entry.
mod attr {
    pub const TUPLE_ORIG: u16 = 1;
    pub const TUPLE_REPLY: u16 = 2;
    pub const MARK: u16 = 8;
    pub const TUPLE_MASTER: u16 = 14;
    pub const ZONE: u16 = 18;
    pub const MARK_MASK: u16 = 21;

    pub const TUPLE_IP: u16 = 1;
    pub const TUPLE_PROTO: u16 = 2;
    pub const IP_V4_SRC: u16 = 1;
    pub const IP_V4_DST: u16 = 2;
    pub const IP_V6_SRC: u16 = 3;
    pub const IP_V6_DST: u16 = 4;
    pub const PROTO_NUM: u16 = 1;
    pub const PROTO_SRC_PORT: u16 = 2;
    pub const PROTO_DST_PORT: u16 = 3;
    pub const PROTO_ICMP_TYPE: u16 = 5;
    pub const PROTO_ICMP_CODE: u16 = 6;
    pub const PROTO_ICMPV6_TYPE: u16 = 8;
    pub const PROTO_ICMPV6_CODE: u16 = 9;
}
