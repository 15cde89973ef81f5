//! The decision against a naive one, and step by step.

use std::net::{IpAddr, Ipv4Addr};

use brindle_bgp_proto::attribute::{AsPath, Attributes, Origin, Segment, SegmentKind};
use brindle_bgp_proto::decision::{Candidate, Selection, select};
use brindle_bgp_proto::negotiated::PeerKind;
use proptest::prelude::*;

/// A candidate that owns its attributes.
#[derive(Clone, Debug)]
struct Path {
    attributes: Attributes,
    kind: PeerKind,
    router_id: u8,
    address: u8,
}

impl Path {
    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            attributes: &self.attributes,
            peer_kind: self.kind,
            router_id: Ipv4Addr::new(10, 0, 0, self.router_id),
            peer_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, self.address)),
        }
    }
}

fn run(paths: &[Path]) -> Option<Selection> {
    select(&paths.iter().map(Path::candidate).collect::<Vec<_>>())
}

/// Few values each, so that ties are frequent.
fn path() -> impl Strategy<Value = Path> {
    let segment =
        (any::<bool>(), prop::collection::vec(1..4_u32, 1..3)).prop_map(|(set, numbers)| {
            let kind = if set { SegmentKind::Set } else { SegmentKind::Sequence };
            Segment { kind, numbers }
        });
    let choice = (
        prop::option::of(99..102_u32),
        prop::collection::vec(segment, 0..3),
        0..3_u8,
        prop::option::of(0..3_u32),
        any::<bool>(),
    );
    let ties = (1..4_u8, prop::option::of(1..4_u8), 0..3_usize);
    (choice, ties).prop_map(|((local_pref, segments, origin, med, external), ties)| Path {
        attributes: Attributes {
            local_pref,
            as_path: AsPath { segments },
            origin: [Origin::Igp, Origin::Egp, Origin::Incomplete][usize::from(origin)],
            med,
            originator_id: ties.1.map(|id| Ipv4Addr::new(10, 0, 0, id)),
            cluster_list: vec![Ipv4Addr::LOCALHOST; ties.2],
            ..Attributes::default()
        },
        kind: if external { PeerKind::External } else { PeerKind::Internal },
        router_id: ties.0,
        address: 0,
    })
}

/// Written anew from RFC 4271 §9.1.2.2, as numbers to compare: one pass a step, over who is left.
fn naive(paths: &[Path]) -> Option<(usize, Vec<usize>)> {
    let length = |path: &Path| {
        let mut length = 0;
        for segment in &path.attributes.as_path.segments {
            length += if segment.kind == SegmentKind::Set { 1 } else { segment.numbers.len() };
        }
        length as i64
    };
    let neighbor = |path: &Path| match path.attributes.as_path.segments.first() {
        Some(segment) if segment.kind == SegmentKind::Sequence => i64::from(segment.numbers[0]),
        _ => -1,
    };
    let mut alive = vec![true; paths.len()];
    let step =
        |alive: &mut Vec<bool>, value: &dyn Fn(&Path) -> i64, same: &dyn Fn(&Path) -> i64| {
            let before = alive.clone();
            for i in 0..paths.len() {
                for j in 0..paths.len() {
                    let rivals = before[i] && before[j] && same(&paths[i]) == same(&paths[j]);
                    if rivals && value(&paths[j]) < value(&paths[i]) {
                        alive[i] = false;
                    }
                }
            }
        };
    let all = |_: &Path| 0;
    step(&mut alive, &|p| -i64::from(p.attributes.local_pref.unwrap_or(100)), &all);
    step(&mut alive, &length, &all);
    step(&mut alive, &|p| p.attributes.origin as i64, &all);
    step(&mut alive, &|p| i64::from(p.attributes.med.unwrap_or(0)), &neighbor);
    step(&mut alive, &|p| i64::from(p.kind == PeerKind::Internal), &all);
    let equal = (0..paths.len()).filter(|i| alive[*i]).collect();
    let id = |p: &Path| p.attributes.originator_id.map_or(p.router_id, |id| id.octets()[3]).into();
    step(&mut alive, &id, &all);
    step(&mut alive, &|p| p.attributes.cluster_list.len() as i64, &all);
    step(&mut alive, &|p| p.address.into(), &all);
    Some((alive.iter().position(|alive| *alive)?, equal))
}

fn numbered(mut paths: Vec<Path>) -> Vec<Path> {
    for (path, address) in paths.iter_mut().zip(1..) {
        path.address = address;
    }
    paths
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_naive_one(paths in prop::collection::vec(path(), 0..8).prop_map(numbered)) {
        let selection = run(&paths).map(|selection| (selection.best, selection.multipath));
        prop_assert_eq!(selection, naive(&paths));
    }

    #[test]
    fn order_does_not_matter(
        (paths, shuffled) in prop::collection::vec(path(), 1..8)
            .prop_map(numbered)
            .prop_flat_map(|paths| (Just(paths.clone()), Just(paths).prop_shuffle()))
    ) {
        let chosen = |paths: &[Path]| {
            let selection = run(paths).expect("a best path");
            let mut equal: Vec<u8> = selection.multipath.iter().map(|i| paths[*i].address).collect();
            equal.sort_unstable();
            (paths[selection.best].address, equal)
        };
        prop_assert_eq!(chosen(&paths), chosen(&shuffled));
    }
}

/// RFC 4271 §9.1.2.2 c: without grouping by neighbour the winner would hang on the order.
#[test]
fn med_compares_within_one_neighbour() {
    let path = |neighbor: u32, med: u32, router_id: u8| Path {
        attributes: Attributes {
            as_path: AsPath::sequence([neighbor, 9]),
            med: Some(med),
            ..Attributes::default()
        },
        kind: PeerKind::External,
        router_id,
        address: router_id,
    };
    // The lowest identifier of all loses to its own neighbour's lower MED.
    let paths = [path(1, 20, 1), path(1, 10, 3), path(2, 50, 2)];
    let selection = run(&paths).expect("a best path");
    assert_eq!((selection.best, selection.multipath), (2, vec![1, 2]));
}
