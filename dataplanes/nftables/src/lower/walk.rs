//! Writing chains: parts of policies, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::net::Protocol;
use brindle_model::ruleset::{Action, Ruleset};
use brindle_model::verdict::DecisionId;

use super::Lowered;
use super::matches::{Alternatives, Lowering};
use super::merge::{self, Draft, Part};
use super::record::log_chain;
use super::sets::{self, content_hash};
use crate::rule::{Criterion, MapKey, Rule, Target};
use crate::table::{Chain, Element, Key, Verdict, comment};

/// A rule without criteria that decides nothing itself.
pub fn plain(verdict: Verdict, text: &str) -> Rule {
    let target = Target::Verdict(verdict);
    let (criteria, comment) = (Vec::new(), comment(text));
    Rule { criteria, counter: false, target, comment, decisions: [].into() }
}

/// A rule without criteria that decides.
pub fn decided(verdict: Verdict, decision: DecisionId) -> Rule {
    let rule = plain(verdict, &decision.to_string());
    Rule { counter: true, decisions: [decision].into(), ..rule }
}

/// Writes rules into a chain, and goes on in others.
pub struct Walk<'a> {
    lowering: Lowering<'a>,
    chains: BTreeMap<Name, Arc<Chain>>,
    name: Name,
    comment: String,
    rules: Vec<Rule>,
}

impl<'a> Walk<'a> {
    /// Begins a chain.
    pub fn new(ruleset: &'a Ruleset, name: Name, comment: String) -> Self {
        let lowering = Lowering::new(ruleset);
        Self { lowering, chains: BTreeMap::new(), name, comment, rules: Vec::new() }
    }

    /// Ends the chain, and begins another.
    pub fn begin(&mut self, name: Name, text: String) {
        let name = std::mem::replace(&mut self.name, name);
        let comment = std::mem::replace(&mut self.comment, comment(&text));
        let rules = std::mem::take(&mut self.rules);
        self.add_chain(name, comment, rules);
    }

    /// Ends the chain, and returns all.
    pub fn finish(mut self) -> Lowered {
        self.begin("".into(), String::new());
        Lowered { chains: self.chains, sets: self.lowering.sets }
    }

    /// Writes a rule.
    pub fn push(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    fn add_chain(&mut self, name: Name, comment: String, rules: Vec<Rule>) {
        self.chains.insert(name, Arc::new(Chain { hook: None, comment, rules }));
    }

    /// Writes a part. `within` is the chain, if its verdicts must not be reached by a jump.
    pub fn part(&mut self, part: Part, verdict: &dyn Fn(Action) -> Verdict, within: Option<&Name>) {
        match part {
            Part::Linear(draft) => {
                let rules = self.lowering.rules(&draft, &verdict(draft.action));
                self.rules.extend(rules);
            }
            Part::Tuples { drafts, tuples } => {
                let verdict = verdict(drafts[0].action);
                self.rules.extend(self.lowering.tuple_rules(&drafts, &tuples, &verdict));
            }
            Part::Services { services, drafts } => {
                self.services(services, &drafts, verdict, within);
            }
            Part::Log(drafts) => self.log(&drafts),
        }
    }

    /// Rules that a verdict map of protocol and port leads to. In a policy's own chain it jumps, and
    /// comes back if none of them matched; in a program both ways meet in a chain of what follows.
    fn services(
        &mut self,
        services: BTreeMap<(Protocol, u16), Vec<Draft>>,
        drafts: &[Draft],
        verdict: &dyn Fn(Action) -> Verdict,
        within: Option<&Name>,
    ) {
        let base = within.unwrap_or(&self.name).clone();
        // What the map holds follows from its place and keys, so they name it.
        let place = self.chains.len();
        let keys = services.keys().map(|(p, port)| format!("{p} {port} ")).collect::<String>();
        let map: Name =
            format!("{base}/services-{}", content_hash(&format!("{place} {keys}"))).into();
        let rest: Name = format!("{map}/rest").into();
        let mut elements = Vec::new();
        for ((protocol, port), drafts) in services {
            let chain: Name = format!("{map}/{protocol}-{port}").into();
            let lower = |draft: &Draft| self.lowering.rules(draft, &verdict(draft.action));
            let mut rules: Vec<Rule> = drafts.iter().flat_map(lower).collect();
            let leads_to = if within.is_some() {
                rules.push(plain(Verdict::Goto(rest.clone()), "none of these"));
                Verdict::Goto(chain.clone())
            } else {
                Verdict::Jump(chain.clone())
            };
            self.add_chain(chain, comment(&format!("{protocol} port {port}")), rules);
            let key = Key::Service(protocol, port);
            elements.push(Element { key, verdict: Some(leads_to), comment: String::new() });
        }
        let comment = merge::decisions(drafts.iter().flat_map(|draft| &draft.decisions));
        self.lowering.use_set(sets::services(map.clone(), elements, comment.clone()));
        self.rules.push(Rule {
            target: Target::Map(MapKey::Service, map),
            comment,
            ..plain(Verdict::Return, "")
        });
        if within.is_some() {
            self.rules.push(plain(Verdict::Goto(rest.clone()), "other services"));
            self.begin(rest, "what follows the services".to_owned());
        }
    }

    /// A Log rule: whatever matches goes by way of the chain that logs, and comes back. A packet
    /// that several alternatives match is logged once (C5): these stand in a chain of their own,
    /// which the first that matches leaves.
    fn log(&mut self, drafts: &[Draft]) {
        let mut alternatives: Alternatives = Vec::new();
        for draft in drafts {
            alternatives.extend(self.lowering.criteria(draft));
        }
        let Some(decision) = drafts.iter().find_map(|draft| draft.decisions.first()) else {
            return;
        };
        if alternatives.is_empty() {
            return;
        }
        let (log, chain) = log_chain(decision);
        let rule = |criteria, verdict| Rule { criteria, ..plain(verdict, &decision.to_string()) };
        if exclusive(&alternatives) {
            let rules = alternatives.into_iter().map(|c| rule(c, Verdict::Jump(log.clone())));
            self.rules.extend(rules);
        } else {
            let name: Name = format!("{}/log-{}", self.name, self.chains.len()).into();
            let rules = alternatives.into_iter().map(|c| rule(c, Verdict::Goto(log.clone())));
            let rules = rules.collect();
            self.add_chain(name.clone(), "alternatives of a Log rule".to_owned(), rules);
            self.rules.push(plain(Verdict::Jump(name), &decision.to_string()));
        }
        self.chains.insert(log, chain);
    }
}

/// Whether no packet can match two of them: there is one a family at most.
fn exclusive(alternatives: &Alternatives) -> bool {
    let family = |criteria: &[Criterion]| match criteria.first() {
        Some(Criterion::Family(family)) => Some(*family),
        _ => None,
    };
    match &alternatives[..] {
        [] | [_] => true,
        [a, b] => family(a).zip(family(b)).is_some_and(|(a, b)| a != b),
        _ => false,
    }
}
