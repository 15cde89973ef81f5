//! NetworkPolicy and GlobalNetworkPolicy of `brindle.io`, and their staged forms, from a value of
//! any shape.
//!
//! What says where a policy stands and whom it governs is read whole or not at all: without it
//! there is no policy (C16). The rest is read piece by piece, because what surrounds a broken rule
//! must not open (A13): a rule that cannot be read keeps its action and is marked by an `http`
//! criterion, which is refused with any action (C28); `types` that cannot be read are both; a list
//! of rules that is none is one rule whose action nobody knows.

use brindle_api::{
    GlobalNetworkPolicy, GlobalNetworkPolicySpec, NetworkPolicy, NetworkPolicySpec, PolicyRule,
    StagedGlobalNetworkPolicy, StagedGlobalNetworkPolicySpec, StagedKubernetesNetworkPolicy,
    StagedKubernetesNetworkPolicySpec, StagedNetworkPolicy, StagedNetworkPolicySpec,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::kubernetes_policy::both_directions;
use super::pieces::Pieces;
use super::{Decoded, typed};
use crate::object::{Object, ObjectKey};

type Fields = Map<String, Value>;

/// Decodes a NetworkPolicy.
pub(super) fn namespaced(key: &ObjectKey, value: Value) -> Decoded {
    decode(key, value, |pieces, metadata, fields| {
        let spec = pieces.tiered_spec(fields)?;
        Some(Object::NetworkPolicy(Box::new(NetworkPolicy { metadata, spec })))
    })
}

/// Decodes a GlobalNetworkPolicy.
pub(super) fn global(key: &ObjectKey, value: Value) -> Decoded {
    decode(key, value, |pieces, metadata, fields| {
        let spec = pieces.tiered_spec(fields)?;
        Some(Object::GlobalNetworkPolicy(Box::new(GlobalNetworkPolicy { metadata, spec })))
    })
}

/// Decodes a StagedNetworkPolicy.
pub(super) fn staged_namespaced(key: &ObjectKey, value: Value) -> Decoded {
    decode(key, value, |pieces, metadata, mut fields| {
        let staged_action = pieces.staged_action(&mut fields)?;
        let spec = StagedNetworkPolicySpec { staged_action, policy: pieces.tiered_spec(fields)? };
        Some(Object::StagedNetworkPolicy(Box::new(StagedNetworkPolicy { metadata, spec })))
    })
}

/// Decodes a StagedGlobalNetworkPolicy.
pub(super) fn staged_global(key: &ObjectKey, value: Value) -> Decoded {
    decode(key, value, |pieces, metadata, mut fields| {
        let staged_action = pieces.staged_action(&mut fields)?;
        let policy = pieces.tiered_spec(fields)?;
        let spec = StagedGlobalNetworkPolicySpec { staged_action, policy };
        let policy = StagedGlobalNetworkPolicy { metadata, spec };
        Some(Object::StagedGlobalNetworkPolicy(Box::new(policy)))
    })
}

/// Decodes a StagedKubernetesNetworkPolicy.
pub(super) fn staged_kubernetes(key: &ObjectKey, value: Value) -> Decoded {
    decode(key, value, |pieces, metadata, mut fields| {
        let staged_action = pieces.staged_action(&mut fields)?;
        let policy = pieces.kubernetes_spec(&Value::Object(fields));
        let spec = StagedKubernetesNetworkPolicySpec {
            staged_action,
            pod_selector: policy.pod_selector,
            policy_types: policy.policy_types,
            ingress: policy.ingress,
            egress: policy.egress,
        };
        let policy = StagedKubernetesNetworkPolicy { metadata, spec };
        Some(Object::StagedKubernetesNetworkPolicy(Box::new(policy)))
    })
}

fn decode(
    key: &ObjectKey,
    mut value: Value,
    read: impl FnOnce(
        &mut Pieces,
        k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
        Fields,
    ) -> Option<Object>,
) -> Decoded {
    let mut pieces = Pieces::default();
    let metadata = pieces.metadata(key, &value);
    let object = match value.get_mut("spec").map(Value::take) {
        Some(Value::Object(fields)) => read(&mut pieces, metadata, fields),
        None | Some(Value::Null) => {
            pieces.problems.error("spec", "is missing");
            None
        }
        Some(_) => {
            pieces.problems.error("spec", "this is not a mapping");
            None
        }
    };
    pieces.into_decoded(object)
}

/// The parts of a spec that are read piece by piece.
trait Spec: DeserializeOwned {
    fn put(
        &mut self,
        types: Option<Vec<String>>,
        ingress: Vec<PolicyRule>,
        egress: Vec<PolicyRule>,
    );
}

impl Spec for NetworkPolicySpec {
    fn put(
        &mut self,
        types: Option<Vec<String>>,
        ingress: Vec<PolicyRule>,
        egress: Vec<PolicyRule>,
    ) {
        (self.types, self.ingress, self.egress) = (types, ingress, egress);
    }
}

impl Spec for GlobalNetworkPolicySpec {
    fn put(
        &mut self,
        types: Option<Vec<String>>,
        ingress: Vec<PolicyRule>,
        egress: Vec<PolicyRule>,
    ) {
        (self.types, self.ingress, self.egress) = (types, ingress, egress);
    }
}

impl Pieces {
    /// Reads a spec; `None` if it does not say where the policy stands or whom it governs.
    fn tiered_spec<S: Spec>(&mut self, mut fields: Fields) -> Option<S> {
        let mut take = |name| fields.remove(name).filter(|value| !value.is_null());
        let [types, ingress, egress] = ["types", "ingress", "egress"].map(&mut take);
        fields.retain(|_, value| !value.is_null());
        let mut spec: S = typed(&Value::Object(fields), "spec", &mut self.problems)?;
        let types =
            types.map(|value| self.piece(&value, "spec.types").unwrap_or_else(both_directions));
        let mut rules = |value: Option<Value>, at: &str| match value {
            Some(value) => self.list(&value, at, Self::policy_rule),
            None => Vec::new(),
        };
        let (ingress, egress) = (rules(ingress, "spec.ingress"), rules(egress, "spec.egress"));
        spec.put(types, ingress, egress);
        Some(spec)
    }

    fn policy_rule(&mut self, value: &Value, at: &str) -> PolicyRule {
        let before = self.problems.errors();
        let rule = typed(&without_nulls(value), at, &mut self.problems);
        if let Some(rule) = rule.filter(|_| self.problems.errors() == before) {
            return rule;
        }
        self.replaced.insert(at.to_owned());
        let action = value.get("action").and_then(Value::as_str).unwrap_or_default();
        let http = Some(Value::Object(Map::new()));
        PolicyRule { action: action.to_owned(), http, ..PolicyRule::default() }
    }

    /// Takes `stagedAction` out of a spec; `None` if it cannot be read.
    fn staged_action(&mut self, fields: &mut Fields) -> Option<Option<String>> {
        match fields.remove("stagedAction") {
            None | Some(Value::Null) => Some(None),
            Some(value) => typed(&value, "spec.stagedAction", &mut self.problems).map(Some),
        }
    }
}

/// A value without the fields that are null: to an API server they are absent. Entries of lists
/// stay, because an empty one is not an absent one.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        Value::Array(entries) => entries.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
