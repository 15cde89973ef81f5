//! `BGPPeer`: a neighbour outside the cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
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
    /// The neighbour's address, IPv4 or IPv6. Excludes `peerRange`; one of both is needed.
    #[serde(rename = "peerIP", default, skip_serializing_if = "Option::is_none")]
    pub peer_ip: Option<String>,
    /// Whoever connects from an address in this CIDR is a neighbour, as far as its AS number and the
    /// rest of this object fit. The nodes connect to none of them. An address that another object or
    /// the mesh names is not meant; of several ranges the smallest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_range: Option<String>,
    /// How many neighbours a node takes in from `peerRange` at once; whoever comes beyond is refused
    /// (Cease 6/5, RFC 4486). 100 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub max_peers: Option<i32>,
    /// The neighbour's TCP port; none with `peerRange`. 179 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub peer_port: Option<i32>,
    /// The neighbour's AS number; equal to the node's own makes the session iBGP.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub as_number: i64,
    /// Only wait for the neighbour to connect, never connect to it. False unless said.
    #[serde(default)]
    pub passive: bool,
    /// Generalized TTL security (RFC 5082): how many hops away the neighbour is, 1 if it is on the
    /// link. We send with TTL 255, and what was forwarded more often is dropped by the kernel. The
    /// neighbour must do the same. Excludes `ebgpMultihop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub ttl_security: Option<i32>,
    /// TTL of what is sent to the neighbour, for one that is not on the link. Unless said, an
    /// external neighbour must be on the link (TTL 1), and an internal one may be anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub ebgp_multihop: Option<i32>,
    /// Watches the neighbour by BFD (RFC 5880) while the session is up: when it no longer forwards, the
    /// session and its routes go at once, graceful restart or not. The neighbour must do the same.
    /// It is watched over one hop (RFC 5881), or where `ebgpMultihop` or `ttlSecurity` is more than 1
    /// over several (RFC 5883).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BgpBfd>,
    /// Ends the session and wants none, while this is here: the neighbour is told so with these
    /// words, at most 255 octets (RFC 9003).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<String>,
    /// How many prefixes the neighbour may advertise. Unless said, as many as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefixes: Option<BgpMaxPrefixes>,
    /// How many prefixes the neighbour is told of, counted after filters. Those beyond are withheld
    /// and the status says so; the session goes on. Unless said, as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefixes_out: Option<BgpMaxPrefixesOut>,
    /// The neighbour is a client of this node as a route reflector (RFC 4456): what it tells goes to
    /// every internal neighbour, and it is told what any neighbour tells. Where it is
    /// external there is no session, and the status says why; excludes `localRole`. False unless
    /// said.
    #[serde(default)]
    pub route_reflector_client: bool,
    /// What the nodes are to the neighbour (RFC 9234), if it is external: what a provider, a lateral
    /// peer or a route server told goes to customers only. Where it is internal there is no session,
    /// and the status says why. Unless said, nothing is known of roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [
        "Provider", "RouteServer", "RouteServerClient", "Customer", "Peer",
    ]))]
    pub local_role: Option<String>,
    /// Refuses a neighbour that says nothing of its role; needs `localRole`. False unless said.
    #[serde(default)]
    pub require_role: bool,
    /// Names of BGPFilters, asked in this order. While one of them does not exist or is refused,
    /// no route passes, either way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// The password of TCP MD5 signatures (RFC 2385). While it cannot be read there is no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<BgpPassword>,
}

/// Timing of BFD.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpBfd {
    /// How often to send at most, milliseconds. 300 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub min_tx_milliseconds: Option<i32>,
    /// How often to receive at most, milliseconds. 300 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub min_rx_milliseconds: Option<i32>,
    /// After how many missed packets the neighbour takes us for dead. 3 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub multiplier: Option<i32>,
}

/// Limits, counted before filters. A neighbour that advertises more loses its session (Cease 6/1,
/// RFC 4486).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpMaxPrefixes {
    /// For IPv4. No limit unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub v4: Option<i64>,
    /// For IPv6. No limit unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub v6: Option<i64>,
    /// From how many percent of a limit on the status warns. 75 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub warn_percent: Option<i32>,
    /// After what time the neighbour may come back. Unless said, once the object changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_after: Option<Duration>,
}

/// Limits of what a neighbour is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpMaxPrefixesOut {
    /// For IPv4. No limit unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub v4: Option<i64>,
    /// For IPv6. No limit unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub v6: Option<i64>,
    /// From how many percent of a limit on the status warns. 75 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub warn_percent: Option<i32>,
}

/// Where a password stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpPassword {
    /// A file of the node, by its absolute path: 1 to 80 octets, one newline at the end not
    /// counted. A file that is replaced takes effect within seconds and resets no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A key of a Secret in Brindle's namespace, with the same contents as a file; with an API server
    /// only. Agents may read those Secrets alone that a Role of the cluster's operator names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// The Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
}
