//! What `brindlectl sync` promises: every change made to the folder before is enforced after.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use brindle_lab::fabric::Fabric;
use brindle_lab::objects;
use brindle_lab::pod::Pod;
use brindle_lab::probe::{Kind, Probe, Rig};

const DENY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

#[test]
fn nothing_written_before_is_missed() -> Result<()> {
    let name = "brd-barrier";
    let fabric = Fabric::build(name, &PathBuf::from("/run").join(name), 1)?;
    fabric.write("namespaces.yaml", &objects::namespace("shop", "retail"))?;
    let pods = ["a", "b"]
        .map(|pod| {
            Pod::create(&fabric, 0, "shop", pod, |addresses| {
                objects::pod("shop", pod, pod, "n1", addresses)
            })
        })
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let agent = fabric.nodes[0].agent.as_ref().context("no agent")?;
    let mut rig = Rig::new(&[pods[0].netns.name(), pods[1].netns.name()], &[80])?;
    let mut probes = Vec::new();
    for v6 in [false, true] {
        let (source, destination) = (pods[0].address(v6)?, pods[1].address(v6)?);
        probes.push(Probe { from: 0, source, destination, kind: Kind::Tcp(80) });
    }
    for round in 0..30 {
        fabric.write("policies/deny.yaml", DENY)?;
        agent.barrier()?;
        ensure!(rig.run(&probes)? == [false, false], "round {round}: a policy was missed");
        fabric.remove("policies/deny.yaml")?;
        agent.barrier()?;
        ensure!(rig.run(&probes)? == [true, true], "round {round}: a removal was missed");
    }
    for pod in pods {
        pod.delete(&fabric)?;
    }
    Ok(())
}
