//! Writing chains, one rule after the other.
//!
//! Where a rule has exceptions it has a chain of its own, and so has what follows it:
//!
//! ```text
//! chain:  …                        part:  exception  goto rest         rest:  …
//!         goto part                       alternative  verdict
//!                                         goto rest
//! ```
//! All of it is reached by goto, so what RETURN means does not change.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::net::Family;
use brindle_model::ruleset::Ruleset;
use brindle_model::verdict::DecisionId;

use super::matches::{Conjunction, Formula, Lowering};
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
    /// Chains begun beside the first.
    parts: usize,
}

impl<'a> Walk<'a> {
    /// Begins a chain.
    pub fn new(ruleset: &'a Ruleset, family: Family, recording: Recording, name: Name) -> Self {
        let lowering = Lowering::new(ruleset, family);
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

    /// Writes a rule with its alternatives and exceptions.
    pub fn draft(&mut self, draft: &Draft, verdict: &Verdict) {
        let Some(Formula { any, none }) = self.lowering.formula(draft) else { return };
        let mut rules = Vec::new();
        for criteria in any {
            rules.push(self.rule(criteria, verdict.clone(), &draft.decision));
        }
        if none.is_empty() {
            self.rules.append(&mut rules);
            return;
        }
        let (part, rest) = (self.fresh(), self.fresh());
        let text = draft.decision.to_string();
        self.rules.push(plain(Vec::new(), Target::Goto(part.clone()), &text));
        self.begin(part);
        let past = || Target::Goto(rest.clone());
        self.rules.extend(none.into_iter().map(|criteria| plain(criteria, past(), &text)));
        self.rules.append(&mut rules);
        self.rules.push(plain(Vec::new(), past(), ""));
        self.begin(rest);
    }

    /// A Log rule: whatever matches goes by way of the chain that logs, and comes back. A packet
    /// that several alternatives match is logged once (C5): these stand in a chain of their own,
    /// which the first that matches leaves.
    pub fn log(&mut self, drafts: &[Draft]) {
        let Some(decision) = drafts.first().map(|draft| &draft.decision) else { return };
        let formulas: Vec<_> =
            drafts.iter().filter_map(|draft| self.lowering.formula(draft)).collect();
        let (log, chain) = log_chain(decision);
        let text = decision.to_string();
        match &formulas[..] {
            [] => return,
            [Formula { any, none }] if any.len() == 1 && none.is_empty() => {
                let rule = plain(any[0].clone(), Target::Jump(log.clone()), &text);
                self.rules.push(rule);
            }
            _ => {
                // Exceptions are those of their own alternatives, so each formula is a chain.
                let names: Vec<_> = formulas.iter().map(|_| self.fresh()).collect();
                for (at, Formula { any, none }) in formulas.into_iter().enumerate() {
                    let next =
                        names.get(at + 1).map_or(Target::Return, |n| Target::Goto(n.clone()));
                    let past = none.into_iter().map(|c| plain(c, next.clone(), &text));
                    let hit = any.into_iter().map(|c| plain(c, Target::Goto(log.clone()), &text));
                    let mut rules: Vec<_> = past.chain(hit).collect();
                    rules.push(plain(Vec::new(), next.clone(), ""));
                    self.chains.insert(names[at].clone(), Arc::new(Chain { rules }));
                }
                self.rules.push(plain(Vec::new(), Target::Jump(names[0].clone()), &text));
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

    /// A name for a further chain of the owner; the same on every run.
    fn fresh(&mut self) -> Name {
        self.parts += 1;
        chain_name('x', &format!("{} {}", self.base, self.parts))
    }
}
