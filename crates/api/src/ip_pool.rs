//! `IPPool`: a range of addresses for pods.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::{Envelope, cluster_resource, metadata_schema};

/// Prefix length of a block of an IPv4 pool unless said: 64 addresses.
pub const DEFAULT_BLOCK_SIZE_V4: u8 = 26;
/// Prefix length of a block of an IPv6 pool unless said: 64 addresses.
pub const DEFAULT_BLOCK_SIZE_V6: u8 = 122;

/// A range of addresses for pods. Nodes take blocks of it as they need them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "Envelope<IpPoolSpec>", into = "Envelope<IpPoolSpec>")]
#[schemars(!try_from, !into, rename = "IPPool")]
pub struct IpPool {
    /// Standard metadata; the name identifies the pool.
    #[schemars(schema_with = "metadata_schema")]
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: IpPoolSpec,
}

cluster_resource!(IpPool, IpPoolSpec, "IPPool", "ippools");

/// What an [`IpPool`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpPoolSpec {
    /// The range, IPv4 or IPv6, without host bits, such as `10.244.0.0/16`. Pools must not overlap.
    pub cidr: String,
    /// Prefix length of the blocks that nodes take: 20 to 32 in IPv4, 116 to 128 in IPv6, and not
    /// shorter than the range's own. 26 and 122 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 20, max = 128))]
    pub block_size: Option<i32>,
    /// Give out no new address; those in use stay. False unless said.
    #[serde(default)]
    pub disabled: bool,
}
