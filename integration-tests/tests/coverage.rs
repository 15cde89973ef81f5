//! The generated worlds reach every rule of the policy semantics that has a verdict, and every
//! criterion decides somewhere: what is never reached is never compared.
//!
//! `cargo test -p brindle-integration-tests --test coverage -- --nocapture` prints the report.

use std::collections::{BTreeMap, BTreeSet};

use brindle_integration_tests::worlds::compiled::Answer;
use brindle_integration_tests::worlds::reach::{self, BY_OUTCOME, ELSEWHERE};
use brindle_integration_tests::worlds::{choose, generate};
use brindle_model::packet::Flow;
use brindle_model::verdict::{DecisionId, PolicyKind, Verdict};
use brindle_oracle::{Action, Outcome, Place, Step, World, judge};

const WORLDS: u64 = if cfg!(debug_assertions) { 800 } else { 6_000 };
const FLOWS: usize = 50;

/// Rules that are asked by name in the oracle's trace, and must be found to hold and not to hold.
const BOTH_WAYS: [&str; 31] = [
    "C35", "C37", "K1", "K5", "K6", "K8", "K10", "K13", "K17", "K18", "K19", "K20", "C1", "C4",
    "C5", "C10", "C16", "C18", "C19", "C20", "C21", "C22", "C23", "C24", "C25", "C26", "A2", "A5",
    "A8", "A9", "A10",
];

/// Rules that are only noted when they hold, or only when they do not: what a selector's labels hold
/// to is noted by the rule that wanted it.
const ONE_WAY: [&str; 29] = [
    "C34", "C36", "C38", "C39", "C40", "K2", "K11", "C11", "A12", "K14", "K16", "K21", "K24",
    "K30", "K31", "K32", "K34", "K37", "C3", "C6", "C7", "C9", "C27", "C28", "C33", "C41", "A4",
    "A11", "A13",
];

/// How often a rule was reached.
#[derive(Default)]
struct Reached {
    /// Worlds in which it did not hold, and in which it did.
    worlds: [BTreeSet<u64>; 2],
    /// Hops that ended in a denial, and that did not, with the rule on the way.
    verdicts: [usize; 2],
}

/// Counts of what the hops of all worlds went through.
#[derive(Default)]
struct Report {
    rules: BTreeMap<&'static str, Reached>,
    /// Worlds that reach the rules that are recognised by their outcome, and of their flows those
    /// that were denied and delivered.
    outcomes: BTreeMap<&'static str, (BTreeSet<u64>, [usize; 2])>,
    /// By criterion: hops at which it alone kept its rule from matching, and at which it held.
    criteria: BTreeMap<String, [usize; 2]>,
    /// Decisions by the kind of policy and the verdict.
    deciders: BTreeMap<(PolicyKind, Verdict), usize>,
    /// Tiers at whose end a packet was dropped.
    ends: BTreeMap<String, usize>,
    /// Hops that recorded by Log rules, and by staged policies.
    recorded: [usize; 2],
    /// Rules that matched by their action, and those that were broken.
    actions: BTreeMap<(Action, bool), usize>,
}

impl Report {
    fn recognise(&mut self, seed: u64, world: &World, flow: &Flow, outcome: &Outcome) {
        for (rule, reaches) in BY_OUTCOME {
            if reaches(world, flow, outcome) {
                let (worlds, flows) = self.outcomes.entry(*rule).or_default();
                worlds.insert(seed);
                flows[usize::from(outcome.delivered)] += 1;
            }
        }
    }

    fn count(&mut self, seed: u64, hop: &Answer, trace: &[Step]) {
        let mut seen = BTreeSet::new();
        for step in trace {
            let reached = self.rules.entry(step.rule).or_default();
            reached.worlds[usize::from(step.matched)].insert(seed);
            if seen.insert(step.rule) {
                reached.verdicts[usize::from(hop.verdict == Verdict::Allow)] += 1;
            }
            if let (Place::Rule { action, .. }, true) = (&step.place, step.matched) {
                let broken = step.words.starts_with("broken");
                *self.actions.entry((*action, broken)).or_default() += 1;
            }
        }
        self.count_criteria(trace);
        match &hop.decision {
            DecisionId::Rule { policy, .. } => {
                *self.deciders.entry((policy.kind, hop.verdict)).or_default() += 1;
            }
            DecisionId::TierEnd { tier } => *self.ends.entry(tier.to_string()).or_default() += 1,
            _ => {}
        }
        self.recorded[0] += usize::from(!hop.logged.is_empty());
        self.recorded[1] += usize::from(!hop.staged.is_empty());
    }

    /// A rule's criteria stand before it in the trace, all of them.
    fn count_criteria(&mut self, trace: &[Step]) {
        let mut asked: Vec<(&String, bool)> = Vec::new();
        for step in trace {
            match &step.place {
                Place::Criterion { criterion, .. } => asked.push((criterion, step.matched)),
                Place::Rule { .. } => {
                    let failed = asked.iter().filter(|(_, matched)| !matched).count();
                    for (criterion, matched) in asked.drain(..) {
                        let counts = self.criteria.entry(criterion.clone()).or_default();
                        counts[0] += usize::from(!matched && failed == 1);
                        counts[1] += usize::from(matched && failed == 0);
                    }
                }
                _ => {}
            }
        }
    }

    fn print(&self) {
        println!("rule   worlds: no / yes      hops: deny / allow");
        for (rule, reached) in &self.rules {
            let [no, yes] = reached.worlds.each_ref().map(BTreeSet::len);
            let [deny, allow] = reached.verdicts;
            println!("{rule:6} {no:8} / {yes:<8} {deny:8} / {allow:<8}");
        }
        println!("rule   worlds      flows: denied / delivered");
        for (rule, (worlds, [denied, delivered])) in &self.outcomes {
            println!("{rule:6} {:8} {denied:8} / {delivered:<8}", worlds.len());
        }
        println!("criterion: alone against its rule / with it");
        for (criterion, [no, yes]) in &self.criteria {
            println!("{criterion:30} {no:8} / {yes:<8}");
        }
        println!("{:?}\n{:?}", self.deciders, self.ends);
        println!("logged, staged: {:?}\n{:?}", self.recorded, self.actions);
    }
}

#[test]
fn every_rule_is_reached_and_every_criterion_decides() {
    let mut report = Report::default();
    for seed in 0..WORLDS {
        let world = generate(seed);
        for flow in choose(&world, seed, FLOWS) {
            let outcome = judge(&world, &flow);
            report.recognise(seed, &world, &flow, &outcome);
            let pods = outcome.hops.iter().map(|hop| &hop.trace);
            let traces = pods.chain(outcome.hosts.iter().map(|hop| &hop.trace));
            for (hop, trace) in Answer::all(&outcome).iter().zip(traces) {
                report.count(seed, hop, trace);
            }
        }
    }
    report.print();
    let mut missing = Vec::new();
    for rule in BOTH_WAYS.into_iter().chain(ONE_WAY) {
        let Some(reached) = report.rules.get(rule) else {
            missing.push(format!("{rule} is never reached"));
            continue;
        };
        let [no, yes] = reached.worlds.each_ref().map(BTreeSet::len);
        if BOTH_WAYS.contains(&rule) && (no < 3 || yes < 3) {
            missing.push(format!("{rule} holds in {yes} worlds, and does not in {no}"));
        }
        if no + yes < 3 {
            missing.push(format!("{rule} is reached in {} worlds", no + yes));
        }
    }
    for (rule, _) in BY_OUTCOME {
        let worlds = report.outcomes.get(rule).map_or(0, |(worlds, _)| worlds.len());
        if worlds < 3 {
            missing.push(format!("{rule} is reached in {worlds} worlds"));
        }
    }
    let listed = BOTH_WAYS.iter().chain(&ONE_WAY).copied();
    let listed = listed.chain(BY_OUTCOME.iter().map(|(rule, _)| *rule));
    let listed: Vec<_> = listed.chain(ELSEWHERE.iter().map(|(rule, _)| *rule)).collect();
    for rule in reach::numbers() {
        let times = listed.iter().filter(|known| **known == rule).count();
        if times != 1 {
            missing.push(format!("{rule} is on {times} lists"));
        }
    }
    // Every rule that the oracle knows is on a list: one that is new is not forgotten here.
    let known: BTreeSet<_> = BOTH_WAYS.into_iter().chain(ONE_WAY).collect();
    let unlisted = report.rules.keys().filter(|rule| !known.contains(*rule));
    missing.extend(unlisted.map(|rule| format!("{rule} is on no list of this test")));
    let fields = [
        "nets",
        "notNets",
        "selector",
        "notSelector",
        "serviceAccounts",
        "services",
        "namespaceSelector",
        "ports",
        "notPorts",
    ];
    let sides = |field: &&str| ["source", "destination"].map(|side| format!("{side}.{field}"));
    let of_packet =
        ["ipVersion", "family", "protocol", "notProtocol", "icmp", "notICMP"].map(str::to_owned);
    for criterion in fields.iter().flat_map(sides).chain(of_packet) {
        let [no, yes] = report.criteria.get(&criterion).copied().unwrap_or_default();
        if no < 3 || yes < 3 {
            missing.push(format!("{criterion} decides against its rule {no} times, for it {yes}"));
        }
    }
    for kind in [
        PolicyKind::ClusterNetworkPolicy,
        PolicyKind::GlobalNetworkPolicy,
        PolicyKind::KubernetesNetworkPolicy,
        PolicyKind::NetworkPolicy,
    ] {
        for verdict in [Verdict::Allow, Verdict::Deny] {
            let possible = kind != PolicyKind::KubernetesNetworkPolicy || verdict == Verdict::Allow;
            if possible && report.deciders.get(&(kind, verdict)).is_none_or(|n| *n < 20) {
                missing.push(format!("no {kind} decides {verdict}"));
            }
        }
    }
    for action in [Action::Deny, Action::Pass] {
        if !report.actions.contains_key(&(action, true)) {
            missing.push(format!("no broken {action:?} denies everything"));
        }
    }
    if report.ends.len() < 4 || report.recorded.iter().any(|n| *n < 100) {
        missing.push(format!("ends {:?}, recorded {:?}", report.ends, report.recorded));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
