//! RFC 4271 §6.1: the header, with the data of each NOTIFICATION.

use brindle_bgp_proto::decode::{decode, frame};
use brindle_bgp_proto::message::{Message, NotificationCode as Code};
use brindle_bgp_proto::negotiated::Negotiated;

use crate::wire::{ebgp, message};

#[test]
fn a_wrong_marker_is_told_at_once() {
    for at in 0..16 {
        let mut header = [0xff; 16];
        header[at] = 0xfe;
        let refusal = frame(&header[..=at], &ebgp()).expect_err("not synchronized");
        assert_eq!((refusal.code, refusal.data.len()), (Code::ConnectionNotSynchronized, 0));
    }
    let refusal = frame(b"GET / HTTP/1.1", &ebgp()).expect_err("not BGP");
    assert_eq!(refusal.code, Code::ConnectionNotSynchronized);
}

#[test]
fn a_message_is_awaited_until_it_is_whole() {
    let keepalive = message(4, &[]);
    for len in 0..keepalive.len() {
        assert_eq!(frame(&keepalive[..len], &ebgp()), Ok(None), "{len} octets");
    }
    assert_eq!(frame(&keepalive, &ebgp()), Ok(Some(19)));
    let two = [keepalive.clone(), keepalive].concat();
    assert_eq!(frame(&two, &ebgp()), Ok(Some(19)));
}

#[test]
fn each_type_has_its_least_and_greatest_length() {
    let extended = Negotiated { extended_messages: true, ..ebgp() };
    // Type, least, greatest, greatest with extended messages (RFC 8654 §4).
    let bounds = [
        (1, 29, 4096, 4096),
        (2, 23, 4096, 65535),
        (3, 21, 4096, 65535),
        (4, 19, 19, 19),
        (5, 23, 4096, 65535),
    ];
    for (kind, min, max, extended_max) in bounds {
        for (session, max) in [(ebgp(), max), (extended.clone(), extended_max)] {
            let lengths = [0_u16, 18, 19, min - 1, min, max, max.saturating_add(1), 65535];
            for len in lengths {
                let mut header = message(kind, &[]);
                header[16..18].copy_from_slice(&len.to_be_bytes());
                match frame(&header, &session) {
                    Ok(_) => assert!((min..=max).contains(&len), "type {kind} length {len}"),
                    Err(refusal) => {
                        assert!(!(min..=max).contains(&len), "type {kind} length {len}");
                        assert_eq!(refusal.code, Code::BadMessageLength);
                        assert_eq!(refusal.data, len.to_be_bytes(), "the length is the data");
                    }
                }
            }
        }
    }
}

#[test]
fn an_unknown_type_is_the_data() {
    for kind in [0, 6, 7, 255] {
        let refusal = frame(&message(kind, &[]), &ebgp()).expect_err("no such type");
        assert_eq!((refusal.code, refusal.data), (Code::BadMessageType, vec![kind]));
    }
}

#[test]
fn a_piece_is_no_message() {
    let keepalive = message(4, &[]);
    assert_eq!(decode(&keepalive, &ebgp()), Ok(Message::Keepalive));
    for piece in [&keepalive[..18], &[keepalive.clone(), vec![0]].concat()] {
        let refusal = decode(piece, &ebgp()).expect_err("not one message");
        assert_eq!(refusal.code, Code::BadMessageLength);
    }
}
