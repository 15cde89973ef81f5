//! `BGPPeer`: a neighbour outside the cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::{label_selector_schema, resource};

/// The port of BGP (RFC 4271 §8.2.1).
pub const DEFAULT_BGP_PORT: u16 = 179;

resource! {
    /// A BGP neighbour of one node, of the nodes that a selector picks, or of every node.
    BgpPeer(BgpPeerSpec), "BGPPeer", "bgppeers", Cluster
}

/// What a [`BgpPeer`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpPeerSpec {
    /// The one node that peers with it; excludes `nodeSelector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The nodes that peer with it, by their labels; excludes `node`. Every node if neither is
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector_schema")]
    pub node_selector: Option<LabelSelector>,
    /// The neighbour's address, IPv4 or IPv6.
    #[serde(rename = "peerIP")]
    pub peer_ip: String,
    /// The neighbour's TCP port. 179 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub peer_port: Option<i32>,
    /// The neighbour's AS number; equal to the node's own makes the session iBGP.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub as_number: i64,
    /// Only wait for the neighbour to connect, never connect to it. False unless said.
    #[serde(default)]
    pub passive: bool,
}
