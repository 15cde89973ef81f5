//! Isolation and rules (§1.1): which policies govern a pod, and what they admit.

use std::borrow::Cow;

use brindle_model::packet::Packet;
use brindle_model::policy::DEFAULT_TIER;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};

use crate::peer::{self, OtherEnd};
use crate::port;
use crate::selector::{self, Reading};
use crate::trace::{Place, Trace};
use crate::world::{World, id_of, name_of, namespace_of, pod_label};

/// Judges the first packet of a flow at one pod and direction.
pub(crate) fn judge(
    world: &World,
    subject: &Pod,
    direction: Direction,
    packet: &Packet,
    trace: &mut Trace,
) -> (Verdict, DecisionId) {
    let namespace = namespace_of(&subject.metadata);
    // K37: an endpoint that is not known whole is closed.
    if !world.knows(subject) {
        trace.note("K37", Place::Hop, true, format!("namespace {namespace} is not known: closed"));
        return (Verdict::Deny, DecisionId::UnknownEndpoint);
    }
    // K2: order never matters for the verdict. It names the decision: by name, then namespace (C2).
    let mut policies: Vec<_> = world.network_policies.iter().collect();
    policies.sort_by_key(|p| (name_of(&p.metadata), namespace_of(&p.metadata)));
    let mut isolated = false;
    for policy in policies {
        // K1: only policies in the pod's own namespace select it.
        if namespace_of(&policy.metadata) != namespace {
            continue;
        }
        let id = PolicyId::network_policy(&id_of(&policy.metadata));
        let Some(rules) = governing(policy, &id, subject, direction, trace) else { continue };
        // K1: one is enough, even if none of its rules can match (K7).
        isolated = true;
        for (index, rule) in rules.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let asked = Asked { world, subject, direction, packet, policy: &id, index };
            if asked.admits(rule, trace) {
                return (Verdict::Allow, DecisionId::Rule { policy: id, direction, index });
            }
        }
    }
    // K2: isolated = only what the union of the rules allows; otherwise everything.
    if isolated {
        trace.note("K2", Place::Hop, false, format!("isolated for {direction}, no rule admits it"));
        return (Verdict::Deny, DecisionId::TierEnd { tier: DEFAULT_TIER.into() });
    }
    trace.note("K2", Place::Hop, true, format!("no policy isolates the pod for {direction}"));
    (Verdict::Allow, DecisionId::Profile { name: format!("kns.{namespace}").into() })
}

/// One rule of either direction.
struct Rule<'a> {
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

/// The rules with which a policy governs this pod and direction; `None` if it does not.
fn governing<'a>(
    policy: &'a NetworkPolicy,
    id: &PolicyId,
    subject: &Pod,
    direction: Direction,
    trace: &mut Trace,
) -> Option<Vec<Rule<'a>>> {
    let place = || Place::Policy(id.clone());
    let spec = policy.spec.as_ref();
    let (rule, governs, words) = governed_direction(spec, direction);
    if !governs {
        trace.note(rule, place(), false, words);
        return None;
    }
    // K4: a missing podSelector is an empty one.
    let selector = spec.and_then(|s| s.pod_selector.as_ref());
    let reading = selector.map_or(Reading::Matched, |selector| {
        selector::read(selector, &|key| pod_label(subject, key))
    });
    match reading {
        Reading::Failed(why) => {
            trace.note("K1", place(), false, format!("podSelector: {why}"));
            None
        }
        // Fail closed: the policy is meant for somebody, we do not know for whom.
        Reading::Broken(why) => {
            let words = format!("broken: podSelector: {why}; isolates the namespace");
            trace.note("K1", place(), true, words);
            Some(Vec::new())
        }
        Reading::Matched => {
            trace.note(rule, place(), true, words);
            Some(spec.map(|s| rules(s, direction)).unwrap_or_default())
        }
    }
}

/// K5, K6: whether a policy's effective types contain a direction.
fn governed_direction(
    spec: Option<&NetworkPolicySpec>,
    direction: Direction,
) -> (&'static str, bool, Cow<'static, str>) {
    let types = spec.and_then(|s| s.policy_types.as_deref()).unwrap_or_default();
    if types.is_empty() {
        // K5: unset = Ingress always, Egress in addition iff there is an egress rule.
        let egress_rules = spec.and_then(|s| s.egress.as_ref()).is_some_and(|e| !e.is_empty());
        return match direction {
            Direction::Ingress => {
                ("K5", true, "selects the pod; policyTypes default to Ingress".into())
            }
            Direction::Egress if egress_rules => {
                ("K5", true, "selects the pod; it has egress rules".into())
            }
            Direction::Egress => ("K5", false, "no policyTypes and no egress rules".into()),
        };
    }
    // Fail closed: a type that cannot be read may have meant either direction.
    if let Some(unknown) = types.iter().find(|t| *t != "Ingress" && *t != "Egress") {
        let words = format!("selects the pod; broken: unknown policy type {unknown:?} means both");
        return ("K6", true, words.into());
    }
    let wanted = match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    };
    // K6: rules of a direction not named are ignored.
    match types.iter().any(|t| t == wanted) {
        true => ("K6", true, "selects the pod; policyTypes name the direction".into()),
        false => ("K6", false, format!("policyTypes do not name {wanted}").into()),
    }
}

fn rules(spec: &NetworkPolicySpec, direction: Direction) -> Vec<Rule<'_>> {
    // K7: a missing list is an empty one. K8: so are missing `from`, `to` and `ports`.
    match direction {
        Direction::Ingress => (spec.ingress.iter().flatten())
            .map(|r| Rule {
                peers: r.from.as_deref().unwrap_or_default(),
                ports: r.ports.as_deref().unwrap_or_default(),
            })
            .collect(),
        Direction::Egress => (spec.egress.iter().flatten())
            .map(|r| Rule {
                peers: r.to.as_deref().unwrap_or_default(),
                ports: r.ports.as_deref().unwrap_or_default(),
            })
            .collect(),
    }
}

/// The question that is put to one rule.
struct Asked<'a> {
    world: &'a World,
    subject: &'a Pod,
    direction: Direction,
    packet: &'a Packet,
    policy: &'a PolicyId,
    index: u32,
}

impl Asked<'_> {
    fn admits(&self, rule: &Rule<'_>, trace: &mut Trace) -> bool {
        let addr = match self.direction {
            Direction::Ingress => self.packet.source,
            Direction::Egress => self.packet.destination,
        };
        let owners = self.world.owners(addr);
        let ends: Vec<_> = match owners.as_slice() {
            [] => vec![OtherEnd { addr, pod: None }],
            owners => owners.iter().map(|p| OtherEnd { addr, pod: Some(p) }).collect(),
        };
        // K8: from/to AND ports. Both are asked even if one fails: the trace wants the whole.
        let admitted = ends.into_iter().any(|end| {
            let peers = self.peers_match(rule.peers, end, trace);
            let ports = self.ports_match(rule.ports, end, trace);
            peers && ports
        });
        let place = Place::Rule { policy: self.policy.clone(), rule: self.index };
        let words =
            if admitted { "peers and ports match" } else { "peers and ports do not both match" };
        trace.note("K8", place, admitted, words)
    }

    fn peers_match(
        &self,
        peers: &[NetworkPolicyPeer],
        end: OtherEnd<'_>,
        trace: &mut Trace,
    ) -> bool {
        let place = |entry| Place::Peers { policy: self.policy.clone(), rule: self.index, entry };
        // K8: missing or empty = any peer, addresses outside the cluster included.
        if peers.is_empty() {
            return trace.note("K8", place(None), true, "any peer");
        }
        // K8: entries OR.
        let policy_namespace = self.policy.namespace.as_deref().unwrap_or_default();
        let matched = peers.iter().enumerate().any(|(entry, peer)| {
            let (rule, matched, words) = peer::read(self.world, policy_namespace, peer, end);
            trace.note(rule, place(Some(entry)), matched, words)
        });
        let words = if matched { "an entry matches" } else { "no entry matches" };
        trace.note("K8", place(None), matched, words)
    }

    fn ports_match(
        &self,
        ports: &[NetworkPolicyPort],
        end: OtherEnd<'_>,
        trace: &mut Trace,
    ) -> bool {
        let place = |entry| Place::Ports { policy: self.policy.clone(), rule: self.index, entry };
        // K8, K24: missing or empty = any port and any protocol.
        if ports.is_empty() {
            return trace.note("K8", place(None), true, "any port of any protocol");
        }
        // K20: the destination pod: on ingress the subject, on egress the peer.
        let destination = match self.direction {
            Direction::Ingress => Some(self.subject),
            Direction::Egress => end.pod.filter(|pod| self.world.knows(pod)),
        };
        // K8: entries OR.
        let matched = ports.iter().enumerate().any(|(entry, wanted)| {
            let (rule, matched, words) = port::read(wanted, self.packet, destination);
            trace.note(rule, place(Some(entry)), matched, words)
        });
        let words = if matched { "an entry matches" } else { "no entry matches" };
        trace.note("K8", place(None), matched, words)
    }
}
