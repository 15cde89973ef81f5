//! Filters: what matches, what changes, and that a change of policy is as if it had always been so.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_bgp_proto::attribute::{AsPath, Attributes, Community, LargeCommunity};
use brindle_bgp_proto::family::Family;
use brindle_bgp_proto::negotiated::PeerKind;
use brindle_bgp_proto::policy::{
    Action, AnyCommunity, Change, Filter, Matches, PeerFilter, PeerPolicy, PrefixMatch,
    PrefixOperator, Rule, Rules,
};
use brindle_bgp_proto::rib::{Origin, PeerId, PeerSession, Rib};
use ipnet::IpNet;
use proptest::prelude::*;

use crate::fixture::*;

const LARGE: LargeCommunity = LargeCommunity { global: 65001, local1: 1, local2: 2 };

fn standard(high: u32, low: u32) -> AnyCommunity {
    AnyCommunity::Standard(Community(high << 16 | low))
}

fn prefix(operator: PrefixOperator, text: &str, min_len: u8, max_len: u8) -> Matches {
    let prefix = PrefixMatch { net: net(text), operator, min_len, max_len };
    Matches { prefix: Some(prefix), ..Matches::default() }
}

fn rule(matches: Matches, action: Action) -> Rule {
    Rule { matches, action }
}

fn filter(import: Vec<Rule>, export: Vec<Rule>) -> PeerPolicy {
    let rules = |list: Vec<Rule>| Rules { ipv4: list.clone(), ipv6: list };
    let filter = Filter { name: "edge".into(), import: rules(import), export: rules(export) };
    let filters = vec![PeerFilter::Known(Arc::new(filter))];
    PeerPolicy { filters, ..PeerPolicy::default() }
}

fn with(session: PeerSession, policy: PeerPolicy) -> PeerSession {
    PeerSession { policy, ..session }
}

/// The first of the routes that take part in the decision, by prefix.
fn used(rib: &Rib) -> BTreeMap<IpNet, Arc<Attributes>> {
    let path = |route: brindle_bgp_proto::rib::LocRoute| {
        Some((route.prefix, route.paths.first()?.attributes.clone()))
    };
    rib.routes().filter_map(path).collect()
}

/// Each condition against 10.1.2.0/24 of peer 1: AS path 65101 65500, communities 65001:7 and
/// 65001:1:2, next hop 192.0.2.1.
#[test]
fn conditions_of_a_rule() {
    use PrefixOperator::{Equal, In, NotEqual, NotIn};
    let any = Matches::default;
    let path = |numbers: &[u32]| Matches { as_path_prefix: numbers.to_vec(), ..any() };
    let contains = |numbers: &[u32]| Matches { as_path_contains: numbers.to_vec(), ..any() };
    let carries = |all: &[AnyCommunity]| Matches { communities: all.to_vec(), ..any() };
    let large = |local2| AnyCommunity::Large(LargeCommunity { local2, ..LARGE });
    let cases = [
        (any(), true),
        (prefix(Equal, "10.1.2.0/24", 24, 32), true),
        (prefix(Equal, "10.1.0.0/16", 16, 32), false),
        (prefix(NotEqual, "10.1.0.0/16", 16, 32), true),
        (prefix(NotEqual, "10.1.2.0/24", 24, 32), false),
        (prefix(In, "10.1.0.0/16", 16, 32), true),
        (prefix(In, "10.1.2.0/24", 24, 32), true),
        (prefix(In, "10.1.2.0/25", 25, 32), false),
        (prefix(In, "10.1.0.0/16", 25, 32), false),
        (prefix(In, "10.1.0.0/16", 16, 23), false),
        (prefix(In, "10.1.0.0/16", 24, 24), true),
        (prefix(In, "0.0.0.0/0", 0, 32), true),
        (prefix(NotIn, "10.1.0.0/16", 16, 32), false),
        (prefix(NotIn, "10.1.0.0/16", 25, 32), true),
        (prefix(NotIn, "10.2.0.0/16", 16, 32), true),
        (Matches { learned: true, ..any() }, true),
        (Matches { peer_kind: Some(PeerKind::External), ..any() }, true),
        (Matches { peer_kind: Some(PeerKind::Internal), ..any() }, false),
        (carries(&[standard(65001, 7)]), true),
        (carries(&[standard(65001, 8)]), false),
        (carries(&[standard(65001, 7), large(2)]), true),
        (carries(&[standard(65001, 7), large(3)]), false),
        (path(&[65101]), true),
        (path(&[65101, 65500]), true),
        (path(&[65101, 65500, 1]), false),
        (path(&[65500]), false),
        (contains(&[65500]), true),
        (contains(&[65500, 65101]), true),
        (contains(&[65500, 1]), false),
        (Matches { as_path_length: Some((2, 2)), ..any() }, true),
        (Matches { as_path_length: Some((0, 1)), ..any() }, false),
        (Matches { as_path_length: Some((3, 9)), ..any() }, false),
        (Matches { origin_as: Some(65500), ..any() }, true),
        (Matches { origin_as: Some(65101), ..any() }, false),
        (Matches { next_hop: Some(net("192.0.2.0/24")), ..any() }, true),
        (Matches { next_hop: Some(net("192.0.2.2/32")), ..any() }, false),
        (Matches { next_hop: Some(net("2001:db8::/32")), ..any() }, false),
        (Matches { origin_as: Some(65500), ..path(&[65500]) }, false),
    ];
    let attributes = Attributes {
        communities: vec![Community(65001 << 16 | 7)],
        large_communities: vec![LARGE],
        ..attributes(1)
    };
    for (matches, holds) in cases {
        let policy = filter(vec![rule(matches.clone(), Action::Reject)], vec![]);
        let mut rib = Rib::new(local());
        rib.peer_up(PeerId(1), with(session(1, external_as(1)), policy));
        rib.update(PeerId(1), &announce(1, attributes.clone(), &[net("10.1.2.0/24")]));
        assert_eq!(used(&rib).is_empty(), holds, "{matches:?}");
        assert_eq!(rib.received(PeerId(1)).len(), 1, "it stays in the Adj-RIB-In");
    }
}

#[test]
fn the_first_rule_that_matches_decides_and_filters_go_on() {
    let accept = |low| Action::Accept(vec![Change::AddCommunity(standard(65010, low))]);
    let ten = || prefix(PrefixOperator::In, "10.0.0.0/8", 8, 32);
    let first = filter(vec![rule(ten(), accept(1)), rule(ten(), Action::Reject)], vec![]);
    let second = filter(vec![rule(Matches::default(), accept(2))], vec![]);
    let filters = [first.filters, second.filters].concat();
    let policy = PeerPolicy { filters, ..PeerPolicy::default() };
    let mut rib = Rib::new(local());
    rib.peer_up(PeerId(1), with(session(1, external_as(1)), policy));
    rib.update(PeerId(1), &announce(1, attributes(1), &[net("10.1.0.0/26"), net("172.16.0.0/12")]));
    rib.update(PeerId(1), &announce(1, attributes(1), &[net("2001:db8:1::/64")]));
    let tags = |prefix: &str| used(&rib)[&net(prefix)].communities.clone();
    assert_eq!(tags("10.1.0.0/26"), [Community(65010 << 16 | 1)]);
    assert_eq!(tags("172.16.0.0/12"), [Community(65010 << 16 | 2)]);
    assert_eq!(tags("2001:db8:1::/64"), [Community(65010 << 16 | 2)]);
}

#[test]
fn changes_of_an_accepted_route() {
    let with_tag = || Attributes { communities: vec![Community(7)], ..attributes(1) };
    type Expected = fn(&mut Attributes);
    let cases: [(Change, Expected); 9] = [
        (Change::AddCommunity(standard(0, 7)), |_| {}),
        (Change::AddCommunity(standard(0, 8)), |a| a.communities.push(Community(8))),
        (Change::AddCommunity(AnyCommunity::Large(LARGE)), |a| a.large_communities.push(LARGE)),
        (Change::RemoveCommunity(standard(0, 7)), |a| a.communities.clear()),
        (Change::RemoveCommunity(AnyCommunity::Large(LARGE)), |_| {}),
        (Change::SetCommunities(vec![standard(0, 9)]), |a| a.communities = vec![Community(9)]),
        (Change::PrependAsPath(vec![1, 2]), |a| {
            a.as_path = AsPath::sequence([1, 2, external_as(1), 65500]);
        }),
        (Change::SetLocalPref(300), |a| a.local_pref = Some(300)),
        (Change::SetMed(5), |a| a.med = Some(5)),
    ];
    for (change, expected) in cases {
        let accept = rule(Matches::default(), Action::Accept(vec![change.clone()]));
        let mut rib = Rib::new(local());
        let session = with(session(1, external_as(1)), filter(vec![accept], vec![]));
        rib.peer_up(PeerId(1), session);
        rib.update(PeerId(1), &announce(1, with_tag(), &[net("10.1.0.0/26")]));
        let mut attributes = with_tag();
        expected(&mut attributes);
        assert_eq!(*used(&rib)[&net("10.1.0.0/26")], attributes, "{change:?}");
        assert_eq!(*rib.received(PeerId(1))[0].attributes, with_tag(), "as it came");
    }
}

#[test]
fn a_next_hop_that_is_set_must_lead_away() {
    for (text, rejected) in [("192.0.2.77", false), ("192.0.2.10", true)] {
        let to = Change::SetNextHop(address(text));
        let accept = rule(Matches::default(), Action::Accept(vec![to]));
        let mut rib = Rib::new(local());
        rib.peer_up(PeerId(1), with(session(1, external_as(1)), filter(vec![accept], vec![])));
        rib.update(PeerId(1), &announce(1, attributes(1), &[net("10.1.0.0/26")]));
        assert_eq!(used(&rib).is_empty(), rejected, "{text}");
    }
}

/// What external peer 2 and internal peer 3 get of our block and of a route of peer 1.
fn exported(policy: &PeerPolicy) -> [Receiver; 2] {
    let mut rib = Rib::new(local());
    rib.peer_up(PeerId(1), session(1, external_as(1)));
    rib.originate(net("10.65.0.0/26"), Origin::default());
    rib.originate(net("2001:db8:65::/122"), Origin::default());
    rib.update(PeerId(1), &announce(1, attributes(1), &[net("10.1.0.0/26")]));
    [(2, external_as(2)), (3, LOCAL_AS)].map(|(n, peer_as)| {
        let session = with(session(n, peer_as), policy.clone());
        rib.peer_up(PeerId(n.into()), session.clone());
        let mut receiver = Receiver::default();
        receiver.receive(&mut rib, PeerId(n.into()), &session.negotiated, usize::MAX);
        receiver
    })
}

#[test]
fn to_accept_everything_does_not_make_transit_and_to_name_it_does() {
    let everything = |matches| filter(vec![], vec![rule(matches, Action::Accept(vec![]))]);
    for receiver in exported(&everything(Matches::default())) {
        let prefixes: Vec<_> = receiver.routes.keys().copied().collect();
        assert_eq!(prefixes, [net("10.65.0.0/26"), net("2001:db8:65::/122")]);
    }
    let learned = Matches { learned: true, ..Matches::default() };
    let [outside, inside] = exported(&everything(learned));
    assert_eq!((outside.routes.len(), inside.routes.len()), (3, 3));
    let (_, attributes) = &outside.routes[&net("10.1.0.0/26")];
    assert_eq!(attributes.as_path, AsPath::sequence([LOCAL_AS, external_as(1), 65500]));
}

#[test]
fn exports_are_rejected_and_changed_before_our_as_is_put_in_front() {
    let ours = || prefix(PrefixOperator::Equal, "10.65.0.0/26", 26, 32);
    let [outside, inside] = exported(&filter(vec![], vec![rule(ours(), Action::Reject)]));
    for receiver in [outside, inside] {
        assert_eq!(receiver.routes.keys().copied().collect::<Vec<_>>(), [net("2001:db8:65::/122")]);
    }
    let changes = vec![
        Change::PrependAsPath(vec![65001, 65001]),
        Change::SetMed(50),
        Change::SetLocalPref(200),
        Change::AddCommunity(standard(65010, 5)),
        Change::SetNextHop(address("192.0.2.99")),
    ];
    let [outside, inside] = exported(&filter(vec![], vec![rule(ours(), Action::Accept(changes))]));
    let (next_hop, attributes) = &outside.routes[&net("10.65.0.0/26")];
    assert_eq!(next_hop.address(), address("192.0.2.99"));
    assert_eq!(attributes.as_path, AsPath::sequence([LOCAL_AS, 65001, 65001]));
    assert_eq!((attributes.med, attributes.local_pref), (Some(50), None));
    assert_eq!(attributes.communities, [Community(65010 << 16 | 5)]);
    let (_, attributes) = &inside.routes[&net("10.65.0.0/26")];
    assert_eq!(attributes.as_path, AsPath::sequence([65001, 65001]));
    assert_eq!((attributes.med, attributes.local_pref), (Some(50), Some(200)));
}

#[test]
fn a_broken_filter_closes_both_ways_wherever_it_stands() {
    let open = filter(
        vec![rule(Matches::default(), Action::Accept(vec![]))],
        vec![rule(Matches::default(), Action::Accept(vec![]))],
    );
    let broken = PeerFilter::Broken { name: "gone".into(), problem: "does not exist".into() };
    for at in [0, 1] {
        let mut policy = PeerPolicy { transit: true, ..open.clone() };
        policy.filters.insert(at, broken.clone());
        for receiver in exported(&policy) {
            assert!(receiver.routes.is_empty());
        }
        let mut rib = Rib::new(local());
        rib.peer_up(PeerId(1), with(session(1, external_as(1)), policy));
        rib.update(PeerId(1), &announce(1, attributes(1), &[net("10.1.0.0/26")]));
        assert!(used(&rib).is_empty());
    }
}

const PREFIXES: [&str; 4] = ["10.1.0.0/26", "10.2.0.0/16", "10.2.3.0/24", "2001:db8:1::/64"];

fn any_policy() -> impl Strategy<Value = PeerPolicy> {
    let matches = (0..PREFIXES.len() + 1, any::<bool>()).prop_map(|(at, learned)| {
        let within = PREFIXES.get(at).map(|text| prefix(PrefixOperator::In, text, 0, 128));
        Matches { learned, ..within.unwrap_or_default() }
    });
    let action = prop_oneof![
        Just(Action::Reject),
        (0..3_u32).prop_map(|low| Action::Accept(vec![Change::AddCommunity(standard(1, low))])),
    ];
    let rules = || proptest::collection::vec((matches.clone(), action.clone()), 0..3);
    let broken = PeerFilter::Broken { name: "gone".into(), problem: "does not exist".into() };
    (rules(), rules(), proptest::bool::weighted(0.1)).prop_map(move |(import, export, breaks)| {
        let list = |rules: Vec<(Matches, Action)>| {
            rules.into_iter().map(|(matches, action)| rule(matches, action)).collect()
        };
        let mut policy = filter(list(import), list(export));
        policy.filters.extend(breaks.then(|| broken.clone()));
        policy
    })
}

proptest! {
    /// Policies that change while routes come and go end where the last one would have led.
    #[test]
    fn a_policy_that_changes_is_as_if_it_had_always_been_so(
        steps in proptest::collection::vec((1..3_u8, any_policy(), 0..PREFIXES.len()), 1..12)
    ) {
        let sessions = [session(1, external_as(1)), session(2, external_as(2))];
        let mut rib = Rib::new(local());
        let mut last = sessions.clone();
        let mut receivers = [Receiver::default(), Receiver::default()];
        let mut updates = Vec::new();
        for (n, session) in (1..).zip(&sessions) {
            rib.peer_up(PeerId(n), session.clone());
        }
        rib.originate(net("10.65.0.0/26"), Origin::default());
        for (n, policy, at) in steps {
            let update = announce(n, attributes(n), &[net(PREFIXES[at])]);
            rib.update(PeerId(n.into()), &update);
            updates.push((n, update));
            rib.set_policy(PeerId(n.into()), policy.clone());
            last[usize::from(n) - 1].policy = policy;
            receivers[0].receive(&mut rib, PeerId(1), &sessions[0].negotiated, 1);
        }
        let mut fresh = Rib::new(local());
        let mut expected = [Receiver::default(), Receiver::default()];
        for (n, session) in (1..).zip(&last) {
            fresh.peer_up(PeerId(n), session.clone());
        }
        fresh.originate(net("10.65.0.0/26"), Origin::default());
        for (n, update) in updates {
            fresh.update(PeerId(n.into()), &update);
        }
        for at in 0..2 {
            let id = PeerId(u32::try_from(at).expect("small") + 1);
            receivers[at].receive(&mut rib, id, &sessions[at].negotiated, usize::MAX);
            expected[at].receive(&mut fresh, id, &sessions[at].negotiated, usize::MAX);
            prop_assert_eq!(&receivers[at].routes, &expected[at].routes);
            for family in Family::ALL {
                prop_assert_eq!(rib.counts(id, family).accepted, fresh.counts(id, family).accepted);
            }
        }
        prop_assert_eq!(used(&rib), used(&fresh));
    }
}
