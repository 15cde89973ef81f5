//! Two answers to one question, hop by hop.

use std::fmt;

use brindle_model::packet::Flow;
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use brindle_oracle::{Outcome, World, judge};

use super::compiled::{Answer, At, Compiled};
use super::yaml;

/// How another evaluator differs from the oracle, worst first (§7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The oracle denies, the other allows.
    FalseAllow,
    /// The oracle has no such hop, or the other lacks one.
    OtherHops,
    /// The oracle allows, the other denies.
    FalseDeny,
    /// The same verdict by another name.
    OtherDecision,
    /// The same decision, and another record of Log rules or staged policies on the way.
    OtherRecord,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// How they differ.
    pub kind: Kind,
    /// At whose hop.
    pub at: At,
    /// In which direction.
    pub direction: Direction,
    /// What the oracle says, if it has this hop.
    pub oracle: Option<Answer>,
    /// What the other says, if it has this hop.
    pub other: Option<Answer>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |what: &str, decisions: &[DecisionId]| match decisions {
            [] => String::new(),
            some => {
                let some: Vec<_> = some.iter().map(ToString::to_string).collect();
                format!(", {what} {}", some.join("; "))
            }
        };
        let said = |answer: &Option<Answer>| match answer {
            Some(Answer { verdict, decision, logged, staged, .. }) => {
                let (logged, staged) = (list("logged", logged), list("staged", staged));
                format!("{verdict} by {decision}{logged}{staged}")
            }
            None => "no such hop".to_owned(),
        };
        let Self { kind, at, direction, oracle, other } = self;
        let (oracle, other) = (said(oracle), said(other));
        write!(f, "{kind:?} at {at} {direction}: the oracle says {oracle}, the other {other}")
    }
}

/// The worst difference between the oracle's outcome and another evaluator's answers.
///
/// The other evaluator knows policy alone, so hops that are decided before policy are not compared.
pub fn compare(outcome: &Outcome, answers: &[Answer]) -> Option<Mismatch> {
    let same =
        |hop: &Answer, answer: &Answer| (&hop.at, hop.direction) == (&answer.at, answer.direction);
    let hops = Answer::all(outcome);
    let missing = hops.iter().filter(|hop| is_policy(&hop.decision)).filter_map(|hop| {
        let answer = answers.iter().find(|answer| same(hop, answer));
        difference(hop, answer)
    });
    let surplus = answers.iter().filter(|a| !hops.iter().any(|hop| same(hop, a)));
    let surplus = surplus.map(|answer| Mismatch {
        kind: Kind::OtherHops,
        at: answer.at.clone(),
        direction: answer.direction,
        oracle: None,
        other: Some(answer.clone()),
    });
    missing.chain(surplus).min_by_key(|mismatch| mismatch.kind)
}

fn is_policy(decision: &DecisionId) -> bool {
    matches!(
        decision,
        DecisionId::Rule { .. }
            | DecisionId::TierEnd { .. }
            | DecisionId::Profile { .. }
            | DecisionId::NoProfile
            | DecisionId::StageEnd
            | DecisionId::Failsafe
            | DecisionId::EndpointToHost
            | DecisionId::UnknownEndpoint
    )
}

fn difference(hop: &Answer, answer: Option<&Answer>) -> Option<Mismatch> {
    let kind = match answer.map(|a| (a.verdict, &a.decision)) {
        // A pod that nobody knows need not have an endpoint.
        None if hop.decision == DecisionId::UnknownEndpoint => return None,
        None => Kind::OtherHops,
        Some((Verdict::Allow, _)) if hop.verdict == Verdict::Deny => Kind::FalseAllow,
        Some((Verdict::Deny, _)) if hop.verdict == Verdict::Allow => Kind::FalseDeny,
        Some((_, decision)) if *decision != hop.decision => Kind::OtherDecision,
        Some(_) if answer.is_some_and(|a| (&a.logged, &a.staged) != (&hop.logged, &hop.staged)) => {
            Kind::OtherRecord
        }
        Some(_) => return None,
    };
    Some(Mismatch {
        kind,
        at: hop.at.clone(),
        direction: hop.direction,
        oracle: Some(hop.clone()),
        other: answer.cloned(),
    })
}

/// An evaluator of worlds other than the oracle: prepares for a world, then answers flows.
pub trait Evaluator {
    /// What answers flows of one world.
    type Prepared;
    /// Prepares for a world.
    ///
    /// # Errors
    /// The world cannot be taken in.
    fn prepare(&self, world: &World) -> anyhow::Result<Self::Prepared>;
    /// Answers one flow.
    fn answer(&self, prepared: &Self::Prepared, flow: &Flow) -> Vec<Answer>;
}

/// The real pipeline up to the ruleset ("O2").
pub struct Pipeline;

impl Evaluator for Pipeline {
    type Prepared = Compiled;

    fn prepare(&self, world: &World) -> anyhow::Result<Compiled> {
        Compiled::of(&yaml::write(world)?, world)
    }

    fn answer(&self, compiled: &Compiled, flow: &Flow) -> Vec<Answer> {
        compiled.judge(flow)
    }
}

/// The first flow on which an evaluator differs from the oracle.
///
/// # Errors
/// The evaluator cannot take the world in.
pub fn first_mismatch<'f, E: Evaluator>(
    evaluator: &E,
    world: &World,
    flows: &'f [Flow],
) -> anyhow::Result<Option<(&'f Flow, Mismatch)>> {
    Ok(compare_all(evaluator, world, flows)?.mismatch)
}

/// What came of comparing some flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison<'f> {
    /// The first flow on which the evaluator differs; those behind it were not asked.
    pub mismatch: Option<(&'f Flow, Mismatch)>,
    /// Flows that agree: denied by the oracle, and delivered.
    pub agreed: [usize; 2],
}

/// Compares an evaluator with the oracle flow by flow, up to the first difference.
///
/// # Errors
/// The evaluator cannot take the world in.
pub fn compare_all<'f, E: Evaluator>(
    evaluator: &E,
    world: &World,
    flows: &'f [Flow],
) -> anyhow::Result<Comparison<'f>> {
    let prepared = evaluator.prepare(world)?;
    let mut agreed = [0, 0];
    for flow in flows {
        let outcome = judge(world, flow);
        if let Some(mismatch) = compare(&outcome, &evaluator.answer(&prepared, flow)) {
            return Ok(Comparison { mismatch: Some((flow, mismatch)), agreed });
        }
        agreed[usize::from(outcome.delivered)] += 1;
    }
    Ok(Comparison { mismatch: None, agreed })
}
