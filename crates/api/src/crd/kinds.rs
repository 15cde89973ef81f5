//! What is said of each kind beyond its type: short names, columns, CEL rules.

use serde_json::Value;

use super::{Extras, Status, definition};
use crate::{
    AgentConfiguration, BgpConfiguration, BgpFilter, BgpNodeStatus, BgpPeer, GlobalNetworkPolicy,
    GlobalNetworkSet, HostEndpoint, Installation, IpPool, IpamBlock, NetworkPolicy, NetworkSet,
    NodeEnforcement, StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy,
    Tier,
};

type Columns = &'static [(&'static str, &'static str, &'static str)];
type Rules = &'static [(&'static str, &'static str)];

const POLICY_COLUMNS: Columns =
    &[("Tier", "string", ".spec.tier"), ("Order", "number", ".spec.order")];

/// Rules that need two fields of a policy. Those within a rule stand at the rule's own type.
const POLICY_RULES: Rules = &[(
    "!has(self.types) || self.types.all(t, t == 'Ingress' || t == 'Egress')",
    "types are Ingress and Egress",
)];

const GLOBAL_POLICY_RULES: Rules = &[
    POLICY_RULES[0],
    (
        "!(has(self.doNotTrack) && self.doNotTrack || has(self.preDNAT) && self.preDNAT) || \
         has(self.applyOnForward) && self.applyOnForward",
        "doNotTrack and preDNAT need applyOnForward",
    ),
    (
        "!(has(self.doNotTrack) && self.doNotTrack && has(self.preDNAT) && self.preDNAT)",
        "doNotTrack and preDNAT exclude each other",
    ),
    (
        "!(has(self.preDNAT) && self.preDNAT) || !has(self.egress) || size(self.egress) == 0",
        "a policy before DNAT has ingress rules only",
    ),
];

const STAGED_RULES: Rules = &[POLICY_RULES[0], STAGED_KUBERNETES_RULES[0]];

const STAGED_KUBERNETES_RULES: Rules = &[(
    "!has(self.stagedAction) || self.stagedAction in ['Set', 'Ignore']",
    "stagedAction is Set or Ignore: only what would be added is judged",
)];

const POOL_RULES: Rules = &[
    ("isCIDR(self.cidr)", "cidr is no CIDR such as 10.244.0.0/16"),
    ("!isCIDR(self.cidr) || cidr(self.cidr).masked() == cidr(self.cidr)", "cidr has host bits"),
    (
        "!isCIDR(self.cidr) || !has(self.blockSize) || (cidr(self.cidr).ip().family() == 4 ? \
         self.blockSize >= 20 && self.blockSize <= 32 : self.blockSize >= 116)",
        "blockSize is 20 to 32 in IPv4, 116 to 128 in IPv6",
    ),
    (
        "!isCIDR(self.cidr) || cidr(self.cidr).prefixLength() <= (has(self.blockSize) ? \
         self.blockSize : cidr(self.cidr).ip().family() == 4 ? 26 : 122)",
        "a block does not fit into cidr",
    ),
];

const AGENT_CONFIGURATION_OBJECT: Rules = &[
    (
        "self.metadata.name == 'default' || self.metadata.name.startsWith('node.') || \
         has(self.spec.nodeSelector)",
        "nodeSelector says which nodes it is for, unless the name is `default`, or `node.` and a \
         node's name",
    ),
    (
        "!has(self.spec.nodeSelector) || \
         !(self.metadata.name == 'default' || self.metadata.name.startsWith('node.'))",
        "an object of this name says by it which nodes it is for, and has no nodeSelector",
    ),
];

const AGENT_CONFIGURATION_RULES: Rules = &[
    (
        "!(has(self.iptablesJump) && has(self.dataplane) && self.dataplane == 'Nftables')",
        "iptablesJump has no effect with dataplane Nftables",
    ),
    (
        "!has(self.resyncInterval) || (duration(self.resyncInterval) >= duration('1s') && \
         duration(self.resyncInterval) <= duration('24h'))",
        "resyncInterval is 1s to 24h",
    ),
];

const BGP_CONFIGURATION_OBJECT: Rules = &[
    (
        "self.metadata.name == 'default' || self.metadata.name.startsWith('node.')",
        "the name is `default`, or `node.` and a node's name",
    ),
    (
        "!has(self.spec.routerID) || self.metadata.name.startsWith('node.')",
        "routerID must differ between nodes: it belongs into `node.<name>`",
    ),
];

const BGP_CONFIGURATION_RULES: Rules = &[(
    "!has(self.routerID) || (isIP(self.routerID) && ip(self.routerID).family() == 4 && \
     self.routerID != '0.0.0.0')",
    "routerID is an IPv4 address other than 0.0.0.0",
)];

const BGP_PEER_RULES: Rules = &[
    ("has(self.peerIP) != has(self.peerRange)", "there must be either peerIP or peerRange"),
    ("!has(self.peerIP) || isIP(self.peerIP)", "peerIP is no address"),
    ("!has(self.peerRange) || isCIDR(self.peerRange)", "peerRange is no CIDR"),
    ("!has(self.maxPeers) || has(self.peerRange)", "maxPeers needs peerRange"),
    ("!(has(self.peerPort) && has(self.peerRange))", "peerPort and peerRange exclude each other"),
    ("!(has(self.node) && has(self.nodeSelector))", "node and nodeSelector exclude each other"),
    (
        "!(has(self.ttlSecurity) && has(self.ebgpMultihop))",
        "ttlSecurity and ebgpMultihop exclude each other",
    ),
    ("self.asNumber != 23456", "23456 stands for numbers of four bytes (RFC 6793)"),
];

const HOST_ENDPOINT_RULES: Rules = &[(
    "has(self.interfaceName) && self.interfaceName != '' || \
     has(self.expectedIPs) && size(self.expectedIPs) > 0",
    "there is neither interfaceName nor expectedIPs to find an interface by",
)];

const BLOCK_RULES: Rules = &[
    ("isCIDR(self.cidr)", "cidr is no CIDR"),
    ("self == oldSelf", "a block does not change; delete it and make another"),
];

const NAMED_AFTER_NODE: Rules =
    &[("self.metadata.name == self.spec.node", "the name is that of the node")];

const INSTALLATION_OBJECT: Rules = &[("self.metadata.name == 'default'", "the name is `default`")];

const INSTALLATION_RULES: Rules = &[(
    "!has(self.nodeGracePeriod) || duration(self.nodeGracePeriod) >= duration('10s')",
    "nodeGracePeriod is 10s at least",
)];

/// The CustomResourceDefinition of `Installation`, which the operator reads and agents do not.
pub fn installation() -> Value {
    definition::<Installation>(&Extras {
        short_names: &[],
        columns: &[("Image", "string", ".spec.image"), ("Dataplane", "string", ".spec.dataplane")],
        object_rules: INSTALLATION_OBJECT,
        spec_rules: INSTALLATION_RULES,
        status: Status::Installed,
        prunes: true,
    })
}

/// The CustomResourceDefinition of every kind that agents read or write, by name.
pub fn definitions() -> Vec<Value> {
    let with = |short_names, columns: Columns, spec_rules: Rules| Extras {
        short_names,
        columns,
        object_rules: &[],
        spec_rules,
        status: Status::Accepted,
        prunes: false,
    };
    let enforced = |extras| Extras { status: Status::Enforced, ..extras };
    let nets: Columns = &[("Nets", "string", ".spec.nets")];
    let pool: Columns = &[
        ("CIDR", "string", ".spec.cidr"),
        ("Block size", "integer", ".spec.blockSize"),
        ("Disabled", "boolean", ".spec.disabled"),
    ];
    let tier: Columns =
        &[("Order", "number", ".spec.order"), ("End", "string", ".spec.defaultAction")];
    let peer: Columns = &[
        ("Peer", "string", ".spec.peerIP"),
        ("Range", "string", ".spec.peerRange"),
        ("AS", "integer", ".spec.asNumber"),
        ("Node", "string", ".spec.node"),
    ];
    let sessions: Columns = &[
        ("AS", "integer", ".spec.asNumber"),
        ("Sessions", "integer", ".spec.sessions"),
        ("Established", "integer", ".spec.established"),
        ("Problem", "string", ".spec.problem"),
    ];
    let host: Columns =
        &[("Node", "string", ".spec.node"), ("Interface", "string", ".spec.interfaceName")];
    let configuration: Columns =
        &[("AS", "integer", ".spec.asNumber"), ("Mesh", "boolean", ".spec.nodeToNodeMeshEnabled")];
    let agent: Columns =
        &[("Log level", "string", ".spec.logLevel"), ("Dataplane", "string", ".spec.dataplane")];
    let block: Columns = &[("CIDR", "string", ".spec.cidr"), ("Node", "string", ".spec.node")];
    let node: Columns = &[
        ("Problem", "string", ".spec.problem"),
        ("Awaiting start", "string", ".spec.awaitingStart"),
    ];
    let mut all = vec![
        definition::<Tier>(&Extras {
            object_rules: &[("!self.metadata.name.contains('.')", "names of tiers have no dots")],
            ..enforced(with(&[], tier, &[]))
        }),
        definition::<NetworkPolicy>(&enforced(with(&["bnp"], POLICY_COLUMNS, POLICY_RULES))),
        definition::<GlobalNetworkPolicy>(&enforced(with(
            &["gnp"],
            POLICY_COLUMNS,
            GLOBAL_POLICY_RULES,
        ))),
        definition::<StagedNetworkPolicy>(&with(&["snp"], POLICY_COLUMNS, STAGED_RULES)),
        definition::<StagedGlobalNetworkPolicy>(&with(&["sgnp"], POLICY_COLUMNS, STAGED_RULES)),
        definition::<StagedKubernetesNetworkPolicy>(&with(&["sknp"], &[], STAGED_KUBERNETES_RULES)),
        definition::<NetworkSet>(&enforced(with(&["netset"], nets, &[]))),
        definition::<GlobalNetworkSet>(&enforced(with(&["gnetset"], nets, &[]))),
        definition::<IpPool>(&with(&["pool"], pool, POOL_RULES)),
        definition::<IpamBlock>(&Extras {
            status: Status::None,
            ..with(&["block"], block, BLOCK_RULES)
        }),
        definition::<NodeEnforcement>(&Extras {
            status: Status::None,
            object_rules: NAMED_AFTER_NODE,
            ..with(&[], node, &[])
        }),
        definition::<AgentConfiguration>(&Extras {
            object_rules: AGENT_CONFIGURATION_OBJECT,
            ..with(&["agentconfig"], agent, AGENT_CONFIGURATION_RULES)
        }),
        definition::<BgpConfiguration>(&Extras {
            object_rules: BGP_CONFIGURATION_OBJECT,
            ..with(&["bgpconfig"], configuration, BGP_CONFIGURATION_RULES)
        }),
        definition::<BgpNodeStatus>(&Extras {
            status: Status::None,
            object_rules: NAMED_AFTER_NODE,
            ..with(&["bgpstatus"], sessions, &[])
        }),
        definition::<BgpFilter>(&with(&["bgpfilter"], &[], &[])),
        definition::<BgpPeer>(&with(&["peer"], peer, BGP_PEER_RULES)),
        definition::<HostEndpoint>(&enforced(with(&["hep"], host, HOST_ENDPOINT_RULES))),
    ];
    let name = |definition: &Value| definition["metadata"]["name"].to_string();
    all.sort_by_key(name);
    all
}
