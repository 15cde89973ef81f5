//! One case a promise: what a change of each kind emits, and what it leaves alone.

mod build;
mod tiers_and_sets;

use std::collections::BTreeSet;

use brindle_compiler::{Bringer, Compiler};
use brindle_model::NamespacedName;
use brindle_model::cluster::Update;
use brindle_model::labels::NAMESPACE_NAME_LABEL;
use brindle_model::net::Protocol;
use brindle_model::policy::Peer;
use brindle_model::ruleset::{Batch, Member, RulesetDelta, SetDelta};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, Verdict};

use build::{addr, app, attach, namespace, pod, policy, policy_id, rule, with_port};

fn compiler(updates: impl IntoIterator<Item = Update>) -> Compiler {
    let mut compiler = Compiler::new("n1".into());
    flush(&mut compiler, updates);
    compiler
}

fn flush(compiler: &mut Compiler, updates: impl IntoIterator<Item = Update>) -> Batch {
    updates.into_iter().for_each(|update| compiler.apply(update));
    compiler.flush()
}

/// `shop/web` on this node; a policy there admits `app == "client"` of `shop` and `bank`.
fn shop() -> Vec<Update> {
    let clients = ["shop", "bank"].map(|ns| {
        Peer::Pods(Selector::and([Selector::equals(NAMESPACE_NAME_LABEL, ns), app("client")]))
    });
    vec![
        namespace("shop", &[]),
        namespace("bank", &[]),
        pod("shop", "web", "web", &["10.0.0.1", "fd00::1"]),
        attach("shop", "web", "c1", &["10.0.0.1", "fd00::1"]),
        policy("shop", "web", 1000, app("web"), Some(vec![rule(Some(clients.into()), None)]), None),
    ]
}

/// How the sets changed, whatever their ids.
fn set_changes(batch: &Batch) -> Vec<SetDelta> {
    batch.ruleset.sets_changed.values().cloned().collect()
}

fn members(addresses: &[&str]) -> BTreeSet<Member> {
    addresses.iter().map(|a| Member::Addr(addr(a))).collect()
}

#[test]
fn a_remote_pod_is_exactly_its_members() {
    let mut compiler = compiler(shop());
    let batch = flush(&mut compiler, [pod("bank", "c", "client", &["10.0.9.9", "fd00:9::9"])]);
    let added = members(&["10.0.9.9", "fd00:9::9"]);
    let delta = SetDelta { added: added.clone(), removed: BTreeSet::new() };
    assert_eq!(set_changes(&batch), [delta]);
    let rest = RulesetDelta { sets_changed: Default::default(), ..batch.ruleset };
    assert!(rest.is_empty(), "{rest:?}");

    let batch = flush(&mut compiler, [pod("bank", "c", "other", &["10.0.9.9", "fd00:9::9"])]);
    assert_eq!(set_changes(&batch), [SetDelta { added: BTreeSet::new(), removed: added }]);
    let batch = flush(&mut compiler, [pod("bank", "d", "other", &["10.0.9.8"])]);
    assert!(batch.ruleset.is_empty(), "a pod that nothing selects changes nothing");
}

#[test]
fn a_flush_completes_a_generation_even_if_nothing_changed() {
    let mut compiler = compiler(shop());
    assert!(!compiler.has_pending());
    let before = compiler.generation();
    let reverted = [pod("shop", "web", "web", &[]).absence(), shop().remove(2)];
    reverted.iter().for_each(|update| compiler.apply(update.clone()));
    assert!(compiler.has_pending());
    let batch = compiler.flush();
    assert_eq!(batch.generation, before.next());
    assert!(batch.ruleset.is_empty() && batch.routing.is_empty());
}

#[test]
fn rules_change_without_the_endpoint_and_the_endpoint_without_the_rules() {
    let mut compiler = compiler(shop());
    let nobody = policy("shop", "web", 1000, app("web"), Some(vec![]), None);
    let batch = flush(&mut compiler, [nobody]);
    assert_eq!(batch.ruleset.policies.len(), 1);
    assert_eq!(batch.ruleset.sets_removed.len(), 2);
    assert!(batch.ruleset.endpoints.is_empty() && batch.ruleset.programs_added.is_empty());

    let egress_too = policy("shop", "web", 1000, app("web"), Some(vec![]), Some(vec![]));
    let batch = flush(&mut compiler, [egress_too]);
    assert!(batch.ruleset.policies.is_empty(), "no rule came or went");
    assert_eq!(batch.ruleset.programs_added.len(), 1);
    assert_eq!(batch.ruleset.programs_removed.len(), 1);
}

#[test]
fn what_no_endpoint_here_needs_is_not_compiled() {
    let mut inputs = shop();
    inputs.remove(3);
    let mut compiler = compiler(inputs);
    assert!(compiler.ruleset().policies.is_empty() && compiler.ruleset().sets.is_empty());
    flush(&mut compiler, [pod("shop", "c", "client", &["10.0.0.7"])]);
    let batch = flush(&mut compiler, [shop().remove(3)]);
    let filled: Vec<_> = batch.ruleset.sets_added.values().map(|set| set.members.len()).collect();
    assert_eq!(filled.iter().sum::<usize>(), 1, "{filled:?}");
    let batch = flush(&mut compiler, [shop().remove(3).absence()]);
    assert_eq!(batch.ruleset.policies_removed, BTreeSet::from([policy_id("shop", "web")]));
    assert_eq!(batch.ruleset.sets_removed.len(), 2);
    assert_eq!(*compiler.ruleset(), Default::default());
}

#[test]
fn an_endpoint_is_closed_until_its_pod_and_its_namespace_are_known() {
    let closed = |compiler: &Compiler| {
        let ruleset = compiler.ruleset();
        let endpoint = ruleset.endpoints.values().next().unwrap();
        Direction::ALL.map(|d| {
            let program = &ruleset.programs[&endpoint.program(d)];
            program.steps.is_empty() && program.end == (Verdict::Deny, DecisionId::UnknownEndpoint)
        })
    };
    for missing in [0, 2] {
        let mut inputs = shop();
        let late = inputs.remove(missing);
        let mut compiler = compiler(inputs);
        assert_eq!(closed(&compiler), [true, true]);
        flush(&mut compiler, [late.clone()]);
        assert_eq!(closed(&compiler), [false, false]);
        flush(&mut compiler, [late.absence()]);
        assert_eq!(closed(&compiler), [true, true]);
    }
}

#[test]
fn a_pod_of_an_unknown_namespace_is_a_member_of_nothing() {
    let not_red = Selector::Not(Box::new(Selector::equals("pcns.team", "red")));
    let rules = Some(vec![rule(Some(vec![Peer::Pods(not_red)]), None)]);
    let mut inputs = shop();
    inputs.push(policy("shop", "web", 1000, app("web"), rules, None));
    inputs.push(pod("mystery", "p", "x", &["10.0.0.50"]));
    let mut compiler = compiler(inputs);
    let members =
        |compiler: &Compiler| compiler.ruleset().sets.values().next().unwrap().members.len();
    assert_eq!(members(&compiler), 2, "shop/web alone, in both families");
    flush(&mut compiler, [namespace("mystery", &[("team", "blue")])]);
    assert_eq!(members(&compiler), 3);
    let batch = flush(&mut compiler, [namespace("mystery", &[("team", "red")])]);
    assert_eq!(members(&compiler), 2);
    assert_eq!(batch.ruleset.sets_changed.len(), 1);
}

#[test]
fn an_address_that_changes_hands_follows_its_owner() {
    let mut compiler = compiler(shop());
    let old = pod("shop", "old", "client", &["10.0.0.7"]);
    let new = pod("shop", "new", "client", &["10.0.0.7"]);
    flush(&mut compiler, [old.clone()]);
    let batch = flush(&mut compiler, [new]);
    assert!(batch.ruleset.is_empty(), "the address was a member already");
    assert_eq!(compiler.owners(addr("10.0.0.7")).len(), 2);
    let batch = flush(&mut compiler, [old.absence()]);
    assert!(batch.ruleset.is_empty(), "a late delete does not take it from the successor");
    let other = pod("shop", "new", "other", &["10.0.0.7"]);
    let batch = flush(&mut compiler, [other]);
    assert_eq!(set_changes(&batch)[0].removed, members(&["10.0.0.7"]));
}

#[test]
fn an_attachment_here_outweighs_the_status_of_a_pod_elsewhere() {
    let mut compiler = compiler(shop());
    let stale = pod("shop", "stale", "client", &["10.0.0.7"]);
    flush(&mut compiler, [stale.clone()]);
    let batch = flush(&mut compiler, [attach("shop", "fresh", "c2", &["10.0.0.7"])]);
    assert_eq!(
        set_changes(&batch)[0].removed,
        members(&["10.0.0.7"]),
        "held by a pod not yet known"
    );
    let batch = flush(&mut compiler, [pod("shop", "fresh", "client", &[])]);
    assert_eq!(set_changes(&batch)[0].added, members(&["10.0.0.7"]), "before its status says so");
    assert_eq!(compiler.owners(addr("10.0.0.7")), [&NamespacedName::new("shop", "fresh")]);
    let batch = flush(&mut compiler, [stale.absence()]);
    assert!(batch.ruleset.is_empty());
}

#[test]
fn named_ports_are_tuples_of_the_pods_that_have_them() {
    let http = build::named_port_rule("http");
    let mut inputs = shop();
    inputs.push(policy("shop", "web", 1000, app("web"), Some(vec![http]), None));
    inputs.push(with_port(pod("shop", "web", "web", &["10.0.0.1", "fd00::1"]), "http", 8080));
    let mut compiler = compiler(inputs);
    let tuples = |compiler: &Compiler| -> Vec<Member> {
        compiler.ruleset().sets.values().flat_map(|set| set.members.iter().copied()).collect()
    };
    let port = |a: &str, port| Member::Port(addr(a), Protocol::TCP, port);
    assert_eq!(tuples(&compiler), [port("10.0.0.1", 8080), port("fd00::1", 8080)]);
    flush(
        &mut compiler,
        [with_port(pod("shop", "web", "web", &["10.0.0.1", "fd00::1"]), "http", 81)],
    );
    assert_eq!(tuples(&compiler), [port("10.0.0.1", 81), port("fd00::1", 81)]);
}

#[test]
fn policies_run_by_order_then_name_then_namespace_and_equal_programs_are_one() {
    let everybody = || Some(vec![rule(None, None)]);
    let policy = |name, order| policy("shop", name, order, Selector::All, everybody(), None);
    let inputs = [
        namespace("shop", &[]),
        pod("shop", "a", "a", &["10.0.0.1"]),
        pod("shop", "b", "b", &["10.0.0.2"]),
        attach("shop", "a", "c1", &["10.0.0.1"]),
        attach("shop", "b", "c2", &["10.0.0.2"]),
        policy("a", 1000),
        policy("a-b", 1000),
        policy("late", 1001),
        policy("z", 0),
    ];
    let compiler = compiler(inputs);
    let ids = ["z", "a", "a-b", "late"].map(|name| policy_id("shop", name));
    assert_eq!(compiler.ruleset().programs.len(), 2, "one for each direction");
    for pod in ["a", "b"].map(|name| NamespacedName::new("shop", name)) {
        assert_eq!(compiler.policies_governing(&pod, Direction::Ingress).unwrap(), ids);
        assert_eq!(compiler.policies_governing(&pod, Direction::Egress).unwrap(), []);
    }
}

#[test]
fn the_dump_says_who_brings_a_member_in_and_is_the_same_whatever_came_before() {
    let client = || pod("shop", "c", "client", &["10.0.0.7"]);
    let straight = compiler(shop().into_iter().chain([client()]));
    let mut detour = compiler([pod("shop", "x", "client", &["10.0.0.7"]), client()]);
    flush(&mut detour, shop().into_iter().rev());
    flush(&mut detour, [pod("shop", "x", "", &[]).absence()]);
    let dump = |compiler: &Compiler| {
        let mut dump = serde_json::to_value(compiler.dump()).unwrap();
        dump["generation"].take();
        dump
    };
    assert_eq!(dump(&straight), dump(&detour));
    let sets = straight.ruleset().sets.keys();
    let brought: Vec<_> = sets.flat_map(|id| straight.members_of(*id).unwrap()).collect();
    let name = NamespacedName::new("shop", "c");
    assert_eq!(brought, [(Member::Addr(addr("10.0.0.7")), vec![Bringer::Pod(&name)])]);
    let first = *straight.ruleset().sets.keys().next().unwrap();
    assert_eq!(straight.policies_using(first), [&policy_id("shop", "web")]);
}
