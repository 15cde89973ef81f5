//! What changes of tiers, network sets, service accounts and Services emit.

use brindle_compiler::Bringer;
use brindle_model::cluster::{NetworkSetId, Node, Pod, ServiceAccount};
use brindle_model::policy::{Action, Criteria, End, TierEnd};
use brindle_model::ruleset::{SetDef, TierStep};
use brindle_model::verdict::PolicyKind;
use std::sync::Arc;

use super::*;
use build::{from, in_tier, network_set, slice, tier};

const GLOBAL: PolicyKind = PolicyKind::GlobalNetworkPolicy;
const STAGED: PolicyKind = PolicyKind::StagedGlobalNetworkPolicy;

/// `shop/web` on this node, and what else is given.
fn with(others: impl IntoIterator<Item = Update>) -> Compiler {
    let pod = [
        namespace("shop", &[]),
        pod("shop", "web", "web", &["10.0.0.1"]),
        attach("shop", "web", "c1", &["10.0.0.1"]),
    ];
    compiler(pod.into_iter().chain(others))
}

fn selecting(selector: Selector) -> Vec<brindle_model::policy::Rule> {
    vec![from(End { selector: Some(selector.into()), ..End::default() })]
}

/// The tiers of the only endpoint's ingress program: name, number of policies, end.
fn steps(compiler: &Compiler) -> Vec<(String, usize, TierEnd)> {
    let ruleset = compiler.ruleset();
    let endpoint = ruleset.endpoints.values().next().unwrap();
    let step = |step: &TierStep| (step.tier.to_string(), step.policies.len(), step.end);
    ruleset.programs[&endpoint.ingress].steps.iter().map(step).collect()
}

fn step(name: &str, policies: usize, end: TierEnd) -> (String, usize, TierEnd) {
    (name.to_owned(), policies, end)
}

/// The prefixes of the only set of network sets.
fn prefixes(compiler: &Compiler) -> Vec<String> {
    let mut sets = compiler.ruleset().sets.values();
    let set = sets.find(|set| matches!(set.def, SetDef::NetworkSets(_))).unwrap();
    let net = |member: &Member| match member {
        Member::Net(net) => net.to_string(),
        other => panic!("no prefix: {other:?}"),
    };
    set.members.iter().map(net).collect()
}

#[test]
fn existing_tiers_come_by_order_and_name_then_missing_ones_by_name() {
    let policies = ["missing", "b", "default", "absent", "kube-admin", "a", "kube-baseline"]
        .map(|tier| in_tier(GLOBAL, tier, tier, vec![]));
    let tiers = [tier("b", 5, TierEnd::NextTier), tier("a", 5, TierEnd::Drop)];
    let mut compiler = with(policies.into_iter().chain(tiers));
    let (drop, next) = (TierEnd::Drop, TierEnd::NextTier);
    let mut expected = vec![
        step("a", 1, drop),
        step("b", 1, next),
        step("kube-admin", 1, next),
        step("default", 1, drop),
        step("kube-baseline", 1, next),
        step("absent", 1, drop),
        step("missing", 1, drop),
    ];
    assert_eq!(steps(&compiler), expected);
    let batch = flush(&mut compiler, [tier("default", 1, next), tier("unused", 0, next)]);
    assert_eq!(batch.ruleset.endpoints.len(), 1);
    assert!(batch.ruleset.policies.is_empty() && batch.ruleset.sets_changed.is_empty());
    let default = expected.remove(3);
    expected.insert(0, (default.0, 1, next));
    assert_eq!(steps(&compiler), expected);
    let batch = flush(&mut compiler, [tier("unused", 9, drop)]);
    assert!(batch.ruleset.is_empty(), "a tier without a policy is invisible");
    flush(&mut compiler, [tier("default", 0, drop).absence()]);
    assert_eq!(steps(&compiler)[3], step("default", 1, drop), "built in, so back to what it was");
}

#[test]
fn staged_policies_stand_in_their_tier_and_never_make_it_count() {
    let staged = in_tier(STAGED, "b", "default", vec![]);
    let mut compiler = with([staged]);
    assert_eq!(steps(&compiler), [step("default", 1, TierEnd::NextTier)]);
    let enforced = in_tier(GLOBAL, "a", "default", vec![]);
    flush(&mut compiler, [enforced.clone()]);
    assert_eq!(steps(&compiler), [step("default", 2, TierEnd::Drop)]);
    flush(&mut compiler, [enforced.absence()]);
    assert_eq!(steps(&compiler), [step("default", 1, TierEnd::NextTier)]);
}

#[test]
fn a_network_set_is_one_disjoint_cover_and_a_change_costs_its_own_prefixes() {
    let bad = || app("bad");
    let many: Vec<String> =
        (0..10_000).map(|i| format!("20.{}.{}.0/25", i / 250, i % 250)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut compiler = with([
        in_tier(GLOBAL, "p", "default", selecting(bad())),
        network_set(None, "many", "bad", &many),
        network_set(None, "other", "bad", &["30.0.0.0/8", "30.1.0.0/16", "20.0.0.0/25"]),
        network_set(None, "good", "good", &["40.0.0.0/8"]),
    ]);
    assert_eq!(prefixes(&compiler).len(), 10_001);
    let grown = [&many[..], &["20.0.0.128/25", "30.2.0.0/16"]].concat();
    let batch = flush(&mut compiler, [network_set(None, "many", "bad", &grown)]);
    let nets = |texts: &[&str]| texts.iter().map(|t| Member::Net(t.parse().unwrap())).collect();
    let delta = SetDelta { added: nets(&["20.0.0.0/24"]), removed: nets(&["20.0.0.0/25"]) };
    assert_eq!(set_changes(&batch), [delta]);
    let batch = flush(&mut compiler, [network_set(None, "other", "bad", &["30.1.0.0/16"])]);
    let added = nets(&["30.1.0.0/16", "30.2.0.0/16"]);
    let delta = SetDelta { added, removed: nets(&["30.0.0.0/8"]) };
    assert_eq!(set_changes(&batch), [delta], "20.0.0.0/25 is still held by `many`");
    flush(&mut compiler, [network_set(None, "many", "bad", &[]).absence()]);
    assert_eq!(prefixes(&compiler), ["30.1.0.0/16"]);

    let set = *compiler.ruleset().sets.iter().find(|(_, set)| !set.members.is_empty()).unwrap().0;
    let id = NetworkSetId { namespace: None, name: "other".into() };
    let brought = compiler.members_of(set).unwrap();
    assert_eq!(brought[0].1, [Bringer::NetworkSet(&id)]);
}

#[test]
fn a_network_set_is_picked_by_its_namespaces_labels_once_that_is_known() {
    let not_red = Selector::not(Selector::equals("pcns.team", "red"));
    let selector = Selector::and([app("bad"), not_red]);
    let mut compiler = with([
        in_tier(GLOBAL, "p", "default", selecting(selector)),
        network_set(Some("late"), "n", "bad", &["20.0.0.0/8"]),
    ]);
    assert!(prefixes(&compiler).is_empty());
    flush(&mut compiler, [namespace("late", &[("team", "blue")])]);
    assert_eq!(prefixes(&compiler), ["20.0.0.0/8"]);
    flush(&mut compiler, [namespace("late", &[("team", "red")])]);
    assert!(prefixes(&compiler).is_empty());
    flush(
        &mut compiler,
        [namespace("late", &[("team", "blue")]), namespace("late", &[]).absence()],
    );
    assert!(prefixes(&compiler).is_empty());
    flush(&mut compiler, [network_set(None, "n", "bad", &["20.0.0.0/8"])]);
    assert_eq!(prefixes(&compiler), ["20.0.0.0/8"], "a global one has no namespace to wait for");
}

#[test]
fn a_service_accounts_labels_reach_its_pods_alone() {
    let trusted = Selector::equals("pcsa.trusted", "yes");
    let account = |labels: &[(&str, &str)]| {
        let labels = labels.iter().copied().collect();
        let id = NamespacedName::new("shop", "bot");
        Update::ServiceAccount(id, Some(Arc::new(ServiceAccount { labels })))
    };
    let of = |namespace: &str, name: &str, account: &str, address: &str| {
        let (addresses, service_account) = ([addr(address)].into(), Some(account.into()));
        let pod = Pod { addresses, service_account, ..Pod::default() };
        Update::Pod(NamespacedName::new(namespace, name), Some(Arc::new(pod)))
    };
    let mut compiler = with([
        in_tier(GLOBAL, "p", "default", selecting(trusted)),
        namespace("bank", &[]),
        of("shop", "a", "bot", "10.0.0.2"),
        of("shop", "b", "other", "10.0.0.3"),
        of("bank", "c", "bot", "10.0.0.4"),
    ]);
    assert_eq!(compiler.ruleset().sets.len(), 1, "no network set has a service account");
    let batch = flush(&mut compiler, [account(&[("trusted", "yes")])]);
    let added = members(&["10.0.0.2"]);
    assert_eq!(set_changes(&batch), [SetDelta { added, removed: BTreeSet::new() }]);
    let batch = flush(&mut compiler, [account(&[]).absence()]);
    let removed = members(&["10.0.0.2"]);
    assert_eq!(set_changes(&batch), [SetDelta { added: BTreeSet::new(), removed }]);
}

#[test]
fn a_service_follows_all_its_slices() {
    let service = Some(NamespacedName::new("shop", "api").into());
    let rule = from(End { service, ..End::default() });
    let mut compiler = with([
        in_tier(GLOBAL, "p", "default", vec![rule]),
        slice("shop", "1", "api", &["10.0.0.5", "10.0.0.6"], 80),
        slice("shop", "2", "api", &["10.0.0.6"], 81),
        slice("shop", "3", "other", &["10.0.0.7"], 80),
        slice("bank", "1", "api", &["10.0.0.8"], 80),
    ]);
    let held =
        |compiler: &Compiler| compiler.ruleset().sets.values().next().unwrap().members.clone();
    assert_eq!(held(&compiler), members(&["10.0.0.5", "10.0.0.6"]));
    let batch = flush(&mut compiler, [slice("shop", "1", "api", &["10.0.0.9"], 80)]);
    let (added, removed) = (members(&["10.0.0.9"]), members(&["10.0.0.5"]));
    assert_eq!(
        set_changes(&batch),
        [SetDelta { added, removed }],
        "the other slice holds 10.0.0.6"
    );
    flush(&mut compiler, [slice("shop", "3", "api", &["10.0.0.7"], 80)]);
    assert_eq!(held(&compiler), members(&["10.0.0.6", "10.0.0.7", "10.0.0.9"]));
    flush(&mut compiler, [slice("shop", "2", "other", &["10.0.0.6"], 81)]);
    assert_eq!(held(&compiler), members(&["10.0.0.7", "10.0.0.9"]));
}

#[test]
fn nodes_are_all_the_addresses_of_those_that_match() {
    let node = |rack: &str, addresses: &[&str]| {
        let labels = [("rack", rack)].into_iter().collect();
        let all_addresses = addresses.iter().map(|a| addr(a)).collect();
        Some(Arc::new(Node { labels, all_addresses, ..Node::default() }))
    };
    let peers = Some([Peer::Nodes(Selector::equals("rack", "a"))].into());
    let criteria = Criteria::Lists { peers, ports: None };
    let rule = brindle_model::policy::Rule { index: 0, action: Action::Deny, criteria };
    let mut compiler = with([
        in_tier(GLOBAL, "p", "default", vec![rule]),
        Update::Node("n1".into(), node("a", &["192.0.2.1", "fd00::1"])),
        Update::Node("n2".into(), node("b", &["192.0.2.2"])),
    ]);
    let held =
        |compiler: &Compiler| compiler.ruleset().sets.values().next().unwrap().members.clone();
    assert_eq!(held(&compiler), members(&["192.0.2.1", "fd00::1"]));
    flush(&mut compiler, [Update::Node("n2".into(), node("a", &["192.0.2.2", "192.0.2.1"]))]);
    assert_eq!(held(&compiler), members(&["192.0.2.1", "192.0.2.2", "fd00::1"]));
    flush(&mut compiler, [Update::Node("n1".into(), node("b", &["192.0.2.1", "fd00::1"]))]);
    assert_eq!(held(&compiler), members(&["192.0.2.1", "192.0.2.2"]));
}
