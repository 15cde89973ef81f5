//! Pods that connect the moment they start, under policies of both ends.
//!
//! Each node has three servers: `open`, which admits the clients' label and which the clients may ask;
//! `shut`, which admits nobody; `barred`, which admits everybody, and which clients may not ask. A
//! client tries those of its own node and of the next one. What its own node decides must be right from
//! the first SYN on; another node has to hear of the client first, which is measured.

pub mod client;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use brindle_lab::process::wait_until;
use serde_json::{Value, json};

use super::figures::Figures;
use super::pods::{Group, Wanted, policy};
use super::{Row, Stage};
use crate::plan;
use client::Seen;

const NAMESPACE: &str = "proof-race";
const KINDS: [&str; 3] = ["open", "shut", "barred"];
const PORT: u16 = 8000;
/// Clients, in waves that start at once.
const WAVES: usize = 5;
const IN_WAVE: usize = 40;
/// How long a wave may take.
const PATIENCE: Duration = Duration::from_secs(240);
/// A SYN that is dropped is sent again after a second: what is connected sooner was admitted at once.
const AT_ONCE: Duration = Duration::from_millis(900);

/// Runs the waves.
///
/// # Errors
/// Pods do not start, or do not tell what they saw.
pub fn run(stage: &Stage<'_>) -> Result<Vec<Row>> {
    let image = stage.prober()?;
    let servers: Vec<_> =
        stage.nodes().flat_map(|node| KINDS.map(|kind| server(kind, node))).collect();
    let group = Group::start(&stage.kubectl, NAMESPACE, policies(), &servers)?;
    let listening = Listening::start(stage, &group)?;
    let mut tally = Tally::default();
    for wave in 0..WAVES {
        let began = Instant::now();
        let clients: Vec<_> = (0..IN_WAVE)
            .map(|number| (format!("client-{wave}-{number}"), number % stage.nodes().count() + 1))
            .collect();
        let made =
            clients.iter().map(|(name, node)| client_pod(stage, &group, &image, name, *node));
        group.apply(made.collect::<Result<_>>()?)?;
        for (name, node) in &clients {
            let told = told(stage, name, *node)?;
            tally.take(name, &told)?;
        }
        let all = ["-n", NAMESPACE, "delete", "pods", "-l", "role=client", "--grace-period=0"];
        stage.kubectl.run(&[&all[..], &["--force"]].concat())?;
        eprintln!("    wave {wave}: {:.0} s", began.elapsed().as_secs_f64());
    }
    listening.end()?;
    Ok(tally.rows())
}

/// What clients saw.
#[derive(Default)]
struct Tally {
    clients: usize,
    own_asked: usize,
    own_wrong: Vec<String>,
    denied_asked: usize,
    denied_wrong: Vec<String>,
    own_open: Figures,
    remote_open: Figures,
    never: usize,
}

impl Tally {
    fn take(&mut self, name: &str, told: &[Seen]) -> Result<()> {
        self.clients += 1;
        for seen in told {
            let (place, kind) = seen.target.split_once(' ').context("a target has a place")?;
            let admitted = seen.connected.map(Duration::from_micros);
            // A policy of the client's own node, whoever is asked.
            let own = place == "own" || kind.starts_with("barred");
            if kind.starts_with("open") {
                let figures = if own { &mut self.own_open } else { &mut self.remote_open };
                match admitted {
                    Some(after) => figures.add_duration(after),
                    None => self.never += 1,
                }
                if own {
                    self.own_asked += 1;
                    let first = seen.first.map(Duration::from_micros);
                    if first.is_none_or(|took| took > AT_ONCE) {
                        self.own_wrong.push(format!("{name}: {seen:?}"));
                    }
                }
                continue;
            }
            let wrong = admitted.is_some();
            if own {
                self.own_asked += 1;
                self.own_wrong.extend(wrong.then(|| format!("{name}: {seen:?}")));
            } else {
                self.denied_asked += 1;
                self.denied_wrong.extend(wrong.then(|| format!("{name}: {seen:?}")));
            }
        }
        Ok(())
    }

    fn rows(&self) -> Vec<Row> {
        self.own_wrong
            .iter()
            .chain(&self.denied_wrong)
            .for_each(|line| eprintln!("    WRONG {line}"));
        let (own, others) = (self.own_wrong.len(), self.denied_wrong.len());
        let clients = WAVES * IN_WAVE;
        let p99 = self.remote_open.percentile(99);
        vec![
            Row::verdict(
                "pods that connected as they started",
                &clients.to_string(),
                self.clients.to_string(),
                self.clients == clients,
            ),
            Row::verdict(
                "wrong verdicts of the pod's own node, from the first SYN on",
                "0",
                format!("{own} of {}", self.own_asked),
                own == 0 && self.own_asked > 0,
            ),
            Row::verdict(
                "connections that another node had to deny and did not",
                "0",
                format!("{others} of {}", self.denied_asked),
                others == 0 && self.denied_asked > 0,
            ),
            Row::told("start of the program to a connection on its own node", self.own_open.text()),
            Row::verdict(
                "start of the program to a connection that another node allows",
                "p99 ≤ 1000 ms",
                format!("{}; {} never", self.remote_open.text(), self.never),
                p99 <= 1000.0 && self.never == 0,
            ),
        ]
    }
}

fn server(kind: &str, node: usize) -> Wanted {
    Wanted { name: format!("{kind}-{node}"), node, labels: json!({"role": kind}) }
}

fn policies() -> Vec<Value> {
    let select = |role: &str| json!({"matchLabels": {"role": role}});
    let peer = |role: &str| json!({"podSelector": select(role)});
    let ingress = |role: &str, rules: Value| {
        policy(
            role,
            &json!({"podSelector": select(role), "policyTypes": ["Ingress"], "ingress": rules}),
        )
    };
    vec![
        ingress("open", json!([{"from": [peer("client")]}])),
        ingress("shut", json!([])),
        policy(
            "clients",
            &json!({
                "podSelector": select("client"),
                "policyTypes": ["Egress"],
                "egress": [{"to": [peer("open"), peer("shut")]}],
            }),
        ),
    ]
}

/// A pod that asks all servers of its node and of the next, and ends.
fn client_pod(
    stage: &Stage<'_>,
    group: &Group<'_>,
    image: &str,
    name: &str,
    node: usize,
) -> Result<Value> {
    let next = node % stage.nodes().count() + 1;
    let mut arguments = vec!["connect".to_owned()];
    for (place, at) in [("own", node), ("next", next)] {
        for kind in KINDS {
            for family in stage.shape.families.each() {
                let address = group.site(&format!("{kind}-{at}"))?.address(*family)?;
                let target = SocketAddr::new(address, PORT);
                arguments.push(format!("--target={place} {kind}{}={target}", family.option()));
            }
        }
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"role": "client"}},
        "spec": {
            "nodeName": plan::node_name(node),
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "containers": [{
                "name": "client", "image": image, "imagePullPolicy": "Never", "args": arguments,
            }],
        },
    }))
}

/// What a client wrote, read from its node's disk.
fn told(stage: &Stage<'_>, name: &str, node: usize) -> Result<Vec<Seen>> {
    let folder = stage.paths.node(node).join("pod-logs");
    let prefix = format!("{NAMESPACE}_{name}_");
    let mut found = None;
    wait_until(PATIENCE, &format!("{name} to tell what it saw"), || {
        let log = find(&folder, &prefix).map(|pod| pod.join("client/0.log"));
        let text = log.and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default();
        // The runtime's own form: time, stream, and whether the line is whole.
        let lines = text.lines().filter_map(|line| line.split_once(" stdout F "));
        let seen: Vec<_> = lines.filter_map(|(_, line)| Seen::read(line)).collect();
        found = text.contains(client::END).then_some(seen);
        Ok(found.is_some())
    })?;
    let found = found.unwrap_or_default();
    ensure!(!found.is_empty(), "{name} saw nothing");
    Ok(found)
}

fn find(folder: &std::path::Path, prefix: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
}

/// Listeners in the servers' namespaces, which accept and close.
struct Listening {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Listening {
    fn start(stage: &Stage<'_>, group: &Group<'_>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for node in stage.nodes() {
            for kind in KINDS {
                let site = group.site(&format!("{kind}-{node}"))?;
                for family in stage.shape.families.each() {
                    let target = SocketAddr::new(site.address(*family)?, PORT);
                    let listener = site.netns.enter(|| TcpListener::bind(target))?;
                    let listener = listener.with_context(|| format!("listen on {target}"))?;
                    listener.set_nonblocking(true)?;
                    let stop = stop.clone();
                    threads.push(thread::spawn(move || accept(&listener, &stop)));
                }
            }
        }
        Ok(Self { stop, threads })
    }

    fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a listener panicked"),
            }
        }
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, stop: &AtomicBool) -> Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    while !stop.load(Ordering::Relaxed) {
        let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::from(100_u16))? > 0 {
            while listener.accept().is_ok() {}
        }
    }
    Ok(())
}
