//! The Installation is made, and deleted: nothing of Brindle may be left on nodes or in the API server.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use brindle_lab::process::wait_until;
use serde_json::{Value, json};

use super::pods::{Group, Wanted};
use super::{Row, Stage};
use crate::backend::Backend;
use crate::network::NAMESPACE;
use crate::plan;

const OPERATOR: &str = "brindle-operator.yaml";
const PATIENCE: &str = "--timeout=180s";
/// Kinds of which an object could be ours.
const KINDS: &str = "customresourcedefinitions,clusterroles,clusterrolebindings,\
    validatingadmissionpolicies,validatingadmissionpolicybindings,priorityclasses,namespaces,\
    mutatingwebhookconfigurations,validatingwebhookconfigurations,apiservices";

/// Installs by the operator, over what is there, and uninstalls.
///
/// # Errors
/// It does not come to an end.
pub fn run(stage: &Stage<'_>) -> Result<Vec<Row>> {
    let before = stage.before()?;
    let kubectl = &stage.kubectl;
    // Pods that are there when the network goes, and whose links go with it.
    let pods: Vec<_> = stage.nodes().map(pod).collect();
    let group = Group::start(kubectl, "proof-uninstall", Vec::new(), &pods)?;

    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
    let manifest = manifests.join(OPERATOR).display().to_string();
    kubectl.run(&["apply", "--server-side", "--force-conflicts", "-f", &manifest])?;
    let crd = "crd/installations.brindle.io";
    kubectl.run(&["wait", "--for=condition=Established", crd, "--timeout=30s"])?;
    kubectl.apply(&installation(stage.shape.backend)?.to_string())?;
    let available = ["wait", "--for=condition=Available", "installation/default", PATIENCE];
    kubectl.run(&available)?;

    let during = stage.snapshots()?;
    let made: usize = during.iter().zip(&before).map(|(now, then)| now.beyond(then).len()).sum();
    let began = Instant::now();
    let deleted = kubectl.run(&["delete", "installation", "default", PATIENCE]);
    if let Err(error) = deleted {
        let status = kubectl.run(&["get", "installation", "default", "-o", "json"])?;
        let pods = kubectl.run(&["-n", NAMESPACE, "get", "pods", "-o", "wide"])?;
        return Err(error.context(format!("{status}\n{pods}")));
    }
    let took = began.elapsed().as_secs_f64();

    let mut rows = vec![
        Row::verdict(
            "what Brindle had on the nodes: links, routes, rules, tables, files",
            "more than nothing",
            made.to_string(),
            made > 0,
        ),
        Row::told("the Installation was gone after", format!("{took:.1} s")),
    ];
    let after = stage.snapshots()?;
    for (index, (now, then)) in (1..).zip(after.iter().zip(&before)) {
        let left = now.beyond(then);
        let name = plan::node_name(index);
        rows.push(nothing(format!("{name}: what was not there before Brindle"), &left));
        rows.push(nothing(format!("{name}: what was there and is gone"), &then.beyond(now)));
    }
    // The pods' network is gone, so nothing of theirs can end in order.
    drop(group);
    kubectl.run(&["delete", "-f", &manifest, "--ignore-not-found", PATIENCE])?;
    // What the API server makes of definitions goes a moment after them.
    let mut left = Vec::new();
    let waited =
        wait_until(Duration::from_secs(30), "the API server to have nothing of ours", || {
            left = objects(stage)?;
            Ok(left.is_empty())
        });
    drop(waited);
    rows.push(nothing("objects of Brindle in the API server".to_owned(), &left));
    Ok(rows)
}

fn pod(node: usize) -> Wanted {
    Wanted { name: format!("left-{node}"), node, labels: json!({"role": "left"}) }
}

fn installation(backend: Backend) -> Result<Value> {
    let dataplane = match backend {
        Backend::Nftables => "Nftables",
        Backend::IptablesNft => "IptablesNft",
        Backend::IptablesLegacy => "IptablesLegacy",
        Backend::Mixed => anyhow::bail!("an Installation has one dataplane for all nodes"),
    };
    Ok(json!({
        "apiVersion": "brindle.io/v1alpha1",
        "kind": "Installation",
        "metadata": {"name": "default"},
        "spec": {"dataplane": dataplane},
    }))
}

fn nothing(what: String, left: &[String]) -> Row {
    let measured = if left.is_empty() { "nothing".to_owned() } else { left.join("; ") };
    Row::verdict(what, "nothing", measured, left.is_empty())
}

/// Names of objects that are ours, and what nodes still say of us.
fn objects(stage: &Stage<'_>) -> Result<Vec<String>> {
    let listed = stage.kubectl.run(&["get", KINDS, "-o", "name"])?;
    let ours = listed.lines().filter(|line| line.contains("brindle"));
    let mut found: Vec<_> = ours.map(str::to_owned).collect();
    let nodes = stage.kubectl.run(&["get", "nodes", "-o", "json"])?;
    let nodes: Value = serde_json::from_str(&nodes)?;
    for node in nodes["items"].as_array().into_iter().flatten() {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        for part in ["labels", "annotations", "finalizers"] {
            let text = node["metadata"][part].to_string();
            found.extend(text.contains("brindle").then(|| format!("{part} of {name}: {text}")));
        }
    }
    Ok(found)
}
