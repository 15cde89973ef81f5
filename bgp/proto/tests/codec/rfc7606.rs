//! RFC 7606, clause by clause and attribute by attribute, for external and internal peers.

use brindle_bgp_proto::attribute::Outcome;
use brindle_bgp_proto::family::Family;
use brindle_bgp_proto::message::{NotificationCode as Code, Update};
use brindle_bgp_proto::negotiated::{Negotiated, NlriErrors};

use crate::wire::*;

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    /// Nothing to complain about.
    Accepted,
    /// The routes are taken without the attribute.
    Discard,
    /// The routes are treated as withdrawn.
    Withdraw,
    /// The session ends.
    Reset(Code),
}

use Fate::{Accepted, Discard, Reset, Withdraw};

fn fate(message: &[u8], session: &Negotiated) -> Fate {
    match decode_update(message, session) {
        Err(notification) => Reset(notification.code),
        Ok(update) => match update.errors.iter().map(|error| error.outcome).max() {
            None => Accepted,
            Some(Outcome::AttributeDiscard) => Discard,
            Some(Outcome::TreatAsWithdraw) => Withdraw,
            Some(Outcome::DisableFamily(_)) => panic!("not asked for on this session"),
        },
    }
}

/// The prefixes of the message must be where its fate puts them.
fn check_prefixes(clause: &str, fate: &Fate, update: &Update, announced: usize) {
    let reached: usize = update.reach.iter().map(|reach| reach.prefixes.len()).sum();
    let (reach, withdrawn) = match fate {
        Withdraw => (0, announced),
        _ => (announced, 0),
    };
    assert_eq!(reached, reach, "{clause}: reachable prefixes");
    assert_eq!(update.withdrawn.len(), withdrawn, "{clause}: withdrawn prefixes");
}

/// A full message whose attribute of the same type is replaced by this one, or to which it is
/// added.
fn with(attribute: &[u8]) -> Vec<u8> {
    let mut attributes = vec![origin(), as_path(), next_hop()];
    match attributes.iter_mut().find(|known| known[1] == attribute[1]) {
        Some(known) => *known = attribute.to_vec(),
        None => attributes.push(attribute.to_vec()),
    }
    update(&[], &attributes, &NLRI)
}

fn at(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    attribute(flags, kind, value)
}

/// Clause, attribute, fate with an external peer, fate with an internal peer.
fn table() -> Vec<(&'static str, Vec<u8>, Fate, Fate)> {
    let (wk, opt, tr) = (WELL_KNOWN, OPTIONAL, TRANSITIVE);
    let same = |clause, attribute, fate: Fate| (clause, attribute, fate.clone(), fate);
    let mp_reset = Reset(Code::OptionalAttributeError);
    let zero_as = sequence(&[PEER_AS, 0]);
    let mut overrun = sequence(&[PEER_AS]);
    overrun[1] = 2;
    let mut underrun = sequence(&[PEER_AS]);
    underrun.push(0);
    let mut bad_kind = sequence(&[PEER_AS]);
    bad_kind[0] = 5;
    let mut confederation = sequence(&[PEER_AS]);
    confederation[0] = 3;
    let mut then_empty = sequence(&[PEER_AS]);
    then_empty.extend([2, 0]);
    let set = [1, 1, 0, 0, 0xfd, 0xfc];
    let mp = |edit: fn(&mut Vec<u8>)| {
        let mut value = mp_reach()[3..].to_vec();
        edit(&mut value);
        at(OPTIONAL, 14, &value)
    };
    vec![
        same("7.1 ORIGIN", origin(), Accepted),
        same("7.1 ORIGIN length 0", at(wk, 1, &[]), Withdraw),
        same("7.1 ORIGIN length 2", at(wk, 1, &[0, 0]), Withdraw),
        same("7.1 ORIGIN value 3", at(wk, 1, &[3]), Withdraw),
        same("3c ORIGIN optional", at(tr, 1, &[0]), Withdraw),
        same("3c ORIGIN not transitive", at(0, 1, &[0]), Withdraw),
        same("3c ORIGIN partial bit does not count", at(wk | 0x20, 1, &[0]), Accepted),
        same("3c ORIGIN unused bits do not count", at(wk | 0x0f, 1, &[0]), Accepted),
        same("7.2 AS_PATH segment type", at(wk, 2, &bad_kind), Withdraw),
        same("7.2 AS_PATH segment length 0", at(wk, 2, &[2, 0]), Withdraw),
        same("7.2 AS_PATH then segment length 0", at(wk, 2, &then_empty), Withdraw),
        same("7.2 AS_PATH segment overrun", at(wk, 2, &overrun), Withdraw),
        same("7.2 AS_PATH segment underrun", at(wk, 2, &underrun), Withdraw),
        same("7.2 AS_PATH of length 0", at(wk, 2, &[]), Accepted),
        same("7.2 AS_PATH with a set", at(wk, 2, &set), Accepted),
        same("RFC 7607 AS_PATH with AS 0", at(wk, 2, &zero_as), Withdraw),
        ("RFC 5065 5 confederation", at(wk, 2, &confederation), Withdraw, Accepted),
        same("3c AS_PATH optional", at(tr, 2, &sequence(&[PEER_AS])), Withdraw),
        same("7.3 NEXT_HOP length 0", at(wk, 3, &[]), Withdraw),
        same("7.3 NEXT_HOP length 3", at(wk, 3, &[192, 0, 2]), Withdraw),
        same("7.3 NEXT_HOP length 5", at(wk, 3, &[192, 0, 2, 1, 1]), Withdraw),
        same("3e NEXT_HOP 0.0.0.0", at(wk, 3, &[0; 4]), Withdraw),
        same("3e NEXT_HOP multicast", at(wk, 3, &[224, 0, 0, 1]), Withdraw),
        same("3e NEXT_HOP broadcast", at(wk, 3, &[255; 4]), Withdraw),
        same("3c NEXT_HOP optional", at(opt, 3, &[192, 0, 2, 1]), Withdraw),
        same("7.4 MED", at(opt, 4, &[0; 4]), Accepted),
        same("7.4 MED length 0", at(opt, 4, &[]), Withdraw),
        same("7.4 MED length 3", at(opt, 4, &[0; 3]), Withdraw),
        same("7.4 MED length 5", at(opt, 4, &[0; 5]), Withdraw),
        same("3c MED transitive", at(tr, 4, &[0; 4]), Withdraw),
        ("7.5 LOCAL_PREF", at(wk, 5, &[0; 4]), Discard, Accepted),
        ("7.5 LOCAL_PREF length 3", at(wk, 5, &[0; 3]), Discard, Withdraw),
        ("7.5 LOCAL_PREF length 0", at(wk, 5, &[]), Discard, Withdraw),
        ("3c LOCAL_PREF optional", at(opt, 5, &[0; 4]), Discard, Withdraw),
        same("7.6 ATOMIC_AGGREGATE", at(wk, 6, &[]), Accepted),
        same("7.6 ATOMIC_AGGREGATE length 1", at(wk, 6, &[0]), Discard),
        same("3f ATOMIC_AGGREGATE optional", at(opt, 6, &[]), Discard),
        same("7.7 AGGREGATOR", at(tr, 7, &[0, 0, 0xfd, 0xe8, 1, 2, 3, 4]), Accepted),
        same("7.7 AGGREGATOR length 6", at(tr, 7, &[0xfd, 0xe8, 1, 2, 3, 4]), Discard),
        same("7.7 AGGREGATOR length 9", at(tr, 7, &[1; 9]), Discard),
        same("7.7 AGGREGATOR length 0", at(tr, 7, &[]), Discard),
        same("RFC 7607 AGGREGATOR AS 0", at(tr, 7, &[0, 0, 0, 0, 1, 2, 3, 4]), Discard),
        same("3f AGGREGATOR not transitive", at(opt, 7, &[1; 8]), Discard),
        same("7.8 COMMUNITIES", at(tr, 8, &[0; 8]), Accepted),
        same("7.8 COMMUNITIES length 0", at(tr, 8, &[]), Withdraw),
        same("7.8 COMMUNITIES length 3", at(tr, 8, &[0; 3]), Withdraw),
        same("7.8 COMMUNITIES length 5", at(tr, 8, &[0; 5]), Withdraw),
        same("3c COMMUNITIES not transitive", at(opt, 8, &[0; 4]), Withdraw),
        same("3c COMMUNITIES partial", at(tr | 0x20, 8, &[0; 4]), Accepted),
        ("7.9 ORIGINATOR_ID", at(opt, 9, &[1; 4]), Discard, Accepted),
        ("7.9 ORIGINATOR_ID length 3", at(opt, 9, &[1; 3]), Discard, Withdraw),
        ("7.9 ORIGINATOR_ID length 5", at(opt, 9, &[1; 5]), Discard, Withdraw),
        ("7.10 CLUSTER_LIST", at(opt, 10, &[1; 8]), Discard, Accepted),
        ("7.10 CLUSTER_LIST length 0", at(opt, 10, &[]), Discard, Withdraw),
        ("7.10 CLUSTER_LIST length 5", at(opt, 10, &[1; 5]), Discard, Withdraw),
        same("7.11 MP_REACH shorter than a family", at(opt, 14, &[0, 2]), mp_reset.clone()),
        same("7.11 MP_REACH without next hop", at(opt, 14, &[0, 2, 1]), mp_reset.clone()),
        same("7.11 MP_REACH next hop length 0", mp(|v| v[3] = 0), mp_reset.clone()),
        same("7.11 MP_REACH next hop length 4", mp(|v| v[3] = 4), mp_reset.clone()),
        same("7.11 MP_REACH next hop length 24", mp(|v| v[3] = 24), mp_reset.clone()),
        same("7.11 MP_REACH next hop overrun", mp(|v| v[3] = 255), mp_reset.clone()),
        same("5.3 MP_REACH prefix over 128", mp(|v| v[21] = 129), mp_reset.clone()),
        same("5.3 MP_REACH prefix cut off", mp(|v| v[21] = 128), mp_reset.clone()),
        same("MP_REACH next hop ::", mp(|v| v[4..20].fill(0)), Withdraw),
        same("MP_REACH next hop multicast", mp(|v| v[4] = 0xff), Withdraw),
        same("3c MP_REACH transitive", at(tr, 14, &mp_reach()[3..]), Withdraw),
        same("RFC 4760 3 family not carried", mp(|v| v[1] = 25), Accepted),
        same("7.12 MP_UNREACH shorter than a family", at(opt, 15, &[0, 2]), mp_reset.clone()),
        same("5.3 MP_UNREACH prefix over 128", at(opt, 15, &[0, 2, 1, 129]), mp_reset.clone()),
        same("5.3 MP_UNREACH prefix cut off", at(opt, 15, &[0, 2, 1, 48, 1]), mp_reset),
        same("7.14 EXTENDED_COMMUNITIES", at(tr, 16, &[0; 16]), Accepted),
        same("7.14 EXTENDED_COMMUNITIES length 0", at(tr, 16, &[]), Withdraw),
        same("7.14 EXTENDED_COMMUNITIES length 7", at(tr, 16, &[0; 7]), Withdraw),
        same("7.14 EXTENDED_COMMUNITIES length 9", at(tr, 16, &[0; 9]), Withdraw),
        same("RFC 8092 6 LARGE_COMMUNITY", at(tr, 32, &[0; 24]), Accepted),
        same("RFC 8092 6 LARGE_COMMUNITY length 0", at(tr, 32, &[]), Withdraw),
        same("RFC 8092 6 LARGE_COMMUNITY length 11", at(tr, 32, &[0; 11]), Withdraw),
        same("RFC 8092 6 LARGE_COMMUNITY length 13", at(tr, 32, &[0; 13]), Withdraw),
        same("RFC 9234 5 OTC", at(tr, 35, &[0, 0, 0, 1]), Accepted),
        same("RFC 9234 5 OTC length 3", at(tr, 35, &[0; 3]), Withdraw),
        same("RFC 9234 5 OTC length 5", at(tr, 35, &[0; 5]), Withdraw),
        same("RFC 6793 4.1 AS4_PATH", at(tr, 17, &sequence(&[1])), Discard),
        same("RFC 6793 4.1 AS4_AGGREGATOR", at(tr, 18, &[1; 8]), Discard),
        same("unknown well-known", at(wk, 200, &[1]), Withdraw),
        same("unknown optional transitive", at(tr, 200, &[1]), Accepted),
        same("unknown optional", at(opt, 200, &[1]), Accepted),
    ]
}

#[test]
fn each_attribute_has_the_fate_that_its_clause_names() {
    for (clause, attribute, external, internal) in table() {
        for (session, expected) in [(ebgp(), external), (ibgp(), internal)] {
            let message = with(&attribute);
            let kind = session.peer_kind();
            assert_eq!(fate(&message, &session), expected, "{clause}, {kind:?}");
            if let Ok(update) = decode_update(&message, &session) {
                let mp = matches!(attribute[1], 14) && !clause.contains("not carried");
                let announced = 1 + usize::from(mp);
                check_prefixes(clause, &expected, &update, announced);
            }
        }
    }
}

/// Nothing of a discarded attribute may be left, nor of a malformed one.
#[test]
fn a_discarded_attribute_leaves_nothing() {
    let clean = decode_update(&update(&[], &[origin(), as_path(), next_hop()], &NLRI), &ebgp())
        .expect("a clean message");
    for (clause, attribute, external, _) in table() {
        if external == Discard {
            let update = decode_update(&with(&attribute), &ebgp()).expect("survives");
            assert_eq!(update.attributes, clean.attributes, "{clause}");
        }
    }
}

#[test]
fn missing_mandatory_attributes_withdraw() {
    for missing in 1..=3 {
        let attributes: Vec<_> =
            [origin(), as_path(), next_hop()].into_iter().filter(|a| a[1] != missing).collect();
        let update = decode_update(&update(&[], &attributes, &NLRI), &ebgp()).expect("survives");
        let told: Vec<_> =
            update.errors.iter().map(|error| (error.attribute, error.code)).collect();
        assert_eq!(told, [(missing, Code::MissingWellKnownAttribute)]);
        assert_eq!(update.withdrawn.len(), 1);
        assert!(update.reach.is_empty());
    }
    // RFC 4760 §3: with only MP_REACH_NLRI there is no NEXT_HOP to miss.
    let message = update(&[], &[mp_reach(), origin(), as_path()], &[]);
    assert_eq!(fate(&message, &ebgp()), Accepted);
}

#[test]
fn of_a_repeated_attribute_the_first_counts() {
    let med = |value: u8| attribute(OPTIONAL, 4, &[0, 0, 0, value]);
    let message = update(&[], &[origin(), as_path(), next_hop(), med(1), med(2), med(3)], &NLRI);
    let decoded = decode_update(&message, &ebgp()).expect("3g: survives");
    assert_eq!(decoded.attributes.med, Some(1));
    assert_eq!(decoded.errors.len(), 1, "told once: {:?}", decoded.errors);
    assert_eq!(fate(&message, &ebgp()), Discard);
    let unknown = |value: u8| attribute(TRANSITIVE, 99, &[value]);
    let message = update(&[], &[origin(), as_path(), next_hop(), unknown(1), unknown(2)], &NLRI);
    let decoded = decode_update(&message, &ebgp()).expect("3g: survives");
    assert_eq!(decoded.attributes.unknown.len(), 1);
    assert_eq!(decoded.attributes.unknown[0].value, [1]);
}

#[test]
fn a_repeated_multiprotocol_attribute_resets() {
    for twice in [mp_reach(), mp_unreach()] {
        let message = update(&[], &[twice.clone(), twice, origin(), as_path()], &[]);
        assert_eq!(fate(&message, &ebgp()), Reset(Code::MalformedAttributeList), "3g");
    }
}

#[test]
fn the_strongest_of_several_faults_counts() {
    let atomic = attribute(WELL_KNOWN, 6, &[1]);
    let bad_origin = attribute(WELL_KNOWN, 1, &[9]);
    let message = update(&[], &[bad_origin.clone(), as_path(), next_hop(), atomic], &NLRI);
    assert_eq!(fate(&message, &ebgp()), Withdraw, "3h: discard and withdraw");
    let mut short = mp_reach();
    short.truncate(10);
    short[2] = 7;
    let message = update(&[], &[bad_origin, as_path(), next_hop(), short], &NLRI);
    assert_eq!(fate(&message, &ebgp()), Reset(Code::OptionalAttributeError), "3h: reset wins");
}

#[test]
fn attribute_lengths_in_conflict_withdraw_and_the_field_length_finds_the_prefixes() {
    let ends: [(&str, &[u8]); 6] = [
        ("one octet left", &[0x40]),
        ("two octets left", &[0x40, 5]),
        ("three octets left of an extended length", &[0x50, 5, 0]),
        ("a value that runs over", &[0x40, 5, 4, 0, 0, 0]),
        ("an extended length that runs over", &[0x50, 5, 0xff, 0xff, 0]),
        ("nothing but flags of an unknown one", &[0xff]),
    ];
    for (what, end) in ends {
        let message = update(&[], &[origin(), as_path(), next_hop(), end.to_vec()], &NLRI);
        assert_eq!(fate(&message, &ebgp()), Withdraw, "4: {what}");
        let decoded = decode_update(&message, &ebgp()).expect("survives");
        assert_eq!(decoded.withdrawn, ["10.1.0.0/16".parse().expect("a prefix")], "4: {what}");
    }
}

#[test]
fn field_lengths_over_the_message_reset() {
    let good = update(&[], &[origin(), as_path(), next_hop()], &NLRI);
    for at in [19, 21] {
        for value in [0xffff_u16, 0x7fff, u16::try_from(good.len()).expect("short")] {
            let mut message = good.clone();
            message[at..at + 2].copy_from_slice(&value.to_be_bytes());
            assert_eq!(fate(&message, &ebgp()), Reset(Code::MalformedAttributeList), "3b");
        }
    }
}

#[test]
fn unreadable_prefixes_reset() {
    let attributes = [origin(), as_path(), next_hop()];
    for bad in [&[33, 10, 0, 0, 0, 0][..], &[255], &[24, 10, 1], &[16, 10, 1, 8]] {
        let message = update(&[], &attributes, bad);
        assert_eq!(fate(&message, &ebgp()), Reset(Code::InvalidNetworkField), "3j {bad:?}");
        let message = update(bad, &attributes, &NLRI);
        assert_eq!(fate(&message, &ebgp()), Reset(Code::InvalidNetworkField), "3i {bad:?}");
    }
}

#[test]
fn a_fault_in_a_message_without_reachable_prefixes_resets() {
    let bad_origin = attribute(WELL_KNOWN, 1, &[9]);
    for (withdrawn, attributes) in [
        (&NLRI[..], vec![bad_origin.clone()]),
        (&[], vec![mp_unreach(), bad_origin.clone()]),
        (&[], vec![bad_origin.clone(), as_path(), next_hop()]),
    ] {
        let notification = decode_update(&update(withdrawn, &attributes, &[]), &ebgp())
            .expect_err("5.2: session reset");
        assert_eq!(notification.code, Code::InvalidOrigin);
        assert_eq!(notification.data, bad_origin, "RFC 4271 §6.3: the attribute is the data");
    }
    let atomic = attribute(WELL_KNOWN, 6, &[1]);
    let message = update(&[], &[mp_unreach(), atomic], &[]);
    assert_eq!(fate(&message, &ebgp()), Discard, "5.2: a discarded attribute does not reset");
}

#[test]
fn multiprotocol_attributes_are_found_at_any_place() {
    type Attributes = [fn() -> Vec<u8>; 4];
    let orders: [Attributes; 3] = [
        [mp_reach, mp_unreach, origin, as_path],
        [origin, mp_unreach, as_path, mp_reach],
        [origin, as_path, mp_reach, mp_unreach],
    ];
    let decoded = orders.map(|order| {
        let attributes = order.map(|attribute| attribute());
        decode_update(&update(&[], &attributes, &[]), &ebgp()).expect("5.1: any place")
    });
    assert_eq!(decoded[0], decoded[1]);
    assert_eq!(decoded[0], decoded[2]);
    assert_eq!(decoded[0].withdrawn, ["2001:db8:2::/48".parse().expect("a prefix")]);
}

#[test]
fn a_family_can_be_given_up_instead_of_the_session() {
    let session = Negotiated { nlri_errors: NlriErrors::DisableFamily, ..ebgp() };
    let mut broken = mp_reach();
    broken[6] = 5;
    let message = update(&[], &[broken, origin(), as_path(), next_hop()], &NLRI);
    let decoded = decode_update(&message, &session).expect("the session survives");
    let outcomes: Vec<_> = decoded.errors.iter().map(|error| error.outcome).collect();
    assert_eq!(outcomes, [Outcome::DisableFamily(Family::Ipv6Unicast)]);
    assert_eq!(decoded.reach.len(), 1, "the other family's prefixes are taken");
    let alone = [Family::Ipv6Unicast].into_iter().collect();
    let only = Negotiated { families: alone, ..session };
    assert_eq!(fate(&message, &only), Reset(Code::OptionalAttributeError), "no other is left");
}

#[test]
fn prefixes_of_both_kinds_share_a_message() {
    let message =
        update(&[8, 11], &[mp_reach(), mp_unreach(), origin(), as_path(), next_hop()], &NLRI);
    let decoded = decode_update(&message, &ebgp()).expect("RFC 4760 §3");
    assert_eq!(decoded.withdrawn.len(), 2);
    assert_eq!(decoded.reach.len(), 2);
    assert_eq!(decoded.end_of_rib, None);
}
