//! `brindlectl bgp diff`: what edits would do to a node's speaker.

use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::output::{self, Format};
use crate::{Answer, Exit};

/// Prefixes that a line names; JSON has all.
const NAMED: usize = 8;

/// Body of the answer to `/bgp/diff`.
#[derive(Debug, Deserialize)]
struct Plan {
    identity: Vec<String>,
    peers: Vec<Peer>,
    ranges: Vec<Range>,
    forwarding: Vec<Forwarding>,
    refused: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Peer {
    name: String,
    address: IpAddr,
    as_number: u32,
    session: String,
    reason: Option<String>,
    applied: Vec<String>,
    announced: Vec<Told>,
    changed: Vec<Told>,
    withdrawn: Vec<IpNet>,
}

/// The part of a route that the table shows.
#[derive(Debug, Deserialize)]
struct Told {
    prefix: IpNet,
}

#[derive(Debug, Deserialize)]
struct Range {
    name: String,
    prefix: IpNet,
    range: String,
}

#[derive(Debug, Deserialize)]
struct Forwarding {
    prefix: IpNet,
    before: Vec<IpAddr>,
    after: Vec<IpAddr>,
}

/// Writes a plan: all of it, or of one neighbour. The answer is no if anything would change.
///
/// # Errors
/// The answer has another shape, or cannot be written in the format.
pub fn render(mut value: Value, peer: Option<&str>, format: Format) -> Result<Answer> {
    if let (Some(name), Some(peers)) = (peer, value["peers"].as_array_mut()) {
        peers.retain(|peer| peer["name"] == name);
    }
    let plan = Plan::deserialize(&value).context("the agent's plan")?;
    let nothing = plan.identity.is_empty()
        && plan.peers.is_empty()
        && plan.ranges.is_empty()
        && plan.forwarding.is_empty()
        && plan.refused.is_empty();
    let text = output::render(format, &value, || match nothing {
        true => "nothing would change for the speaker of this node\n".to_owned(),
        false => table(&plan),
    })?;
    Ok(Answer { text, exit: if nothing { Exit::Yes } else { Exit::No } })
}

fn table(plan: &Plan) -> String {
    let mut parts = Vec::new();
    if !plan.refused.is_empty() {
        parts.push(lines("cannot be used, and counts as absent:", &plan.refused));
    }
    if !plan.identity.is_empty() {
        parts.push(lines("this node:", &plan.identity));
    }
    if !plan.ranges.is_empty() {
        let rows = plan.ranges.iter().map(|range| {
            [range.name.clone(), range.prefix.to_string(), range.range.to_uppercase()]
        });
        parts.push(output::table(&["RANGE", "PREFIX", "CHANGE"], rows));
    }
    if !plan.peers.is_empty() {
        parts.push(sessions(plan));
        let routes: Vec<String> = plan.peers.iter().flat_map(told).collect();
        if !routes.is_empty() {
            parts.push(routes.concat());
        }
    }
    if !plan.forwarding.is_empty() {
        let hops = |hops: &[IpAddr]| match hops {
            [] => "-".to_owned(),
            hops => hops.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let rows = plan.forwarding.iter().map(|forwarding| {
            let Forwarding { prefix, before, after } = forwarding;
            [prefix.to_string(), hops(before), hops(after)]
        });
        parts.push(output::table(&["FORWARDED", "VIA NOW", "VIA THEN"], rows));
    }
    parts.join("\n")
}

fn lines(title: &str, lines: &[String]) -> String {
    let lines = lines.iter().map(|line| format!("  {line}\n"));
    format!("{title}\n{}", lines.collect::<String>())
}

fn sessions(plan: &Plan) -> String {
    let rows = plan.peers.iter().map(|peer| {
        let session = match peer.session.as_str() {
            end @ ("reset" | "closed" | "removed") => end.to_uppercase(),
            other => other.to_owned(),
        };
        let applied = match peer.applied.is_empty() {
            true => None,
            false => Some(format!("changes while it goes on: {}", peer.applied.join(", "))),
        };
        [
            peer.name.clone(),
            peer.address.to_string(),
            peer.as_number.to_string(),
            session,
            format!("+{}", peer.announced.len()),
            format!("~{}", peer.changed.len()),
            format!("-{}", peer.withdrawn.len()),
            peer.reason.clone().or(applied).unwrap_or_default(),
        ]
    });
    let header = ["PEER", "ADDRESS", "AS", "SESSION", "NEW", "OTHER", "GONE", "BECAUSE"];
    output::table(&header, rows)
}

/// What a neighbour would be told, in lines.
fn told(peer: &Peer) -> Vec<String> {
    let line = |words: &str, prefixes: Vec<String>| {
        let named = prefixes.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = match prefixes.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more (see --output json)"),
        };
        (!prefixes.is_empty()).then(|| format!("{} {words} {named}{more}\n", peer.name))
    };
    let prefixes = |routes: &[Told]| routes.iter().map(|told| told.prefix.to_string()).collect();
    [
        line("would be told of", prefixes(&peer.announced)),
        line("would be told otherwise of", prefixes(&peer.changed)),
        line("would no longer have", peer.withdrawn.iter().map(ToString::to_string).collect()),
    ]
    .into_iter()
    .flatten()
    .collect()
}
