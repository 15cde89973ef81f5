//! Resident memory of a real agent: in a lab of the demo's size, and beside a large cluster whose
//! policies all govern pods of this node.

use std::path::Path;

use anyhow::{Context, Result};

use brindle_lab::fabric::Fabric;
use brindle_lab::objects;
use brindle_lab::pod::Pod;

use crate::row::Row;

/// Pods on other nodes.
const REMOTE_PODS: usize = 20_000;
/// Policies in the namespace of the local pods.
const POLICIES: usize = 500;
/// Pods on this node.
const LOCAL_PODS: usize = 4;

/// Measures both.
///
/// # Errors
/// The lab does not come up.
pub fn memory() -> Result<Vec<Row>> {
    let fabric = Fabric::build("brd-memory", Path::new("/run/brd-memory"), 1)?;
    fabric.write("namespaces.yaml", &objects::namespace("shop", "retail"))?;
    let pods = (0..LOCAL_PODS)
        .map(|i| {
            let name = format!("local-{i}");
            Pod::create(&fabric, 0, "shop", &name, |addresses| {
                objects::pod("shop", &name, "app-0", "n1", addresses)
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let agent = fabric.nodes[0].agent.as_ref().context("the agent does not run")?;
    agent.barrier()?;
    let small = agent.resident()?;

    remote_pods(&fabric)?;
    fabric.write("policies/many.yaml", &policies())?;
    agent.ctl(&["sync", "--timeout", "60"])?;
    let large = agent.resident()?;
    for i in 0..REMOTE_PODS {
        fabric.remove(&format!("pods/remote-{i}.yaml"))?;
    }
    let all: Vec<String> = (0..REMOTE_PODS).map(remote_pod).collect();
    fabric.write("remote.yaml", &all.join("---\n"))?;
    agent.ctl(&["sync", "--timeout", "60"])?;
    let one_file = agent.resident()?;
    for pod in pods {
        pod.delete(&fabric)?;
    }
    let row = |case: &str, kib: u64| Row::absolute(case, kib as f64 / 1024.0, "MiB");
    Ok(vec![
        row("agent with 4 pods", small),
        row("agent beside 20k remote pods and 500 policies", large),
        row("the same after all pods moved into one file", one_file),
    ])
}

/// One file a pod, as the lab and most exports write them.
fn remote_pods(fabric: &Fabric) -> Result<()> {
    (0..REMOTE_PODS)
        .try_for_each(|i| fabric.write(&format!("pods/remote-{i}.yaml"), &remote_pod(i)))
}

fn remote_pod(i: usize) -> String {
    let (name, role) = (format!("remote-{i}"), format!("app-{}", i % POLICIES));
    let address = [10, 66, (i >> 8) as u8, (i & 0xff) as u8].into();
    objects::pod("shop", &name, &role, "n2", &[address])
}

/// Each policy governs every pod of the namespace, and has a set of its own.
fn policies() -> String {
    let policy = |i: usize| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: policy-{i}, namespace: shop}}\n\
             spec:\n  podSelector: {{}}\n  ingress:\n  - from:\n    \
             - podSelector: {{matchLabels: {{role: app-{i}}}}}\n    \
             ports: [{{protocol: TCP, port: {}}}]\n---\n",
            1000 + i
        )
    };
    (0..POLICIES).map(policy).collect()
}
