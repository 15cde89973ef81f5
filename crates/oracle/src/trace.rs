//! The trace: every clause that was asked, what it said and why.

use std::borrow::Cow;
use std::fmt;

use brindle_model::Name;
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

/// What a rule does to a packet that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The endpoint admits it; ClusterNetworkPolicy spells it `Accept`.
    Allow,
    /// The endpoint drops it.
    Deny,
    /// The tier is left for the next (C4).
    Pass,
    /// It is recorded, and the next rule asked (C5).
    Log,
}

impl Action {
    /// Number of the rule that says what the action does.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Self::Allow | Self::Deny => "C1",
            Self::Pass => "C4",
            Self::Log => "C5",
        }
    }
}

/// What a [`Step`] is about. `rule` and `entry` count the user's lists from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The hop as a whole: endpoint, state, the end of the walk.
    Hop,
    /// A tier: how it ends.
    Tier(Name),
    /// A policy: whether it governs this pod and direction.
    Policy(PolicyId),
    /// A rule as a whole.
    Rule {
        /// The policy.
        policy: PolicyId,
        /// The rule.
        rule: u32,
        /// What it does.
        action: Action,
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
    /// One criterion of a rule of a NetworkPolicy or GlobalNetworkPolicy, by its field.
    Criterion {
        /// The policy.
        policy: PolicyId,
        /// The rule.
        rule: u32,
        /// The field, such as `source.nets`.
        criterion: String,
    },
}

impl Place {
    /// The policy it belongs to.
    pub fn policy(&self) -> Option<&PolicyId> {
        match self {
            Self::Hop | Self::Tier(_) => None,
            Self::Policy(policy)
            | Self::Rule { policy, .. }
            | Self::Criterion { policy, .. }
            | Self::Peers { policy, .. }
            | Self::Ports { policy, .. } => Some(policy),
        }
    }

    fn rule(&self) -> Option<(&PolicyId, u32)> {
        match self {
            Self::Hop | Self::Tier(_) | Self::Policy(_) => None,
            Self::Rule { policy, rule, .. }
            | Self::Criterion { policy, rule, .. }
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
            Self::Tier(tier) => write!(f, "tier {tier}"),
            Self::Rule { policy, rule, .. } => write!(f, "{policy} rule {rule}"),
            Self::Criterion { policy, rule, criterion } => {
                write!(f, "{policy} rule {rule} {criterion}")
            }
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
    /// The failed clauses of its peers and ports, entry by entry, or of its criteria; of a broken
    /// rule what is wrong with it.
    pub failed: Vec<Step>,
}

/// The rule that came closest to admitting the packet, among the rules that allow or pass, were
/// asked and did not match: the one that fails in least, where who is at the other end counts twice
/// as much as on what port; the first of equals in the order of evaluation.
pub fn nearest_miss(trace: &[Step]) -> Option<Miss> {
    let rules = trace.iter().filter(|s| !s.matched).filter_map(|s| match &s.place {
        Place::Rule { policy, rule, action: Action::Allow | Action::Pass } => Some((policy, *rule)),
        _ => None,
    });
    let (policy, rule) = rules.min_by_key(|(policy, rule)| distance(trace, policy, *rule))?;
    let of_rule = |s: &&Step| !s.matched && s.place.rule() == Some((policy, rule));
    let is_entry = |s: &&Step| {
        matches!(
            s.place,
            Place::Peers { entry: Some(_), .. }
                | Place::Ports { entry: Some(_), .. }
                | Place::Criterion { .. }
        )
    };
    let mut failed: Vec<Step> = trace.iter().filter(of_rule).filter(is_entry).cloned().collect();
    if failed.is_empty() {
        failed = trace.iter().filter(of_rule).cloned().collect();
    }
    Some(Miss { policy: policy.clone(), rule, failed })
}

/// How far a rule that did not match is from matching.
fn distance(trace: &[Step], policy: &PolicyId, rule: u32) -> usize {
    /// A broken rule matches nothing, whatever the packet.
    const BROKEN: usize = 100;
    let of_rule = trace.iter().filter(|s| s.place.rule() == Some((policy, rule)));
    let failed = of_rule.filter(|s| !s.matched).map(|step| match &step.place {
        Place::Peers { entry: None, .. } => 2,
        Place::Ports { entry: None, .. } => 1,
        Place::Criterion { criterion, .. } => {
            let (_, field) = criterion.split_once('.').unwrap_or(("", criterion));
            if matches!(field, "ports" | "notPorts" | "protocol" | "notProtocol") { 1 } else { 2 }
        }
        _ => 0,
    });
    Some(failed.sum()).filter(|sum| *sum > 0).unwrap_or(BROKEN)
}
