//! Loc-RIB and events against a naive table; import checks.

use std::collections::BTreeMap;

use brindle_bgp_proto::attribute::{
    AsPath, AttributeError, Attributes, Outcome, Segment, SegmentKind,
};
use brindle_bgp_proto::family::{Family, FamilySet};
use brindle_bgp_proto::message::{NextHop, NotificationCode, Update};
use brindle_bgp_proto::policy::PeerPolicy;
use brindle_bgp_proto::rib::{Origin, PeerId, PeerSession, Rejection, Rib, RibEvent};
use ipnet::IpNet;
use proptest::prelude::*;

use crate::fixture::*;

const PEERS: u8 = 3;

/// One change.
#[derive(Clone, Debug)]
enum Change {
    Announce { peer: u8, prefix: usize, extra: u8 },
    Withdraw { peer: u8, prefix: usize },
    Originate(usize),
    Unoriginate(usize),
    Down(u8),
    Up(u8),
    Poll,
}

fn change() -> impl Strategy<Value = Change> {
    let (peer, prefix) = (1..=PEERS, 0..PREFIXES.len());
    prop_oneof![
        8 => (peer.clone(), prefix.clone(), 0..2_u8)
            .prop_map(|(peer, prefix, extra)| Change::Announce { peer, prefix, extra }),
        4 => (peer.clone(), prefix.clone())
            .prop_map(|(peer, prefix)| Change::Withdraw { peer, prefix }),
        1 => prefix.clone().prop_map(Change::Originate),
        1 => prefix.prop_map(Change::Unoriginate),
        1 => peer.clone().prop_map(Change::Down),
        1 => peer.prop_map(Change::Up),
        2 => Just(Change::Poll),
    ]
}

const PREFIXES: [&str; 5] =
    ["10.1.0.0/26", "10.1.0.64/26", "10.0.0.0/8", "2001:db8:1::/122", "2001:db8::/32"];

/// Longer by `extra`, so that it is worse.
fn longer(peer: u8, extra: u8) -> Attributes {
    let mut numbers = vec![external_as(peer)];
    numbers.extend(vec![65500; 1 + usize::from(extra)]);
    Attributes { as_path: AsPath::sequence(numbers), ..Attributes::default() }
}

/// The naive table: every announcement, and who is up.
#[derive(Default)]
struct Model {
    announced: BTreeMap<(IpNet, u8), u8>,
    originated: std::collections::BTreeSet<IpNet>,
    down: std::collections::BTreeSet<u8>,
}

impl Model {
    fn forwarding(&self) -> BTreeMap<IpNet, Vec<NextHop>> {
        let mut table = BTreeMap::new();
        for prefix in PREFIXES.map(net) {
            let of_prefix: Vec<(u8, u8)> = self
                .announced
                .iter()
                .filter(|((p, _), _)| *p == prefix)
                .map(|((_, peer), extra)| (*peer, *extra))
                .collect();
            let Some(least) = of_prefix.iter().map(|(_, extra)| *extra).min() else { continue };
            if self.originated.contains(&prefix) {
                continue;
            }
            let best = of_prefix.iter().filter(|(_, extra)| *extra == least);
            table.insert(prefix, best.map(|(peer, _)| hop(*peer, Family::of(&prefix))).collect());
        }
        table
    }
}

fn apply(change: &Change, rib: &mut Rib, model: &mut Model) {
    let id = |peer: u8| PeerId(peer.into());
    match *change {
        Change::Announce { peer, prefix, extra } if !model.down.contains(&peer) => {
            let prefix = net(PREFIXES[prefix]);
            rib.update(id(peer), &announce(peer, longer(peer, extra), &[prefix]));
            model.announced.insert((prefix, peer), extra);
        }
        Change::Withdraw { peer, prefix } if !model.down.contains(&peer) => {
            let prefix = net(PREFIXES[prefix]);
            rib.update(id(peer), &Update::withdraw(vec![prefix]));
            model.announced.remove(&(prefix, peer));
        }
        Change::Originate(prefix) => {
            rib.originate(net(PREFIXES[prefix]), Origin::default());
            model.originated.insert(net(PREFIXES[prefix]));
        }
        Change::Unoriginate(prefix) => {
            rib.withdraw(net(PREFIXES[prefix]));
            model.originated.remove(&net(PREFIXES[prefix]));
        }
        Change::Down(peer) => {
            rib.peer_down(id(peer), FamilySet::NONE);
            model.announced.retain(|(_, from), _| *from != peer);
            model.down.insert(peer);
        }
        Change::Up(peer) if model.down.remove(&peer) => {
            rib.peer_up(id(peer), session(peer, external_as(peer)));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Whoever keeps a table from the events has the naive one, whatever the polls in between,
    /// and no event says what is known.
    #[test]
    fn events_make_the_naive_table(changes in prop::collection::vec(change(), 1..60)) {
        let mut rib = rib_with_peers(PEERS);
        let mut model = Model::default();
        let mut table: BTreeMap<IpNet, Vec<NextHop>> = BTreeMap::new();
        for change in changes.iter().chain([&Change::Poll]) {
            apply(change, &mut rib, &mut model);
            if !matches!(change, Change::Poll) {
                continue;
            }
            while let Some(event) = rib.poll_event() {
                match event {
                    RibEvent::Best { prefix, paths } => {
                        let hops: Vec<_> = paths.iter().map(|path| path.next_hop).collect();
                        prop_assert_ne!(table.insert(prefix, hops.clone()), Some(hops));
                    }
                    RibEvent::Withdrawn { prefix } => {
                        prop_assert!(table.remove(&prefix).is_some(), "{prefix}: not known");
                    }
                }
            }
            prop_assert_eq!(&table, &model.forwarding());
        }
        let originated: Vec<_> = rib.originated().collect();
        prop_assert_eq!(originated, model.originated.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_change_taken_back_before_the_poll_is_no_event() {
    let mut rib = rib_with_peers(1);
    let prefix = net("10.1.0.0/26");
    rib.update(PeerId(1), &announce(1, attributes(1), &[prefix]));
    assert!(matches!(rib.poll_event(), Some(RibEvent::Best { .. })));
    assert_eq!(rib.poll_event(), None);
    rib.update(PeerId(1), &Update::withdraw(vec![prefix]));
    rib.update(PeerId(1), &announce(1, attributes(1), &[prefix]));
    assert_eq!(rib.poll_event(), None);
    // Other attributes, the same forwarding.
    let med = Attributes { med: Some(5), ..attributes(1) };
    rib.update(PeerId(1), &announce(1, med, &[prefix]));
    assert_eq!(rib.poll_event(), None);
}

#[test]
fn of_one_message_withdrawals_come_first() {
    let mut rib = rib_with_peers(1);
    let prefix = net("10.1.0.0/26");
    let both = Update { withdrawn: vec![prefix], ..announce(1, attributes(1), &[prefix]) };
    rib.update(PeerId(1), &both);
    assert_eq!(rib.counts(PeerId(1), Family::Ipv4Unicast).accepted, 1, "RFC 4271 §4.3");
}

#[test]
fn each_rejection_has_its_reason() {
    let ours = |numbers: &[u32]| AsPath::sequence(numbers.iter().copied());
    let path = |as_path: AsPath| Attributes { as_path, ..Attributes::default() };
    let set = AsPath {
        segments: vec![
            Segment { kind: SegmentKind::Sequence, numbers: vec![external_as(1)] },
            Segment { kind: SegmentKind::Set, numbers: vec![7] },
        ],
    };
    let inside = |attributes: Attributes| Attributes { as_path: ours(&[65500]), ..attributes };
    let cluster = vec!["10.0.0.99".parse().expect("an id"), local().router_id];
    let reflected = Attributes { cluster_list: cluster, ..Attributes::default() };
    let own = Attributes { originator_id: Some(local().router_id), ..Attributes::default() };
    let external = session(1, external_as(1));
    let internal = session(1, LOCAL_AS);
    let cases: [(&PeerSession, Attributes, &str, Option<Rejection>); 13] = [
        (&external, attributes(1), "10.1.0.0/26", None),
        (&external, attributes(1), "0.0.0.0/0", None),
        (&external, path(ours(&[external_as(1), LOCAL_AS])), "10.1.0.0/26", Some(Rejection::OwnAs)),
        (&internal, path(ours(&[7, LOCAL_AS])), "10.1.0.0/26", Some(Rejection::OwnAs)),
        (&external, path(ours(&[7])), "10.1.0.0/26", Some(Rejection::FirstAs)),
        (&external, path(ours(&[])), "10.1.0.0/26", Some(Rejection::FirstAs)),
        (&internal, path(ours(&[])), "10.1.0.0/26", None),
        (&external, path(set), "10.1.0.0/26", Some(Rejection::AsSet)),
        (&internal, inside(own), "10.1.0.0/26", Some(Rejection::OwnOriginatorId)),
        (&internal, inside(reflected), "10.1.0.0/26", Some(Rejection::OwnCluster)),
        (&external, attributes(1), "127.0.0.0/8", Some(Rejection::NotRoutable)),
        (&external, attributes(1), "224.1.0.0/16", Some(Rejection::NotRoutable)),
        (&external, attributes(1), "fe80::/64", Some(Rejection::NotRoutable)),
    ];
    for (session, attributes, prefix, expected) in cases {
        let mut rib = Rib::new(local());
        rib.peer_up(PeerId(1), session.clone());
        rib.update(PeerId(1), &announce(1, attributes, &[net(prefix)]));
        let received = rib.received(PeerId(1));
        assert_eq!(received[0].rejection, expected, "{prefix}");
        assert_eq!(rib.poll_event().is_some(), expected.is_none(), "{prefix}");
    }
}

#[test]
fn own_next_hops_are_rejected_and_policy_loosens() {
    let mut rib = rib_with_peers(1);
    // Peer 10 would be us: 192.0.2.10.
    let mut update = announce(1, attributes(1), &[net("10.1.0.0/26")]);
    update.reach[0].next_hop = hop(10, Family::Ipv4Unicast);
    rib.update(PeerId(1), &update);
    assert_eq!(rib.received(PeerId(1))[0].rejection, Some(Rejection::OwnNextHop));

    let policy = PeerPolicy { allow_own_as: 1, allow_as_set: true, ..PeerPolicy::default() };
    rib.peer_up(PeerId(2), PeerSession { policy, ..session(2, external_as(2)) });
    let looped = |times: usize| {
        let numbers = std::iter::once(external_as(2)).chain(vec![LOCAL_AS; times]);
        let mut as_path = AsPath::sequence(numbers);
        as_path.segments.push(Segment { kind: SegmentKind::Set, numbers: vec![7] });
        Attributes { as_path, ..Attributes::default() }
    };
    rib.update(PeerId(2), &announce(2, looped(1), &[net("10.2.0.0/26")]));
    rib.update(PeerId(2), &announce(2, looped(2), &[net("10.3.0.0/26")]));
    let reasons: Vec<_> = rib.received(PeerId(2)).iter().map(|route| route.rejection).collect();
    assert_eq!(reasons, [None, Some(Rejection::OwnAs)]);
}

#[test]
fn a_rejected_route_replaces_a_good_one() {
    let mut rib = rib_with_peers(1);
    let prefix = net("10.1.0.0/26");
    rib.update(PeerId(1), &announce(1, attributes(1), &[prefix]));
    assert!(matches!(rib.poll_event(), Some(RibEvent::Best { .. })));
    let looped = AsPath::sequence([external_as(1), LOCAL_AS]);
    let looped = Attributes { as_path: looped, ..Attributes::default() };
    rib.update(PeerId(1), &announce(1, looped, &[prefix]));
    assert_eq!(rib.poll_event(), Some(RibEvent::Withdrawn { prefix }));
}

#[test]
fn a_disabled_family_stays_away_until_the_next_session() {
    let mut rib = rib_with_peers(1);
    let (v4, v6) = (net("10.1.0.0/26"), net("2001:db8:1::/48"));
    rib.update(PeerId(1), &announce(1, attributes(1), &[v6]));
    rib.update(PeerId(1), &announce(1, attributes(1), &[v4]));
    let error = AttributeError {
        attribute: 14,
        code: NotificationCode::OptionalAttributeError,
        outcome: Outcome::DisableFamily(Family::Ipv6Unicast),
    };
    rib.update(PeerId(1), &Update { errors: vec![error], ..Update::default() });
    rib.update(PeerId(1), &announce(1, attributes(1), &[v6]));
    let counts = |rib: &Rib, family| rib.counts(PeerId(1), family);
    assert_eq!(counts(&rib, Family::Ipv6Unicast).received, 0, "RFC 4760 §7");
    assert!(counts(&rib, Family::Ipv6Unicast).disabled);
    assert_eq!(counts(&rib, Family::Ipv4Unicast).accepted, 1);
    rib.peer_down(PeerId(1), FamilySet::NONE);
    rib.peer_up(PeerId(1), session(1, external_as(1)));
    rib.update(PeerId(1), &announce(1, attributes(1), &[v6]));
    assert_eq!(counts(&rib, Family::Ipv6Unicast).accepted, 1);
}
