//! The pod network that a cluster gets.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use brindle_lab::process::wait_until;
use brindle_packaging::product;
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::fabric;
use crate::kubectl::Kubectl;
use crate::node;
use crate::paths::Paths;
use crate::plan::{self, Families, TOR_AS};
use crate::versions;

/// Which one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// Brindle, by its manifest.
    #[default]
    Brindle,
    /// The reference plugin `ptp` and static routes: connects, and enforces no policy. For control
    /// runs, which show that the suites can fail.
    Ptp,
    /// None: the nodes stay unready.
    None,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Brindle => "brindle",
            Self::Ptp => "ptp",
            Self::None => "none",
        })
    }
}

/// The namespace of Brindle's own pods.
pub const NAMESPACE: &str = "brindle-system";
/// How long nodes may take to become ready.
const READY: Duration = Duration::from_secs(120);

/// Installs `network` on `nodes` registered nodes and waits until they are ready.
///
/// # Errors
/// It does not become ready.
pub fn install(
    network: Network,
    backend: Backend,
    paths: &Paths,
    kubectl: &Kubectl,
    families: Families,
    nodes: usize,
) -> Result<()> {
    match network {
        Network::Brindle => install_brindle(kubectl, backend, families, nodes)?,
        Network::Ptp => install_ptp(paths, kubectl, families, nodes)?,
        Network::None => return Ok(()),
    }
    let timeout = format!("--timeout={}s", READY.as_secs());
    kubectl.run(&["wait", "--for=condition=Ready", "node", "--all", &timeout]).map(drop)
}

/// As a user does, by the manifest that is in the repository; then the objects of this cluster.
fn install_brindle(
    kubectl: &Kubectl,
    backend: Backend,
    families: Families,
    nodes: usize,
) -> Result<()> {
    let image = std::env::var_os("BRINDLE_IMAGE").map(PathBuf::from);
    let image = image.context("BRINDLE_IMAGE names no archive: use `cargo xtask cluster`")?;
    for index in 1..=nodes {
        node::import_image(&image, index)?;
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/brindle.yaml");
    let manifest =
        fs::read_to_string(&manifest).with_context(|| format!("read {}", manifest.display()))?;
    let experimental =
        "config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml";
    let upstream = versions::network_policy_api_sources()?.join(experimental);
    let upstream =
        fs::read_to_string(&upstream).with_context(|| format!("read {}", upstream.display()))?;
    kubectl.apply(&upstream)?;
    kubectl.apply(&manifest)?;
    let daemon_sets = backend.choose(kubectl, nodes)?;
    for crd in [
        "clusternetworkpolicies.policy.networking.k8s.io",
        "ippools.brindle.io",
        "bgppeers.brindle.io",
    ] {
        let crd = format!("crd/{crd}");
        kubectl.run(&["wait", "--for=condition=Established", &crd, "--timeout=30s"])?;
    }
    kubectl.apply(&objects(families).to_string())?;
    let timeout = format!("--timeout={}s", READY.as_secs());
    for name in daemon_sets {
        let daemon_set = format!("daemonset/{name}");
        kubectl
            .run(&["-n", NAMESPACE, "rollout", "status", &daemon_set, &timeout])
            .with_context(|| format!("the image is {}", product::name()))?;
    }
    Ok(())
}

/// What a cluster's administrator writes: ranges for pods, and the router.
fn objects(families: Families) -> Value {
    let pools = families.each().iter().map(|family| {
        json!({
            "apiVersion": "brindle.io/v1alpha1",
            "kind": "IPPool",
            "metadata": {"name": format!("pods-{}", family.option().trim_start_matches('-'))},
            "spec": {"cidr": family.pods()},
        })
    });
    let router = json!({
        "apiVersion": "brindle.io/v1alpha1",
        "kind": "BGPPeer",
        "metadata": {"name": "tor"},
        "spec": {"peerIP": families.primary().tor(), "asNumber": TOR_AS},
    });
    let items: Vec<_> = pools.chain([router]).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn install_ptp(paths: &Paths, kubectl: &Kubectl, families: Families, nodes: usize) -> Result<()> {
    let mut ranges = Vec::new();
    for index in 1..=nodes {
        let name = plan::node_name(index);
        let path = "jsonpath={.spec.podCIDRs[*]}";
        let listed = kubectl.wait_for(READY, &["get", "node", &name, "-o", path])?;
        ranges.push(listed.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    }
    fabric::route_statically(families, &ranges)?;
    for (index, ranges) in (1..).zip(&ranges) {
        let file = paths.node(index).join("cni-config/10-ptp.conflist");
        fs::write(&file, ptp(families, ranges).to_string())
            .with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

fn ptp(families: Families, ranges: &[String]) -> Value {
    let ranges: Vec<_> = ranges.iter().map(|range| json!([{"subnet": range}])).collect();
    let routes = families.each().iter().map(|family| match family {
        plan::Family::V4 => json!({"dst": "0.0.0.0/0"}),
        plan::Family::V6 => json!({"dst": "::/0"}),
    });
    let routes: Vec<_> = routes.collect();
    json!({"cniVersion": "1.0.0", "name": "ptp", "plugins": [
        {"type": "ptp", "mtu": 1500,
         "ipam": {"type": "host-local", "ranges": ranges, "routes": routes}},
        {"type": "portmap", "capabilities": {"portMappings": true}},
    ]})
}

/// Waits until the router has a route to each node that runs pods.
///
/// # Errors
/// It has none after half a minute.
pub fn wait_for_routes(paths: &Paths, nodes: usize) -> Result<()> {
    wait_until(Duration::from_secs(30), "BGP routes to every node", || {
        fabric::routed(&paths.logs(), nodes)
    })
}
