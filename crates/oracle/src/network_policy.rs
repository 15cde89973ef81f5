//! Kubernetes NetworkPolicy: isolation and rules (§1.1): which pods a policy governs, and what it
//! admits.

use std::borrow::Cow;

use brindle_model::verdict::{Direction, PolicyId};
use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};

use crate::label_selector::{self, Reading};
use crate::lists::{self, List};
use crate::trace::{Action, Place, Trace};
use crate::walk::Asked;
use crate::world::{namespace_of, pod_label};
use crate::{peer, port};

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
    // C30: and no host endpoint.
    let subject = asked.subject.pod()?;
    if id.namespace.as_deref() != Some(namespace_of(&subject.metadata)) {
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
        label_selector::read(selector, &|key| pod_label(subject, key))
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
    let list = |place| List { policy, rule: index, number: "K8", place };
    let (peers, ports) = (list(lists::peers), list(lists::ports));
    let own_namespace = policy.namespace.as_deref().unwrap_or_default();
    // K8: from/to AND ports. Both are asked even if one fails: the trace wants the whole.
    let admitted = asked.other_ends().into_iter().any(|end| {
        let peers = match rule.peers {
            // K8: missing or empty = any peer, addresses outside the cluster included.
            [] => peers.missing("K8", "any peer", trace),
            entries => {
                peers.any(entries, trace, |peer| peer::read(asked.world, own_namespace, peer, end))
            }
        };
        let ports = match rule.ports {
            // K8, K24: missing or empty = any port and any protocol.
            [] => {
                let number = if asked.packet.ports().is_none() { "K24" } else { "K8" };
                ports.missing(number, "any port of any protocol", trace)
            }
            entries => {
                let destination = asked.destination(end);
                ports.any(entries, trace, |port| port::read(port, asked.packet, destination))
            }
        };
        peers && ports
    });
    let place = Place::Rule { policy: policy.clone(), rule: index, action: Action::Allow };
    let words =
        if admitted { "peers and ports match" } else { "peers and ports do not both match" };
    trace.note("K8", place, admitted, words).then_some(Action::Allow)
}
