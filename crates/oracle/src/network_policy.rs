//! Kubernetes NetworkPolicy: isolation and rules (§1.1): which pods a policy governs, and what it
//! admits.

use std::borrow::Cow;

use brindle_model::verdict::{Direction, PolicyId};
use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};

use crate::label_selector::{self, Reading};
use crate::peer::{self, OtherEnd};
use crate::port;
use crate::trace::{Action, Place, Trace};
use crate::walk::Asked;
use crate::world::{namespace_of, pod_label};

/// One rule of either direction.
pub(crate) struct Rule<'a> {
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

/// The rules with which a policy governs the subject and direction; `None` if it does not.
pub(crate) fn governing<'a>(
    spec: Option<&'a NetworkPolicySpec>,
    asked: &Asked<'_>,
    id: &PolicyId,
    trace: &mut Trace,
) -> Option<Vec<Rule<'a>>> {
    // K1: only policies in the pod's own namespace select it.
    if id.namespace.as_deref() != Some(namespace_of(&asked.subject.metadata)) {
        return None;
    }
    let place = || Place::Policy(id.clone());
    let (rule, governs, words) = governed_direction(spec, asked.direction);
    if !governs {
        trace.note(rule, place(), false, words);
        return None;
    }
    // K4: a missing podSelector is an empty one.
    let selector = spec.and_then(|s| s.pod_selector.as_ref());
    let reading = selector.map_or(Reading::Matched, |selector| {
        label_selector::read(selector, &|key| pod_label(asked.subject, key))
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
            Some(spec.map(|s| rules(s, asked.direction)).unwrap_or_default())
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

/// Whether a rule admits the packet.
pub(crate) fn ask(
    rule: &Rule<'_>,
    asked: &Asked<'_>,
    policy: &PolicyId,
    index: u32,
    trace: &mut Trace,
) -> Option<Action> {
    let question = Question { asked, policy, index };
    // K8: from/to AND ports. Both are asked even if one fails: the trace wants the whole.
    let admitted = asked.other_ends().into_iter().any(|end| {
        let peers = question.peers_match(rule.peers, end, trace);
        let ports = question.ports_match(rule.ports, end, trace);
        peers && ports
    });
    let place = Place::Rule { policy: policy.clone(), rule: index, action: Action::Allow };
    let words =
        if admitted { "peers and ports match" } else { "peers and ports do not both match" };
    trace.note("K8", place, admitted, words).then_some(Action::Allow)
}

struct Question<'a> {
    asked: &'a Asked<'a>,
    policy: &'a PolicyId,
    index: u32,
}

impl Question<'_> {
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
            let (rule, matched, words) = peer::read(self.asked.world, policy_namespace, peer, end);
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
            let rule = if self.asked.packet.ports().is_none() { "K24" } else { "K8" };
            return trace.note(rule, place(None), true, "any port of any protocol");
        }
        let destination = self.asked.destination(end);
        // K8: entries OR.
        let matched = ports.iter().enumerate().any(|(entry, wanted)| {
            let (rule, matched, words) = port::read(wanted, self.asked.packet, destination);
            trace.note(rule, place(Some(entry)), matched, words)
        });
        let words = if matched { "an entry matches" } else { "no entry matches" };
        trace.note("K8", place(None), matched, words)
    }
}
