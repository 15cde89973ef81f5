//! The meaning of a ruleset: the linear evaluator that every backend must agree with
//! (policy-semantics §7.1, "O2").

use super::{Action, Match, PortMatch, Program, Rule, Ruleset, Side, TierEnd};
use crate::net::Protocol;
use crate::packet::Packet;
use crate::verdict::{DecisionId, PolicyId, Verdict};

/// The verdict of one program on one new packet, and the walk that led there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What happens to the packet.
    pub verdict: Verdict,
    /// Who decided.
    pub decision: DecisionId,
    /// Every policy that was asked, in order.
    pub steps: Vec<Step>,
}

/// One policy on the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The policy.
    pub policy: PolicyId,
    /// What it said.
    pub outcome: StepOutcome,
}

/// A policy's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// A rule matched: its position among the lowered rules.
    Matched(usize),
    /// No rule matched.
    NoMatch,
}

/// Judges the first packet of a flow. What comes before policy (connection tracking, own node,
/// neighbour discovery, spoof check) is not asked here.
pub fn evaluate(ruleset: &Ruleset, program: &Program, packet: &Packet) -> Judgement {
    let mut steps = Vec::new();
    'tiers: for tier in &program.steps {
        for policy in &tier.policies {
            let rules = ruleset.policies.get(policy).map(|p| p.rules(program.direction));
            let hit = rules.unwrap_or_default().iter().enumerate();
            let hit = hit.clone().find(|(_, rule)| rule_matches(ruleset, rule, packet));
            let outcome = hit.map_or(StepOutcome::NoMatch, |(i, _)| StepOutcome::Matched(i));
            steps.push(Step { policy: policy.clone(), outcome });
            let Some((_, rule)) = hit else { continue };
            let verdict = match rule.action {
                Action::Allow => Verdict::Allow,
                Action::Deny => Verdict::Deny,
                Action::Pass => continue 'tiers,
            };
            return Judgement { verdict, decision: rule.decision.clone(), steps };
        }
        if tier.end == TierEnd::Drop {
            let decision = DecisionId::TierEnd { tier: tier.tier.clone() };
            return Judgement { verdict: Verdict::Deny, decision, steps };
        }
    }
    Judgement { verdict: program.end.0, decision: program.end.1.clone(), steps }
}

/// Whether every criterion of a rule holds.
pub fn rule_matches(ruleset: &Ruleset, rule: &Rule, packet: &Packet) -> bool {
    let Match { family, protocol, not_protocol, icmp, not_icmp, source, destination } =
        &rule.matches;
    let (source_port, destination_port) = match packet.ports() {
        Some((source, destination)) => (Some(source), Some(destination)),
        None => (None, None),
    };
    family.is_none_or(|f| f == packet.family())
        && protocol.is_none_or(|p| p == packet.protocol())
        && not_protocol.is_none_or(|p| p != packet.protocol())
        && icmp.is_none_or(|i| packet.icmp().is_some_and(|(t, c)| i.matches(t, c)))
        && not_icmp.is_none_or(|i| !packet.icmp().is_some_and(|(t, c)| i.matches(t, c)))
        && side_matches(ruleset, source, packet.source, packet.protocol(), source_port)
        && side_matches(
            ruleset,
            destination,
            packet.destination,
            packet.protocol(),
            destination_port,
        )
}

fn side_matches(
    ruleset: &Ruleset,
    side: &Side,
    addr: std::net::IpAddr,
    protocol: Protocol,
    port: Option<u16>,
) -> bool {
    let in_set = |id| ruleset.sets.get(id).is_some_and(|set| set.contains_addr(addr));
    let on_port = |criterion: &PortMatch| {
        port.is_some_and(|port| match criterion {
            PortMatch::Range(range) => range.contains(port),
            PortMatch::Named(id) => {
                ruleset.sets.get(id).is_some_and(|set| set.contains_port(addr, protocol, port))
            }
        })
    };
    side.sets.iter().all(in_set)
        && !side.not_sets.iter().any(in_set)
        && (side.ports.is_empty() || side.ports.iter().any(on_port))
        && !side.not_ports.iter().any(on_port)
}
