//! Sessions with two-octet AS numbers (RFC 6793).

use std::net::Ipv4Addr;
use std::sync::Arc;

use brindle_bgp_proto::attribute::{Aggregator, AsPath, Attributes, Segment, SegmentKind};
use brindle_bgp_proto::encode::encode;
use brindle_bgp_proto::family::Family;
use brindle_bgp_proto::message::{Message, NextHop, Reach, Update};
use brindle_bgp_proto::negotiated::{Negotiated, PeerKind};
use proptest::prelude::*;

use crate::generate;
use crate::roundtrip::read_all;
use crate::wire::*;

fn session() -> Negotiated {
    Negotiated { four_octet_as: false, ..ibgp() }
}

fn announcement(attributes: Attributes) -> Update {
    let next_hop = NextHop::V4([192, 0, 2, 1].into());
    let prefixes = vec!["10.0.0.0/8".parse().expect("a prefix")];
    Update {
        reach: vec![Reach { family: Family::Ipv4Unicast, next_hop, prefixes }],
        attributes: Arc::new(attributes),
        ..Update::default()
    }
}

/// Joins adjacent sequences: where one ends is not kept over a two-octet speaker.
fn joined(path: &AsPath) -> Vec<(SegmentKind, Vec<u32>)> {
    let mut segments: Vec<(SegmentKind, Vec<u32>)> = Vec::new();
    for Segment { kind, numbers } in &path.segments {
        match segments.last_mut() {
            Some((last, all)) if last == kind && *kind == SegmentKind::Sequence => {
                all.extend(numbers);
            }
            _ => segments.push((*kind, numbers.clone())),
        }
    }
    segments
}

proptest! {
    /// AS4_PATH and AS4_AGGREGATOR carry what the two octets cannot.
    #[test]
    fn nothing_is_lost_between_two_octet_peers(attributes in generate::attributes(PeerKind::External)) {
        let update = announcement(attributes);
        let mut octets = Vec::new();
        prop_assume!(encode(&Message::Update(update.clone()), &session(), &mut octets).is_ok());
        let read = read_all(&octets, &session());
        prop_assert_eq!(&read[0].errors, &[]);
        let (read, sent) = (&read[0].attributes, &update.attributes);
        prop_assert_eq!(joined(&read.as_path), joined(&sent.as_path));
        prop_assert_eq!(
            Attributes { as_path: AsPath::default(), ..(**read).clone() },
            Attributes { as_path: AsPath::default(), ..(**sent).clone() }
        );
    }
}

fn short(numbers: &[u16]) -> Vec<u8> {
    let mut value = vec![2, u8::try_from(numbers.len()).expect("one segment")];
    value.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    value
}

fn read(attributes: &[Vec<u8>]) -> Arc<Attributes> {
    let all = [vec![origin(), next_hop()], attributes.to_vec()].concat();
    let update = decode_update(&update(&[], &all, &NLRI), &session()).expect("survives");
    assert_eq!(update.reach.len(), 1, "{:?}", update.errors);
    update.attributes
}

const TRANS: u16 = 23456;

#[test]
fn as4_path_replaces_the_end_of_as_path() {
    let path = attribute(WELL_KNOWN, 2, &short(&[100, TRANS, TRANS]));
    let as4 = attribute(TRANSITIVE, 17, &sequence(&[70_000, 80_000]));
    assert_eq!(read(&[path.clone(), as4.clone()]).as_path.to_string(), "100 70000 80000");
    // CVE-2026-41643: in any order.
    assert_eq!(read(&[as4, path.clone()]).as_path.to_string(), "100 70000 80000");
    // §4.2.3: longer than AS_PATH, it is not believed.
    let longer = attribute(TRANSITIVE, 17, &sequence(&[1, 2, 3, 4]));
    assert_eq!(read(&[path.clone(), longer]).as_path.to_string(), "100 23456 23456");
    // §6: malformed, it is discarded.
    for value in [&[2, 9, 0][..], &[], &[7, 1, 0, 0, 0, 1]] {
        let malformed = attribute(TRANSITIVE, 17, value);
        assert_eq!(read(&[malformed, path.clone()]).as_path.to_string(), "100 23456 23456");
    }
    // §6: confederation segments are dropped from it.
    let mut confederation = vec![3, 1, 0, 0, 0, 9];
    confederation.extend(sequence(&[70_000, 80_000]));
    let as4 = attribute(TRANSITIVE, 17, &confederation);
    assert_eq!(read(&[path, as4]).as_path.to_string(), "100 70000 80000");
}

#[test]
fn an_aggregator_of_two_octets_makes_the_as4_attributes_old() {
    let path = attribute(WELL_KNOWN, 2, &short(&[TRANS]));
    let as4 = attribute(TRANSITIVE, 17, &sequence(&[70_000]));
    let as4_aggregator = attribute(TRANSITIVE, 18, &[0, 1, 0x11, 0x70, 9, 9, 9, 9]);
    let aggregator = |number: u16| {
        attribute(TRANSITIVE, 7, &[&number.to_be_bytes()[..], &[1, 1, 1, 1]].concat())
    };
    let old = read(&[path.clone(), aggregator(100), as4.clone(), as4_aggregator.clone()]);
    assert_eq!(old.as_path.to_string(), "23456");
    let one = Ipv4Addr::new(1, 1, 1, 1);
    assert_eq!(old.aggregator, Some(Aggregator { as_number: 100, router_id: one }));
    let new = read(&[path, aggregator(TRANS), as4, as4_aggregator]);
    assert_eq!(new.as_path.to_string(), "70000");
    let nine = Ipv4Addr::new(9, 9, 9, 9);
    assert_eq!(new.aggregator, Some(Aggregator { as_number: 70_000, router_id: nine }));
}
