//! `brindlectl bgp monitor`: what the speaker sees, as it comes.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::client::Client;
use crate::output::Format;

/// A line of the agent, as far as tables show it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    time: Option<f64>,
    event: String,
    peer: Option<String>,
    before: Option<String>,
    state: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    words: Option<String>,
    malformed: Option<String>,
    prefix: Option<String>,
    end_of_rib: Option<String>,
    as_path: Option<String>,
    count: Option<u64>,
    #[serde(default)]
    announced: Vec<String>,
    #[serde(default)]
    withdrawn: Vec<String>,
    #[serde(default)]
    next_hops: Vec<String>,
}

/// Says what comes, for ever: lines of a table or of JSON, or MRT records into a file.
///
/// # Errors
/// The agent does not answer, there is no such neighbour, or nobody takes what is said.
pub fn follow(
    client: &Client,
    peer: Option<&str>,
    mrt: Option<&Path>,
    format: Format,
    mut say: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let of_peer = peer.map_or_else(String::new, |peer| format!("&peer={peer}"));
    let path = format!("/debug/bgp/monitor?mrt={}{of_peer}", mrt.is_some());
    if let Some(file) = mrt {
        let failed = || format!("write {}", file.display());
        let mut file = File::create(file).with_context(failed)?;
        return client.stream(&path, |octets| file.write_all(octets).with_context(failed));
    }
    let mut rest = Vec::new();
    client.stream(&path, |octets| {
        rest.extend_from_slice(octets);
        while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            say(&render(&line, format)?)?;
        }
        Ok(())
    })
}

/// One line of the agent in a format; JSON stays as it is.
///
/// # Errors
/// It has another shape.
pub fn render(line: &[u8], format: Format) -> Result<String> {
    let value: Value = serde_json::from_slice(line).context("a line of the agent's monitor")?;
    if format != Format::Table {
        return Ok(format!("{value}\n"));
    }
    let line: Line = serde_json::from_value(value).context("a line of the agent's monitor")?;
    let time = line.time.map_or_else(|| "--:--:--".to_owned(), clock);
    let peer = line.peer.as_deref().unwrap_or("-");
    Ok(format!("{time}  {peer}  {:<8}  {}\n", line.event, detail(&line)))
}

/// Time of day in UTC, to the millisecond.
fn clock(time: f64) -> String {
    let of_day = time.rem_euclid(86_400.0);
    let (hours, minutes) = ((of_day / 3600.0).floor(), (of_day / 60.0).floor() % 60.0);
    format!("{hours:02}:{minutes:02}:{:06.3}", of_day % 60.0)
}

fn detail(line: &Line) -> String {
    let hops = line.next_hops.join(" ");
    match (line.event.as_str(), &line.prefix) {
        ("best", Some(prefix)) => return format!("{prefix} via {hops}"),
        ("gone", Some(prefix)) => return prefix.clone(),
        ("lost", _) => {
            return format!("{} events: they came too fast", line.count.unwrap_or_default());
        }
        _ => {}
    }
    let mut parts = Vec::new();
    if let (Some(before), Some(state)) = (&line.before, &line.state) {
        parts.push(format!("{before} -> {state}"));
    }
    parts.extend(line.reason.clone());
    parts.extend(line.message.clone());
    parts.extend(line.words.clone());
    if !line.announced.is_empty() {
        parts.push(format!("+ {} via {hops}", line.announced.join(" ")));
        let path = line.as_path.as_ref().filter(|path| !path.is_empty());
        parts.extend(path.map(|path| format!("path {path}")));
    }
    if !line.withdrawn.is_empty() {
        parts.push(format!("- {}", line.withdrawn.join(" ")));
    }
    parts.extend(line.end_of_rib.as_ref().map(|family| format!("End-of-RIB of {family}")));
    parts.extend(line.malformed.as_ref().map(|error| format!("malformed: {error}")));
    parts.join(", ")
}
