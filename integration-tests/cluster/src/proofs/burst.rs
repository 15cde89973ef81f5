//! Thirty pods at once on one node, by its kubelet and containerd.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::audit::Audit;
use super::plugin_timer::Timed;
use super::pods::{Group, Wanted};
use super::{Row, Stage};
use crate::plan;

const NODE: usize = 1;
const PODS: u16 = 30;
/// How often, so that a 99th percentile is more than the largest of thirty.
const ROUNDS: u16 = 4;
const AGENT: &str = "system:serviceaccount:brindle-system:brindle-agent";

/// Starts them, and counts.
///
/// # Errors
/// Pods do not start.
pub fn run(stage: &Stage<'_>) -> Result<Vec<Row>> {
    let timed = Timed::node(stage.paths, NODE)?;
    let mut audit = Audit::from_now(stage.paths)?;
    let mut rows = Vec::new();
    let mut requests = Vec::new();
    for round in 0..ROUNDS {
        let pods: Vec<_> = (0..PODS)
            .map(|number| Wanted {
                name: format!("burst-{round}-{number}"),
                node: NODE,
                labels: json!({"role": "burst"}),
            })
            .collect();
        audit.news()?;
        let start = Instant::now();
        let group =
            Group::start(&stage.kubectl, &format!("proof-burst-{round}"), Vec::new(), &pods)?;
        let took = start.elapsed();
        let name = plan::node_name(NODE);
        let of_agent = audit.news()?.into_iter();
        let of_agent = of_agent.filter(|r| r.user == AGENT && r.node == name && r.verb != "watch");
        let asked: Vec<_> = of_agent.map(|r| format!("{} {}", r.verb, r.resource)).collect();
        eprintln!("    {PODS} ready after {:.1} s; the agent asked {asked:?}", took.as_secs_f64());
        requests.push(asked);
        drop(group);
    }
    let adds = timed.adds()?;
    let count: usize = requests.iter().map(Vec::len).sum();
    let each = f64::from(u32::try_from(count)?) / f64::from(PODS * ROUNDS);
    let expected = usize::from(PODS * ROUNDS);
    rows.push(Row::verdict(
        "calls of ADD that containerd made",
        &format!("≥ {expected}"),
        adds.len().to_string(),
        adds.len() >= expected,
    ));
    rows.push(Row::verdict(
        "CNI ADD, start to end of the plugin's process, 30 pods at once on one node",
        "p50 ≤ 80, p99 ≤ 300 ms",
        adds.text(),
        adds.percentile(50) <= 80.0 && adds.percentile(99) <= 300.0,
    ));
    rows.push(Row::verdict(
        "requests of the node's agent to the API server, each ADD",
        "≤ 1",
        format!("{each:.2} ({count} for {expected} pods)"),
        each <= 1.0,
    ));
    Ok(rows)
}
