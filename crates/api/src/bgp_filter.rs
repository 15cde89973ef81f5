//! `BGPFilter`: which routes a neighbour may give and get, and with what attributes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::resource;

resource! {
    /// Rules for the routes of the neighbours that name it. The first rule that matches decides;
    /// where none does, the next filter of the neighbour is asked, and at last the built-in policy:
    /// everything is taken in, and only what the node originates goes out.
    BgpFilter(BgpFilterSpec), "BGPFilter", "bgpfilters", Cluster
}

/// What a [`BgpFilter`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFilterSpec {
    /// For IPv4 routes that the neighbour advertises.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub import_v4: Vec<BgpFilterRule>,
    /// For IPv6 routes that the neighbour advertises.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub import_v6: Vec<BgpFilterRule>,
    /// For IPv4 routes that the node advertises to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export_v4: Vec<BgpFilterRule>,
    /// For IPv6 routes that the node advertises to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export_v6: Vec<BgpFilterRule>,
}

/// A rule: what becomes of the routes for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFilterRule {
    /// A prefix of the list's family; needs `matchOperator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// How the destination is compared with `cidr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Equal", "NotEqual", "In", "NotIn"]))]
    pub match_operator: Option<String>,
    /// With `In` and `NotIn`, which lengths are in; from that of `cidr` to full length unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<BgpFilterRange>,
    /// `RemotePeers`: only what was learned from neighbours. Without it an export rule that accepts
    /// is about what the node originates: nothing that was learned goes out by accident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["RemotePeers"]))]
    pub source: Option<String>,
    /// Only from or to a neighbour in another AS (`eBGP`) or in the node's own (`iBGP`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["eBGP", "iBGP"]))]
    pub peer_type: Option<String>,
    /// Communities that the route carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<BgpFilterCommunities>,
    /// With what AS numbers its AS path begins, nearest first.
    #[serde(default, rename = "asPathPrefix", skip_serializing_if = "Vec::is_empty")]
    pub as_path_prefix: Vec<i64>,
    /// AS numbers that are all in its AS path.
    #[serde(default, rename = "asPathContains", skip_serializing_if = "Vec::is_empty")]
    pub as_path_contains: Vec<i64>,
    /// How long its AS path is; a set counts one.
    #[serde(default, rename = "asPathLength", skip_serializing_if = "Option::is_none")]
    pub as_path_length: Option<BgpFilterRange>,
    /// The AS that its AS path ends with.
    #[serde(default, rename = "originAS", skip_serializing_if = "Option::is_none")]
    pub origin_as: Option<i64>,
    /// A prefix or address that its next hop lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<String>,
    /// `Accept` or `Reject`.
    #[schemars(extend("enum" = ["Accept", "Reject"]))]
    pub action: String,
    /// What is changed of routes that are accepted, in this order; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<BgpFilterOperation>,
}

/// Both ends are included; either may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFilterRange {
    /// The least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// The greatest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
}

/// Communities, written `65001:100` (RFC 1997) or `65001:1:2` (RFC 8092).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFilterCommunities {
    /// All of them.
    pub values: Vec<String>,
}

/// One change; exactly one field is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFilterOperation {
    /// Adds a community.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_community: Option<BgpFilterValue<String>>,
    /// Removes a community, if it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_community: Option<BgpFilterValue<String>>,
    /// Replaces all standard and large communities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_communities: Option<BgpFilterCommunities>,
    /// Puts AS numbers in front of the AS path. Towards another AS the node's own comes before them.
    #[serde(default, rename = "prependASPath", skip_serializing_if = "Option::is_none")]
    pub prepend_as_path: Option<BgpFilterPrepend>,
    /// LOCAL_PREF, greater is better; no neighbour in another AS gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_local_preference: Option<BgpFilterValue<i64>>,
    /// MED, smaller is better.
    #[serde(default, rename = "setMED", skip_serializing_if = "Option::is_none")]
    pub set_med: Option<BgpFilterValue<i64>>,
    /// The next hop, an address of the list's family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_next_hop: Option<BgpFilterValue<String>>,
}

/// A value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFilterValue<T> {
    /// The value.
    pub value: T,
}

/// AS numbers for the front of an AS path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFilterPrepend {
    /// In the order in which they will stand; at most 10.
    pub prefix: Vec<i64>,
}
