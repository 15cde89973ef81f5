//! `AgentConfiguration`: settings of the nodes' agents.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::resource::{label_selector_schema, resource};

resource! {
    /// Settings of the agents. The object named `default` is for every node; one with a
    /// `nodeSelector` overrides it for the nodes that it picks, field by field, and one named
    /// `node.<name>` overrides both for that node. Of several selectors that pick a node, the object
    /// whose name sorts first counts. A running agent takes a change at once, unless the field says
    /// that the agent takes it when it starts.
    AgentConfiguration(AgentConfigurationSpec), "AgentConfiguration", "agentconfigurations", Cluster
}

/// What an [`AgentConfiguration`] asks for. What it does not say is left to the others, then to the
/// agent's command line.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentConfigurationSpec {
    /// The nodes that it is for, by their labels. Not in `default` and `node.<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector_schema")]
    pub node_selector: Option<LabelSelector>,
    /// How much is logged: `Error`, `Warn`, `Info`, `Debug` or `Trace`. `Info` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Error", "Warn", "Info", "Debug", "Trace"]))]
    pub log_level: Option<String>,
    /// What becomes of connections that policy admitted and, after a change, does not any more.
    /// `Reevaluate`: they are judged again and stop. `Keep`: they go on until they end.
    /// `Reevaluate` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Reevaluate", "Keep"]))]
    pub existing_connections: Option<String>,
    /// What becomes of packets from pods to their own node that their egress policies admit:
    /// `Accept` or `Drop`. `Accept` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Accept", "Drop"]))]
    pub default_endpoint_to_host_action: Option<String>,
    /// Ports of the node that stay open on its host endpoints, whatever policy says; an empty list
    /// is none. Unless said: TCP 22, 179, 2379, 2380, 5473, 6443, 6666 and 6667, and UDP 68.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub failsafe_inbound_host_ports: Option<Vec<FailsafePort>>,
    /// Ports of others that stay open to the node, likewise. Unless said: TCP 179, 2379, 2380, 5473,
    /// 6443, 6666 and 6667, and UDP 53 and 67.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub failsafe_outbound_host_ports: Option<Vec<FailsafePort>>,
    /// How many denied packets an agent remembers for `brindlectl drops`, and as many logged ones.
    /// 1024 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65536))]
    pub packets_kept: Option<i32>,
    /// Denied packets of which the kernel tells the agent, a second and decision; 0 is none. All are
    /// counted. 5 unless said. Taken when the agent starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub drops_per_second: Option<i32>,
    /// Time between read-backs that look for changes of the kernel's tables behind the agent's back,
    /// whole seconds, `1s` to `24h`. `60s` unless said. Taken when the agent starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub resync_interval: Option<Duration>,
    /// The kernel's way to filter: `Auto`, which is nftables if a trial works and else iptables,
    /// `Nftables`, or `Iptables`, `IptablesNft`, `IptablesLegacy` by the node's own programs, to which
    /// the agent's pod needs access (see Installation's `dataplane`). `Auto` unless said. Taken when
    /// the agent starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Auto", "Nftables", "Iptables", "IptablesNft", "IptablesLegacy"]))]
    pub dataplane: Option<String>,
    /// Where the jumps to Brindle's chains stand in those of iptables: `Insert`, before all other
    /// rules, or `Append`, behind those that are there, whose ACCEPT then goes past policy. `Insert`
    /// unless said. Taken when the agent starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Insert", "Append"]))]
    pub iptables_jump: Option<String>,
}

/// A port that stays open on host endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailsafePort {
    /// `TCP`, `UDP` or `SCTP`.
    #[schemars(extend("enum" = ["TCP", "UDP", "SCTP"]))]
    pub protocol: String,
    /// The port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The only peers for whom it stays open, such as `10.0.0.0/8`. Everybody unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<String>,
}
