//! `BGPConfiguration`: settings of the nodes' own BGP speakers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::resource::resource;

resource! {
    /// Settings of the BGP speakers. The object named `default` is for every node; one named
    /// `node.<name>` overrides it for that node, field by field.
    BgpConfiguration(BgpConfigurationSpec), "BGPConfiguration", "bgpconfigurations", Cluster
}

/// What a [`BgpConfiguration`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpConfigurationSpec {
    /// AS number, two or four bytes (RFC 6793). 64512 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub as_number: Option<i64>,
    /// BGP identifier as an IPv4 address other than 0.0.0.0 (RFC 6286). It must differ between
    /// nodes, so it belongs into a `node.<name>` object. The node's IPv4 address unless said.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    pub router_id: Option<String>,
    /// TCP port to listen on. 179 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub listen_port: Option<i32>,
    /// Whether every node peers with every other node by iBGP. True unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_to_node_mesh_enabled: Option<bool>,
    /// How long neighbours keep our routes while an agent restarts (RFC 4724 §3), whole seconds,
    /// at most `4095s`. `120s` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_time: Option<Duration>,
    /// How long neighbours that know of it keep our routes after that, as the last resort (RFC 9494),
    /// whole seconds, at most `16777215s`. `0s` unless said: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_lived_stale_time: Option<Duration>,
    /// Offers that a NOTIFICATION or an expired hold timer ends the session but not the forwarding
    /// (the N bit, RFC 8538): routes are then kept for the restart time. It spares resets that pass,
    /// and forwards that much longer to a neighbour that died. False unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graceful_notification: Option<bool>,
    /// Takes the node out of service while its sessions stay up. `GracefulShutdown`: what it
    /// advertises carries the community 65535:0 (RFC 8326), and inside the AS a LOCAL_PREF of 0, so
    /// that whoever has another path takes it. `Withdraw`: it advertises nothing, and goes on
    /// forwarding what still comes. `None` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["None", "GracefulShutdown", "Withdraw"]))]
    pub drain: Option<String>,
    /// Hold time to propose (RFC 4271 §4.2): `0s` for none, or `3s` to `65535s`. `90s` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_time: Option<Duration>,
    /// What stands for the node in CLUSTER_LISTs of routes that it reflects (RFC 4456 §7), as an IPv4
    /// address; the same for all reflectors of a cluster. The BGP identifier unless said.
    #[serde(default, rename = "routeReflectorClusterID", skip_serializing_if = "Option::is_none")]
    pub route_reflector_cluster_id: Option<String>,
    /// Ranges of the cluster IPs of Services. Every node announces each range whole, and those with
    /// a ready endpoint of a Service with `internalTrafficPolicy: Local` also the Service's address.
    #[serde(default, rename = "serviceClusterIPs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub service_cluster_ips: Option<Vec<ServiceRange>>,
    /// The same of external IPs and `externalTrafficPolicy: Local`.
    #[serde(default, rename = "serviceExternalIPs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub service_external_ips: Option<Vec<ServiceRange>>,
    /// The same of load balancer IPs and `externalTrafficPolicy: Local`. A range of one address is
    /// announced only while a Service has that address, of all three kinds.
    #[serde(default, rename = "serviceLoadBalancerIPs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub service_load_balancer_ips: Option<Vec<ServiceRange>>,
    /// `Enabled`: ranges of load balancer IPs are announced whole. `Disabled`: each address is
    /// announced by itself, once a Service has it. `Enabled` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Enabled", "Disabled"]))]
    pub service_load_balancer_aggregation: Option<String>,
    /// Names of communities, for `prefixAdvertisements` of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub communities: Option<Vec<NamedCommunity>>,
    /// Communities of what nodes announce of themselves, blocks of pods and Services alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prefix_advertisements: Option<Vec<PrefixAdvertisement>>,
}

/// A range of Service addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRange {
    /// The range, such as `10.96.0.0/12` or `fd00:10:96::/112`.
    pub cidr: String,
}

/// A community under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedCommunity {
    /// The name.
    pub name: String,
    /// `65001:100` (RFC 1997) or `65001:1:2` (RFC 8092).
    pub value: String,
}

/// Communities of what is announced within a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrefixAdvertisement {
    /// Contains what is announced, or is it.
    pub cidr: String,
    /// Values, or names of this object's `communities`; all are added.
    #[schemars(length(max = 64))]
    pub communities: Vec<String>,
}
