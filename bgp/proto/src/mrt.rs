//! What was seen as records of the MRT format, which many tools read (RFC 6396).
//!
//! Messages and changes of state become BGP4MP_ET records, which have microseconds (§3, §4.4). Where
//! the session has AS numbers of two octets the message does too, and the record says so by its
//! subtype.

use std::net::IpAddr;
use std::time::Duration;

use crate::family::{AFI_IPV4, AFI_IPV6};
use crate::fsm::State;
use crate::speaker::{Ends, Seen};

/// Type of a record with microseconds (§4.4).
const BGP4MP_ET: u16 = 17;
/// Subtypes (§4.4).
const STATE_CHANGE_AS4: u16 = 5;
const MESSAGE: u16 = 1;
const MESSAGE_AS4: u16 = 4;
const MESSAGE_LOCAL: u16 = 6;
const MESSAGE_AS4_LOCAL: u16 = 7;
/// In place of an AS number that does not fit (RFC 6793 §9).
const AS_TRANS: u16 = 23456;

/// The record of something that was seen so long after 1970; `None` for what the format does not
/// know.
pub fn record(seen: &Seen, since_1970: Duration) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let subtype = match seen {
        Seen::Message { ends, octets, sent, .. } => {
            let four = ends.negotiated.four_octet_as;
            put_ends(&mut body, ends, four);
            body.extend_from_slice(octets);
            match (four, sent) {
                (true, false) => MESSAGE_AS4,
                (false, false) => MESSAGE,
                (true, true) => MESSAGE_AS4_LOCAL,
                (false, true) => MESSAGE_LOCAL,
            }
        }
        Seen::State { ends, before, after, .. } => {
            put_ends(&mut body, ends, true);
            for state in [before, after] {
                body.extend_from_slice(&number(*state).to_be_bytes());
            }
            STATE_CHANGE_AS4
        }
        Seen::Route(_) => return None,
    };
    let seconds = u32::try_from(since_1970.as_secs()).ok()?;
    // The microseconds count as part of the message (§3).
    let len = u32::try_from(body.len() + 4).ok()?;
    let mut record = Vec::with_capacity(body.len() + 16);
    record.extend_from_slice(&seconds.to_be_bytes());
    record.extend_from_slice(&BGP4MP_ET.to_be_bytes());
    record.extend_from_slice(&subtype.to_be_bytes());
    record.extend_from_slice(&len.to_be_bytes());
    record.extend_from_slice(&since_1970.subsec_micros().to_be_bytes());
    record.extend_from_slice(&body);
    Some(record)
}

/// AS numbers, interface, family and addresses (§4.4.1, §4.4.3).
fn put_ends(body: &mut Vec<u8>, ends: &Ends, four: bool) {
    for number in [ends.negotiated.peer_as, ends.negotiated.local_as] {
        match four {
            true => body.extend_from_slice(&number.to_be_bytes()),
            false => {
                let short = u16::try_from(number).unwrap_or(AS_TRANS);
                body.extend_from_slice(&short.to_be_bytes());
            }
        }
    }
    body.extend_from_slice(&0_u16.to_be_bytes());
    let afi = if ends.peer.is_ipv4() { AFI_IPV4 } else { AFI_IPV6 };
    body.extend_from_slice(&afi.to_be_bytes());
    for address in [ends.peer, ends.local] {
        match address {
            IpAddr::V4(address) => body.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => body.extend_from_slice(&address.octets()),
        }
    }
}

/// RFC 4271 §8.2.2, as §4.4.1 numbers its states.
fn number(state: State) -> u16 {
    match state {
        State::Idle => 1,
        State::Connect => 2,
        State::Active => 3,
        State::OpenSent => 4,
        State::OpenConfirm => 5,
        State::Established => 6,
    }
}
