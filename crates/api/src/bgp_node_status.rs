//! `BGPNodeStatus`: how it stands with the BGP sessions of a node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::resource;

resource! {
    /// How it stands with the BGP sessions of a node. Each agent writes the one that is named after its
    /// node.
    BgpNodeStatus(BgpNodeStatusSpec), "BGPNodeStatus", "bgpnodestatuses", Cluster
}

/// What a [`BgpNodeStatus`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpNodeStatusSpec {
    /// The node's name, which is the object's.
    pub node: String,
    /// The node's AS; absent while the node has no address or AS to speak with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_number: Option<i64>,
    /// Its BGP identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_id: Option<String>,
    /// How it is taken out of service, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// What is wrong with the speaker itself: that it cannot listen, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Neighbours of any kind.
    pub sessions: i32,
    /// Of these, those with a session.
    pub established: i32,
    /// Nodes of the mesh without a session, by name; the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mesh_down: Vec<String>,
    /// Neighbours that are no nodes of the mesh, by name; the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<BgpPeerStatus>,
}

/// One neighbour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpPeerStatus {
    /// The BGPPeer; behind a `/` the address of one that came by a range.
    pub name: String,
    /// Its address.
    pub address: String,
    /// The AS that it must have.
    pub as_number: i64,
    /// State of its session (RFC 4271 §8.2.2).
    pub state: String,
    /// Why there is no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often a session ended.
    pub flaps: i64,
    /// What both sides can do, while there is a session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Routes by family, as of the last write: they alone are told once a minute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<BgpFamilyStatus>,
}

/// Routes of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFamilyStatus {
    /// `ipv4 unicast` or `ipv6 unicast`.
    pub family: String,
    /// Prefixes that it advertised.
    pub received: i64,
    /// Of these, those that may be used.
    pub accepted: i64,
    /// Prefixes that it was told of.
    pub advertised: i64,
}
