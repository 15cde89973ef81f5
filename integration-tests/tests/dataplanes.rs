//! Every dataplane does what the default one does, on a node with a real agent; and a node changes
//! from one to another while packets flow, without a moment in which a denied one passes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use brindle_lab::agent::binary;
use brindle_lab::conversation::{Call, Conversation};
use brindle_lab::fabric::Fabric;
use brindle_lab::latency::first_admitted;
use brindle_lab::objects;
use brindle_lab::pod::Pod;
use brindle_lab::ports;
use brindle_lab::process::wait_until;
use brindle_lab::traffic::Traffic;

/// Every dataplane, as `--dataplane` names it.
const ALL: [&str; 3] = ["nftables", "iptables-nft", "iptables-legacy"];
/// How long a revoked flow may go on after `Applied`.
const LIMIT: Duration = Duration::from_secs(1);

/// One node with two pods.
struct Lab {
    fabric: Fabric,
    client: Pod,
    server: Pod,
}

impl Lab {
    fn build(name: &str) -> Result<Self> {
        let fabric = Fabric::build(name, &PathBuf::from("/run").join(name), 1)?;
        fabric.write("namespaces.yaml", &objects::namespace("shop", "retail"))?;
        let pod = |pod: &'static str| {
            Pod::create(&fabric, 0, "shop", pod, |addresses| {
                objects::pod("shop", pod, pod, "n1", addresses)
            })
        };
        let (client, server) = (pod("client")?, pod("server")?);
        Ok(Self { client, server, fabric })
    }

    /// Writes the server's policy and waits until it is enforced.
    fn policy(&self, rest: &str) -> Result<Instant> {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: of-server, namespace: shop}}\n\
             spec: {{podSelector: {{matchLabels: {{role: server}}}}, {rest}}}\n"
        );
        self.fabric.write("policies/server.yaml", &text)?;
        self.fabric.nodes[0].agent.as_ref().context("no agent")?.barrier()?;
        Ok(Instant::now())
    }

    fn ctl(&self, arguments: &[&str]) -> Result<Value> {
        let agent = self.fabric.nodes[0].agent.as_ref().context("no agent")?;
        Ok(serde_json::from_str(&agent.ctl(arguments)?)?)
    }

    fn restart(&mut self, signal: Signal, dataplane: &str) -> Result<()> {
        self.fabric.nodes[0].agent.take().context("no agent")?.end(signal)?;
        self.fabric.start_agent_with(0, &["--dataplane", dataplane])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.fabric.nodes[0].netns.command(program).args(arguments).output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{program} {arguments:?}: {error}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The dataplanes that hold rules of ours.
    fn installed(&self) -> Result<Vec<&'static str>> {
        let mut found = Vec::new();
        for dataplane in ALL {
            let there = if dataplane == "nftables" {
                self.run("nft", &["list", "tables"])?.contains("inet brindle")
            } else {
                ["", "6"].iter().try_fold(false, |there, digit| -> Result<bool> {
                    let save = format!("ip{digit}tables-{}-save", &dataplane["iptables-".len()..]);
                    Ok(there || self.run(&save, &[])?.contains("BRINDLE-"))
                })?
            };
            found.extend(there.then_some(dataplane));
        }
        Ok(found)
    }

    fn sets(&self) -> Result<usize> {
        let names = self.run("ipset", &["list", "-n"])?;
        Ok(names.lines().filter(|name| name.starts_with("brindle")).count())
    }
}

const ONE_PORT: &str = "ingress: [{from: [{podSelector: {matchLabels: {role: client}}}], \
                        ports: [{port: 5432}, {port: 5432, protocol: UDP}]}]";

#[test]
fn a_live_node_changes_its_dataplane_and_is_never_open() -> Result<()> {
    let mut lab = Lab::build("brd-plane-a")?;
    lab.policy(ONE_PORT)?;
    ensure!(lab.installed()? == ["nftables"], "{:?}", lab.installed()?);
    let [client, server] = [&lab.client.netns, &lab.server.netns];
    let traffic = Traffic::start(client, server, lab.server.address(false)?, 5432)?;
    let mut denied = Vec::new();
    for v6 in [false, true] {
        let target = SocketAddr::new(lab.server.address(v6)?, 80);
        denied.push(first_admitted(client, server, target)?);
    }
    wait_until(Duration::from_secs(5), "traffic to flow", || Ok(traffic.datagrams() > 100))?;
    // Each one to each other.
    for to in [1, 2, 0, 2, 1, 0].map(|at| ALL[at]) {
        lab.restart(Signal::SIGKILL, to)?;
        wait_until(Duration::from_secs(5), "the former rules to go", || {
            Ok(lab.installed()? == [to])
        })
        .with_context(|| format!("to {to}"))?;
        ensure!((lab.sets()? == 0) == (to == "nftables"), "{} sets with {to}", lab.sets()?);
        let status = lab.ctl(&["status", "-o", "json"])?;
        ensure!(status["dataplane"]["name"] == to, "{status}");
        lab.restart(Signal::SIGTERM, to)?;
        let status = lab.ctl(&["status", "-o", "json"])?;
        ensure!(status["dataplane"]["writes"] == 0, "a restart with {to} wrote: {status}");
        // What is denied is told of and counted whichever it is.
        wait_until(Duration::from_secs(5), "a drop to be told of", || {
            Ok(lab.ctl(&["drops", "-o", "json"])?.to_string().contains("end of tier default"))
        })?;
        let hits = lab.ctl(&["hits", "-o", "json"])?.to_string();
        ensure!(hits.contains("end of tier default"), "{to}: {hits}");
    }
    for waiting in denied {
        ensure!(waiting.wait(Duration::from_millis(1)).is_err(), "a denied flow passed");
    }
    let loss = traffic.stop()?;
    ensure!(loss.udp_sent > 1000 && loss.tcp_sent > 1000, "too little traffic: {loss:?}");
    ensure!(loss.udp_lost == 0 && loss.tcp_lost == 0, "lost: {loss:?}");

    // Nothing is left of an iptables dataplane either.
    lab.restart(Signal::SIGTERM, "iptables-legacy")?;
    lab.fabric.nodes[0].agent.take().context("no agent")?.end(Signal::SIGTERM)?;
    let run = lab.fabric.dir.join("n1");
    let [run_dir, state] = [run.clone(), run.join("state")].map(|p| p.display().to_string());
    let agent = binary("brindle-agent").display().to_string();
    lab.run(&agent, &["uninstall", "--run-dir", &run_dir, "--state-dir", &state])?;
    ensure!(lab.installed()?.is_empty() && lab.sets()? == 0, "uninstall left something");
    Ok(())
}

fn revoked_flows_stop(name: &str, dataplane: &str) -> Result<()> {
    let mut lab = Lab::build(name)?;
    lab.restart(Signal::SIGTERM, dataplane)?;
    lab.policy(ONE_PORT)?;
    let mut flows = Vec::new();
    for v6 in [false, true] {
        let target = SocketAddr::new(lab.server.address(v6)?, 5432);
        for tcp in [false, true] {
            let source = SocketAddr::new(lab.client.address(v6)?, ports::fresh());
            let (from, to) = (&lab.client.netns, &lab.server.netns);
            let call = Call { from, source, to, server: target, target };
            let flow = if tcp { Conversation::tcp(&call) } else { Conversation::udp(&call) };
            flows.push((format!("{dataplane} tcp={tcp} v6={v6}"), flow?));
        }
    }
    let applied = lab.policy("policyTypes: [Ingress]")?;
    for (what, flow) in &flows {
        for way in &flow.ways {
            let last = way.wait_silent().with_context(|| what.clone())?;
            let late = last.saturating_duration_since(applied);
            ensure!(late <= LIMIT, "{what} went on for {late:?}");
        }
    }
    lab.policy(ONE_PORT)?;
    for way in flows.iter().flat_map(|(_, flow)| &flow.ways) {
        way.wait()?;
    }
    drop(flows);
    for pod in [lab.client, lab.server] {
        pod.delete(&lab.fabric)?;
    }
    Ok(())
}

#[test]
fn revoked_flows_stop_with_iptables_nft() -> Result<()> {
    revoked_flows_stop("brd-plane-b", "iptables-nft")
}

#[test]
fn revoked_flows_stop_with_iptables_legacy() -> Result<()> {
    revoked_flows_stop("brd-plane-c", "iptables-legacy")
}
