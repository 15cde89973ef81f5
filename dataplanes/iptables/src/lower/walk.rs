//! Writing chains, one rule after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::net::Family;
use brindle_model::ruleset::Ruleset;
use brindle_model::verdict::DecisionId;

use super::matches::{Class, Conjunction, Lowering};
use super::merge::Draft;
use super::record::{Recording, decided, log_chain, plain};
use super::{Lowered, chain_name};
use crate::rule::{Chain, Rule, Target};

/// What becomes of packets that a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are told of and dropped.
    Drop,
    /// Another target; counted for the decision.
    Other(Target),
}

/// Writes the rules of an owner's chain.
pub struct Walk<'a> {
    lowering: Lowering<'a>,
    recording: Recording,
    chains: BTreeMap<Name, Arc<Chain>>,
    base: Name,
    name: Name,
    rules: Vec<Rule>,
    /// Chains of alternatives so far.
    parts: usize,
}

impl<'a> Walk<'a> {
    /// Begins a chain for packets of a class.
    pub fn new(
        ruleset: &'a Ruleset,
        family: Family,
        recording: Recording,
        name: Name,
        class: Class,
    ) -> Self {
        let lowering = Lowering::new(ruleset, family, class);
        let (chains, base) = (BTreeMap::new(), name.clone());
        Self { lowering, recording, chains, base, name, rules: Vec::new(), parts: 0 }
    }

    /// Ends the chain, and begins another.
    pub fn begin(&mut self, name: Name) {
        let name = std::mem::replace(&mut self.name, name);
        let rules = std::mem::take(&mut self.rules);
        self.chains.insert(name, Arc::new(Chain { rules }));
    }

    /// Ends the chain, and returns all.
    pub fn finish(mut self) -> Lowered {
        let last = self.name.clone();
        self.begin(last);
        Lowered { chains: self.chains, sets: self.lowering.sets }
    }

    /// Writes a rule.
    pub fn push(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Writes what ends a list of rules.
    pub fn end(&mut self, verdict: Verdict, decision: &DecisionId) {
        let rule = self.rule(Vec::new(), verdict, decision);
        self.rules.push(rule);
    }

    /// Writes a rule with its alternatives.
    pub fn draft(&mut self, draft: &Draft, verdict: &Verdict) {
        for criteria in self.lowering.alternatives(draft) {
            let rule = self.rule(criteria, verdict.clone(), &draft.decision);
            self.rules.push(rule);
        }
    }

    /// A Log rule: whatever matches goes by way of the chain that logs, and comes back. A packet
    /// that several alternatives match is logged once (C5): these stand in a chain of their own,
    /// which the first that matches leaves.
    pub fn log(&mut self, drafts: &[Draft]) {
        let Some(decision) = drafts.first().map(|draft| &draft.decision) else { return };
        let mut alternatives: Vec<Conjunction> = Vec::new();
        for draft in drafts {
            alternatives.extend(self.lowering.alternatives(draft));
        }
        let (log, chain) = log_chain(decision);
        let text = decision.to_string();
        match alternatives.len() {
            0 => return,
            1 => {
                let jump = |criteria| plain(criteria, Target::Jump(log.clone()), &text);
                self.rules.extend(alternatives.into_iter().map(jump));
            }
            _ => {
                self.parts += 1;
                let part = chain_name('x', &format!("{} {}", self.base, self.parts));
                let hit = |criteria| plain(criteria, Target::Goto(log.clone()), &text);
                let rules = alternatives.into_iter().map(hit).collect();
                self.chains.insert(part.clone(), Arc::new(Chain { rules }));
                self.rules.push(plain(Vec::new(), Target::Jump(part), &text));
            }
        }
        self.chains.insert(log, chain);
    }

    fn rule(&mut self, criteria: Conjunction, verdict: Verdict, decision: &DecisionId) -> Rule {
        match verdict {
            Verdict::Other(target) => decided(criteria, target, decision),
            Verdict::Drop => {
                let (name, chain) = self.recording.drop_chain(decision);
                self.chains.insert(name.clone(), chain);
                plain(criteria, Target::Goto(name), &decision.to_string())
            }
        }
    }
}
