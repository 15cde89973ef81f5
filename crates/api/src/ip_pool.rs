//! `IPPool`: a range of addresses for pods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::resource;

/// Prefix length of a block of an IPv4 pool unless said: 64 addresses.
pub const DEFAULT_BLOCK_SIZE_V4: u8 = 26;
/// Prefix length of a block of an IPv6 pool unless said: 64 addresses.
pub const DEFAULT_BLOCK_SIZE_V6: u8 = 122;

resource! {
    /// A range of addresses for pods. Nodes take blocks of it as they need them.
    IpPool(IpPoolSpec), "IPPool", "ippools", Cluster
}

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
