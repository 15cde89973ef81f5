//! `Tier`: policies that are asked together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::resource;

resource! {
    /// A tier: its policies are asked together, before those of the next tier.
    Tier(TierSpec), "Tier", "tiers", Cluster
}

/// What a [`Tier`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierSpec {
    /// Place among the tiers, ascending; equal orders by name. Last unless said. The built-in tiers
    /// are `kube-admin` (1000), `default` (1000000) and `kube-baseline` (10000000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// What becomes of a packet that policies of the tier govern and no rule of theirs decides:
    /// `Deny` or `Pass`. `Deny` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Deny", "Pass"]))]
    pub default_action: Option<String>,
}
