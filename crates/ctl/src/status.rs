//! `brindlectl status`.

use anyhow::Result;
use brindle_model::admin::{ConnectionsStatus, NodeStatus, TableStatus};
use brindle_model::ruleset::Generation;

use crate::client::Client;
use crate::output::{self, Format};

/// Asks the agent.
///
/// # Errors
/// It does not answer.
pub fn fetch(client: &Client) -> Result<NodeStatus> {
    client.get("/status")
}

/// Writes a status.
///
/// # Errors
/// It cannot be written in the format.
pub fn render(status: &NodeStatus, format: Format) -> Result<String> {
    output::render(format, status, || table(status))
}

fn table(status: &NodeStatus) -> String {
    let generation = |g: Option<Generation>| g.map_or("none".into(), |g| g.to_string());
    let (compiled, bgp) = (&status.compiled, &status.bgp);
    let speaker = bgp.identity.map_or("no identity yet".into(), |(number, id)| {
        let restarting = if bgp.restarting { ", restarting" } else { "" };
        format!("AS {number}, id {id}{restarting}")
    });
    let mut text = output::fields(&[
        ("node", status.node.to_string()),
        (
            "agent",
            format!(
                "{}, pid {}, up {}",
                status.version,
                status.pid,
                output::span(status.uptime_seconds)
            ),
        ),
        ("memory", format!("{:.1} MiB", status.resident_kib as f64 / 1024.0)),
        ("source", status.source.clone()),
        ("ready", if status.ready { "yes" } else { "no" }.into()),
        (
            "enforced",
            format!(
                "generation {} of {}",
                generation(status.applied),
                generation(status.generation)
            ),
        ),
        (
            "policy",
            format!(
                "{} endpoints, {} policies, {} sets with {} members",
                compiled.endpoints, compiled.policies, compiled.sets, compiled.members
            ),
        ),
        ("connections", connections(&status.connections)),
        ("addresses", format!("{} in {} blocks", status.addresses, status.blocks)),
        ("bgp", speaker),
        (
            "sessions",
            format!(
                "{} of {} established, {} prefixes announced, {} learned",
                bgp.established, bgp.peers, bgp.originated, bgp.learned
            ),
        ),
    ]);
    text += "\n";
    let header =
        ["TABLE", "STATE", "GENERATION", "COMMITS", "WRITES", "READ BACK", "DRIFTED", "FAILED"];
    text += &output::table(&header, [&status.dataplane, &status.routes].map(table_row));
    for problem in &status.problems {
        text += &format!("\nproblem: {problem}");
    }
    if !status.problems.is_empty() {
        text += "\n";
    }
    text
}

fn connections(connections: &ConnectionsStatus) -> String {
    format!(
        "{}; {} judged {} times, {} stopped, last in {:.0} ms",
        connections.existing,
        connections.judged,
        connections.passes,
        connections.revoked,
        connections.seconds * 1000.0
    )
}

fn table_row(table: &TableStatus) -> Vec<String> {
    vec![
        table.name.clone(),
        table.state.clone(),
        table.applied.map_or("none".into(), |g| g.to_string()),
        table.commits.to_string(),
        table.writes.to_string(),
        table.resyncs.to_string(),
        table.drifted.to_string(),
        table.failures.to_string(),
    ]
}
