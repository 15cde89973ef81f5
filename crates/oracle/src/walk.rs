//! The order of evaluation (§2.1): tiers, the policies of each, their rules, then the profile.

use brindle_api::HostEndpoint;
use brindle_model::packet::Packet;
use brindle_model::ruleset::Stage;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, PolicyKind, Verdict};
use k8s_openapi::api::core::v1::Pod;

use crate::endpoint::Endpoint;
use crate::peer::OtherEnd;
use crate::policy::{Policy, Rules, in_order};
use crate::tier::Tier;
use crate::trace::{Action, Place, Trace};
use crate::world::{World, namespace_of};

/// The question that is put to policies: the first packet of a flow at one pod and direction.
pub(crate) struct Asked<'a> {
    pub(crate) world: &'a World,
    pub(crate) subject: Endpoint<'a>,
    /// Where on the packet's way; pods have the normal stage alone (C37).
    pub(crate) stage: Stage,
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
            Direction::Ingress => self.subject.pod(),
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
    /// Whether a policy governs the subject here, staged ones too.
    pub(crate) governed: bool,
}

/// Judges the first packet of a flow at one pod and direction.
pub(crate) fn judge(asked: &Asked<'_>, trace: &mut Trace) -> Decided {
    let mut walk = Walk { asked, logged: Vec::new(), staged: Vec::new(), governed: false };
    let (verdict, decision) = walk.decide(trace);
    let Walk { logged, staged, governed, .. } = walk;
    Decided { verdict, decision, logged, staged, governed }
}

struct Walk<'a> {
    asked: &'a Asked<'a>,
    logged: Vec<DecisionId>,
    staged: Vec<DecisionId>,
    governed: bool,
}

/// What becomes of a packet at a host endpoint that no tier decided on.
fn without_tier(endpoint: &HostEndpoint, stage: Stage, trace: &mut Trace) -> (Verdict, DecisionId) {
    // C37: the normal stage alone has profiles.
    if stage != Stage::Normal {
        trace.note("C37", Place::Hop, true, format!("nothing decided in the {stage} stage"));
        return (Verdict::Allow, DecisionId::StageEnd);
    }
    // C35: closed unless a profile opens it; the first one decides, and denies if it is missing.
    match endpoint.spec.profiles.first().map(String::as_str) {
        Some(name @ "projectcalico-default-allow") => {
            trace.note("C35", Place::Hop, false, format!("profile {name}"));
            (Verdict::Allow, DecisionId::Profile { name: name.into() })
        }
        Some(name) => {
            trace.note("C35", Place::Hop, true, format!("there is no profile {name}: closed"));
            (Verdict::Deny, DecisionId::NoProfile)
        }
        None => {
            trace.note("C35", Place::Hop, true, "no profile: closed");
            (Verdict::Deny, DecisionId::NoProfile)
        }
    }
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
        let Asked { world, subject, direction, stage, .. } = *self.asked;
        // K37: an endpoint that is not known whole is closed.
        if let Some(pod) = subject.pod().filter(|pod| !world.knows(pod)) {
            let namespace = namespace_of(&pod.metadata);
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
        let namespace = match subject {
            Endpoint::Pod(pod) => namespace_of(&pod.metadata),
            Endpoint::Host(endpoint) => return without_tier(endpoint, stage, trace),
        };
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
            self.governed = true;
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
        if matches!(self.asked.stage, Stage::Untracked | Stage::PreDnat) {
            trace.note("C39", place(), true, "nothing decided; this stage goes on");
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
