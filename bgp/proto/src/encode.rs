//! From messages to octets. What cannot be said in the session's terms is an error, never a
//! message that means something else.

mod attribute;
mod open;
mod update;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::decode::kind;
use crate::message::{
    HEADER_LEN, MAX_MESSAGE_LEN, Message, Notification, RefreshKind, RouteRefresh,
};
use crate::negotiated::Negotiated;

pub use update::room_for_prefixes;
pub(crate) use update::{prefix_len, room_for_withdrawals};

/// Why a message has no encoding on this session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The attributes leave no room for a prefix: the routes cannot be announced to this peer.
    #[error("path attributes of {len} octets leave no room for a prefix in a message of {max}")]
    AttributesTooLong {
        /// Octets of all path attributes.
        len: usize,
        /// Longest message of the session, octets.
        max: usize,
    },
    /// A capability is longer than its length field can say, or all do not fit an OPEN.
    #[error("capabilities of {len} octets do not fit an OPEN")]
    CapabilitiesTooLong {
        /// Octets of the capability or of all of them.
        len: usize,
    },
    /// IPv6 routes need an IPv6 next hop; IPv4 routes may have one only under RFC 8950.
    #[error("the session does not allow next hop {next_hop} for {family}")]
    NextHopFamily {
        /// The next hop.
        next_hop: IpAddr,
        /// The family of the routes.
        family: crate::family::Family,
    },
    /// A prefix stands among those of the other family.
    #[error("{0} stands among prefixes of the other family")]
    PrefixFamily(IpNet),
}

/// Appends a message to `out`, header included. An UPDATE becomes as many messages as its size
/// and RFC 7606 §5.1 ask for; every other message is one.
///
/// # Errors
/// The message has no encoding on this session; `out` is as it was.
pub fn encode(
    message: &Message,
    session: &Negotiated,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let result = match message {
        Message::Open(open) => open::encode(open, out),
        Message::Update(update) => update::encode(update, session, out),
        Message::Notification(notification) => {
            encode_notification(notification, out);
            Ok(())
        }
        Message::Keepalive => {
            write(out, kind::KEEPALIVE, |_| ());
            Ok(())
        }
        Message::RouteRefresh(refresh) => {
            encode_refresh(refresh, out);
            Ok(())
        }
    };
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Writes a header and the body behind it (RFC 4271 §4.1); the body fits 65535 octets.
fn write(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0; 2]);
    out.push(kind);
    body(out);
    let len = out.len() - start;
    out[start + 16..start + 18].copy_from_slice(&length_field(len));
}

/// A length as two octets. Everything that is encoded was measured before.
fn length_field(len: usize) -> [u8; 2] {
    u16::try_from(len).expect("no part of a message is longer than 65535 octets").to_be_bytes()
}

/// Data that would make the message too long is cut: it is for diagnosis alone. The short limit
/// holds on every session: an OPEN may not have been exchanged yet.
fn encode_notification(notification: &Notification, out: &mut Vec<u8>) {
    let code = notification.code;
    let fits = notification.data.len().min(MAX_MESSAGE_LEN - HEADER_LEN - 2);
    write(out, kind::NOTIFICATION, |out| {
        out.extend_from_slice(&[code.code(), code.subcode()]);
        out.extend_from_slice(&notification.data[..fits]);
    });
}

fn encode_refresh(refresh: &RouteRefresh, out: &mut Vec<u8>) {
    let subtype = match refresh.kind {
        RefreshKind::Request => 0,
        RefreshKind::Begin => 1,
        RefreshKind::End => 2,
        RefreshKind::Unknown(octet) => octet,
    };
    write(out, kind::ROUTE_REFRESH, |out| {
        out.extend_from_slice(&refresh.family.afi.to_be_bytes());
        out.extend_from_slice(&[subtype, refresh.family.safi]);
    });
}
