//! `HostEndpoint`: an interface of a node that is policed.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::{int_or_string_schema, resource};

resource! {
    /// An interface of a node that GlobalNetworkPolicies govern.
    HostEndpoint(HostEndpointSpec), "HostEndpoint", "hostendpoints", Cluster
}

/// Which interface a [`HostEndpoint`] is, and what it is known by.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostEndpointSpec {
    /// The node.
    pub node: String,
    /// The interface; `*` is every one that no other host endpoint of the node means. Unless said,
    /// those that hold one of `expectedIPs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_name: Option<String>,
    /// Addresses by which the selectors of rules know it.
    #[serde(default, rename = "expectedIPs", skip_serializing_if = "Vec::is_empty")]
    pub expected_ips: Vec<String>,
    /// Profiles that decide what no policy does. `projectcalico-default-allow` is the one that there
    /// is; without it what no policy allows is denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Ports that rules may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<HostEndpointPort>,
}

/// A named port of a [`HostEndpoint`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostEndpointPort {
    /// The name.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`, or its number.
    #[schemars(schema_with = "int_or_string_schema")]
    pub protocol: IntOrString,
    /// The number, 1 to 65535.
    pub port: i32,
}
