//! An agent that dies: packets flow on, denied stays denied, the router keeps the routes, and the
//! restarted agent writes nothing (bgp.md §5.2, architecture invariants).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use brindle_lab::fabric::Fabric;
use brindle_lab::latency::first_admitted;
use brindle_lab::objects;
use brindle_lab::pod::Pod;
use brindle_lab::process::wait_until;
use brindle_lab::traffic::Traffic;

const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-5432, namespace: shop}
spec:
  podSelector: {}
  ingress:
  - ports:
    - {protocol: TCP, port: 5432}
    - {protocol: UDP, port: 5432}
";

/// A fabric with one pod a node, both isolated but for one port, and its routes settled.
fn fabric(name: &str) -> Result<(Fabric, Vec<Pod>)> {
    let fabric = Fabric::build(name, &PathBuf::from(format!("/run/{name}")), 2)?;
    fabric.write("namespaces.yaml", &objects::namespace("shop", "retail"))?;
    fabric.write("policies/only-5432.yaml", POLICY)?;
    let mut pods = Vec::new();
    for (node, pod) in ["a", "b"].into_iter().enumerate() {
        let node_name = fabric.nodes[node].name.clone();
        pods.push(Pod::create(&fabric, node, "shop", pod, |addresses| {
            objects::pod("shop", pod, pod, &node_name, addresses)
        })?);
    }
    fabric.wait_for_sessions()?;
    for (node, pod) in [(0, 1), (1, 0)] {
        for address in &pods[pod].addresses {
            let family = if address.is_ipv6() { "-6" } else { "-4" };
            wait_until(Duration::from_secs(20), "the route to the other node's pod", || {
                let route = ["route", "show", "match", &address.to_string(), "proto", "98"];
                let all: Vec<&str> = [family].into_iter().chain(route).collect();
                Ok(fabric.nodes[node].netns.ip(&all)?.contains("via"))
            })?;
        }
    }
    Ok((fabric, pods))
}

/// What the kernel of a node holds, without counters.
fn kernel(fabric: &Fabric, node: usize) -> Result<String> {
    let netns = &fabric.nodes[node].netns;
    let rules = netns.command("nft").args(["-s", "list", "ruleset"]).output()?;
    ensure!(rules.status.success(), "nft list ruleset failed");
    let links = netns.ip(&["-o", "link"])?;
    let routes = netns.ip(&["route"])? + &netns.ip(&["-6", "route"])?;
    let neighbours = netns.ip(&["neigh", "show", "nud", "permanent"])?;
    Ok(String::from_utf8_lossy(&rules.stdout).into_owned() + &links + &routes + &neighbours)
}

fn dies_unnoticed(name: &str, signal: Signal, node: usize, v6: bool) -> Result<()> {
    let (mut fabric, pods) = fabric(name)?;
    let [source, target] = [&pods[0], &pods[1]];
    let routes = fabric.bird.routes()?;
    let before = kernel(&fabric, node)?;
    let traffic = Traffic::start(&source.netns, &target.netns, target.address(v6)?, 5432)?;
    wait_until(Duration::from_secs(5), "traffic to flow", || Ok(traffic.datagrams() > 100))?;

    fabric.nodes[node].agent.take().context("no agent")?.end(signal)?;
    let denied = SocketAddr::new(target.address(v6)?, 80);
    let waiting = first_admitted(&source.netns, &target.netns, denied)?;
    ensure!(waiting.wait(Duration::from_secs(2)).is_err(), "a denied flow passed");
    ensure!(fabric.bird.routes()? == routes, "the router lost routes while the agent was dead");

    fabric.start_agent(node)?;
    fabric.wait_for_sessions()?;
    let agent = fabric.nodes[node].agent.as_ref().context("no agent")?;
    let status: Value = serde_json::from_str(&agent.ctl(&["status", "-o", "json"])?)?;
    ensure!(status["dataplane"]["writes"] == 0, "the restarted agent wrote: {status}");
    ensure!(status["routes"]["writes"] == 0, "the restarted agent wrote routes: {status}");
    ensure!(kernel(&fabric, node)? == before, "the kernel's state changed over the restart");
    ensure!(fabric.bird.routes()? == routes, "the router lost routes over the restart");
    let loss = traffic.stop()?;
    ensure!(loss.udp_sent > 1000 && loss.tcp_sent > 1000, "too little traffic: {loss:?}");
    ensure!(loss.udp_lost == 0 && loss.tcp_lost == 0, "lost: {loss:?}");
    for pod in pods {
        pod.delete(&fabric)?;
    }
    Ok(())
}

#[test]
fn a_killed_agent_of_the_receiving_node_is_not_noticed() -> Result<()> {
    dies_unnoticed("brd-surv-a", Signal::SIGKILL, 1, false)
}

#[test]
fn a_killed_agent_of_the_sending_node_is_not_noticed_on_ipv6() -> Result<()> {
    dies_unnoticed("brd-surv-b", Signal::SIGKILL, 0, true)
}

#[test]
fn a_terminated_agent_leaves_everything_in_place() -> Result<()> {
    dies_unnoticed("brd-surv-c", Signal::SIGTERM, 1, false)
}
