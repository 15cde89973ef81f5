//! A NetworkPolicy from a value of any shape.
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

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Decoded, typed};
use crate::object::{Object, ObjectKey};
use crate::problem::Problems;

/// Decodes a NetworkPolicy; there always is one.
pub(super) fn decode(key: &ObjectKey, value: &Value) -> Decoded {
    let mut pieces = Pieces::default();
    let metadata = value
        .get("metadata")
        .and_then(|m| typed(m, "metadata", &mut pieces.problems))
        .unwrap_or_default();
    let policy = NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(key.name.to_string()),
            namespace: key.namespace.as_ref().map(ToString::to_string),
            ..metadata
        },
        spec: Some(pieces.spec(value.get("spec").unwrap_or(&Value::Null))),
    };
    Decoded {
        object: Some(Object::NetworkPolicy(Box::new(policy))),
        problems: pieces.problems.into_vec(),
        replaced: pieces.replaced,
    }
}

/// The shape problems found so far, and the paths of what was replaced for them.
#[derive(Default)]
struct Pieces {
    problems: Problems,
    replaced: BTreeSet<String>,
}

/// A rule of either direction.
#[derive(Default)]
struct Rule {
    peers: Option<Vec<NetworkPolicyPeer>>,
    ports: Option<Vec<NetworkPolicyPort>>,
}

impl Pieces {
    fn spec(&mut self, value: &Value) -> NetworkPolicySpec {
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
                "podSelector" => spec.pod_selector = Some(self.subject(value)),
                "policyTypes" => spec.policy_types = Some(self.policy_types(value)),
                "ingress" => {
                    spec.ingress = Some(self.list(value, "spec.ingress", |pieces, rule, at| {
                        let Rule { peers: from, ports } = pieces.rule(rule, at, "from");
                        NetworkPolicyIngressRule { from, ports }
                    }));
                }
                "egress" => {
                    spec.egress = Some(self.list(value, "spec.egress", |pieces, rule, at| {
                        let Rule { peers: to, ports } = pieces.rule(rule, at, "to");
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

    fn subject(&mut self, value: &Value) -> LabelSelector {
        self.piece(value, "spec.podSelector").unwrap_or_else(unreadable_selector)
    }

    fn policy_types(&mut self, value: &Value) -> Vec<String> {
        self.piece(value, "spec.policyTypes").unwrap_or_else(both_directions)
    }

    fn rule(&mut self, value: &Value, at: &str, peers_field: &str) -> Rule {
        let nothing = || Rule { peers: Some(vec![NetworkPolicyPeer::default()]), ports: None };
        let Value::Object(fields) = value else {
            self.broken(at, "this is not a mapping");
            return nothing();
        };
        let mut rule = Rule::default();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let at_field = format!("{at}.{name}");
            if name == peers_field {
                rule.peers = Some(self.list(value, &at_field, Self::peer));
            } else if name == "ports" {
                rule.ports = Some(self.list(value, &at_field, Self::port));
            } else {
                self.problems.error(at_field, "unknown field");
                self.replaced.insert(at.to_owned());
                return nothing();
            }
        }
        rule
    }

    fn peer(&mut self, value: &Value, at: &str) -> NetworkPolicyPeer {
        self.piece(value, at).unwrap_or_default()
    }

    fn port(&mut self, value: &Value, at: &str) -> NetworkPolicyPort {
        self.piece(value, at).unwrap_or_else(|| NetworkPolicyPort {
            port: Some(IntOrString::Int(0)),
            ..NetworkPolicyPort::default()
        })
    }

    /// The entries of a list. What is not a list is taken for a list of one broken entry, because
    /// an empty list means "any" in most places.
    fn list<T>(
        &mut self,
        value: &Value,
        at: &str,
        mut read: impl FnMut(&mut Self, &Value, &str) -> T,
    ) -> Vec<T> {
        match value {
            Value::Array(entries) => entries
                .iter()
                .enumerate()
                .map(|(i, entry)| read(self, entry, &format!("{at}[{i}]")))
                .collect(),
            _ => {
                self.broken(at, "this is not a list");
                vec![read(&mut Self::default(), &Value::Null, at)]
            }
        }
    }

    /// Decodes a piece; `None` if it is of another shape or has an unknown field.
    fn piece<T: DeserializeOwned + Serialize>(&mut self, value: &Value, at: &str) -> Option<T> {
        let before = self.problems.errors();
        let piece = if value.is_null() {
            self.problems.error(at, "this is empty");
            None
        } else {
            typed(value, at, &mut self.problems)
        };
        if let Some(known) = piece.as_ref().and_then(|p: &T| serde_json::to_value(p).ok()) {
            unknown_fields(value, &known, at, &mut self.problems);
        }
        if self.problems.errors() == before {
            return piece;
        }
        self.replaced.insert(at.to_owned());
        None
    }

    fn broken(&mut self, at: &str, message: &str) {
        self.problems.error(at, message);
        self.replaced.insert(at.to_owned());
    }
}

/// Reports the fields of `written` that are not in `known`, which is what a typed reader made of
/// it: the reader drops unknown fields silently.
fn unknown_fields(written: &Value, known: &Value, at: &str, problems: &mut Problems) {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => {
            for (name, value) in written.iter().filter(|(_, value)| !value.is_null()) {
                let at = format!("{at}.{name}");
                match known.get(name) {
                    Some(known) => unknown_fields(value, known, &at, problems),
                    None => problems.error(at, "unknown field"),
                }
            }
        }
        (Value::Array(written), Value::Array(known)) => {
            for (i, (value, known)) in written.iter().zip(known).enumerate() {
                unknown_fields(value, known, &format!("{at}[{i}]"), problems);
            }
        }
        _ => {}
    }
}

fn unreadable_selector() -> LabelSelector {
    LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement::default()]),
        match_labels: None,
    }
}

fn both_directions() -> Vec<String> {
    vec!["Ingress".into(), "Egress".into()]
}
