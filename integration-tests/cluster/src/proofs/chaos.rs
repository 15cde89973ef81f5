//! Faults under traffic: what was allowed loses nothing, what was denied stays so.
//!
//! ```text
//!  node i: server  friend  stranger  prisoner        → next node, each family in turn
//!          friend   ──UDP and TCP stream, new flows──> server    allowed by server's ingress
//!          stranger ──new flows─────────────────────> server    denied by it
//!          prisoner ──new flows─────────────────────> friend    denied by prisoner's egress
//! ```
//! At the end the denied paths are allowed, and must open: the prober would have seen it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use brindle_lab::knocks::{Ended, Knocks, Path};
use brindle_lab::process::wait_until;
use brindle_lab::traffic::{Loss, Traffic};
use serde_json::{Value, json};

use super::pods::{Group, Wanted, policy};
use super::{Row, Stage};
use crate::control_plane::{self, API_SERVER, ETCD_PROGRAM};
use crate::plan::Family;

const ROLES: [&str; 4] = ["server", "friend", "stranger", "prisoner"];
/// Port of the streams; those of knocks follow.
const STREAM: u16 = 9000;
const ALLOWED: u16 = 9100;
const DENIED: u16 = 9200;
const ALLOWED_PACE: Duration = Duration::from_millis(5);
const DENIED_PACE: Duration = Duration::from_millis(2);
/// How long a path may take to open.
const OPENS: Duration = Duration::from_secs(30);
/// The node whose daemons are restarted.
const RESTARTED: usize = 1;

/// Something that is done to the cluster, until it has recovered.
type Fault = (&'static str, fn(&Stage<'_>) -> Result<()>);

const FAULTS: [Fault; 7] = [
    ("SIGKILL of each agent in turn", |stage| {
        stage.nodes().try_for_each(|index| {
            stage.kill_agent(index)?;
            stage.wait_for_agents(true)
        })
    }),
    ("SIGKILL of the operator", |stage| stage.restart_operator()),
    ("SIGKILL of the API server, and a new one", |stage| restart(stage, API_SERVER)),
    ("SIGKILL of etcd, and a new one", |stage| restart(stage, ETCD_PROGRAM)),
    ("SIGKILL of kubelet and containerd of a node", |stage| stage.restart_node_daemons(RESTARTED)),
    ("SIGKILL of all agents at once", |stage| {
        stage.nodes().try_for_each(|index| stage.kill_agent(index))?;
        stage.wait_for_agents(true)
    }),
    ("SIGKILL of all agents while there is no API server", |stage| {
        stage.kill_control(API_SERVER)?;
        stage.nodes().try_for_each(|index| stage.kill_agent(index))?;
        stage.wait_for_agents(false)?;
        start(stage, API_SERVER)?;
        stage.wait_for_agents(true)
    }),
];

fn restart(stage: &Stage<'_>, program: &str) -> Result<()> {
    stage.kill_control(program)?;
    start(stage, program)
}

fn start(stage: &Stage<'_>, program: &str) -> Result<()> {
    control_plane::start_again(stage.cache, stage.paths, stage.shape.families, program)
}

/// Runs all faults.
///
/// # Errors
/// A part does not recover.
pub fn run(stage: &Stage<'_>) -> Result<Vec<Row>> {
    let pods: Vec<_> =
        stage.nodes().flat_map(|node| ROLES.map(|role| wanted(role, node))).collect();
    let group = Group::start(&stage.kubectl, "proof-chaos", policies(false), &pods)?;
    let mut flows = Flows::start(stage, &group)?;
    let mut rows = Vec::new();
    let mut marks = Vec::new();
    for (what, fault) in FAULTS {
        marks.push((what, flows.datagrams()));
        let began = Instant::now();
        fault(stage).context(what)?;
        let took = format!("recovered after {:.1} s", began.elapsed().as_secs_f64());
        eprintln!("    {what}: {took}");
        rows.push(Row::told(what, took));
    }
    let let_through: usize = flows.denied.iter().map(|(_, knocks)| knocks.arrived()).sum();
    let tried: usize = flows.denied.iter().map(|(_, knocks)| knocks.next()).sum();
    let what = "new flows on denied paths that got through";
    rows.push(Row::verdict(what, "0", format!("{let_through} of {tried}"), let_through == 0));
    rows.extend(flows.allowed_rows(&marks)?);
    rows.push(opens(&group, &flows.denied)?);
    Ok(rows)
}

/// Everything is allowed; each denied path must open.
fn opens(group: &Group<'_>, denied: &[(String, Knocks)]) -> Result<Row> {
    let before: Vec<_> = denied.iter().map(|(_, knocks)| knocks.next()).collect();
    let began = Instant::now();
    group.apply(policies(true))?;
    let opened = wait_until(OPENS, "every denied path to open", || {
        Ok(denied.iter().zip(&before).all(|((_, k), from)| k.first_arrival(*from).is_some()))
    });
    let took = format!("{} paths within {:.1} s", denied.len(), began.elapsed().as_secs_f64());
    let measured = match &opened {
        Ok(()) => took,
        Err(error) => error.to_string(),
    };
    Ok(Row::verdict(
        "a policy after it all opens the denied paths",
        "all open",
        measured,
        opened.is_ok(),
    ))
}

fn wanted(role: &str, node: usize) -> Wanted {
    Wanted { name: format!("{role}-{node}"), node, labels: json!({"role": role}) }
}

fn policies(everything: bool) -> Vec<Value> {
    let select = |role: &str| json!({"matchLabels": {"role": role}});
    let from = if everything {
        json!([{}])
    } else {
        json!([{"from": [{"podSelector": select("friend")}]}])
    };
    let to = if everything { json!([{}]) } else { json!([]) };
    vec![
        policy(
            "servers",
            &json!({"podSelector": select("server"), "policyTypes": ["Ingress"], "ingress": from}),
        ),
        policy(
            "prisoners",
            &json!({"podSelector": select("prisoner"), "policyTypes": ["Egress"], "egress": to}),
        ),
    ]
}

/// Everything that is under way. Each with the nodes that it touches, as words.
struct Flows {
    streams: Vec<(String, Traffic)>,
    allowed: Vec<(String, Knocks)>,
    denied: Vec<(String, Knocks)>,
}

impl Flows {
    fn start(stage: &Stage<'_>, group: &Group<'_>) -> Result<Self> {
        let nodes = usize::from(stage.shape.nodes);
        let mut flows = Self { streams: Vec::new(), allowed: Vec::new(), denied: Vec::new() };
        let families = stage.shape.families.each();
        let ways =
            stage.nodes().flat_map(|from| families.iter().map(move |family| (from, *family)));
        for ((from, family), offset) in ways.zip((0..).step_by(10)) {
            let to = from % nodes + 1;
            let site = |role: &str, node: usize| group.site(&format!("{role}-{node}"));
            let (friend, server) = (site("friend", from)?, site("server", to)?);
            let address = server.address(family)?;
            let name = format!("node{from} to node{to}, {}", family.option());
            let mut stream = None;
            wait_until(OPENS, &format!("a connection from {name}"), || {
                let tried = Traffic::start(&friend.netns, &server.netns, address, STREAM + offset);
                stream = tried.ok();
                Ok(stream.is_some())
            })?;
            flows.streams.push((name.clone(), stream.context("it was started")?));
            let path =
                Path { from: &friend.netns, to: &server.netns, address, port: ALLOWED + offset };
            flows.allowed.push((name.clone(), Knocks::start(path, ALLOWED_PACE)?));
            let barred = match family {
                Family::V4 => Path { from: &site("stranger", from)?.netns, ..path },
                Family::V6 => {
                    let (from, to) = (site("prisoner", from)?, site("friend", to)?);
                    let (from, address) = (&from.netns, to.address(family)?);
                    Path { from, to: &to.netns, address, ..path }
                }
            };
            let barred = Path { port: DENIED + offset, ..barred };
            flows.denied.push((name, Knocks::start(barred, DENIED_PACE)?));
        }
        Ok(flows)
    }

    /// Datagrams of each stream so far.
    fn datagrams(&self) -> Vec<u64> {
        self.streams.iter().map(|(_, stream)| stream.datagrams()).collect()
    }

    /// Ends what is allowed, and counts.
    fn allowed_rows(&mut self, marks: &[(&str, Vec<u64>)]) -> Result<Vec<Row>> {
        let mut lost = Vec::new();
        let mut streams = Vec::new();
        for (index, (name, stream)) in self.streams.drain(..).enumerate() {
            let loss = stream.stop().context(name.clone())?;
            for gap in &loss.udp_gaps {
                let during = marks.iter().rev().find(|(_, at)| at[index] <= gap.after);
                let during = during.map_or("before", |(what, _)| *what);
                lost.push(format!("{} datagrams of {name} in: {during}", gap.datagrams));
            }
            streams.push(loss);
        }
        let mut knocks = Vec::new();
        for (name, path) in self.allowed.drain(..) {
            let ended = path.end().context(name.clone())?;
            if !ended.lost.is_empty() {
                lost.push(format!(
                    "{} new flows of {name}, from {}",
                    ended.lost.len(),
                    ended.lost[0]
                ));
            }
            knocks.push(ended);
        }
        lost.iter().for_each(|line| eprintln!("    LOST {line}"));
        let sum = |of: fn(&Loss) -> u64| streams.iter().map(of).sum::<u64>();
        let count = |of: fn(&Ended) -> usize| knocks.iter().map(of).sum::<usize>();
        let counted = |what: &str, lost: u64, sent: u64| {
            Row::verdict(what, "0", format!("{lost} of {sent}"), lost == 0 && sent > 0)
        };
        let mut rows = vec![
            counted("datagrams lost, one a millisecond", sum(|l| l.udp_lost), sum(|l| l.udp_sent)),
            counted("bytes of TCP streams lost", sum(|l| l.tcp_lost), sum(|l| l.tcp_sent)),
            counted(
                "new flows lost, one each 5 ms",
                u64::try_from(count(|e| e.lost.len()))?,
                u64::try_from(count(|e| e.sent))?,
            ),
        ];
        rows.extend(lost.into_iter().map(|line| Row::told("lost", line)));
        Ok(rows)
    }
}
