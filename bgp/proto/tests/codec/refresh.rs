//! ROUTE-REFRESH and NOTIFICATION (RFC 2918, RFC 7313, RFC 9003).

use brindle_bgp_proto::decode::decode;
use brindle_bgp_proto::encode::encode;
use brindle_bgp_proto::family::AfiSafi;
use brindle_bgp_proto::message::{Message, NotificationCode as Code, RefreshKind, RouteRefresh};

use crate::wire::{ebgp, message};

#[test]
fn each_subtype_is_read_and_written() {
    let kinds = [
        (0, RefreshKind::Request),
        (1, RefreshKind::Begin),
        (2, RefreshKind::End),
        (255, RefreshKind::Unknown(255)),
    ];
    for (octet, kind) in kinds {
        let octets = message(5, &[0, 2, octet, 1]);
        let refresh = RouteRefresh { family: AfiSafi { afi: 2, safi: 1 }, kind };
        assert_eq!(decode(&octets, &ebgp()), Ok(Message::RouteRefresh(refresh)));
        let mut written = Vec::new();
        encode(&Message::RouteRefresh(refresh), &ebgp(), &mut written).expect("fits");
        assert_eq!(written, octets);
    }
}

#[test]
fn a_longer_refresh_is_refused_with_all_of_it() {
    let octets = message(5, &[0, 1, 1, 1, 0]);
    let refusal = decode(&octets, &ebgp()).expect_err("RFC 7313 §5");
    assert_eq!(refusal, Code::InvalidRefreshLength.with_data(octets));
}

#[test]
fn every_notification_is_read() {
    for (code, subcode) in (0..=255).flat_map(|code| (0..=12).map(move |sub| (code, sub))) {
        let decoded = decode(&message(3, &[code, subcode, 1, 2]), &ebgp()).expect("RFC 4271 §6.4");
        let Message::Notification(notification) = decoded else { panic!("{decoded:?}") };
        assert_eq!((notification.code.code(), notification.code.subcode()), (code, subcode));
        assert_eq!(notification.data, [1, 2]);
        assert!(!notification.to_string().is_empty());
    }
}

#[test]
fn the_words_of_a_shutdown_are_shown() {
    let words = |data: &[u8]| Code::AdministrativeShutdown.with_data(data).communication();
    assert_eq!(words(b"\x05hello").as_deref(), Some("hello"));
    assert_eq!(words(b"\x05hel"), None, "cut off");
    assert_eq!(words(b"\x02\xff\xff"), None, "not UTF-8");
    assert_eq!(words(b"\x00"), None);
    assert_eq!(words(b"\x02\x1b["), Some("\u{fffd}[".into()), "no terminal control");
    assert_eq!(words(b""), None);
}

#[test]
fn notification_data_is_cut_to_the_message() {
    let notification = Code::UpdateUnspecific.with_data(vec![7; 70_000]);
    let mut octets = Vec::new();
    encode(&Message::Notification(notification), &ebgp(), &mut octets).expect("always");
    assert_eq!(octets.len(), 4096);
    assert!(decode(&octets, &ebgp()).is_ok());
}
