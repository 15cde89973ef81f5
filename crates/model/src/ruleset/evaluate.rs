//! The meaning of a ruleset: the linear evaluator that every backend must agree with
//! (policy-semantics §7.1, "O2").

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use super::{Action, Match, PolicyRules, PortMatch, Program, Rule, Rules, Ruleset, Side, TierEnd};
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
    /// The Log rules that matched on the way, each once (C5).
    pub logged: Vec<DecisionId>,
    /// What the staged policies on the way would have decided, had nothing before (C7).
    pub staged: Vec<DecisionId>,
}

impl Judgement {
    /// A verdict that no policy had a part in.
    pub fn without_policy(verdict: Verdict, decision: DecisionId) -> Self {
        let (steps, logged, staged) = (Vec::new(), Vec::new(), Vec::new());
        Self { verdict, decision, steps, logged, staged }
    }
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
    let mut walk = Walk::default();
    let (verdict, decision) = walk.decide(ruleset, program, packet);
    let Walk { steps, logged, staged } = walk;
    Judgement { verdict, decision, steps, logged, staged }
}

/// The policies of a ruleset, for who asks for one after the other. A tier's policies of equal order
/// stand in it as they stand here (C2), so the next one is mostly the one behind the last; to seek
/// each anew took half of the time that a verdict does.
struct Policies<'a> {
    all: &'a BTreeMap<PolicyId, Arc<PolicyRules>>,
    /// Those behind the last that was asked for.
    ahead: btree_map::Range<'a, PolicyId, Arc<PolicyRules>>,
}

impl<'a> Policies<'a> {
    fn get(&mut self, id: &PolicyId) -> Option<&'a PolicyRules> {
        match self.ahead.next() {
            Some((next, rules)) if next == id => Some(rules),
            _ => {
                self.ahead = self.all.range(id..);
                self.ahead.next().filter(|(found, _)| *found == id).map(|(_, rules)| &**rules)
            }
        }
    }
}

/// What is noted on the way to a verdict.
#[derive(Default)]
struct Walk {
    steps: Vec<Step>,
    logged: Vec<DecisionId>,
    staged: Vec<DecisionId>,
}

impl Walk {
    fn decide(
        &mut self,
        ruleset: &Ruleset,
        program: &Program,
        packet: &Packet,
    ) -> (Verdict, DecisionId) {
        let mut policies = Policies { all: &ruleset.policies, ahead: ruleset.policies.range(..) };
        'tiers: for tier in program.steps.iter() {
            for policy in &tier.policies {
                let rules = policies.get(policy).map(|p| p.rules(program.direction));
                let hit = self.first_match(ruleset, policy, rules, packet);
                let Some(rule) = hit else { continue };
                if policy.kind.is_staged() {
                    self.staged.push(rule.decision.clone());
                    continue;
                }
                match rule.action {
                    Action::Allow => return (Verdict::Allow, rule.decision.clone()),
                    Action::Deny => return (Verdict::Deny, rule.decision.clone()),
                    Action::Pass => continue 'tiers,
                    Action::Log => unreachable!("a Log rule does not end the walk of a policy"),
                }
            }
            if tier.end == TierEnd::Drop {
                return (Verdict::Deny, DecisionId::TierEnd { tier: tier.tier.clone() });
            }
        }
        program.end.clone()
    }

    /// The first rule that matches and is terminal. A staged policy does not log.
    fn first_match<'r>(
        &mut self,
        ruleset: &Ruleset,
        policy: &PolicyId,
        rules: Option<&'r Rules>,
        packet: &Packet,
    ) -> Option<&'r Rule> {
        let candidates = rules.into_iter().flat_map(|rules| rules.candidates(packet));
        let matching = candidates.filter(|(_, rule)| rule_matches(ruleset, rule, packet));
        let mut hit = None;
        for (i, rule) in matching {
            if rule.action != Action::Log {
                hit = Some((i, rule));
                break;
            }
            // One rule of the user may be several here; it logs a packet once.
            if !policy.kind.is_staged() && self.logged.last() != Some(&rule.decision) {
                self.logged.push(rule.decision.clone());
            }
        }
        let outcome = hit.map_or(StepOutcome::NoMatch, |(i, _)| StepOutcome::Matched(i));
        self.steps.push(Step { policy: policy.clone(), outcome });
        hit.map(|(_, rule)| rule)
    }
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
