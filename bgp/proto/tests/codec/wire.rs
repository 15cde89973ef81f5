//! Messages made by hand, octet by octet, and the sessions to read them in.

use std::net::Ipv4Addr;

use brindle_bgp_proto::decode::decode;
use brindle_bgp_proto::family::FamilySet;
use brindle_bgp_proto::message::{Message, Notification, Update};
use brindle_bgp_proto::negotiated::Negotiated;

/// Flags of a well-known attribute.
pub const WELL_KNOWN: u8 = 0x40;
/// Flags of an optional non-transitive one.
pub const OPTIONAL: u8 = 0x80;
/// Flags of an optional transitive one.
pub const TRANSITIVE: u8 = 0xc0;

/// Our AS.
pub const LOCAL_AS: u32 = 65010;
/// The external peer's AS.
pub const PEER_AS: u32 = 65020;

/// A four-octet session with both families to an external peer.
pub fn ebgp() -> Negotiated {
    Negotiated {
        peer_as: PEER_AS,
        four_octet_as: true,
        families: FamilySet::ALL,
        route_refresh: true,
        hold_time: 90,
        ..Negotiated::before_open(LOCAL_AS)
    }
}

/// The same to an internal peer.
pub fn ibgp() -> Negotiated {
    Negotiated { peer_as: LOCAL_AS, ..ebgp() }
}

/// A message of a type with a header that tells its length.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend(u16::try_from(19 + body.len()).expect("a message").to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

/// An UPDATE with correct field lengths.
pub fn update(withdrawn: &[u8], attributes: &[Vec<u8>], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let len = |field: &[u8]| u16::try_from(field.len()).expect("a field").to_be_bytes();
    let body = [&len(withdrawn), withdrawn, &len(&attributes), &attributes, nlri].concat();
    message(2, &body)
}

/// An attribute with a correct length.
pub fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    match u8::try_from(value.len()) {
        Ok(len) => [&[flags, kind, len], value].concat(),
        Err(_) => {
            let len = u16::try_from(value.len()).expect("a value").to_be_bytes();
            [&[flags | 0x10, kind][..], &len, value].concat()
        }
    }
}

/// A sequence of four-octet AS numbers.
pub fn sequence(numbers: &[u32]) -> Vec<u8> {
    let mut value = vec![2, u8::try_from(numbers.len()).expect("one segment")];
    value.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    value
}

/// ORIGIN IGP.
pub fn origin() -> Vec<u8> {
    attribute(WELL_KNOWN, 1, &[0])
}

/// AS_PATH of the external peer.
pub fn as_path() -> Vec<u8> {
    attribute(WELL_KNOWN, 2, &sequence(&[PEER_AS, 65030]))
}

/// NEXT_HOP 192.0.2.1.
pub fn next_hop() -> Vec<u8> {
    attribute(WELL_KNOWN, 3, &Ipv4Addr::new(192, 0, 2, 1).octets())
}

/// MP_REACH_NLRI of 2001:db8:1::/48 by 2001:db8::1.
pub fn mp_reach() -> Vec<u8> {
    let mut value = vec![0, 2, 1, 16, 0x20, 1, 0x0d, 0xb8];
    value.extend([0; 11]);
    value.extend([1, 0]);
    value.extend([48, 0x20, 1, 0x0d, 0xb8, 0, 1]);
    attribute(OPTIONAL, 14, &value)
}

/// MP_UNREACH_NLRI of 2001:db8:2::/48.
pub fn mp_unreach() -> Vec<u8> {
    attribute(OPTIONAL, 15, &[0, 2, 1, 48, 0x20, 1, 0x0d, 0xb8, 0, 2])
}

/// 10.1.0.0/16.
pub const NLRI: [u8; 3] = [16, 10, 1];

/// Decodes what must be an UPDATE or its refusal.
pub fn decode_update(message: &[u8], session: &Negotiated) -> Result<Update, Notification> {
    decode(message, session).map(|message| match message {
        Message::Update(update) => update,
        other => panic!("an UPDATE was decoded as {other:?}"),
    })
}
