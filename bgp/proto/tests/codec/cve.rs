//! Classes of malformed input that brought other implementations down. Each must be answered as
//! the RFCs say, and what comes after it must be read.

use std::net::Ipv4Addr;
use std::sync::Arc;

use brindle_bgp_proto::attribute::{AsPath, Attributes};
use brindle_bgp_proto::decode::decode;
use brindle_bgp_proto::encode::{EncodeError, encode};
use brindle_bgp_proto::family::Family;
use brindle_bgp_proto::message::{Message, NextHop, NotificationCode as Code, Reach, Update};
use brindle_bgp_proto::negotiated::Negotiated;

use crate::roundtrip::read_all;
use crate::wire::*;

fn base() -> Vec<Vec<u8>> {
    vec![origin(), as_path(), next_hop()]
}

fn with(attribute: Vec<u8>) -> Update {
    let attributes = [base(), vec![attribute]].concat();
    decode_update(&update(&[], &attributes, &NLRI), &ebgp()).expect("the session survives")
}

/// CVE-2022-40302, -40318, -43681: every way to cut or lengthen an OPEN.
#[test]
fn open_lengths() {
    let capabilities = [2, 14, 1, 4, 0, 1, 0, 1, 2, 0, 65, 4, 0, 0, 0xfd, 0xfc];
    let short = [&[4, 0xfd, 0xfc, 0, 90, 1, 1, 1, 1, 16], &capabilities[..]].concat();
    let extended =
        [&[4, 0xfd, 0xfc, 0, 90, 1, 1, 1, 1, 255, 255, 0, 17, 2, 0], &capabilities[1..]].concat();
    let session = Negotiated::before_open(65010);
    for body in [short, extended] {
        assert!(decode(&message(1, &body), &session).is_ok());
        for len in 0..body.len() {
            assert!(decode(&message(1, &body[..len]), &session).is_err(), "cut to {len}");
        }
        for (at, value) in (9..body.len()).flat_map(|at| [0, 1, 254, 255].map(|v| (at, v))) {
            let mut edited = body.clone();
            edited[at] = value;
            if let Err(refusal) = decode(&message(1, &edited), &session) {
                assert_eq!(refusal.code.code(), 2, "an OPEN message error");
            }
        }
    }
}

/// CVE-2023-38802, VU#347067: an attribute that we do not implement cannot be malformed to us.
#[test]
fn attributes_we_do_not_implement() {
    // 23 is the tunnel encapsulation, 128 is ATTR_SET, 40 the prefix SID.
    for kind in [21, 22, 23, 24, 25, 26, 27, 29, 33, 34, 36, 37, 40, 128, 243, 255] {
        for value in [&[][..], &[0], &[0, 1, 0xff, 0xff], &[0xff; 300]] {
            let transitive = with(attribute(TRANSITIVE, kind, value));
            assert_eq!(transitive.reach.len(), 1, "attribute {kind}");
            assert_eq!(transitive.attributes.unknown[0].value, value);
            let ended = with(attribute(OPTIONAL, kind, value));
            assert_eq!((ended.reach.len(), ended.attributes.unknown.len()), (1, 0));
        }
    }
}

/// CVE-2023-46752, -46753: MP_REACH_NLRI cut at every octet; nothing but unknown attributes.
#[test]
fn multiprotocol_cut_short() {
    let value = mp_reach()[3..].to_vec();
    for len in 0..value.len() {
        let cut = attribute(OPTIONAL, 14, &value[..len]);
        let attributes = [vec![cut], base()].concat();
        match decode_update(&update(&[], &attributes, &[]), &ebgp()) {
            Err(refusal) => assert_eq!(refusal.code, Code::OptionalAttributeError, "cut to {len}"),
            Ok(read) => assert_eq!(len, 21, "no prefix at all is readable: {read:?}"),
        }
    }
    let unknown = [attribute(TRANSITIVE, 100, &[1]), attribute(TRANSITIVE, 101, &[2])];
    let read =
        decode_update(&update(&[], &unknown, &NLRI), &ebgp()).expect("missing ones withdraw");
    assert_eq!((read.reach.len(), read.withdrawn.len(), read.errors.len()), (0, 1, 3));
    let read = decode_update(&update(&[], &unknown, &[]), &ebgp()).expect("nothing is announced");
    assert_eq!((read.reach.len(), read.end_of_rib), (0, None));
}

/// CVE-2023-38283: attribute lengths handled wrongly reset a session that should live.
#[test]
fn attribute_lengths() {
    for len in 0..=255_u8 {
        let mut overrun = base();
        overrun.push(vec![TRANSITIVE, 8, len]);
        let read = decode_update(&update(&[], &overrun, &NLRI), &ebgp()).expect("RFC 7606 §4");
        assert_eq!(read.withdrawn.len(), 1, "length {len}");
    }
}

/// CVE-2025-59688: a NOTIFICATION of every length is read, none is answered.
#[test]
fn notifications() {
    for len in 2..200 {
        let notification = decode(&message(3, &vec![6; len]), &ebgp()).expect("read");
        assert!(matches!(notification, Message::Notification(_)));
    }
}

/// The OTC event of October 2025: attribute 35 goes out as long as it came in.
#[test]
fn only_to_customer_keeps_its_length() {
    let read = with(attribute(TRANSITIVE | 0x20, 35, &[0, 1, 2, 3]));
    let mut octets = Vec::new();
    encode(&Message::Update(read.clone()), &ebgp(), &mut octets).expect("fits");
    let again = read_all(&octets, &ebgp());
    assert_eq!(again[0].attributes.only_to_customer, Some(0x0001_0203));
    assert!(octets.windows(7).any(|w| w == [0xc0, 35, 4, 0, 1, 2, 3]));
}

/// CVE-2026-49943: paths of thousands of numbers, which extended messages allow.
#[test]
fn long_paths() {
    let session = Negotiated { extended_messages: true, ..ebgp() };
    let path = |count: usize| {
        let numbers = vec![PEER_AS; count];
        let value: Vec<u8> = numbers.chunks(255).flat_map(sequence).collect();
        let attributes = [origin(), attribute(WELL_KNOWN, 2, &value), next_hop()];
        decode_update(&update(&[], &attributes, &NLRI), &session).expect("survives")
    };
    assert_eq!(path(2048).attributes.as_path.length(), 2048);
    for count in [2049, 4096, 16_000] {
        let read = path(count);
        assert_eq!((read.reach.len(), read.withdrawn.len()), (0, 1), "{count}: withdrawn");
    }
    // What came in a long message may not fit a short one: refused, never cut.
    let long = Update {
        reach: vec![Reach {
            family: Family::Ipv4Unicast,
            next_hop: NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)),
            prefixes: vec!["10.0.0.0/8".parse().expect("a prefix")],
        }],
        attributes: Arc::new(Attributes {
            as_path: AsPath::sequence(vec![PEER_AS; 2000]),
            ..Attributes::default()
        }),
        ..Update::default()
    };
    let error = encode(&Message::Update(long), &ebgp(), &mut Vec::new()).expect_err("refused");
    assert!(matches!(error, EncodeError::AttributesTooLong { max: 4096, .. }));
}

/// CVE-2026-37457 to -37460 and FlowSpec of 2026-07: families we do not carry are not parsed.
#[test]
fn families_we_do_not_carry() {
    for (afi, safi) in [(1, 133), (1, 134), (2, 133), (25, 65), (25, 70), (16388, 71), (1, 128)] {
        for rest in [&[][..], &[0], &[0, 0, 0xff, 0xff, 0xff], &[0xf0; 64]] {
            let afi = u16::to_be_bytes(afi);
            let value = [&afi[..], &[safi], rest].concat();
            for kind in [14, 15] {
                let read = with(attribute(OPTIONAL, kind, &value));
                assert_eq!((read.reach.len(), read.errors.len()), (1, 0), "{afi:?}/{safi}");
            }
        }
    }
}

/// CVE-2026-30405: NEXT_HOP shorter than an address.
#[test]
fn short_next_hops() {
    for len in 0..4 {
        let attributes = [origin(), as_path(), attribute(WELL_KNOWN, 3, &vec![1; len])];
        let read = decode_update(&update(&[], &attributes, &NLRI), &ebgp()).expect("survives");
        assert_eq!((read.reach.len(), read.withdrawn.len()), (0, 1), "length {len}");
    }
}

/// CVE-2026-37461, -37462 and the sum that overflowed in RustyBGP: field lengths whose sum is
/// over 65535 or under zero.
#[test]
fn sums_of_field_lengths() {
    let good = update(&[], &base(), &NLRI);
    for withdrawn in [0, 1, 23, 24, 25, 0x7fff, 0xfffe, 0xffff_u16] {
        for attributes in [0, 1, 2, 0x7fff, 0x8001, 0xfffe, 0xffff_u16] {
            let mut edited = good.clone();
            edited[19..21].copy_from_slice(&withdrawn.to_be_bytes());
            edited[21..23].copy_from_slice(&attributes.to_be_bytes());
            let over = 23 + usize::from(withdrawn) + usize::from(attributes) > good.len();
            if withdrawn == 0 && over {
                let refusal = decode_update(&edited, &ebgp()).expect_err("over the message");
                assert_eq!(refusal.code, Code::MalformedAttributeList);
            } else if let Ok(read) = decode_update(&edited, &ebgp()) {
                assert!(!over || read.reach.is_empty());
            }
        }
    }
}

/// CVE-2026-41642: an unknown attribute that claims to be well-known.
#[test]
fn unknown_and_well_known() {
    for flags in [0x00, 0x40, 0x20, 0x60] {
        let read = with(attribute(flags, 77, &[1, 2, 3]));
        assert_eq!((read.reach.len(), read.withdrawn.len()), (0, 1), "flags {flags:#x}");
        assert!(read.attributes.unknown.is_empty(), "a corrupted attribute goes no further");
    }
}

/// zettabgp's parser stopped advancing, routecore's iterator never ended: prefixes of every
/// length with every number of octets.
#[test]
fn every_prefix_length() {
    for bits in 0..=255_u8 {
        for octets in 0..20 {
            let field = [&[bits], &vec![0xff; octets][..]].concat();
            let value = [&[0, 2, 1], &field[..]].concat();
            let message = update(&[], &[attribute(OPTIONAL, 15, &value)], &[]);
            if let Ok(read) = decode_update(&message, &ebgp()) {
                assert!(read.withdrawn.len() <= octets + 1);
                assert!(read.withdrawn.iter().all(|prefix| *prefix == prefix.trunc()));
            }
        }
    }
}

/// Ten thousand attributes in one message: one error each type, not one each attribute.
#[test]
fn many_attributes() {
    let session = Negotiated { extended_messages: true, ..ebgp() };
    let mut attributes = base();
    attributes.extend(vec![attribute(TRANSITIVE, 99, &[]); 20_000]);
    let read = decode_update(&update(&[], &attributes, &NLRI), &session).expect("survives");
    assert_eq!((read.errors.len(), read.attributes.unknown.len()), (1, 1));
}
