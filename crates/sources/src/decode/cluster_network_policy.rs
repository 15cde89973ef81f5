//! A ClusterNetworkPolicy from a value of any shape.
//!
//! Tier, priority and subject are read whole or there is no policy (C33). A rule, peer or protocol
//! that cannot be read, or has a field that this version does not know, is replaced by an empty
//! one: by that the API tells a version that it is too old, and what it asks for is to fail closed
//! (A13). A policy of a newer version may narrow what an older one would read too widely, so a
//! field beside known ones counts as much as one alone.

use brindle_api::{
    ClusterNetworkPolicy, ClusterNetworkPolicyEgressPeer, ClusterNetworkPolicyEgressRule,
    ClusterNetworkPolicyIngressPeer, ClusterNetworkPolicyIngressRule, ClusterNetworkPolicyProtocol,
    ClusterNetworkPolicySpec, ClusterNetworkPolicySubject,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Decoded;
use super::pieces::Pieces;
use crate::object::{Object, ObjectKey};

/// Decodes a ClusterNetworkPolicy.
pub(super) fn decode(key: &ObjectKey, value: &Value) -> Decoded {
    let mut pieces = Pieces::default();
    let metadata = pieces.metadata(key, value);
    let spec = pieces.cluster_spec(value.get("spec").unwrap_or(&Value::Null));
    let object = spec.map(|spec| {
        Object::ClusterNetworkPolicy(Box::new(ClusterNetworkPolicy { metadata, spec }))
    });
    pieces.into_decoded(object)
}

/// A rule of either direction.
#[derive(Default)]
struct Rule<P> {
    name: Option<String>,
    action: String,
    peers: Vec<P>,
    protocols: Option<Vec<ClusterNetworkPolicyProtocol>>,
}

impl Pieces {
    fn cluster_spec(&mut self, value: &Value) -> Option<ClusterNetworkPolicySpec> {
        let Value::Object(fields) = value else {
            let message = if value.is_null() { "is missing" } else { "this is not a mapping" };
            self.problems.error("spec", message);
            return None;
        };
        let before = self.problems.errors();
        let (mut tier, mut priority, mut subject) = (None, None, None);
        let (mut ingress, mut egress) = (Vec::new(), Vec::new());
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            match name.as_str() {
                "tier" => tier = self.piece(value, "spec.tier"),
                "priority" => priority = self.piece(value, "spec.priority"),
                "subject" => {
                    subject = self.piece::<ClusterNetworkPolicySubject>(value, "spec.subject");
                }
                "ingress" | "egress" => {}
                _ => self.problems.error(format!("spec.{name}"), "unknown field"),
            }
        }
        for required in ["tier", "priority", "subject"] {
            if fields.get(required).is_none_or(Value::is_null) {
                self.problems.error(format!("spec.{required}"), "is missing");
            }
        }
        if self.problems.errors() > before {
            return None;
        }
        if let Some(value) = fields.get("ingress").filter(|value| !value.is_null()) {
            ingress = self.list(value, "spec.ingress", |pieces, rule, at| {
                let Rule { name, action, peers: from, protocols } =
                    pieces.cluster_rule::<ClusterNetworkPolicyIngressPeer>(rule, at, "from");
                ClusterNetworkPolicyIngressRule { name, action, from, protocols }
            });
        }
        if let Some(value) = fields.get("egress").filter(|value| !value.is_null()) {
            egress = self.list(value, "spec.egress", |pieces, rule, at| {
                let Rule { name, action, peers: to, protocols } =
                    pieces.cluster_rule::<ClusterNetworkPolicyEgressPeer>(rule, at, "to");
                ClusterNetworkPolicyEgressRule { name, action, to, protocols }
            });
        }
        let (tier, priority, subject) = (tier?, priority?, subject?);
        Some(ClusterNetworkPolicySpec { tier, priority, subject, ingress, egress })
    }

    fn cluster_rule<P>(&mut self, value: &Value, at: &str, peers_field: &str) -> Rule<P>
    where
        P: DeserializeOwned + Serialize + Default,
    {
        let mut rule =
            Rule { name: None, action: String::new(), peers: Vec::new(), protocols: None };
        let Value::Object(fields) = value else {
            self.broken(at, "this is not a mapping");
            return rule;
        };
        let mut unknown = false;
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let at = format!("{at}.{name}");
            match name.as_str() {
                "name" => rule.name = self.piece(value, &at),
                "action" => rule.action = self.piece(value, &at).unwrap_or_default(),
                "protocols" => rule.protocols = Some(self.list(value, &at, Self::or_empty)),
                name if name == peers_field => {
                    rule.peers = self.list(value, &at, Self::or_empty);
                }
                _ => {
                    self.problems.error(at, "unknown field");
                    unknown = true;
                }
            }
        }
        if unknown {
            self.replaced.insert(at.to_owned());
            rule.peers.clear();
        }
        rule
    }

    fn or_empty<T: DeserializeOwned + Serialize + Default>(
        &mut self,
        value: &Value,
        at: &str,
    ) -> T {
        self.piece(value, at).unwrap_or_default()
    }
}
