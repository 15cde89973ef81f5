//! `IPAMBlock`: which node gives out which addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::resource;

resource! {
    /// A block of pod addresses, and the node that gives them out. Agents write these objects, for
    /// their own node; the name follows from the prefix, so that one node wins each block.
    IpamBlock(IpamBlockSpec), "IPAMBlock", "ipamblocks", Cluster
}

/// What an [`IpamBlock`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpamBlockSpec {
    /// The prefix.
    pub cidr: String,
    /// The node's name.
    pub node: String,
}
