//! `NetworkPolicy` and `GlobalNetworkPolicy`, enforced and staged.

use k8s_openapi::api::networking::v1::{
    NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicySpec as KubernetesSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::policy_rule::PolicyRule;
use crate::resource::{label_selector_schema, resource};

resource! {
    /// A policy for pods of its namespace.
    NetworkPolicy(NetworkPolicySpec), "NetworkPolicy", "networkpolicies", Namespace
}

resource! {
    /// A policy for pods of every namespace and for host endpoints.
    GlobalNetworkPolicy(GlobalNetworkPolicySpec),
    "GlobalNetworkPolicy", "globalnetworkpolicies", Cluster
}

resource! {
    /// A NetworkPolicy that is judged and reported, and never decides.
    StagedNetworkPolicy(StagedNetworkPolicySpec),
    "StagedNetworkPolicy", "stagednetworkpolicies", Namespace
}

resource! {
    /// A GlobalNetworkPolicy that is judged and reported, and never decides.
    StagedGlobalNetworkPolicy(StagedGlobalNetworkPolicySpec),
    "StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", Cluster
}

resource! {
    /// A Kubernetes NetworkPolicy that is judged and reported, and never decides.
    StagedKubernetesNetworkPolicy(StagedKubernetesNetworkPolicySpec),
    "StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies", Namespace
}

/// What a [`NetworkPolicy`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPolicySpec {
    /// The tier it stands in. `default` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Place in the tier, ascending; equal orders by name, then namespace, then kind. Last unless
    /// said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// The pods of the namespace that it governs, by their labels. All unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Only pods whose service account this selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_selector: Option<String>,
    /// The directions that it governs, `Ingress` and `Egress`. Unless said: those that have rules,
    /// and `Ingress` if none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// Rules for packets towards the pods, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub ingress: Vec<PolicyRule>,
    /// Rules for packets from the pods, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub egress: Vec<PolicyRule>,
}

/// What a [`GlobalNetworkPolicy`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GlobalNetworkPolicySpec {
    /// The tier it stands in. `default` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Place in the tier, ascending; equal orders by name, then kind. Last unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// The endpoints that it governs, by their labels. All unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Only pods of namespaces that this selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<String>,
    /// Only pods whose service account this selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_selector: Option<String>,
    /// The directions that it governs, `Ingress` and `Egress`. Unless said: those that have rules,
    /// and `Ingress` if none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// Rules for packets towards the endpoints, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub ingress: Vec<PolicyRule>,
    /// Rules for packets from the endpoints, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub egress: Vec<PolicyRule>,
    /// Judge host endpoints' packets before connection tracking. False unless said.
    #[serde(default)]
    pub do_not_track: bool,
    /// Judge host endpoints' packets before DNAT. False unless said.
    #[serde(default, rename = "preDNAT")]
    pub pre_dnat: bool,
    /// Judge packets that a host endpoint forwards. False unless said.
    #[serde(default)]
    pub apply_on_forward: bool,
}

/// What a [`StagedNetworkPolicy`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", try_from = "Map<String, Value>")]
#[schemars(!try_from)]
pub struct StagedNetworkPolicySpec {
    /// What is staged: `Set`, a policy that would be there; `Ignore`, nothing. `Set` unless said.
    /// `Delete` and `Learn` are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Set", "Ignore"]))]
    pub staged_action: Option<String>,
    /// The policy.
    #[serde(flatten)]
    pub policy: NetworkPolicySpec,
}

/// What a [`StagedGlobalNetworkPolicy`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", try_from = "Map<String, Value>")]
#[schemars(!try_from)]
pub struct StagedGlobalNetworkPolicySpec {
    /// As in [`StagedNetworkPolicySpec`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Set", "Ignore"]))]
    pub staged_action: Option<String>,
    /// The policy.
    #[serde(flatten)]
    pub policy: GlobalNetworkPolicySpec,
}

/// What a [`StagedKubernetesNetworkPolicy`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StagedKubernetesNetworkPolicySpec {
    /// As in [`StagedNetworkPolicySpec`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Set", "Ignore"]))]
    pub staged_action: Option<String>,
    /// As in a Kubernetes NetworkPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector_schema")]
    pub pod_selector: Option<LabelSelector>,
    /// As in a Kubernetes NetworkPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_types: Option<Vec<String>>,
    /// As in a Kubernetes NetworkPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules_schema")]
    pub ingress: Option<Vec<NetworkPolicyIngressRule>>,
    /// As in a Kubernetes NetworkPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules_schema")]
    pub egress: Option<Vec<NetworkPolicyEgressRule>>,
}

impl TryFrom<Map<String, Value>> for StagedNetworkPolicySpec {
    type Error = serde_json::Error;

    fn try_from(fields: Map<String, Value>) -> Result<Self, Self::Error> {
        let (staged_action, policy) = staged(fields)?;
        Ok(Self { staged_action, policy })
    }
}

impl TryFrom<Map<String, Value>> for StagedGlobalNetworkPolicySpec {
    type Error = serde_json::Error;

    fn try_from(fields: Map<String, Value>) -> Result<Self, Self::Error> {
        let (staged_action, policy) = staged(fields)?;
        Ok(Self { staged_action, policy })
    }
}

/// Splits a staged spec. A derived reader of flattened fields would drop unknown ones silently.
fn staged<S: DeserializeOwned>(
    mut fields: Map<String, Value>,
) -> Result<(Option<String>, S), serde_json::Error> {
    let action = fields.remove("stagedAction").map(serde_json::from_value).transpose()?;
    Ok((action.flatten(), serde_json::from_value(Value::Object(fields))?))
}

impl StagedKubernetesNetworkPolicySpec {
    /// The Kubernetes policy that is staged.
    pub fn kubernetes(&self) -> KubernetesSpec {
        KubernetesSpec {
            pod_selector: self.pod_selector.clone(),
            policy_types: self.policy_types.clone(),
            ingress: self.ingress.clone(),
            egress: self.egress.clone(),
        }
    }
}

/// Schema of rules whose contents are those of a Kubernetes NetworkPolicy.
fn rules_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    })
}
