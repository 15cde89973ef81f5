//! Sets of prefixes that change: an interval is split, joined, exchanged for its neighbours, in one
//! transaction; after each the kernel holds, and finds, exactly what is desired.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use brindle_dataplane_core::{Backend, Commit};
use brindle_dataplane_nftables::Nftables;
use brindle_model::net::Family;
use brindle_model::ruleset::{
    Action, Match, Member, PolicyRules, Rule, Ruleset, RulesetDelta, Set, SetDef, Side,
};
use brindle_model::selector::Selector;
use ipnet::IpNet;
use proptest::prelude::*;

use crate::generate::{addresses, one_set};
use crate::load::loaded;
use crate::namespace::isolated;
use crate::node::{Node, udp};

/// Sixteen addresses a family, from which the first pod sends.
const UNIVERSE: [&str; 2] = ["10.0.0.0/28", "fd00::/124"];
const EVERYTHING: [&str; 2] = ["0.0.0.0/0", "::/0"];

fn universe() -> Vec<IpNet> {
    UNIVERSE.map(|net| net.parse().expect("a prefix")).to_vec()
}

fn senders() -> Vec<IpAddr> {
    let all =
        |net: IpNet| net.subnets(net.max_prefix_len()).expect("longer").map(|host| host.addr());
    universe().into_iter().flat_map(all).collect()
}

/// Splits the address space at random: disjoint prefixes, of which neighbours are not joined.
fn cover(net: IpNet, choices: &mut impl Iterator<Item = u8>, members: &mut BTreeSet<Member>) {
    let choice = choices.next().unwrap_or(0);
    let within = |outer: &IpNet, inner: &IpNet| outer.contains(inner);
    let beside = !universe().iter().any(|u| within(u, &net) || within(&net, u));
    let around = universe().iter().any(|u| within(&net, u));
    let splits = match choice % 16 {
        _ if beside || net.prefix_len() == net.max_prefix_len() => false,
        0..=8 => true,
        9..=14 => around,
        _ => false,
    };
    if splits {
        let halves = net.subnets(net.prefix_len() + 1).expect("one longer");
        halves.for_each(|half| cover(half, choices, members));
    } else if choice / 16 % 2 == 1 {
        members.insert(Member::Net(net));
    }
}

fn covers() -> impl Strategy<Value = BTreeSet<Member>> {
    // Few choices leave most of the space out, many fragment it.
    proptest::collection::vec(any::<u8>(), 0..400).prop_map(|choices| {
        let mut members = BTreeSet::new();
        let mut choices = choices.into_iter();
        for net in EVERYTHING {
            cover(net.parse().expect("a prefix"), &mut choices, &mut members);
        }
        members
    })
}

/// The first pod may send from the whole universe; what it may send the second, the set says: once
/// asked for members, and once for others.
fn ruleset(members: BTreeSet<Member>, wanted: bool) -> Ruleset {
    let mut ruleset = one_set();
    let def = SetDef::NetworkSets(Selector::equals("set", "changing"));
    let id = def.id();
    ruleset.sets.insert(id, Set { def, members });
    let (policy, body) = ruleset.policies.iter().next().expect("a policy");
    let (policy, old) = (policy.clone(), body.ingress[0].clone());
    let sets = [id].into();
    let source = match wanted {
        true => Side { sets, ..Side::default() },
        false => Side { not_sets: sets, ..Side::default() },
    };
    let matches = Match { source, ..Match::default() };
    let ingress = vec![Rule { matches, action: Action::Allow, ..old.clone() }].into();
    let egress = vec![Rule { matches: Match::default(), ..old }].into();
    ruleset.policies.insert(policy, Arc::new(PolicyRules { ingress, egress }));
    let first = ruleset.endpoints.values_mut().next().expect("a pod");
    let mut endpoint = (**first).clone();
    endpoint.addresses = senders();
    *first = endpoint.into();
    ruleset
}

/// What another agent would still write. The one under test reads nothing, so that its next commit
/// is a change too and no repair.
fn read_back(desired: &Ruleset) -> String {
    let mut other = Nftables::open().expect("the kernel has nf_tables");
    other.resync().expect("resync");
    other.stage(&RulesetDelta::between(&Ruleset::default(), desired));
    other.pending().expect("pending").to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changing_covers_are_exact(walk in proptest::collection::vec(covers(), 2..16), wanted: bool) {
        isolated(|| {
            let mut node = Node::build();
            let mut held = ruleset(walk[0].clone(), wanted);
            let mut backend = loaded(&held);
            for members in &walk {
                let next = ruleset(members.clone(), wanted);
                let delta = RulesetDelta::between(&held, &next);
                backend.stage(&delta);
                let changed: usize =
                    delta.sets_changed.values().map(|set| set.added.len() + set.removed.len()).sum();
                prop_assert_eq!(backend.commit().expect("commit"), Commit { writes: changed });
                prop_assert_eq!(read_back(&next), String::new());
                held = next;

                let to = |from: &IpAddr| {
                    let family = Family::of(*from);
                    addresses(1).into_iter().find(|a| Family::of(*a) == family).expect("both")
                };
                let packets: Vec<_> = senders().iter().map(|from| udp(*from, to(from))).collect();
                let arrived = node.deliver(0, &packets);
                let set = held.sets.values().find(|set| matches!(set.def, SetDef::NetworkSets(_)));
                let set = set.expect("the set");
                for (at, packet) in packets.iter().enumerate() {
                    let expected = set.contains_addr(packet.source) == wanted;
                    prop_assert_eq!(arrived.contains(&at), expected, "{:?}", packet);
                }
            }
            Ok(())
        })?;
    }
}

/// Changes that a kernel could take for overlaps, one by one: each must go through in one
/// transaction, there and back.
#[test]
fn an_interval_gives_way_to_its_parts_and_neighbours() {
    let pairs: [(&[&str], &[&str]); 7] = [
        // Split in halves, whose ends coincide.
        (&["10.0.0.0/24"], &["10.0.0.0/25", "10.0.0.128/25"]),
        // The first half goes, so the start moves; the second, so the end moves.
        (&["10.0.0.0/24"], &["10.0.0.128/25"]),
        (&["10.0.0.0/24"], &["10.0.0.0/25"]),
        // A hole.
        (&["10.0.0.0/30"], &["10.0.0.0/32", "10.0.0.2/31"]),
        // Exchanged for a neighbour: the end of one is the start of the other.
        (&["10.0.0.0/25"], &["10.0.0.128/25", "10.0.1.0/24"]),
        // From and to the ends of the space.
        (&["0.0.0.0/0", "::/0"], &["128.0.0.0/1", "8000::/1", "::/128"]),
        (&["fd00::/64", "fd00:0:0:1::/64"], &["fd00::/63"]),
    ];
    let members = |nets: &[&str]| -> BTreeSet<Member> {
        nets.iter().map(|net| Member::Net(net.parse().expect("a prefix"))).collect()
    };
    isolated(|| {
        for (one, other) in pairs {
            let [one, other] = [one, other].map(|nets| ruleset(members(nets), true));
            let mut backend = loaded(&one);
            for (from, to) in [(&one, &other), (&other, &one)] {
                backend.stage(&RulesetDelta::between(from, to));
                backend.commit().unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(read_back(to), "");
            }
        }
    });
}

/// The verdict that the tests above take for granted.
#[test]
fn the_set_alone_decides() {
    let member = Member::Net(universe()[0]);
    for wanted in [true, false] {
        let ruleset = ruleset(BTreeSet::from([member]), wanted);
        for from in senders() {
            let to = addresses(1).into_iter().find(|a| Family::of(*a) == Family::of(from));
            let packet = udp(from, to.expect("both families"));
            assert_eq!(crate::node::admitted(&ruleset, 0, &packet), from.is_ipv4() == wanted);
        }
    }
}
