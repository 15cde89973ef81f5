//! The parts of the story.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{matrix, policies};
use brindle_lab::fabric::Fabric;
use brindle_lab::latency::first_admitted;
use brindle_lab::objects;
use brindle_lab::pod::Pod;
use brindle_lab::process::wait_until;
use brindle_lab::traffic::Traffic;

/// Namespace, name, role and node of each pod.
const PODS: [(&str, &str, &str, usize); 4] = [
    ("shop", "web", "web", 0),
    ("shop", "db", "db", 1),
    ("blog", "app", "app", 0),
    ("ops", "probe", "probe", 1),
];
const WEB: usize = 0;
const DB: usize = 1;
const APP: usize = 2;
const PROBE: usize = 3;

fn headline(text: &str) {
    println!("\n\x1b[1m{text}\x1b[0m");
}

/// Part 1: namespaces and pods, through the CNI plugin.
///
/// # Errors
/// The plugin refused.
pub fn build(fabric: &Fabric) -> Result<Vec<Pod>> {
    headline("1  A fabric: a router (BIRD), two nodes with an agent each, four pods");
    let namespaces = [("shop", "retail"), ("blog", "content"), ("ops", "platform")]
        .map(|(name, team)| objects::namespace(name, team));
    fabric.write("namespaces.yaml", &namespaces.join("---\n"))?;
    let pods = PODS
        .iter()
        .map(|(namespace, name, role, node)| {
            let node_name = fabric.nodes[*node].name.clone();
            Pod::create(fabric, *node, namespace, name, |addresses| {
                objects::pod(namespace, name, role, &node_name, addresses)
            })
        })
        .collect::<Result<Vec<_>>>()?;
    fabric.wait_for_sessions()?;
    wait_until(Duration::from_secs(20), "the router to learn a block of every node", || {
        let routes = fabric.bird.routes()?;
        let learned = |v6: bool, node: &str| {
            routes.iter().any(|r| r.from == node && r.prefix.contains(':') == v6)
        };
        Ok(fabric.nodes.iter().all(|n| learned(false, &n.name) && learned(true, &n.name)))
    })?;
    wait_for_fabric_routes(fabric, &pods)?;
    Ok(pods)
}

/// A pod on one node reaches a pod on the other only when the router has told both.
fn wait_for_fabric_routes(fabric: &Fabric, pods: &[Pod]) -> Result<()> {
    for node in &fabric.nodes {
        for pod in pods {
            for address in &pod.addresses {
                wait_until(Duration::from_secs(20), "the fabric's routes on every node", || {
                    let family = if address.is_ipv6() { "-6" } else { "-4" };
                    let route = node.netns.ip(&[family, "route", "get", &address.to_string()])?;
                    let local = fabric.nodes[pod.node].name == node.name;
                    Ok(route.contains(" dev brd") == local && !route.contains("blackhole"))
                })?;
            }
        }
    }
    Ok(())
}

/// Part 2: topology, addresses, the router's routes, who reaches whom.
///
/// # Errors
/// Some pair is not connected although there is no policy.
pub fn show(fabric: &Fabric, pods: &[Pod]) -> Result<()> {
    println!("\n    tor   BIRD, AS {}", brindle_lab::bird::TOR_AS);
    for node in &fabric.nodes {
        println!("    ├── {}  AS {}  {}  {}", node.name, node.asn, node.v4, node.v6);
        for pod in pods.iter().filter(|p| fabric.nodes[p.node].name == node.name) {
            let addresses: Vec<String> = pod.addresses.iter().map(IpAddr::to_string).collect();
            println!(
                "    │     └── {:<10} {:<28} CNI ADD {:.1} ms",
                format!("{}/{}", pod.namespace, pod.name),
                addresses.join("  "),
                pod.added_in.as_secs_f64() * 1e3
            );
        }
    }
    headline("2  What the router has learned (birdc), and who reaches whom without policy");
    for route in fabric.bird.routes()? {
        println!("    {:<18} via {:<12} from {}", route.prefix, route.via, route.from);
    }
    println!();
    let cells = matrix::measure(pods)?;
    matrix::print(pods, &cells);
    ensure!(cells.iter().flatten().flatten().flatten().all(|c| *c), "a pair is not connected");
    Ok(())
}

/// Part 3: three policies, put into the folder.
///
/// # Errors
/// The matrix is not what the policies say.
pub fn policies(fabric: &Fabric, pods: &[Pod]) -> Result<()> {
    headline("3  Three policies, put into the folder as files");
    println!("    shop/default-deny    nobody reaches the shop");
    println!("    shop/allow-database  role=web reaches role=db on 5432");
    println!("    ops/pods-but-one     role=probe reaches every pod but blog/app\n");
    let app = &pods[APP];
    fabric.write("policies/default-deny.yaml", policies::DEFAULT_DENY)?;
    fabric.write("policies/allow-database.yaml", &policies::allow_database("web"))?;
    let except = (app.address(false)?.to_string(), app.address(true)?.to_string());
    fabric.write("policies/pods-but-one.yaml", &policies::egress_except(&except.0, &except.1))?;
    barrier(fabric)?;
    let cells = matrix::measure(pods)?;
    matrix::print(pods, &cells);
    for (from, row) in cells.iter().enumerate() {
        for (to, ports) in row.iter().enumerate() {
            for (port, families) in matrix::PORTS.iter().zip(ports) {
                let expected = from == to || expected(from, to, *port);
                ensure!(
                    families.iter().all(|reached| *reached == expected),
                    "{} to {} on {port} is not as the policies say",
                    pods[from].name,
                    pods[to].name
                );
            }
        }
    }
    Ok(())
}

fn expected(from: usize, to: usize, port: u16) -> bool {
    match (from, to) {
        (WEB, DB) => port == 5432,
        (_, WEB | DB) => false,
        (PROBE, APP) => false,
        _ => true,
    }
}

/// Part 3, continued: one edit, and the time from the write to the first admitted packet.
///
/// # Errors
/// The edit has no effect.
pub fn edit(fabric: &Fabric, pods: &[Pod]) -> Result<()> {
    println!("\n    edit: allow-database now admits role=app instead of role=web");
    let target = SocketAddr::new(pods[DB].address(false)?, 5432);
    let waiting = first_admitted(&pods[APP].netns, &pods[DB].netns, target)?;
    let start = Instant::now();
    fabric.write("policies/allow-database.yaml", &policies::allow_database("app"))?;
    let admitted = waiting.wait(Duration::from_secs(5))?;
    println!(
        "    blog/app → shop/db:5432 was denied; first admitted {:.1} ms after the write",
        admitted.duration_since(start).as_secs_f64() * 1e3
    );
    barrier(fabric)?;
    let cells = matrix::measure(pods)?;
    ensure!(cells[APP][DB][1] == [true, true], "the edit admits blog/app");
    ensure!(cells[WEB][DB][1] == [false, false], "the edit excludes shop/web");
    println!("    shop/web → shop/db:5432 was admitted, and is denied now");
    fabric.write("policies/allow-database.yaml", &policies::allow_database("web"))?;
    barrier(fabric)
}

/// Part 4: which rule decided.
///
/// # Errors
/// `brindlectl` does not name the policy.
pub fn explain(fabric: &Fabric) -> Result<()> {
    headline("4  Which rule decided: brindlectl explain");
    let agent = fabric.nodes[1].agent.as_ref().context("the agent of n2 does not run")?;
    for (from, to, port, policy) in [
        ("shop/web", "shop/db", "5432/tcp", "allow-database"),
        ("blog/app", "shop/db", "5432/tcp", "default-deny"),
    ] {
        println!("    $ brindlectl --node n2 explain {from} {to} --port {port}");
        let answer = agent.explain(from, to, port)?;
        for line in answer.lines() {
            println!("      {line}");
        }
        ensure!(answer.contains(policy), "the answer names {policy}");
        println!();
    }
    Ok(())
}

/// Part 5: an agent dies under traffic.
///
/// # Errors
/// A packet is lost, a denied flow passes, the router drops a route, or the restarted agent
/// writes to the kernel.
pub fn survive(fabric: &mut Fabric, pods: &[Pod]) -> Result<()> {
    headline("5  An agent is killed under traffic");
    let before = fabric.bird.routes()?;
    let traffic =
        Traffic::start(&pods[WEB].netns, &pods[DB].netns, pods[DB].address(false)?, 5432)?;
    wait_until(Duration::from_secs(2), "traffic to flow", || Ok(traffic.datagrams() > 100))?;
    let kernel = fingerprint(fabric, 1)?;
    let agent = fabric.nodes[1].agent.take().context("the agent of n2 does not run")?;
    agent.end(Signal::SIGKILL)?;
    println!("    agent of n2: SIGKILL");
    let target = SocketAddr::new(pods[DB].address(false)?, 80);
    let waiting = first_admitted(&pods[APP].netns, &pods[DB].netns, target)?;
    ensure!(waiting.wait(Duration::from_secs(1)).is_err(), "a denied flow passed");
    println!("    blog/app → shop/db:80 stays denied");
    ensure!(fabric.bird.routes()? == before, "the router changed its routes");
    println!("    the router keeps all {} routes (graceful restart)", before.len());
    fabric.start_agent(1)?;
    fabric.wait_for_sessions()?;
    let status: Value = serde_json::from_str(
        &fabric.nodes[1].agent.as_ref().context("no agent")?.ctl(&["status", "-o", "json"])?,
    )?;
    let writes = status["dataplane"]["writes"].as_u64().context("status has no writes")?;
    ensure!(writes == 0, "the restarted agent wrote {writes} kernel objects");
    ensure!(fingerprint(fabric, 1)? == kernel, "the kernel's state changed over the restart");
    println!("    agent of n2: restarted, 0 kernel writes, state unchanged");
    let loss = traffic.stop()?;
    println!(
        "    {} datagrams sent, {} lost; {} bytes on the stream, {} lost",
        loss.udp_sent, loss.udp_lost, loss.tcp_sent, loss.tcp_lost
    );
    ensure!(loss.udp_lost == 0 && loss.tcp_lost == 0, "packets were lost");
    ensure!(fabric.bird.routes()? == before, "the router changed its routes");
    Ok(())
}

/// What the kernel holds on a node, without counters.
fn fingerprint(fabric: &Fabric, node: usize) -> Result<String> {
    let netns = &fabric.nodes[node].netns;
    let output = netns.command("nft").args(["-s", "list", "ruleset"]).output()?;
    let links = netns.ip(&["-o", "link"])?;
    let routes = netns.ip(&["route"])? + &netns.ip(&["-6", "route"])?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &links + &routes)
}

fn barrier(fabric: &Fabric) -> Result<()> {
    fabric.nodes.iter().filter_map(|n| n.agent.as_ref()).try_for_each(|a| a.barrier().map(|_| ()))
}
