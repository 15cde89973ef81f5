//! `NetworkSet` and `GlobalNetworkSet`: prefixes that selectors pick by label.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::resource;

resource! {
    /// Prefixes that the selectors of rules pick by label, within a namespace.
    NetworkSet(NetworkSetSpec), "NetworkSet", "networksets", Namespace
}

resource! {
    /// Prefixes that the selectors of rules pick by label.
    GlobalNetworkSet(NetworkSetSpec), "GlobalNetworkSet", "globalnetworksets", Cluster
}

/// What a [`NetworkSet`] or [`GlobalNetworkSet`] holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkSetSpec {
    /// Prefixes and addresses of either family. They may overlap each other and those of other
    /// sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<String>,
}
