//! `brindlectl bgp`.

pub mod diff;
pub mod monitor;
pub mod routes;
pub mod why;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::Answer;
use crate::cli::BgpQuestion;
use crate::client::Client;
use crate::output::{self, Format};

/// The part of `/debug/bgp` that the tables show.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bgp {
    speaker: Speaker,
    listen_error: Option<String>,
    uptime_seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Speaker {
    identity: Option<(u32, Ipv4Addr)>,
    restarting: bool,
    drain: Option<String>,
    originated: Vec<String>,
    learned: usize,
    ranges: Vec<Range>,
    peers: Vec<Peer>,
}

#[derive(Debug, Deserialize)]
struct Range {
    name: String,
    prefix: String,
    as_number: u32,
    max_peers: u32,
    peers: usize,
    rejected: u64,
    last_rejected: Option<Event>,
    protection: Vec<String>,
    idle_because: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Peer {
    name: String,
    address: IpAddr,
    range: Option<String>,
    port: u16,
    as_number: u32,
    passive: bool,
    protection: Vec<String>,
    password_problem: Option<String>,
    state: String,
    since: f64,
    established_count: u64,
    flaps: u64,
    updates_received: u64,
    updates_malformed: u64,
    panics: u64,
    idle_because: Option<String>,
    last_error: Option<Event>,
    last_received_notification: Option<Event>,
    last_sent_notification: Option<Event>,
    session: Option<Session>,
    filters: Vec<String>,
    filter_problem: Option<String>,
    prefix_warning: Option<String>,
    bfd: Option<Bfd>,
    families: Vec<Family>,
}

#[derive(Debug, Deserialize)]
struct Event {
    message: String,
    at: f64,
}

#[derive(Debug, Deserialize)]
struct Session {
    local_address: IpAddr,
    router_id: Ipv4Addr,
    hold_time: u16,
    keepalive_time: u16,
    capabilities: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bfd {
    state: String,
    detection_time: Option<u64>,
    diagnostic: String,
}

#[derive(Debug, Deserialize)]
struct Family {
    family: String,
    received: usize,
    accepted: usize,
    stale: usize,
    advertised: usize,
}

/// Answers a question about the speaker.
///
/// # Errors
/// The agent does not answer, or does not know what was asked for.
pub fn answer(client: &Client, question: &BgpQuestion, format: Format) -> Result<Answer> {
    let of_peer = |peer: &Option<String>| match peer {
        Some(peer) => format!("&peer={peer}"),
        None => String::new(),
    };
    match question {
        BgpQuestion::Peers { peer } => {
            Ok(Answer::yes(render(client.get("/debug/bgp")?, peer.as_deref(), format)?))
        }
        BgpQuestion::Routes { received, advertised, peer, limit, .. } => {
            let table = match (received, advertised) {
                (true, _) => "received",
                (_, true) => "advertised",
                _ => "best",
            };
            let peer = of_peer(peer);
            let path = format!("/debug/bgp/routes?table={table}&limit={limit}{peer}");
            Ok(Answer::yes(routes::render(&client.get(&path)?, format)?))
        }
        BgpQuestion::Diff { edits, peer } => {
            let plan = client.post("/bgp/diff", &edits.files()?)?;
            diff::render(plan, peer.as_deref(), format)
        }
        BgpQuestion::Monitor { peer, mrt } => {
            let mut output = std::io::stdout();
            monitor::follow(client, peer.as_deref(), mrt.as_deref(), format, |text| {
                output.write_all(text.as_bytes())?;
                Ok(output.flush()?)
            })?;
            Ok(Answer::yes(String::new()))
        }
        BgpQuestion::Why { prefix, peer } => {
            let path = format!("/debug/bgp/why?prefix={}{}", prefix.0, of_peer(peer));
            why::render(&client.get(&path)?, format)
        }
    }
}

/// Writes what the agent says of its speaker: all of it, or one neighbour.
///
/// # Errors
/// There is no such neighbour, the answer has another shape, or it cannot be written in the format.
pub fn render(value: Value, peer: Option<&str>, format: Format) -> Result<String> {
    if format != Format::Table {
        let Some(name) = peer else { return output::render(format, &value, String::new) };
        let peers = value.pointer("/speaker/peers").and_then(Value::as_array);
        let found = peers.into_iter().flatten().find(|peer| peer["name"] == name);
        return output::render(format, found.with_context(|| unknown(name))?, String::new);
    }
    let bgp: Bgp = serde_json::from_value(value).context("the agent's answer about BGP")?;
    match peer {
        None => Ok(overview(&bgp)),
        Some(name) => match bgp.speaker.peers.iter().find(|peer| peer.name == name) {
            Some(peer) => Ok(detail(peer, bgp.uptime_seconds)),
            None => bail!(unknown(name)),
        },
    }
}

fn unknown(name: &str) -> String {
    format!("there is no neighbour {name}; see `brindlectl bgp`")
}

fn overview(bgp: &Bgp) -> String {
    let speaker = &bgp.speaker;
    let mut text = match speaker.identity {
        Some((number, id)) => format!("AS {number}, id {id}"),
        None => "no identity yet: the node has no IPv4 address and no routerID is set".into(),
    };
    if speaker.restarting {
        text += ", restarting gracefully";
    }
    if let Some(drain) = &speaker.drain {
        text += &format!(", drained: {drain}");
    }
    text += &format!("\nannounced: {}\n", list(&speaker.originated));
    text += &format!("learned: {} prefixes\n", speaker.learned);
    if let Some(error) = &bgp.listen_error {
        text += &format!("not listening: {error}\n");
    }
    let rows = speaker.peers.iter().map(|peer| {
        let count = |read: fn(&Family) -> usize| peer.families.iter().map(read).sum::<usize>();
        let why = match (&peer.session, &peer.idle_because, &peer.last_error) {
            (Some(_), ..) => {
                let problem = peer.filter_problem.as_ref().or(peer.prefix_warning.as_ref());
                problem.cloned().unwrap_or_default()
            }
            (None, Some(why), _) => why.clone(),
            (None, None, error) => error.as_ref().map_or(String::new(), |e| e.message.clone()),
        };
        vec![
            peer.name.clone(),
            peer.address.to_string(),
            peer.as_number.to_string(),
            peer.state.clone(),
            output::span(bgp.uptime_seconds - peer.since),
            count(|f| f.received).to_string(),
            count(|f| f.accepted).to_string(),
            count(|f| f.advertised).to_string(),
            why,
        ]
    });
    let header =
        ["PEER", "ADDRESS", "AS", "STATE", "FOR", "RECEIVED", "ACCEPTED", "ADVERTISED", "WHY"];
    text += "\n";
    text += &output::table(&header, rows);
    if !speaker.ranges.is_empty() {
        text += "\n";
        text += &ranges(&speaker.ranges, bgp.uptime_seconds);
    }
    text
}

/// From where neighbours come that nobody named.
fn ranges(ranges: &[Range], uptime: f64) -> String {
    let rows = ranges.iter().map(|range| {
        let rejected = range
            .last_rejected
            .as_ref()
            .map(|event| format!("{} ({} ago)", event.message, output::span(uptime - event.at)));
        vec![
            range.name.clone(),
            range.prefix.clone(),
            range.as_number.to_string(),
            format!("{} of {}", range.peers, range.max_peers),
            range.rejected.to_string(),
            list(&range.protection),
            range.idle_because.clone().or(rejected).unwrap_or_default(),
        ]
    });
    output::table(&["RANGE", "ADDRESSES", "AS", "PEERS", "REJECTED", "PROTECTION", "WHY"], rows)
}

fn detail(peer: &Peer, uptime: f64) -> String {
    let event = |event: &Option<Event>| {
        event.as_ref().map_or("none".into(), |e| {
            format!("{} ({} ago)", e.message, output::span(uptime - e.at))
        })
    };
    let passive = match &peer.range {
        Some(range) => format!(", came by the range {range}"),
        None if peer.passive => format!(" port {}, passive", peer.port),
        None => format!(" port {}", peer.port),
    };
    let mut fields = vec![
        ("peer", peer.name.clone()),
        ("address", format!("{}{passive}", peer.address)),
        ("AS", peer.as_number.to_string()),
        ("protection", list(&peer.protection)),
        ("state", format!("{} for {}", peer.state, output::span(uptime - peer.since))),
        ("came up", format!("{} times, went down {}", peer.established_count, peer.flaps)),
        (
            "updates",
            format!("{} received, {} malformed", peer.updates_received, peer.updates_malformed),
        ),
        ("internal errors", peer.panics.to_string()),
        ("last error", event(&peer.last_error)),
        ("notification received", event(&peer.last_received_notification)),
        ("notification sent", event(&peer.last_sent_notification)),
    ];
    if let Some(problem) = &peer.password_problem {
        fields.push(("password", problem.clone()));
    }
    if !peer.filters.is_empty() {
        fields.push(("filters", list(&peer.filters)));
    }
    if let Some(problem) = &peer.filter_problem {
        fields.push(("broken filter", problem.clone()));
    }
    if let Some(Bfd { state, detection_time, diagnostic }) = &peer.bfd {
        let within = detection_time.map_or(String::new(), |ms| format!(", detects in {ms} ms"));
        fields.push(("BFD", format!("{state}{within} ({diagnostic})")));
    }
    if let Some(warning) = &peer.prefix_warning {
        fields.push(("limit", warning.clone()));
    }
    if let Some(why) = &peer.idle_because {
        fields.push(("idle because", why.clone()));
    }
    if let Some(session) = &peer.session {
        fields.extend([
            ("local address", session.local_address.to_string()),
            ("its id", session.router_id.to_string()),
            (
                "timers",
                format!("hold {} s, keepalive {} s", session.hold_time, session.keepalive_time),
            ),
            ("capabilities", list(&session.capabilities)),
        ]);
    }
    let rows = peer.families.iter().map(|f| {
        let counts = [f.received, f.accepted, f.stale, f.advertised];
        std::iter::once(f.family.clone()).chain(counts.map(|n| n.to_string())).collect::<Vec<_>>()
    });
    let families = output::table(&["FAMILY", "RECEIVED", "ACCEPTED", "STALE", "ADVERTISED"], rows);
    output::fields(&fields) + "\n" + &families
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "none".into() } else { items.join(", ") }
}
