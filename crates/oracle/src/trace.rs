//! The trace: every clause that was asked, what it said and why.

use std::borrow::Cow;
use std::fmt;

use brindle_model::verdict::PolicyId;

/// One clause of the rules, put to one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Number of the rule in the policy semantics, such as `K8`.
    pub rule: &'static str,
    /// What the clause is about.
    pub place: Place,
    /// Whether it applied.
    pub matched: bool,
    /// What was found; where it did not apply, which criterion failed.
    pub words: Cow<'static, str>,
}

/// What a [`Step`] is about. `rule` and `entry` count the user's lists from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The hop as a whole: endpoint, state, the end of the walk.
    Hop,
    /// A policy: whether it governs this pod and direction.
    Policy(PolicyId),
    /// A rule as a whole.
    Rule {
        /// The policy.
        policy: PolicyId,
        /// The rule.
        rule: u32,
    },
    /// The `from` or `to` list of a rule, or one entry of it.
    Peers {
        /// The policy.
        policy: PolicyId,
        /// The rule.
        rule: u32,
        /// The entry; `None` is the list.
        entry: Option<usize>,
    },
    /// The `ports` list of a rule, or one entry of it.
    Ports {
        /// The policy.
        policy: PolicyId,
        /// The rule.
        rule: u32,
        /// The entry; `None` is the list.
        entry: Option<usize>,
    },
}

impl Place {
    /// The policy it belongs to.
    pub fn policy(&self) -> Option<&PolicyId> {
        match self {
            Self::Hop => None,
            Self::Policy(policy)
            | Self::Rule { policy, .. }
            | Self::Peers { policy, .. }
            | Self::Ports { policy, .. } => Some(policy),
        }
    }

    fn rule(&self) -> Option<(&PolicyId, u32)> {
        match self {
            Self::Hop | Self::Policy(_) => None,
            Self::Rule { policy, rule }
            | Self::Peers { policy, rule, .. }
            | Self::Ports { policy, rule, .. } => Some((policy, *rule)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, list: &str, entry: &Option<usize>| match entry {
            Some(entry) => write!(f, " {list}[{entry}]"),
            None => write!(f, " {list}"),
        };
        match self {
            Self::Hop => f.write_str("hop"),
            Self::Policy(policy) => write!(f, "{policy}"),
            Self::Rule { policy, rule } => write!(f, "{policy} rule {rule}"),
            Self::Peers { policy, rule, entry } => {
                write!(f, "{policy} rule {rule}")?;
                part(f, "peers", entry)
            }
            Self::Ports { policy, rule, entry } => {
                write!(f, "{policy} rule {rule}")?;
                part(f, "ports", entry)
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = if self.matched { "yes" } else { "no" };
        write!(f, "{} {}: {answer}: {}", self.rule, self.place, self.words)
    }
}

/// Collects steps while a hop is judged.
#[derive(Debug, Default)]
pub(crate) struct Trace(pub(crate) Vec<Step>);

impl Trace {
    /// Notes a clause and hands its answer on.
    pub(crate) fn note(
        &mut self,
        rule: &'static str,
        place: Place,
        matched: bool,
        words: impl Into<Cow<'static, str>>,
    ) -> bool {
        self.0.push(Step { rule, place, matched, words: words.into() });
        matched
    }
}

/// A rule that came close, and the clauses that kept it from matching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The policy.
    pub policy: PolicyId,
    /// Position of the rule in the user's list of the hop's direction.
    pub rule: u32,
    /// The failed clauses of its peers and ports, entry by entry.
    pub failed: Vec<Step>,
}

/// The rule that came closest to matching, among the rules that were asked and did not: one that
/// fails on its ports only, else one that fails on its peers only, else the first.
pub fn nearest_miss(trace: &[Step]) -> Option<Miss> {
    let lists = |policy: &PolicyId, rule: u32| {
        let of_list = |step: &&Step| match &step.place {
            Place::Peers { entry: None, .. } | Place::Ports { entry: None, .. } => {
                step.place.rule() == Some((policy, rule))
            }
            _ => false,
        };
        let score = |step: &Step| match step.place {
            Place::Peers { .. } if step.matched => 2,
            Place::Ports { .. } if step.matched => 1,
            _ => 0,
        };
        trace.iter().filter(of_list).map(score).sum::<u32>()
    };
    let rules = trace.iter().filter(|s| !s.matched).filter_map(|s| match &s.place {
        Place::Rule { policy, rule } => Some((policy, *rule)),
        _ => None,
    });
    // `max_by_key` keeps the last of equals; reversed, that is the first in evaluation order.
    let rules: Vec<_> = rules.collect();
    let (policy, rule) = rules.into_iter().rev().max_by_key(|(p, r)| lists(p, *r))?;
    let failed = trace
        .iter()
        .filter(|s| !s.matched && s.place.rule() == Some((policy, rule)))
        .filter(|s| {
            matches!(
                s.place,
                Place::Peers { entry: Some(_), .. } | Place::Ports { entry: Some(_), .. }
            )
        })
        .cloned()
        .collect();
    Some(Miss { policy: policy.clone(), rule, failed })
}
