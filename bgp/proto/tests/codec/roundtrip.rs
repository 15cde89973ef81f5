//! What is encoded decodes as itself, in messages no longer than the session allows.

use std::collections::BTreeSet;
use std::sync::Arc;

use brindle_bgp_proto::attribute::Attributes;
use brindle_bgp_proto::decode::{decode, frame};
use brindle_bgp_proto::encode::{EncodeError, encode, room_for_prefixes};
use brindle_bgp_proto::family::Family;
use brindle_bgp_proto::message::{Message, NextHop, Reach, Update};
use brindle_bgp_proto::negotiated::Negotiated;
use ipnet::IpNet;
use proptest::prelude::*;

use crate::generate;
use crate::wire::{ebgp, ibgp};

/// Every session worth telling apart: inside and outside, long messages, RFC 8950.
pub fn sessions() -> Vec<Negotiated> {
    let mut all = Vec::new();
    for base in [ebgp(), ibgp()] {
        all.push(Negotiated { extended_messages: true, ..base.clone() });
        all.push(Negotiated { extended_next_hop: true, ..base.clone() });
        all.push(base);
    }
    all
}

/// An UPDATE of one of the sessions.
pub fn session_and_update() -> impl Strategy<Value = (Negotiated, Update)> {
    let sessions = proptest::sample::select(sessions());
    sessions.prop_flat_map(|session| (Just(session.clone()), generate::update(session)))
}

/// Cuts a stream into messages and decodes each.
pub fn read_all(mut octets: &[u8], session: &Negotiated) -> Vec<Update> {
    let mut updates = Vec::new();
    while !octets.is_empty() {
        let len = frame(octets, session).expect("a header").expect("a whole message");
        match decode(&octets[..len], session).expect("a message") {
            Message::Update(update) => updates.push(update),
            other => panic!("{other:?}"),
        }
        octets = &octets[len..];
    }
    updates
}

type Announced = BTreeSet<(NextHop, IpNet, Arc<Attributes>)>;

/// What updates say, whatever the messages.
fn meaning(updates: &[Update]) -> (BTreeSet<IpNet>, Announced) {
    let withdrawn = updates.iter().flat_map(|update| update.withdrawn.iter().copied()).collect();
    let mut announced = Announced::new();
    for update in updates {
        for reach in &update.reach {
            let route = |prefix: &IpNet| (reach.next_hop, *prefix, update.attributes.clone());
            announced.extend(reach.prefixes.iter().map(route));
        }
    }
    (withdrawn, announced)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn an_update_means_the_same_after_the_wire((session, update) in session_and_update()) {
        let mut octets = Vec::new();
        match encode(&Message::Update(update.clone()), &session, &mut octets) {
            Ok(()) => {
                let read = read_all(&octets, &session);
                prop_assert!(read.iter().all(|update| update.errors.is_empty()), "{read:?}");
                prop_assert_eq!(meaning(&read), meaning(&[update]));
            }
            Err(EncodeError::AttributesTooLong { len, max }) => {
                prop_assert!(len + 17 + 23 > max, "{len} of {max}");
                prop_assert!(octets.is_empty());
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn an_open_reads_as_written(open in generate::open()) {
        let session = Negotiated::before_open(1);
        let mut octets = Vec::new();
        encode(&Message::Open(open.clone()), &session, &mut octets).expect("fits");
        prop_assert_eq!(decode(&octets, &session), Ok(Message::Open(open)));
    }

    /// What the export queue relies on: as many prefixes as there is room for are one message.
    #[test]
    fn room_is_what_one_message_holds(
        prefixes in proptest::collection::vec(generate::prefix(Family::Ipv6Unicast), 600),
        extended in any::<bool>(),
    ) {
        let session = Negotiated { extended_messages: extended, ..ebgp() };
        let next_hop = NextHop::V6 { global: "2001:db8::1".parse().expect("v6"), link_local: None };
        let attributes = Arc::new(Attributes::default());
        let family = Family::Ipv6Unicast;
        let room = room_for_prefixes(&attributes, &next_hop, family, &session).expect("small");
        let mut left = room;
        let fits = |prefix: &&IpNet| {
            let len = 1 + usize::from(prefix.prefix_len()).div_ceil(8);
            let rest = left.checked_sub(len);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        let some: Vec<IpNet> = prefixes.iter().take_while(fits).copied().collect();
        let count = |prefixes: Vec<IpNet>| {
            let reach = vec![Reach { family, next_hop, prefixes }];
            let update = Update { reach, attributes: attributes.clone(), ..Update::default() };
            let mut octets = Vec::new();
            encode(&Message::Update(update), &session, &mut octets).expect("fits");
            read_all(&octets, &session).len()
        };
        prop_assert_eq!(count(some.clone()), 1);
        if some.len() < prefixes.len() {
            prop_assert_eq!(count(prefixes[..=some.len()].to_vec()), 2, "not one octet wasted");
        }
    }
}

#[test]
fn end_of_rib_is_what_rfc_4724_says() {
    for (family, len) in [(Family::Ipv4Unicast, 23), (Family::Ipv6Unicast, 29)] {
        let mut octets = Vec::new();
        encode(&Message::Update(Update::end_of_rib(family)), &ebgp(), &mut octets).expect("fits");
        assert_eq!(octets.len(), len);
        let read = read_all(&octets, &ebgp());
        assert_eq!(read, [Update::end_of_rib(family)]);
    }
}

/// RFC 8654 §3: longer messages are for sessions that agreed on them.
#[test]
fn full_messages_reach_the_limit() {
    for (session, max) in
        [(ebgp(), 4096), (Negotiated { extended_messages: true, ..ebgp() }, 65_535)]
    {
        let prefix = |i: u32| IpNet::V4(ipnet::Ipv4Net::new(i.into(), 32).expect("a prefix"));
        let update = Update::withdraw((0..40_000).map(prefix).collect());
        let mut octets = Vec::new();
        encode(&Message::Update(update), &session, &mut octets).expect("fits");
        let first = frame(&octets, &session).expect("a header").expect("whole");
        assert!((max - 16..=max).contains(&first), "{first} of {max}");
    }
}

#[test]
fn what_cannot_be_said_is_refused() {
    let v4 = NextHop::V4([192, 0, 2, 1].into());
    let v6 = NextHop::V6 { global: "2001:db8::1".parse().expect("v6"), link_local: None };
    let refused = |family, next_hop, prefix: &str| {
        let prefixes = vec![prefix.parse().expect("a prefix")];
        let reach = vec![Reach { family, next_hop, prefixes }];
        let update = Message::Update(Update { reach, ..Update::default() });
        encode(&update, &ebgp(), &mut Vec::new()).expect_err("refused")
    };
    let family = |error| matches!(error, EncodeError::NextHopFamily { .. });
    assert!(family(refused(Family::Ipv6Unicast, v4, "2001:db8::/32")));
    assert!(family(refused(Family::Ipv4Unicast, v6, "10.0.0.0/8")), "RFC 8950 not agreed on");
    let mixed = refused(Family::Ipv4Unicast, v4, "2001:db8::/32");
    assert!(matches!(mixed, EncodeError::PrefixFamily(_)));
}
