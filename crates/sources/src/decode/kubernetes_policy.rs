//! A Kubernetes NetworkPolicy from a value of any shape.
//!
//! The API server would refuse a policy that is not of the right shape; here there may be none. If
//! such a policy were left out, the pods that it was to isolate would stand open, so it is read as
//! far as it can be, and every piece that cannot be is replaced by one that admits nothing:
//!
//! | Piece | Replaced by |
//! |---|---|
//! | a peer, a list of peers, a rule | a peer without criteria, which matches nothing |
//! | a port, a list of ports | port 0, which matches nothing |
//! | a subject selector | one with an operator that nobody knows |
//! | `policyTypes` | both directions |
//!
//! An unknown field breaks the piece that has it, because it may narrow that piece: a misspelt
//! `form:` must not turn a rule into one that admits everybody.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value};

use super::Decoded;
use super::pieces::Pieces;
use crate::object::{Object, ObjectKey};

/// Decodes a NetworkPolicy; there always is one.
pub(super) fn decode(key: &ObjectKey, value: &Value) -> Decoded {
    let mut pieces = Pieces::default();
    let metadata = pieces.metadata(key, value);
    let spec = Some(pieces.kubernetes_spec(value.get("spec").unwrap_or(&Value::Null)));
    pieces.into_decoded(Some(Object::KubernetesNetworkPolicy(Box::new(NetworkPolicy {
        metadata,
        spec,
    }))))
}

/// A rule of either direction.
#[derive(Default)]
struct Rule {
    peers: Option<Vec<NetworkPolicyPeer>>,
    ports: Option<Vec<NetworkPolicyPort>>,
}

impl Pieces {
    /// Reads a spec of any shape.
    pub(super) fn kubernetes_spec(&mut self, value: &Value) -> NetworkPolicySpec {
        let empty = Map::new();
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Null => &empty,
            _ => {
                self.broken("spec", "this is not a mapping");
                return NetworkPolicySpec {
                    pod_selector: Some(unreadable_selector()),
                    policy_types: Some(both_directions()),
                    ..NetworkPolicySpec::default()
                };
            }
        };
        let mut spec = NetworkPolicySpec::default();
        let mut unknown = false;
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            match name.as_str() {
                "podSelector" => spec.pod_selector = Some(self.kubernetes_subject(value)),
                "policyTypes" => spec.policy_types = Some(self.policy_types(value)),
                "ingress" => {
                    spec.ingress = Some(self.list(value, "spec.ingress", |pieces, rule, at| {
                        let Rule { peers: from, ports } = pieces.kubernetes_rule(rule, at, "from");
                        NetworkPolicyIngressRule { from, ports }
                    }));
                }
                "egress" => {
                    spec.egress = Some(self.list(value, "spec.egress", |pieces, rule, at| {
                        let Rule { peers: to, ports } = pieces.kubernetes_rule(rule, at, "to");
                        NetworkPolicyEgressRule { ports, to }
                    }));
                }
                _ => {
                    unknown = true;
                    self.problems.error(format!("spec.{name}"), "unknown field");
                }
            }
        }
        // Without policyTypes the fields tell the directions (K5), and one of them is misspelt.
        if unknown && spec.policy_types.is_none() {
            spec.policy_types = Some(both_directions());
        }
        spec
    }

    fn kubernetes_subject(&mut self, value: &Value) -> LabelSelector {
        self.piece(value, "spec.podSelector").unwrap_or_else(unreadable_selector)
    }

    fn policy_types(&mut self, value: &Value) -> Vec<String> {
        self.piece(value, "spec.policyTypes").unwrap_or_else(both_directions)
    }

    fn kubernetes_rule(&mut self, value: &Value, at: &str, peers_field: &str) -> Rule {
        let nothing = || Rule { peers: Some(vec![NetworkPolicyPeer::default()]), ports: None };
        let Value::Object(fields) = value else {
            self.broken(at, "this is not a mapping");
            return nothing();
        };
        let mut rule = Rule::default();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let at_field = format!("{at}.{name}");
            if name == peers_field {
                rule.peers = Some(self.list(value, &at_field, Self::kubernetes_peer));
            } else if name == "ports" {
                rule.ports = Some(self.list(value, &at_field, Self::kubernetes_port));
            } else {
                self.problems.error(at_field, "unknown field");
                self.replaced.insert(at.to_owned());
                return nothing();
            }
        }
        rule
    }

    fn kubernetes_peer(&mut self, value: &Value, at: &str) -> NetworkPolicyPeer {
        self.piece(value, at).unwrap_or_default()
    }

    fn kubernetes_port(&mut self, value: &Value, at: &str) -> NetworkPolicyPort {
        self.piece(value, at).unwrap_or_else(|| NetworkPolicyPort {
            port: Some(IntOrString::Int(0)),
            ..NetworkPolicyPort::default()
        })
    }
}

fn unreadable_selector() -> LabelSelector {
    LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement::default()]),
        match_labels: None,
    }
}

/// What `types` stands for that cannot be read.
pub(super) fn both_directions() -> Vec<String> {
    vec!["Ingress".into(), "Egress".into()]
}
