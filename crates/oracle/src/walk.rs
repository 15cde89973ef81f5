//! The order of evaluation (§2.1): tiers, the policies of each, their rules, then the profile.

use brindle_model::packet::Packet;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, PolicyKind, Verdict};
use k8s_openapi::api::core::v1::Pod;

use crate::peer::OtherEnd;
use crate::policy::{Policy, Rules, in_order};
use crate::tier::Tier;
use crate::trace::{Action, Place, Trace};
use crate::world::{World, namespace_of};

/// The question that is put to policies: the first packet of a flow at one pod and direction.
pub(crate) struct Asked<'a> {
    pub(crate) world: &'a World,
    pub(crate) subject: &'a Pod,
    pub(crate) direction: Direction,
    pub(crate) packet: &'a Packet,
}

impl Asked<'_> {
    /// The other end, once for each pod that owns its address (K39), or once without a pod.
    pub(crate) fn other_ends(&self) -> Vec<OtherEnd<'_>> {
        let addr = match self.direction {
            Direction::Ingress => self.packet.source,
            Direction::Egress => self.packet.destination,
        };
        match self.world.owners(addr).as_slice() {
            [] => vec![OtherEnd { addr, pod: None }],
            owners => owners.iter().map(|p| OtherEnd { addr, pod: Some(p) }).collect(),
        }
    }

    /// K20: the pod that the packet goes to: on ingress the subject, on egress the peer.
    pub(crate) fn destination<'p>(&'p self, end: OtherEnd<'p>) -> Option<&'p Pod> {
        match self.direction {
            Direction::Ingress => Some(self.subject),
            Direction::Egress => end.pod.filter(|pod| self.world.knows(pod)),
        }
    }
}

/// What policy decides, and what it notes on the way.
pub(crate) struct Decided {
    pub(crate) verdict: Verdict,
    pub(crate) decision: DecisionId,
    pub(crate) logged: Vec<DecisionId>,
    pub(crate) staged: Vec<DecisionId>,
}

/// Judges the first packet of a flow at one pod and direction.
pub(crate) fn judge(asked: &Asked<'_>, trace: &mut Trace) -> Decided {
    let mut walk = Walk { asked, logged: Vec::new(), staged: Vec::new() };
    let (verdict, decision) = walk.decide(trace);
    Decided { verdict, decision, logged: walk.logged, staged: walk.staged }
}

struct Walk<'a> {
    asked: &'a Asked<'a>,
    logged: Vec<DecisionId>,
    staged: Vec<DecisionId>,
}

/// How a tier or a policy is left.
enum Left {
    Decided(Verdict, DecisionId),
    /// A Pass rule matched (C4).
    Passed,
    /// No terminal rule matched.
    Through,
}

impl Walk<'_> {
    fn decide(&mut self, trace: &mut Trace) -> (Verdict, DecisionId) {
        let Asked { world, subject, direction, .. } = *self.asked;
        let namespace = namespace_of(&subject.metadata);
        // K37: an endpoint that is not known whole is closed.
        if !world.knows(subject) {
            let words = format!("namespace {namespace} is not known: closed");
            trace.note("K37", Place::Hop, true, words);
            return (Verdict::Deny, DecisionId::UnknownEndpoint);
        }
        let mut isolated = false;
        for tier in in_order(world).chunk_by(|a, b| a.tier == b.tier) {
            if let Left::Decided(verdict, decision) = self.tier(tier, &mut isolated, trace) {
                return (verdict, decision);
            }
        }
        // K2, A1: nothing isolates the pod. C6: its profile allows all, both ways.
        trace.note("C6", Place::Hop, true, format!("profile kns.{namespace}"));
        if !isolated {
            trace.note(
                "K2",
                Place::Hop,
                true,
                format!("no policy isolates the pod for {direction}"),
            );
        }
        (Verdict::Allow, DecisionId::Profile { name: format!("kns.{namespace}").into() })
    }

    /// C1, C2: the policies of one tier, in order.
    fn tier(&mut self, policies: &[Policy<'_>], isolated: &mut bool, trace: &mut Trace) -> Left {
        let Some(Tier { name, end, .. }) = policies.first().map(|policy| policy.tier) else {
            return Left::Through;
        };
        let place = || Place::Tier(name.into());
        // C1: the tier counts if an enforced policy selects the endpoint and governs the direction.
        let mut counts = false;
        for policy in policies {
            let Some(rules) = policy.governing(self.asked, trace) else { continue };
            let staged = policy.is_staged();
            counts |= !staged;
            *isolated |= policy.id.kind == PolicyKind::KubernetesNetworkPolicy;
            match self.policy(&policy.id, &rules, staged, trace) {
                Left::Decided(verdict, decision) => return Left::Decided(verdict, decision),
                Left::Passed => {
                    trace.note("C4", place(), true, "passed to the next tier");
                    return Left::Passed;
                }
                Left::Through => {}
            }
        }
        if !counts {
            trace.note("C1", place(), false, "no enforced policy governs: the tier is not there");
            return Left::Through;
        }
        if end == Action::Pass {
            trace.note("C1", place(), true, "nothing decided; its end is Pass");
            return Left::Through;
        }
        let direction = self.asked.direction;
        trace.note("C1", place(), true, "nothing decided; its end is Deny");
        if *isolated {
            trace.note(
                "K2",
                Place::Hop,
                false,
                format!("isolated for {direction}, no rule admits it"),
            );
        }
        Left::Decided(Verdict::Deny, DecisionId::TierEnd { tier: name.into() })
    }

    /// The rules of one policy, in order.
    fn policy(
        &mut self,
        id: &PolicyId,
        rules: &Rules<'_>,
        staged: bool,
        trace: &mut Trace,
    ) -> Left {
        for at in 0..rules.len() {
            let Some(action) = rules.ask(at, self.asked, id, trace) else { continue };
            let index = u32::try_from(at).unwrap_or(u32::MAX);
            let direction = self.asked.direction;
            let decision = DecisionId::Rule { policy: id.clone(), direction, index };
            match (action, staged) {
                // C5: Log never ends evaluation. C7: a staged policy only reports.
                (Action::Log, true) => {}
                (Action::Log, false) => self.logged.push(decision),
                (_, true) => {
                    trace.note("C7", Place::Policy(id.clone()), true, "staged: would decide");
                    self.staged.push(decision);
                    return Left::Through;
                }
                (Action::Allow, false) => return Left::Decided(Verdict::Allow, decision),
                (Action::Deny, false) => return Left::Decided(Verdict::Deny, decision),
                (Action::Pass, false) => return Left::Passed,
            }
        }
        Left::Through
    }
}
