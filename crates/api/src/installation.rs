//! `Installation`: how Brindle is installed on a cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::resource::resource;

resource! {
    /// How Brindle is installed. The operator makes a cluster so and keeps it so; when the object is
    /// deleted it removes Brindle from cluster and nodes, and with it every object of `brindle.io`.
    Installation(InstallationSpec), "Installation", "installations", Cluster
}

/// The only name that an [`Installation`] may have.
pub const INSTALLATION_NAME: &str = "default";

/// What an [`Installation`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallationSpec {
    /// The image that nodes run, such as `brindle.io/brindle:v0.1.0`. That of the operator's own
    /// version unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Which of the kernel's ways to filter the nodes use. `Auto` unless said: nftables where a
    /// trial works, else iptables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataplane: Option<InstallationDataplane>,
    /// What becomes of connections that policy admitted and, after a change, does not any more.
    /// `Reevaluate` unless said: they stop within a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_connections: Option<InstallationConnections>,
    /// How much agents log. `Info` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<InstallationLogLevel>,
    /// How long after a Node object is gone its address blocks are given to others, such as `10m`,
    /// which it is unless said. The clock starts anew when the operator does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub node_grace_period: Option<Duration>,
}

/// A way of the kernel to filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum InstallationDataplane {
    /// nftables if a trial works, else iptables.
    Auto,
    /// nf_tables.
    Nftables,
    /// iptables, in the variant that the node uses.
    Iptables,
    /// iptables whose rules live in nf_tables.
    IptablesNft,
    /// iptables whose rules live in ip_tables.
    IptablesLegacy,
}

/// What becomes of connections that policy does not admit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum InstallationConnections {
    /// They are judged again and stop.
    Reevaluate,
    /// They go on until they end.
    Keep,
}

/// From which level on agents log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum InstallationLogLevel {
    /// What failed.
    Error,
    /// And what may be wrong.
    Warn,
    /// And what has changed.
    Info,
    /// And what was done for it.
    Debug,
    /// And each packet that is told of.
    Trace,
}
