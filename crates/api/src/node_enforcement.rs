//! `NodeEnforcement`: up to where a node enforces policy.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::resource;

resource! {
    /// Up to where a node enforces policy. Each agent writes the one that is named after its node;
    /// the operator makes the condition `Enforced` of policies out of all of them.
    NodeEnforcement(NodeEnforcementSpec), "NodeEnforcement", "nodeenforcements", Cluster
}

/// What a [`NodeEnforcement`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeEnforcementSpec {
    /// The node's name, which is the object's.
    pub node: String,
    /// By resource, such as `networkpolicies`: every change of its objects up to this
    /// `resourceVersion` is in the node's kernel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_versions: BTreeMap<String, String>,
    /// Why the kernel does not follow, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Settings that an AgentConfiguration changes and that the agent takes when it starts again,
    /// such as `dataplane`. Until then those of its last start hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaiting_start: Vec<String>,
}

/// A `metadata.resourceVersion`. Of one resource they are integers that grow with each write, and
/// may be compared as such (Kubernetes API conventions, since 1.35).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceVersion(u128);

impl std::str::FromStr for ResourceVersion {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl std::fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
