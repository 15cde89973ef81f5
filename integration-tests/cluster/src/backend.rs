//! Which dataplane enforces policy on the nodes of a cluster that has Brindle.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::kubectl::Kubectl;
use crate::network::NAMESPACE;
use crate::plan;

/// The DaemonSet of the manifest.
const AGENT: &str = "brindle-agent";
/// The label by which nodes of a mixed cluster get their dataplane.
const LABEL: &str = "brindle.io/dataplane";

/// What enforces policy on the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// nf_tables.
    #[default]
    Nftables,
    /// iptables, the variant on nf_tables.
    IptablesNft,
    /// iptables, the variant on ip_tables.
    IptablesLegacy,
    /// Each of these on a node of its own, in turn.
    Mixed,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Mixed => "mixed",
        })
    }
}

impl Backend {
    /// Those that a node can have.
    const EACH: [Self; 3] = [Self::Nftables, Self::IptablesNft, Self::IptablesLegacy];

    /// Has the installed agents of `nodes` nodes use it. Returns their DaemonSets.
    ///
    /// # Errors
    /// The API server refused something.
    pub fn choose(self, kubectl: &Kubectl, nodes: usize) -> Result<Vec<String>> {
        let installed = || vec![AGENT.to_owned()];
        match self {
            // The choice of an agent that is not told.
            Self::Nftables => Ok(installed()),
            Self::IptablesNft | Self::IptablesLegacy => {
                allow_iptables(kubectl, AGENT)?;
                patch(kubectl, AGENT, &self.told())?;
                Ok(installed())
            }
            Self::Mixed => mix(kubectl, nodes),
        }
    }

    /// The patch that tells agents.
    fn told(self) -> Value {
        let env = json!([{"name": "BRINDLE_DATAPLANE", "value": self.to_string()}]);
        json!({"spec": {"template": {"spec": {"containers": [{"name": "agent", "env": env}]}}}})
    }
}

/// As users do who want iptables.
fn allow_iptables(kubectl: &Kubectl, daemon_set: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/patches/iptables.yaml");
    let path = path.display().to_string();
    let patch = ["-n", NAMESPACE, "patch", "daemonset", daemon_set, "--patch-file", &path];
    kubectl.run(&patch).map(drop)
}

fn patch(kubectl: &Kubectl, daemon_set: &str, patch: &Value) -> Result<()> {
    let patch = patch.to_string();
    kubectl.run(&["-n", NAMESPACE, "patch", "daemonset", daemon_set, "-p", &patch]).map(drop)
}

/// One DaemonSet for each dataplane, the manifest's for the first of them.
fn mix(kubectl: &Kubectl, nodes: usize) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let installed = kubectl.run(&["-n", NAMESPACE, "get", "daemonset", AGENT, "-o", "json"])?;
    let installed: Value = serde_json::from_str(&installed)?;
    for (index, backend) in (1..=nodes).zip(Backend::EACH.into_iter().cycle()) {
        let label = format!("{LABEL}={backend}");
        kubectl.run(&["label", "node", &plan::node_name(index), &label, "--overwrite"])?;
    }
    for backend in Backend::EACH {
        let here = json!({"spec": {"template": {"spec": {
            "nodeSelector": {LABEL: backend.to_string()},
        }}}});
        let name = if backend == Backend::Nftables {
            AGENT.to_owned()
        } else {
            let name = format!("{AGENT}-{backend}");
            kubectl.apply(&copy(&installed, &name).to_string())?;
            name
        };
        patch(kubectl, &name, &here)?;
        if backend != Backend::Nftables {
            allow_iptables(kubectl, &name)?;
            patch(kubectl, &name, &backend.told())?;
        }
        names.push(name);
    }
    Ok(names)
}

/// A DaemonSet of another name, whose pods are its own.
fn copy(of: &Value, name: &str) -> Value {
    let mut spec = of["spec"].clone();
    for labels in ["/selector/matchLabels", "/template/metadata/labels"] {
        if let Some(labels) = spec.pointer_mut(labels) {
            labels["app.kubernetes.io/instance"] = json!(name);
        }
    }
    // No node until its dataplane is said.
    spec["template"]["spec"]["nodeSelector"] = json!({LABEL: "none"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": of["metadata"]["labels"]},
        "spec": spec,
    })
}
