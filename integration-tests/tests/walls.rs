//! Who may know whom: the dependency table of ARCHITECTURE.md, kept true.
//!
//! Only what a package ships counts: its normal and build dependencies. Tests may look wider.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// A package, the packages of ours that it may know, and what nothing below it may bring in.
const WALLS: &[(&str, &[&str], &[&str])] = &[
    ("brindle-api", &[], &["tokio", "kube-client"]),
    ("brindle-model", &[], &["tokio", "kube-client", "k8s-openapi"]),
    ("brindle-compiler", &["brindle-model"], &["tokio", "kube-client", "k8s-openapi"]),
    ("brindle-oracle", &["brindle-api", "brindle-model"], &["tokio", "kube-client"]),
    ("brindle-sources", &["brindle-api", "brindle-model"], &["rtnetlink"]),
    ("brindle-ipam", &["brindle-model"], &["kube-client", "k8s-openapi", "rtnetlink"]),
    ("brindle-cni", &[], &["tokio", "kube-client", "k8s-openapi", "rtnetlink"]),
    ("brindle-dataplane-core", &["brindle-model"], &["kube-client", "k8s-openapi"]),
    (
        "brindle-dataplane-iptables",
        &["brindle-dataplane-core", "brindle-model"],
        &["kube-client", "k8s-openapi"],
    ),
    (
        "brindle-dataplane-nftables",
        &["brindle-dataplane-core", "brindle-model"],
        &["kube-client", "k8s-openapi"],
    ),
    ("brindle-bgp-proto", &[], &["tokio", "socket2"]),
    ("brindle-bgp-speaker", &["brindle-bgp-proto"], &["rtnetlink", "netlink-sys"]),
    (
        "brindle-agent",
        &[
            "brindle-api",
            "brindle-bgp-proto",
            "brindle-bgp-speaker",
            "brindle-cni",
            "brindle-compiler",
            "brindle-dataplane-core",
            "brindle-dataplane-iptables",
            "brindle-dataplane-nftables",
            "brindle-ipam",
            "brindle-model",
            "brindle-sources",
        ],
        &[],
    ),
    (
        "brindle-ctl",
        &[
            "brindle-api",
            "brindle-compiler",
            "brindle-ipam",
            "brindle-model",
            "brindle-oracle",
            "brindle-sources",
        ],
        &["rtnetlink"],
    ),
    (
        "brindle-operator",
        &["brindle-api", "brindle-sources"],
        &["rtnetlink", "brindle-compiler", "brindle-dataplane-core"],
    ),
    ("brindle", &["brindle-agent", "brindle-ctl", "brindle-operator"], &[]),
    ("brindle-lab", &[], &[]),
    ("brindle-packaging", &[], &["tokio", "k8s-openapi"]),
    ("xtask", &[], &["tokio", "k8s-openapi"]),
];

/// Packages that hold nothing that is shipped and may know every other.
const FREE: &[&str] = &["brindle-integration-tests", "brindle-cluster", "brindle-benches"];

/// Package name to the names of its normal and build dependencies.
type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn packages_know_only_whom_they_may() {
    let (graph, members) = dependencies();
    let listed: BTreeSet<&str> =
        WALLS.iter().map(|(name, ..)| *name).chain(FREE.iter().copied()).collect();
    let unlisted: Vec<_> = members.iter().filter(|m| !listed.contains(m.as_str())).collect();
    assert!(unlisted.is_empty(), "packages without a row in the table: {unlisted:?}");
    let mut broken = Vec::new();
    for (package, may_know, never) in WALLS {
        let direct = &graph[*package];
        for known in direct.iter().filter(|d| members.contains(*d)) {
            if !may_know.contains(&known.as_str()) {
                broken.push(format!("{package} knows {known}"));
            }
        }
        let below = reach(&graph, package);
        for banned in never.iter().filter(|b| below.contains(**b)) {
            broken.push(format!("{package} brings in {banned}"));
        }
    }
    assert!(broken.is_empty(), "walls broken:\n  {}", broken.join("\n  "));
}

fn reach(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(next) = open.pop() {
        for below in graph.get(&next).into_iter().flatten() {
            if seen.insert(below.clone()) {
                open.push(below.clone());
            }
        }
    }
    seen
}

fn dependencies() -> (Graph, BTreeSet<String>) {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: BTreeMap<String, String> =
        list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let mut graph = Graph::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let shipped = |dependency: &Value| {
            list(&dependency["dep_kinds"]).iter().any(|k| k["kind"].as_str() != Some("dev"))
        };
        let below = list(&node["deps"])
            .iter()
            .filter(|d| shipped(d))
            .map(|d| names[&text(&d["pkg"])].clone())
            .collect::<BTreeSet<_>>();
        graph.entry(names[&text(&node["id"])].clone()).or_default().extend(below);
    }
    let members =
        list(&metadata["workspace_members"]).iter().map(|m| names[&text(m)].clone()).collect();
    (graph, members)
}
