//! Any sequence of edits ends where a fresh compile of its final inputs ends.
//!
//! Random walks of thirty edits through a small universe, so that coincidences happen: addresses that
//! change hands, names that come back, objects that are deleted before they exist. After every
//! flush three independent answers must agree with the incremental one: a fresh compile, a holder
//! that only ever applied deltas, and a scan of the inputs that uses no index.

mod scan;
mod universe;

use std::collections::{BTreeMap, BTreeSet};

use brindle_compiler::{Compiler, snapshot};
use brindle_model::cluster::Update;
use brindle_model::policy::TierEnd;
use brindle_model::routing::{Change, Routing};
use brindle_model::ruleset::{Batch, Generation, Member, Ruleset, RulesetDelta, SetDef};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{TestCaseResult, TestRunner};

use universe::{Inputs, NODE, edit, full};

/// A compiler beside a holder that sees nothing but its batches.
struct Pair {
    compiler: Compiler,
    ruleset: Ruleset,
    routing: Routing,
}

impl Pair {
    fn new() -> Self {
        let compiler = Compiler::new(NODE.into());
        Self { compiler, ruleset: Ruleset::default(), routing: Routing::default() }
    }

    /// Flushes, and holds the batch and the result against `inputs`.
    fn flush(&mut self, inputs: &Inputs) -> TestCaseResult {
        let before = (self.ruleset.clone(), self.compiler.generation());
        let batch = self.compiler.flush();
        prop_assert_eq!(batch.generation, before.1.next());
        prop_assert!(!self.compiler.has_pending());
        well_formed(&before.0, &batch)?;
        self.ruleset.apply(&batch.ruleset);
        reroute(&mut self.routing, &batch.routing);
        let (ruleset, routing) = snapshot(NODE.into(), inputs.updates());
        prop_assert_eq!(self.compiler.ruleset(), &ruleset);
        prop_assert_eq!(&self.ruleset, &ruleset);
        prop_assert_eq!(self.compiler.routing(), &routing);
        prop_assert_eq!(&self.routing, &routing);
        scan::check(inputs, &ruleset)?;
        prop_assert_eq!(batch.ruleset, RulesetDelta::between(&before.0, &ruleset));
        Ok(())
    }
}

/// Nothing is named before it is there, added twice, or removed while absent or still named.
fn well_formed(before: &Ruleset, batch: &Batch) -> TestCaseResult {
    let delta = &batch.ruleset;
    for (id, set) in &delta.sets_added {
        prop_assert!(!before.sets.contains_key(id) && set.def.id() == *id);
    }
    for (id, change) in &delta.sets_changed {
        let members = &before.sets[id].members;
        prop_assert!(!change.added.is_empty() || !change.removed.is_empty());
        prop_assert!(change.added.is_disjoint(members) && change.removed.is_subset(members));
    }
    prop_assert!(delta.programs_added.iter().all(|(id, program)| program.id() == *id));
    let mut after = before.clone();
    after.apply(delta);
    let named: BTreeSet<_> = after.policies.values().flat_map(|rules| rules.sets()).collect();
    prop_assert!(named.iter().eq(after.sets.keys()), "sets are exactly those that rules name");
    for set in after.sets.values() {
        let nets = set.members.iter().filter(|member| matches!(member, Member::Net(_))).count();
        prop_assert!(nets == 0 || nets == set.members.len());
    }
    Ok(())
}

fn reroute(routing: &mut Routing, changes: &[Change]) {
    for change in changes {
        match change.clone() {
            Change::Speaker(speaker) => routing.speaker = speaker,
            Change::Peer(name, Some(peer)) => {
                routing.peers.insert(name, peer);
            }
            Change::Peer(name, None) => {
                assert!(routing.peers.remove(&name).is_some(), "{name} was no neighbour");
            }
            Change::Originate(net, how) => {
                let before = routing.originate.insert(net, how.clone());
                assert_ne!(before, Some(how), "{net} twice");
            }
            Change::Withdraw(net) => {
                assert!(routing.originate.remove(&net).is_some(), "{net} unannounced");
            }
        }
    }
}

/// Runs updates on a new pair with a flush wherever `flush_after` says, and at the end.
fn run(
    updates: &[Update],
    mut flush_after: impl FnMut(usize) -> bool,
) -> Result<Pair, TestCaseError> {
    let mut pair = Pair::new();
    let mut inputs = Inputs::default();
    for (i, update) in updates.iter().enumerate() {
        pair.compiler.apply(update.clone());
        inputs.set(update.clone());
        if flush_after(i) {
            pair.flush(&inputs)?;
        }
    }
    pair.flush(&inputs)?;
    Ok(pair)
}

/// The same final inputs, reached otherwise.
fn expand(walk: &[Update]) -> Vec<(&'static str, Vec<Update>)> {
    let mut last = Inputs::default();
    walk.iter().for_each(|update| last.set(update.clone()));
    let mut reversed: Vec<_> = last.updates().collect();
    reversed.reverse();
    let doubled = walk.iter().flat_map(|update| [update.clone(), update.clone()]).collect();
    let spurious = walk.iter().flat_map(|update| [update.absence(), update.clone()]).collect();
    vec![("reversed", reversed), ("doubled", doubled), ("spurious deletes", spurious)]
}

/// The property above says nothing about what no walk does.
#[test]
fn walks_reach_every_kind_of_set_and_tier() {
    let mut runner = TestRunner::deterministic();
    let mut reached: BTreeMap<&'static str, usize> = BTreeMap::new();
    for _ in 0..320 {
        let walk = walk().new_tree(&mut runner).unwrap().current();
        let mut compiler = Compiler::new(NODE.into());
        for update in walk {
            compiler.apply(update);
            let batch = compiler.flush().ruleset;
            let ruleset = compiler.ruleset();
            for (id, delta) in &batch.sets_changed {
                let kind = match &ruleset.sets[id].def {
                    SetDef::Selector(_) => "pods",
                    SetDef::NetworkSets(_) if delta.added.len() + delta.removed.len() > 2 => {
                        "split"
                    }
                    SetDef::NetworkSets(_) => "network sets",
                    SetDef::Nodes(_) => "nodes",
                    SetDef::Service { ports: false, .. } => "addresses of a service",
                    SetDef::Service { ports: true, .. } => "ports of a service",
                    SetDef::NamedPort { .. } => "named ports",
                    SetDef::Cidrs(_) => panic!("a set of prefixes never changes"),
                };
                *reached.entry(kind).or_default() += 1;
            }
            for program in batch.programs_added.values() {
                let tiers = program.steps.len();
                let passing = program.steps.iter().filter(|s| s.end == TierEnd::NextTier).count();
                *reached.entry("several tiers").or_default() += usize::from(tiers > 1);
                *reached.entry("tiers that pass").or_default() += passing;
            }
        }
    }
    assert_eq!(reached.len(), 9, "{reached:?}");
    assert!(reached.values().all(|times| *times >= 20), "{reached:?}");
}

/// A walk of edits through a universe that is full at first.
fn walk() -> impl Strategy<Value = Vec<Update>> {
    (full(), prop::collection::vec(edit(), 30)).prop_map(|(full, edits)| [full, edits].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_flush_equals_a_fresh_compile(
        walk in walk(),
        flushes in prop::collection::vec(any::<bool>(), 60),
    ) {
        let split = run(&walk, |_| true)?;
        let squashed = run(&walk, |_| false)?;
        prop_assert_eq!(squashed.compiler.generation(), Generation(1));
        prop_assert_eq!(squashed.compiler.ruleset(), split.compiler.ruleset());
        for (name, updates) in expand(&walk) {
            let expanded = run(&updates, |i| flushes[i % flushes.len()])?;
            prop_assert_eq!(expanded.compiler.ruleset(), split.compiler.ruleset(), "{}", name);
            prop_assert_eq!(expanded.compiler.routing(), split.compiler.routing(), "{}", name);
        }
        // Everything deleted again leaves nothing behind.
        let removals = walk.iter().map(Update::absence);
        let emptied = run(&walk.iter().cloned().chain(removals).collect::<Vec<_>>(), |i| i % 7 == 0)?;
        prop_assert_eq!(emptied.compiler.ruleset(), &Ruleset::default());
        prop_assert_eq!(emptied.compiler.routing(), &Routing::default());
    }
}
