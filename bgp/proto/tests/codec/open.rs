//! OPEN: RFC 4271 §6.2, RFC 5492, RFC 6286, RFC 7607, RFC 9072.

use std::net::Ipv4Addr;

use brindle_bgp_proto::capability::{Capability, GracefulRestart, RestartFamily, Role};
use brindle_bgp_proto::decode::decode;
use brindle_bgp_proto::encode::{EncodeError, encode};
use brindle_bgp_proto::family::{AfiSafi, Family, FamilySet};
use brindle_bgp_proto::message::{Message, Notification, NotificationCode as Code, Open};
use brindle_bgp_proto::negotiated::Negotiated;

use crate::wire::message;

fn session() -> Negotiated {
    Negotiated::before_open(65010)
}

/// AS 65020, hold time 90, identifier 192.0.2.1, then what is given.
fn open(parameters: &[u8]) -> Vec<u8> {
    let fixed = [4, 0xfd, 0xfc, 0, 90, 192, 0, 2, 1];
    message(1, &[&fixed, parameters].concat())
}

fn parse(octets: &[u8]) -> Result<Open, Notification> {
    decode(octets, &session()).map(|message| match message {
        Message::Open(open) => open,
        other => panic!("an OPEN was decoded as {other:?}"),
    })
}

fn capabilities(octets: &[u8]) -> Result<Vec<Capability>, Notification> {
    let len = u8::try_from(octets.len()).expect("short");
    parse(&open(&[&[len + 2, 2, len], octets].concat())).map(|open| open.capabilities)
}

fn refused(octets: &[u8]) -> Code {
    parse(octets).expect_err("refused").code
}

#[test]
fn fields_are_checked() {
    let edited = |at: usize, octets: &[u8]| {
        let mut message = open(&[0]);
        message[at..at + octets.len()].copy_from_slice(octets);
        message
    };
    let plain = parse(&open(&[0])).expect("a plain OPEN");
    assert_eq!((plain.as_number, plain.hold_time), (65020, 90));
    assert_eq!(plain.router_id, Ipv4Addr::new(192, 0, 2, 1));
    for version in [0, 3, 5, 255] {
        let refusal = parse(&edited(19, &[version])).expect_err("another version");
        assert_eq!(refusal, Code::UnsupportedVersion.with_data([0, 4]));
    }
    assert_eq!(refused(&edited(20, &[0, 0])), Code::BadPeerAs);
    for hold in [1, 2] {
        assert_eq!(refused(&edited(22, &[0, hold])), Code::UnacceptableHoldTime);
    }
    assert_eq!(parse(&edited(22, &[0, 0])).expect("hold 0 is none").hold_time, 0);
    assert_eq!(refused(&edited(24, &[0; 4])), Code::BadBgpIdentifier);
    // RFC 6286: any other identifier will do.
    assert!(parse(&edited(24, &[255; 4])).is_ok());
}

#[test]
fn four_octets_replace_two() {
    let with = |number: u32| open(&[&[8, 2, 6, 65, 4], &number.to_be_bytes()[..]].concat());
    assert_eq!(parse(&with(4_200_000_000)).expect("four octets").as_number, 4_200_000_000);
    assert_eq!(refused(&with(0)), Code::BadPeerAs, "RFC 7607");
}

#[test]
fn lengths_of_optional_parameters_must_agree() {
    let malformed: [&[u8]; 10] = [
        &[1],                       // one octet announced, none there
        &[0, 2],                    // none announced, one there
        &[255],                     // CVE-2022-40318: ends at the length
        &[4, 2, 2, 2],              // a parameter cut off
        &[3, 2, 2, 2, 0],           // longer than announced
        &[2, 2, 2],                 // a parameter without its value
        &[1, 2],                    // a parameter without a length
        &[255, 255],                // extended, without a length
        &[255, 255, 0],             // extended, with half a length
        &[255, 255, 0, 5, 2, 0, 4], // extended, cut off
    ];
    for parameters in malformed {
        assert_eq!(refused(&open(parameters)), Code::OpenUnspecific, "{parameters:?}");
    }
    for unknown in [1, 3, 254] {
        let refusal = refused(&open(&[2, unknown, 0]));
        assert_eq!(refusal, Code::UnsupportedOptionalParameter, "type {unknown}");
    }
}

#[test]
fn extended_lengths_are_read() {
    // RFC 9072 §2: the short length is to be ignored unless 0.
    for short in [255, 1] {
        let parameters = [short, 255, 0, 5, 2, 0, 2, 2, 0];
        let parsed = parse(&open(&parameters)).expect("extended");
        assert_eq!(parsed.capabilities, [Capability::RouteRefresh]);
    }
    assert_eq!(refused(&open(&[0, 255, 0, 0])), Code::OpenUnspecific);
}

#[test]
fn capabilities_are_read() {
    let ipv6 = Family::Ipv6Unicast.afi_safi();
    let read = capabilities(&[1, 4, 0, 2, 0, 1, 2, 0, 9, 1, 3, 200, 2, 7, 7]).expect("all well");
    assert_eq!(
        read,
        [
            Capability::Multiprotocol(ipv6),
            Capability::RouteRefresh,
            Capability::Role(Role::Customer),
            Capability::Unknown { code: 200, value: vec![7, 7] },
        ]
    );
    let restart = capabilities(&[64, 10, 0xc0, 120, 0, 1, 1, 0x80, 0, 2, 1, 0]).expect("GR");
    let family =
        |family: Family, forwarding| RestartFamily { family: family.afi_safi(), forwarding };
    assert_eq!(
        restart,
        [Capability::GracefulRestart(GracefulRestart {
            restarted: true,
            notification: true,
            restart_time: 120,
            families: vec![family(Family::Ipv4Unicast, true), family(Family::Ipv6Unicast, false)],
        })]
    );
}

/// A capability that we act on and whose length is impossible would be acted on wrongly.
#[test]
fn impossible_capability_lengths_are_refused() {
    let malformed: [&[u8]; 16] = [
        &[1],
        &[1, 4, 0, 2, 0],
        &[1, 3, 0, 2, 0],
        &[1, 5, 0, 2, 0, 1, 0],
        &[2, 1, 0],
        &[5, 5, 0, 1, 0, 1, 0],
        &[6, 1, 0],
        &[9, 0],
        &[9, 2, 0, 0],
        &[64, 1, 0],
        &[64, 5, 0, 0, 0, 1, 1],
        &[65, 2, 0, 1],
        &[65, 5, 0, 0, 0, 1, 0],
        &[70, 1, 0],
        &[71, 6, 0, 1, 1, 0, 0, 0],
        &[73, 2, 5, b'h'],
    ];
    for octets in malformed {
        let refusal = capabilities(octets).expect_err("refused");
        assert_eq!(refusal.code, Code::OpenUnspecific, "{octets:?}");
        assert_eq!(refusal.data, octets, "the capability is the data");
    }
}

#[test]
fn many_capabilities_take_extended_lengths() {
    let unknown = |len: usize| Capability::Unknown { code: 200, value: vec![7; len] };
    // Octets of capabilities, and whether they fit the short form.
    for (lens, short) in
        [(vec![], true), (vec![251], true), (vec![252], false), (vec![255; 9], false)]
    {
        let open = Open {
            as_number: 70_000,
            hold_time: 90,
            router_id: Ipv4Addr::new(192, 0, 2, 1),
            capabilities: lens.iter().map(|len| unknown(*len)).collect(),
        };
        let mut octets = Vec::new();
        encode(&Message::Open(open.clone()), &session(), &mut octets).expect("it fits");
        assert_eq!(octets[29..].first() != Some(&255), short, "{lens:?}");
        let parsed = parse(&octets).expect("our own");
        assert_eq!(parsed.capabilities, open.capabilities);
        assert_eq!(parsed.as_number, 23456, "AS_TRANS without the capability");
    }
    let open = Open {
        as_number: 1,
        hold_time: 0,
        router_id: Ipv4Addr::LOCALHOST,
        capabilities: vec![unknown(255); 16],
    };
    let mut octets = vec![1];
    let error = encode(&Message::Open(open), &session(), &mut octets).expect_err("too long");
    assert_eq!(error, EncodeError::CapabilitiesTooLong { len: 16 * 257 });
    assert_eq!(octets, [1], "nothing is left behind");
}

#[test]
fn a_session_is_what_both_sides_offer() {
    let ipv4 = Family::Ipv4Unicast;
    let offer = |as_number: u32, hold_time: u16, capabilities: Vec<Capability>| Open {
        as_number,
        hold_time,
        router_id: Ipv4Addr::LOCALHOST,
        capabilities,
    };
    let both = |family: Family| Capability::Multiprotocol(family.afi_safi());
    let all = vec![
        both(ipv4),
        both(Family::Ipv6Unicast),
        Capability::FourOctetAs(65010),
        Capability::ExtendedMessage,
        Capability::RouteRefresh,
    ];
    let ours = offer(65010, 90, all.clone());
    let plain = Negotiated::new(&ours, &offer(65020, 30, vec![]));
    assert_eq!(plain.families, [ipv4].into_iter().collect(), "RFC 4760 §8: IPv4 alone");
    assert!(!plain.four_octet_as && !plain.extended_messages && !plain.route_refresh);
    assert_eq!((plain.hold_time, plain.max_message_len()), (30, 4096));
    let full = Negotiated::new(&ours, &offer(65020, 180, all));
    assert_eq!(full.families, FamilySet::ALL);
    assert!(full.four_octet_as && full.route_refresh);
    assert_eq!((full.hold_time, full.max_message_len()), (90, 65535));
    let evpn = Capability::Multiprotocol(AfiSafi { afi: 25, safi: 70 });
    let other = Negotiated::new(&ours, &offer(65020, 90, vec![evpn]));
    assert!(other.families.is_empty(), "a peer that names only other families has no IPv4");
}
