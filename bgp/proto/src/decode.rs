//! From octets to messages. Strict on lengths; every fault has the consequence its RFC names.
//!
//! Three rules hold throughout: lengths are `usize` and compared before they are used, every
//! loop consumes at least one octet, nothing recurses. Whatever comes back is owned and
//! validated. An `Err` is the NOTIFICATION to send before closing; what a session survives
//! (RFC 7606) is told in [`Update::errors`](crate::message::Update::errors).

mod as_path;
mod attribute;
mod multiprotocol;
mod nlri;
mod open;
mod reader;
mod update;

use crate::family::AfiSafi;
use crate::message::{
    HEADER_LEN, MAX_MESSAGE_LEN, Message, Notification, NotificationCode, RefreshKind, RouteRefresh,
};
use crate::negotiated::Negotiated;

pub(crate) use attribute::flags;
use reader::Reader;

/// Octets of the marker.
const MARKER_LEN: usize = 16;

/// Message types (RFC 4271 §4.1, RFC 2918 §3).
pub(crate) mod kind {
    pub(crate) const OPEN: u8 = 1;
    pub(crate) const UPDATE: u8 = 2;
    pub(crate) const NOTIFICATION: u8 = 3;
    pub(crate) const KEEPALIVE: u8 = 4;
    pub(crate) const ROUTE_REFRESH: u8 = 5;
}

/// The length of the first message in a receive buffer, header included; `None` while it has
/// not arrived whole.
///
/// # Errors
/// The NOTIFICATION of RFC 4271 §6.1: a marker that is not all ones (as soon as the first wrong
/// octet is there), a length outside the bounds of the type, an unknown type.
pub fn frame(buffer: &[u8], session: &Negotiated) -> Result<Option<usize>, Notification> {
    if buffer.iter().take(MARKER_LEN).any(|octet| *octet != 0xff) {
        return Err(NotificationCode::ConnectionNotSynchronized.empty());
    }
    let Some(header) = buffer.get(..HEADER_LEN) else { return Ok(None) };
    let field = [header[16], header[17]];
    let (len, kind) = (usize::from(u16::from_be_bytes(field)), header[18]);
    let Some((min, max)) = length_bounds(kind, session) else {
        return Err(NotificationCode::BadMessageType.with_data([kind]));
    };
    if len < min || len > max {
        return Err(NotificationCode::BadMessageLength.with_data(field));
    }
    Ok((buffer.len() >= len).then_some(len))
}

/// Shortest and longest message of a type (RFC 4271 §6.1, RFC 8654 §4), header included.
fn length_bounds(kind: u8, session: &Negotiated) -> Option<(usize, usize)> {
    let max = session.max_message_len();
    match kind {
        kind::OPEN => Some((29, MAX_MESSAGE_LEN)),
        kind::UPDATE => Some((23, max)),
        kind::NOTIFICATION => Some((21, max)),
        kind::KEEPALIVE => Some((HEADER_LEN, HEADER_LEN)),
        kind::ROUTE_REFRESH => Some((23, max)),
        _ => None,
    }
}

/// Decodes one whole message, header included, as [`frame`] delimits it.
///
/// # Errors
/// The NOTIFICATION to send before closing: header errors (RFC 4271 §6.1; also when `message`
/// is not exactly one message), OPEN errors (§6.2) and the few UPDATE errors that a session
/// does not survive (RFC 7606).
pub fn decode(message: &[u8], session: &Negotiated) -> Result<Message, Notification> {
    if frame(message, session)? != Some(message.len()) {
        let field = message.get(16..18).unwrap_or_default();
        return Err(NotificationCode::BadMessageLength.with_data(field));
    }
    let body = &message[HEADER_LEN..];
    match message[18] {
        kind::OPEN => open::decode(body).map(Message::Open),
        kind::UPDATE => update::decode(body, session).map(Message::Update),
        kind::NOTIFICATION => Ok(Message::Notification(notification(body))),
        kind::KEEPALIVE => Ok(Message::Keepalive),
        _ => route_refresh(message).map(Message::RouteRefresh),
    }
}

/// Never fails: an error in a NOTIFICATION cannot be answered by one (RFC 4271 §6.4).
fn notification(body: &[u8]) -> Notification {
    let octet = |at: usize| body.get(at).copied().unwrap_or_default();
    NotificationCode::from_octets(octet(0), octet(1)).with_data(body.get(2..).unwrap_or_default())
}

/// ROUTE-REFRESH is exactly one family; we never offer outbound route filters (RFC 7313 §5).
fn route_refresh(message: &[u8]) -> Result<RouteRefresh, Notification> {
    let mut body = Reader::new(&message[HEADER_LEN..]);
    let fields = (body.u16(), body.u8(), body.u8());
    match fields {
        (Some(afi), Some(subtype), Some(safi)) if body.is_empty() => {
            let kind = match subtype {
                0 => RefreshKind::Request,
                1 => RefreshKind::Begin,
                2 => RefreshKind::End,
                other => RefreshKind::Unknown(other),
            };
            Ok(RouteRefresh { family: AfiSafi { afi, safi }, kind })
        }
        _ => Err(NotificationCode::InvalidRefreshLength.with_data(message)),
    }
}
