//! The CustomResourceDefinitions before a real API server: what it takes, and what it refuses before
//! an agent has to. The rows are those of the agents' own bad-input tests.
//!
//! Run by `make conformance`, which has the Kubernetes programs.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, ensure};
use brindle_integration_tests::apiserver::ApiServer;
use brindle_lab::netns::Netns;

/// A kind, and the specs of objects.
type Rows = &'static [(&'static str, &'static [&'static str])];

const REFUSED: Rows = &[
    (
        "IPPool",
        &[
            "{cidr: 10.0.0.1/16}",
            "{cidr: ten}",
            "{cidr: 10.0.0.0/27}",
            "{cidr: 10.0.0.0/8, blockSize: 19}",
            "{cidr: 10.0.0.0/8, blockSize: 116}",
            "{cidr: 'fd00::/64', blockSize: 26}",
            "{cidr: 'fd00::/124'}",
            "{cidr: 10.0.0.0/8, blockSize: large}",
            "{cidr: 10.0.0.0/8, disabled: 'yes'}",
            "{blockSize: 26}",
        ],
    ),
    (
        "BGPPeer",
        &[
            "{asNumber: 1}",
            "{peerIP: tor, asNumber: 1}",
            "{peerIP: 10.0.0.1, asNumber: 0}",
            "{peerIP: 10.0.0.1, asNumber: 23456}",
            "{peerIP: 10.0.0.1, asNumber: 4294967296}",
            "{peerIP: 10.0.0.1, asNumber: 1, peerPort: 70000}",
            "{peerIP: 10.0.0.1, asNumber: 1, ttlSecurity: 255}",
            "{peerIP: 10.0.0.1, asNumber: 1, ebgpMultihop: 0}",
            "{peerIP: 10.0.0.1, asNumber: 1, ttlSecurity: 1, ebgpMultihop: 2}",
            "{peerIP: 10.0.0.1, asNumber: 1, node: n, nodeSelector: {}}",
            "{peerIP: 10.0.0.1, asNumber: 1, nodeSelector: {matchExpressions: [{key: a, operator: Has}]}}",
        ],
    ),
    (
        "BGPConfiguration",
        &[
            "{routerID: 0.0.0.0}",
            "{routerID: one}",
            "{listenPort: 0}",
            "{holdTime: 90}",
            "{holdTime: 1.5s}",
        ],
    ),
    (
        "AgentConfiguration",
        &[
            "{logLevel: Loud}",
            "{existingConnections: Drop}",
            "{defaultEndpointToHostAction: Return}",
            "{dataplane: EBPF}",
            "{dataplane: Nftables, iptablesJump: Append}",
            "{failsafeInboundHostPorts: [{protocol: ICMP, port: 8}]}",
            "{failsafeInboundHostPorts: [{protocol: TCP, port: 0}]}",
            "{packetsKept: -1}",
            "{dropsPerSecond: 10001}",
            "{resyncInterval: 0s}",
            "{resyncInterval: 25h}",
            "{nodeSelector: {}}",
        ],
    ),
    ("Tier", &["{order: first}", "{defaultAction: Allow}"]),
    (
        "GlobalNetworkPolicy",
        &[
            "{types: [Both]}",
            "{types: Ingress}",
            "{order: late}",
            "{doNotTrack: true}",
            "{preDNAT: true}",
            "{applyOnForward: true, doNotTrack: true, preDNAT: true}",
            "{applyOnForward: true, preDNAT: true, egress: [{action: Deny}]}",
            "{ingress: [{}]}",
            "{ingress: [{action: Drop}]}",
            "{ingress: [{action: Allow, ipVersion: 5}]}",
            "{ingress: [{action: Allow, protocol: ICMP, icmp: {type: 255}}]}",
            "{ingress: [{action: Allow, source: {nets: 10.0.0.0/8}}]}",
            "{ingress: [{action: Allow, source: {serviceAccounts: {names: a}}}]}",
            "{ingress: [{action: Allow, source: {ports: 80}}]}",
            "{ingress: {action: Allow}}",
        ],
    ),
    (
        "StagedGlobalNetworkPolicy",
        &["{stagedAction: Delete}", "{stagedAction: Learn}", "{types: [Both]}"],
    ),
    ("GlobalNetworkSet", &["{nets: 10.0.0.0/8}", "{nets: [1]}"]),
    ("HostEndpoint", &["{node: n1}", "{interfaceName: eth0}", "{node: n1, expectedIPs: []}"]),
    ("IPAMBlock", &["{cidr: ten, node: n1}", "{cidr: 10.0.0.0/26}"]),
    // The object's name is another.
    ("NodeEnforcement", &["{}", "{node: n1}"]),
    ("BGPNodeStatus", &["{node: o, sessions: 0, established: 0}", "{node: n1}"]),
];

const TAKEN: Rows = &[
    (
        "IPPool",
        &[
            "{cidr: 10.0.0.0/16}",
            "{cidr: 10.0.0.0/20, blockSize: 32, disabled: true}",
            "{cidr: 'fd00::/64'}",
            "{cidr: 'fd00::/116', blockSize: 116}",
        ],
    ),
    (
        "BGPPeer",
        &[
            "{peerIP: 10.0.0.1, asNumber: 4294967294}",
            "{peerIP: 'fd00::1', asNumber: 1, node: n1, passive: true, ttlSecurity: 1}",
            "{peerIP: 10.0.0.1, asNumber: 1, nodeSelector: {matchLabels: {rack: r1}}, password: {file: /etc/md5}}",
        ],
    ),
    (
        "BGPConfiguration",
        &["{}", "{asNumber: 64512, routerID: 192.0.2.1, listenPort: 1179, holdTime: 1m30s}"],
    ),
    (
        "AgentConfiguration",
        &[
            "{}",
            "{logLevel: Debug, existingConnections: Keep, defaultEndpointToHostAction: Drop}",
            "{failsafeInboundHostPorts: [], failsafeOutboundHostPorts: [{protocol: TCP, port: 22, net: 10.0.0.0/8}]}",
            "{packetsKept: 0, dropsPerSecond: 0, resyncInterval: 90s, dataplane: Auto, iptablesJump: Append}",
        ],
    ),
    ("Tier", &["{}", "{order: -0.5, defaultAction: Pass}"]),
    (
        "HostEndpoint",
        &[
            "{node: n1, interfaceName: '*'}",
            "{node: n1, expectedIPs: [10.0.0.1], ports: [{name: api, protocol: TCP, port: 80}]}",
        ],
    ),
    (
        "GlobalNetworkPolicy",
        &[
            "{}",
            "{tier: t, order: 1.5, selector: \"app == 'a'\", types: [Ingress, Egress]}",
            "{ingress: [{action: Log, protocol: 47}, {action: Allow, protocol: TCP, destination: {ports: [80, '81:90', http]}}]}",
            "{egress: [{action: Deny, ipVersion: 6, notICMP: {type: 128}, protocol: ICMPv6, destination: {notNets: ['fd00::/8']}}]}",
            "{egress: [{action: Allow, destination: {services: {name: web, namespace: shop}}}]}",
            "{ingress: [{action: Allow, source: {serviceAccounts: {names: [a], selector: all()}}}]}",
            // An unknown field is the agent's to refuse: dropped, it could not.
            "{ingress: [{action: Allow, sauce: {nets: [10.0.0.0/8]}}]}",
        ],
    ),
    ("StagedGlobalNetworkPolicy", &["{stagedAction: Ignore}", "{ingress: [{action: Allow}]}"]),
    ("GlobalNetworkSet", &["{}", "{nets: [10.0.0.0/8, 'fd00::1']}"]),
    ("IPAMBlock", &["{cidr: 10.0.0.0/26, node: n1}"]),
];

/// Every row as an object with a name of its own; the names beside the rows.
fn objects(rows: Rows) -> (String, Vec<(String, String)>) {
    let (mut yaml, mut names) = (String::new(), Vec::new());
    for (kind, specs) in rows {
        for spec in *specs {
            // Settings are named after nodes.
            let prefix = if kind.ends_with("Configuration") { "node.r" } else { "r" };
            let name = format!("{prefix}{}-end", names.len());
            write!(
                yaml,
                "---\napiVersion: brindle.io/v1alpha1\nkind: {kind}\n\
                 metadata: {{name: {name}}}\nspec: {spec}\n"
            )
            .expect("writing to a String cannot fail");
            names.push((name, format!("{kind} {spec}")));
        }
    }
    // Names of tiers have no dots, and the default configuration is every node's.
    for (name, kind, spec) in [
        ("a.tier", "Tier", "{}"),
        ("other", "BGPConfiguration", "{}"),
        ("default", "BGPConfiguration", "{routerID: 192.0.2.1}"),
        ("other", "AgentConfiguration", "{}"),
        ("default", "AgentConfiguration", "{nodeSelector: {}}"),
    ] {
        if std::ptr::eq(rows, REFUSED) {
            write!(
                yaml,
                "---\napiVersion: brindle.io/v1alpha1\nkind: {kind}\n\
                 metadata: {{name: {name}}}\nspec: {spec}\n"
            )
            .expect("writing to a String cannot fail");
            names.push((name.to_owned(), format!("{kind} {name} {spec}")));
        }
    }
    (yaml, names)
}

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn the_api_server_refuses_what_agents_would() -> Result<()> {
    let netns = Netns::create("brd-definitions")?;
    let server = ApiServer::start(&netns, Path::new("/run/brd-definitions"), &[])?;
    server.install_definitions()?;
    let (yaml, taken) = objects(TAKEN);
    let (created, errors) = server.try_create(&yaml)?;
    for (name, row) in taken {
        ensure!(created.contains(&format!("/{name} created")), "refused: {row}\n{errors}");
    }
    let (yaml, refused) = objects(REFUSED);
    let (created, _) = server.try_create(&yaml)?;
    for (name, row) in refused {
        ensure!(!created.contains(&format!("/{name} created")), "taken: {row}");
    }
    let listed = server.kubectl(&["get", "brindle", "-A"])?;
    ensure!(listed.contains("globalnetworkpolicy.brindle.io/r"), "no category: {listed}");
    let explained = server.kubectl(&["explain", "ippool.spec.blockSize"])?;
    ensure!(explained.contains("Prefix length of the blocks"), "no text: {explained}");
    Ok(())
}
