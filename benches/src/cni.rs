//! What a pod waits for its network: the real plugin binary, executed as a runtime does, against a
//! real agent on a node with policies; each ADD returns with the pod's policy enforced.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use brindle_lab::agent::binary;
use brindle_lab::fabric::Fabric;
use brindle_lab::netns::Netns;
use brindle_lab::objects;
use serde_json::{Value, json};

use crate::row::Row;

const ONE_BY_ONE: usize = 200;
const AT_ONCE: usize = 30;
const ROUNDS: usize = 10;
const POLICIES: usize = 50;
const LAB: &str = "brbcni";

/// The bench.
pub fn cni() -> Result<Vec<Row>> {
    let dir = std::env::temp_dir().join(format!("{LAB}-{}", std::process::id()));
    let fabric = Fabric::build(LAB, &dir, 1)?;
    let runtime = Runtime::new(&fabric)?;
    write_objects(&fabric)?;
    fabric.nodes[0].agent.as_ref().context("the node has no agent")?.barrier()?;

    let mut rows = Vec::new();
    let version: Vec<_> = (0..ONE_BY_ONE).map(|_| runtime.timed("VERSION", 0)).collect();
    rows.push(percentile_row("plugin alone (VERSION)", &times(version)?, 50));

    let added: Vec<_> = (0..ONE_BY_ONE).map(|n| runtime.timed("ADD", n)).collect();
    let (add, held) = split(added)?;
    ensure_distinct(&held, ONE_BY_ONE)?;
    let check: Vec<_> = (0..ONE_BY_ONE).map(|n| runtime.timed_check(n, &held[n])).collect();
    let del = times((0..ONE_BY_ONE).map(|n| runtime.timed("DEL", n)).collect())?;
    push_percentiles(&mut rows, "ADD one after another", &add);
    push_percentiles(&mut rows, "CHECK one after another", &times(check)?);
    push_percentiles(&mut rows, "DEL one after another", &del);

    let (mut add, mut del) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let pods: Vec<usize> = (0..AT_ONCE).map(|n| (round * AT_ONCE + n) % ONE_BY_ONE).collect();
        let (took, held) = split(runtime.at_once("ADD", &pods))?;
        ensure_distinct(&held, AT_ONCE)?;
        add.extend(took);
        del.extend(times(runtime.at_once("DEL", &pods))?);
    }
    push_percentiles(&mut rows, &format!("ADD {AT_ONCE} at once"), &add);
    push_percentiles(&mut rows, &format!("DEL {AT_ONCE} at once"), &del);
    let left = fabric.nodes[0].netns.ip(&["-br", "link", "show", "type", "veth"])?;
    let left = left.lines().filter(|line| line.starts_with("brd")).count();
    ensure!(left == 0, "{left} pod interfaces are left after the last DEL");
    Ok(rows)
}

/// A default deny, and allows by label and port, all of which select every pod.
fn write_objects(fabric: &Fabric) -> Result<()> {
    fabric.write("namespace.yaml", &objects::namespace("bench", "bench"))?;
    let mut policies = String::new();
    for n in 0..POLICIES {
        policies += &format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: allow-{n}, namespace: bench}}\n\
             spec:\n  podSelector: {{}}\n  ingress:\n  - from:\n    - podSelector: \
             {{matchLabels: {{role: r{n}}}}}\n    ports: [{{protocol: TCP, port: {}}}]\n---\n",
            8000 + n
        );
    }
    fabric.write("policies/bench.yaml", &policies)?;
    for n in 0..ONE_BY_ONE {
        let role = format!("r{}", n % POLICIES);
        let pod = objects::pod("bench", &pod_name(n), &role, &fabric.nodes[0].name, &[]);
        fabric.write(&format!("pods/{}.yaml", pod_name(n)), &pod)?;
    }
    Ok(())
}

fn pod_name(n: usize) -> String {
    format!("pod-{n}")
}

/// Plays the container runtime.
struct Runtime {
    plugin: PathBuf,
    socket: PathBuf,
    pods: Vec<Netns>,
}

type Timed = Result<(Duration, Value)>;

impl Runtime {
    fn new(fabric: &Fabric) -> Result<Self> {
        let agent = fabric.nodes[0].agent.as_ref().context("the node has no agent")?;
        let netns = |n| Netns::create(&format!("{LAB}-{}", pod_name(n)));
        Ok(Self {
            plugin: binary("brindle-cni"),
            socket: agent.cni_socket(),
            pods: (0..ONE_BY_ONE).map(netns).collect::<Result<_>>()?,
        })
    }

    fn timed(&self, command: &str, pod: usize) -> Timed {
        self.execute(command, pod, &json!({}))
    }

    fn timed_check(&self, pod: usize, held: &[IpAddr]) -> Timed {
        let ips: Vec<_> = held
            .iter()
            .map(|addr| json!({ "address": ipnet::IpNet::from(*addr).to_string() }))
            .collect();
        self.execute("CHECK", pod, &json!({ "prevResult": { "ips": ips } }))
    }

    /// Starts all at the same moment, a thread each.
    fn at_once(&self, command: &str, pods: &[usize]) -> Vec<Timed> {
        let start = Barrier::new(pods.len());
        std::thread::scope(|scope| {
            let spawn = |pod: &usize| {
                let (pod, start) = (*pod, &start);
                scope.spawn(move || {
                    start.wait();
                    self.timed(command, pod)
                })
            };
            let threads: Vec<_> = pods.iter().map(spawn).collect();
            let join = |t: std::thread::ScopedJoinHandle<'_, Timed>| {
                t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        })
    }

    fn execute(&self, command: &str, pod: usize, extra: &Value) -> Timed {
        let mut config = json!({
            "cniVersion": "1.1.0", "name": "bench", "type": "brindle-cni", "socket": self.socket,
        });
        if let (Value::Object(config), Value::Object(extra)) = (&mut config, extra) {
            config.extend(extra.clone());
        }
        let arguments = format!("K8S_POD_NAMESPACE=bench;K8S_POD_NAME={}", pod_name(pod));
        let begin = Instant::now();
        let mut child = Command::new(&self.plugin)
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", format!("{LAB}-{pod}"))
            .env("CNI_NETNS", self.pods[pod].path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", self.plugin.parent().unwrap_or(Path::new("/")))
            .env("CNI_ARGS", arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", self.plugin.display()))?;
        child.stdin.take().context("no stdin")?.write_all(config.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        let took = begin.elapsed();
        if !output.status.success() {
            bail!("{command} of pod {pod}: {}", String::from_utf8_lossy(&output.stdout).trim());
        }
        let answer = match output.stdout.as_slice() {
            [] => Value::Null,
            text => serde_json::from_slice(text)?,
        };
        Ok((took, answer))
    }
}

/// Durations and addresses of ADDs.
fn split(added: Vec<Timed>) -> Result<(Vec<Duration>, Vec<Vec<IpAddr>>)> {
    let mut result = (Vec::new(), Vec::new());
    for timed in added {
        let (took, answer) = timed?;
        let ips = answer["ips"].as_array().context("an answer without ips")?;
        let address = |ip: &Value| -> Result<IpAddr> {
            let net = ip["address"].as_str().context("an ip without address")?;
            Ok(net.parse::<ipnet::IpNet>()?.addr())
        };
        result.0.push(took);
        result.1.push(ips.iter().map(address).collect::<Result<_>>()?);
    }
    Ok(result)
}

fn times(timed: Vec<Timed>) -> Result<Vec<Duration>> {
    timed.into_iter().map(|timed| Ok(timed?.0)).collect()
}

fn ensure_distinct(held: &[Vec<IpAddr>], pods: usize) -> Result<()> {
    let distinct: BTreeSet<&IpAddr> = held.iter().flatten().collect();
    ensure!(distinct.len() == 2 * pods, "{pods} pods share {} addresses", distinct.len());
    Ok(())
}

fn push_percentiles(rows: &mut Vec<Row>, case: &str, times: &[Duration]) {
    rows.extend([50, 99].map(|percent| percentile_row(case, times, percent)));
}

/// The smallest time that `percent` of all do not exceed.
fn percentile_row(case: &str, times: &[Duration], percent: usize) -> Row {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    Row::absolute(format!("{case}, p{percent}"), sorted[at].as_secs_f64() * 1e3, "ms")
}
