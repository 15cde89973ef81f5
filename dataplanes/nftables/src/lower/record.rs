//! How packets that are denied or logged become known.
//!
//! Lowering writes `drop`. [`Recording::apply`] makes of it a `goto` to the chain of its decision,
//! which every program and policy shares:
//!
//! ```text
//! drop/tier/default             limit rate 5/second log prefix "deny tier/default" group 9898
//!                               counter drop
//! log/np.brindle/ns/web/egress/3
//!                               counter limit rate 10/second log prefix "log …" group 9898
//! ```
//! A limit is a criterion: where it does not hold, the rest of its rule is skipped. So it may not
//! stand in the rule that drops. Only packets that are dropped pay for any of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_dataplane_core::nflog::{DROPS_PER_SECOND, Event, GROUP, LOGS_PER_SECOND};
use brindle_model::Name;
use brindle_model::verdict::DecisionId;

use super::Lowered;
use super::walk::{decided, plain};
use crate::rule::{Log, Rule, Target};
use crate::table::{Chain, Verdict, comment};

/// What is told of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Denied packets told of, a second and decision; the others are only counted.
    pub drops_per_second: u32,
    /// Whether the kernel can tell of packets at all.
    pub nflog: bool,
}

impl Default for Recording {
    fn default() -> Self {
        Self { drops_per_second: DROPS_PER_SECOND, nflog: true }
    }
}

/// What a kernel must take for packets to be told of.
pub fn specimen() -> Rule {
    tell(Event::Log, &DecisionId::Established, LOGS_PER_SECOND)
}

/// The chain that logs for a Log rule, and comes back.
pub fn log_chain(decision: &DecisionId) -> (Name, Arc<Chain>) {
    let name = format!("log/{}", decision.label()).into();
    let log = tell(Event::Log, decision, LOGS_PER_SECOND);
    let rule = Rule { counter: true, decisions: [decision.clone()].into(), ..log };
    (name, Arc::new(chain(decision, vec![rule])))
}

fn tell(event: Event, decision: &DecisionId, per_second: u32) -> Rule {
    let log = Log { group: GROUP, prefix: event.prefix(decision).into(), per_second };
    Rule { target: Target::Log(log), ..plain(Verdict::Return, &decision.to_string()) }
}

fn chain(decision: &DecisionId, rules: Vec<Rule>) -> Chain {
    Chain { hook: None, comment: comment(&decision.to_string()), rules }
}

impl Recording {
    /// Lets what is lowered tell of the packets it drops, and not log where the kernel cannot.
    pub fn apply(self, lowered: &mut Lowered) {
        let mut drops = BTreeMap::new();
        for chain in lowered.chains.values_mut() {
            if !chain.rules.iter().any(|rule| self.concerns(rule)) {
                continue;
            }
            for rule in &mut Arc::make_mut(chain).rules {
                match (&rule.target, &rule.decisions[..]) {
                    (Target::Verdict(Verdict::Drop), [decision]) => {
                        let (name, chain) = self.drop_chain(decision);
                        (rule.counter, rule.decisions) = (false, [].into());
                        rule.target = Target::Verdict(Verdict::Goto(name.clone()));
                        drops.insert(name, chain);
                    }
                    (Target::Log(_), _) if !self.nflog => {
                        rule.target = Target::Verdict(Verdict::Return);
                    }
                    _ => {}
                }
            }
        }
        lowered.chains.append(&mut drops);
    }

    fn concerns(self, rule: &Rule) -> bool {
        match rule.target {
            Target::Verdict(Verdict::Drop) => rule.decisions.len() == 1,
            Target::Log(_) => !self.nflog,
            _ => false,
        }
    }

    fn drop_chain(self, decision: &DecisionId) -> (Name, Arc<Chain>) {
        let name = format!("drop/{}", decision.label()).into();
        let mut rules = Vec::new();
        if self.nflog && self.drops_per_second > 0 {
            rules.push(tell(Event::Deny, decision, self.drops_per_second));
        }
        rules.push(decided(Verdict::Drop, decision.clone()));
        (name, Arc::new(chain(decision, rules)))
    }
}
