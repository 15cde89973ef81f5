//! `brindlectl drops` and `brindlectl hits`.

use std::time::Duration;

use anyhow::{Context, Result};
use brindle_model::admin::{Hits, PacketReport, Packets};
use brindle_model::packet::Packet;

use crate::client::Client;
use crate::output::{self, Format};

/// Pause between two questions while packets are followed.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks for denied packets, or for logged ones, with a number above `after`.
///
/// # Errors
/// The agent does not answer.
pub fn fetch(client: &Client, logged: bool, after: u64) -> Result<Packets> {
    let path = if logged { "logged" } else { "drops" };
    client.get(&format!("/{path}?after={after}"))
}

/// Hands over the remembered packets, then those that come, for ever.
///
/// # Errors
/// The agent does not answer any more, or nobody takes what is said.
pub fn follow(
    client: &Client,
    logged: bool,
    format: Format,
    mut say: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut after = 0;
    let mut lost = 0;
    loop {
        let found = fetch(client, logged, after)?;
        say(&news(&found, after, lost, format)?)?;
        lost = found.lost;
        after = found.packets.last().map_or(after, |packet| packet.number);
        std::thread::sleep(PAUSE);
    }
}

/// What is new since the packet `after`: a line each.
///
/// # Errors
/// It cannot be written in the format.
pub fn news(found: &Packets, after: u64, lost: u64, format: Format) -> Result<String> {
    let mut text = String::new();
    if format != Format::Table {
        for packet in &found.packets {
            text += &serde_json::to_string(packet)?;
            text.push('\n');
        }
        return Ok(text);
    }
    if after == 0 {
        text += &preface(found);
    }
    if found.lost > lost {
        text += &format!("lost: {} packets\n", found.lost - lost);
    }
    let first = found.packets.first().map_or(after + 1, |packet| packet.number);
    if after > 0 && first > after + 1 {
        text += &format!("no longer remembered: {} packets\n", first - after - 1);
    }
    for packet in &found.packets {
        let (from, to) = ends(packet);
        text += &format!("{}  {from} -> {to}  {}\n", header(packet.packet.as_ref()), packet.words);
    }
    Ok(text)
}

/// Writes what is remembered.
///
/// # Errors
/// It cannot be written in the format.
pub fn render(found: &Packets, format: Format) -> Result<String> {
    output::render(format, found, || {
        let rows = found.packets.iter().map(|packet| {
            let (from, to) = ends(packet);
            let age = format!("{} ago", output::span(packet.age_seconds));
            [age, header(packet.packet.as_ref()), from, to, packet.words.clone()]
        });
        let table = output::table(&["HEARD", "PACKET", "FROM", "TO", "DECIDED BY"], rows);
        preface(found) + "\n" + &table
    })
}

/// How much of the truth is shown.
fn preface(found: &Packets) -> String {
    if let Some(problem) = &found.problem {
        return format!("nothing is heard: {problem}\n");
    }
    let mut text = match found.per_second {
        0 => "the agent was told not to ask for denied packets (--drops-per-second)\n".to_owned(),
        n => format!("sampled: at most {n} packets a second and decision; `hits` counts all\n"),
    };
    if found.lost > 0 || found.overruns > 0 {
        let (lost, overruns) = (found.lost, found.overruns);
        text += &format!("lost: {lost} packets, in {overruns} overruns\n");
    }
    text
}

fn header(packet: Option<&Packet>) -> String {
    packet.map_or("not IP".to_owned(), ToString::to_string)
}

/// Where it came from and was to go: the pod, else the interface.
fn ends(packet: &PacketReport) -> (String, String) {
    let end = |pod: &Option<String>, interface: &Option<String>, none: &str| {
        pod.as_ref().or(interface.as_ref()).cloned().unwrap_or_else(|| none.to_owned())
    };
    let from = end(&packet.from_pod, &packet.input, "this node");
    (from, end(&packet.to_pod, &packet.output, "this node"))
}

/// Asks how often each rule and default decided.
///
/// # Errors
/// The agent does not answer.
pub fn fetch_hits(client: &Client) -> Result<Hits> {
    client.get("/hits").context("read the counters")
}

/// Writes the counts.
///
/// # Errors
/// They cannot be written in the format.
pub fn render_hits(hits: &Hits, format: Format) -> Result<String> {
    output::render(format, hits, || {
        let rows = hits.decisions.iter().map(|hit| {
            let counts = [hit.packets, hit.bytes].map(|n| n.to_string());
            let [packets, bytes] = counts;
            [packets, bytes, hit.action.clone(), hit.words.clone()]
        });
        let mut text = output::table(&["PACKETS", "BYTES", "ACTION", "DECIDED BY"], rows);
        if hits.left_out > 0 {
            text += &format!("\n{} chains were being changed and are left out\n", hits.left_out);
        }
        text
    })
}
