//! `ClusterNetworkPolicy` of the network policy API (`policy.networking.k8s.io/v1alpha2`).
//!
//! Unlike in Brindle's own kinds, unknown fields are dropped here on purpose: a peer or protocol of
//! a newer version of the API is then one without any known field, which is the sign by which the
//! rule fails closed (A13).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::{label_selector_schema, resource};

/// The API group of [`ClusterNetworkPolicy`].
pub const POLICY_GROUP: &str = "policy.networking.k8s.io";
/// The API version of [`ClusterNetworkPolicy`].
pub const POLICY_VERSION: &str = "v1alpha2";
/// Group and version as an object's `apiVersion` spells them.
pub const POLICY_API_VERSION: &str = "policy.networking.k8s.io/v1alpha2";

resource! {
    /// A cluster administrator's policy, before or after the namespaces' own.
    ClusterNetworkPolicy(ClusterNetworkPolicySpec),
    "ClusterNetworkPolicy", "clusternetworkpolicies", Cluster,
    (POLICY_GROUP, POLICY_VERSION, POLICY_API_VERSION)
}

/// What a [`ClusterNetworkPolicy`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicySpec {
    /// `Admin`, before NetworkPolicies, or `Baseline`, after them (A1).
    pub tier: String,
    /// From 0 to 1000 within the tier, ascending (A1, A6).
    pub priority: i32,
    /// The pods that it governs (A5).
    #[serde(default)]
    pub subject: ClusterNetworkPolicySubject,
    /// Rules for packets towards the pods, in order; at most 25.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<ClusterNetworkPolicyIngressRule>,
    /// Rules for packets from the pods, in order; at most 25.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<ClusterNetworkPolicyEgressRule>,
}

/// Pods by namespace, or by namespace and labels: exactly one field is set (A5).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicySubject {
    /// All pods of the namespaces that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector_schema")]
    pub namespaces: Option<LabelSelector>,
    /// Pods that match in the namespaces that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPod>,
}

/// Pods by the labels of their namespace and their own.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedPod {
    /// Their namespaces; empty is all.
    #[serde(default)]
    #[schemars(schema_with = "label_selector_schema")]
    pub namespace_selector: LabelSelector,
    /// The pods; empty is all.
    #[schemars(schema_with = "label_selector_schema")]
    pub pod_selector: LabelSelector,
}

/// A rule for packets towards the subject.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicyIngressRule {
    /// A name for people, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Accept`, `Deny` or `Pass` (A2).
    pub action: String,
    /// Who; one to 25 entries, any of them (A8).
    #[serde(default)]
    pub from: Vec<ClusterNetworkPolicyIngressPeer>,
    /// On what; any of up to 25 entries. Everything if the list is missing (A8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<ClusterNetworkPolicyProtocol>>,
}

/// A rule for packets from the subject.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicyEgressRule {
    /// A name for people, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Accept`, `Deny` or `Pass` (A2).
    pub action: String,
    /// Whom; one to 25 entries, any of them (A8).
    #[serde(default)]
    pub to: Vec<ClusterNetworkPolicyEgressPeer>,
    /// On what; any of up to 25 entries. Everything if the list is missing (A8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<ClusterNetworkPolicyProtocol>>,
}

/// Where packets come from: exactly one field is set (A8).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicyIngressPeer {
    /// All pods of the namespaces that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector_schema")]
    pub namespaces: Option<LabelSelector>,
    /// Pods that match in the namespaces that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPod>,
}

/// Where packets go: exactly one field is set (A8).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicyEgressPeer {
    /// All pods of the namespaces that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector_schema")]
    pub namespaces: Option<LabelSelector>,
    /// Pods that match in the namespaces that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPod>,
    /// Nodes that match, at any of their addresses (A10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector_schema")]
    pub nodes: Option<LabelSelector>,
    /// Prefixes of either family, at most 25 (A9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<String>>,
    /// Domain names: refused (A12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_names: Option<Vec<String>>,
}

/// What packets carry: exactly one field is set (A8, A11).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicyProtocol {
    /// TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<ClusterNetworkPolicyTransport>,
    /// UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<ClusterNetworkPolicyTransport>,
    /// SCTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sctp: Option<ClusterNetworkPolicyTransport>,
    /// A container port of the destination pod by name, whatever its protocol (A11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_named_port: Option<String>,
}

/// Ports of a transport protocol.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicyTransport {
    /// The destination port; every port unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<ClusterNetworkPolicyPort>,
}

/// A port or a range: exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicyPort {
    /// From 1 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i32>,
    /// Several in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<ClusterNetworkPolicyPortRange>,
}

/// Ports from `start` to `end`, both included; `start` < `end` (A8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkPolicyPortRange {
    /// From 1 to 65535.
    pub start: i32,
    /// From 1 to 65535.
    pub end: i32,
}
