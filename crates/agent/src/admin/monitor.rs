//! Sessions and routes of the BGP speaker as they change: a line of JSON each, or MRT records.
//!
//! ```text
//!  speaker ─► News ─► this (reads messages, writes lines) ─► chunks of one HTTP answer without end
//! ```
//! The answer ends when the other side closes. A reader that is too slow loses some, and is told
//! how much; the speaker never waits.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use brindle_bgp_proto::message::{Message, Update};
use brindle_bgp_proto::mrt;
use brindle_bgp_proto::speaker::{Ends, Seen};
use brindle_bgp_speaker::{Event, News};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::debug::known;
use super::{Refused, Shared, Sources, stopping};

/// The request.
pub fn routes() -> Router<Arc<Sources>> {
    Router::new().route("/debug/bgp/monitor", get(monitor))
}

/// Its parameters.
#[derive(Deserialize)]
struct MonitorQuery {
    /// Messages and states of this neighbour only.
    peer: Option<String>,
    /// MRT records in place of lines.
    #[serde(default)]
    mrt: bool,
}

async fn monitor(
    State(sources): Shared,
    Query(query): Query<MonitorQuery>,
) -> Result<Response, Refused> {
    let peer = known(&sources, query.peer).await?;
    let news = sources.bgp.monitor().await.map_err(stopping)?;
    let chunks = stream::unfold(news, move |mut news: mpsc::Receiver<News>| {
        let peer = peer.clone();
        async move {
            loop {
                let one = news.recv().await?;
                let chunk = match query.mrt {
                    true => record(&one, peer.as_deref()),
                    false => line(&one, peer.as_deref()),
                };
                if let Some(chunk) = chunk {
                    return Some((Ok::<_, std::convert::Infallible>(Bytes::from(chunk)), news));
                }
            }
        }
    });
    let kind = if query.mrt { "application/octet-stream" } else { "application/x-ndjson" };
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(chunks)).into_response())
}

fn of_peer(seen: &Seen) -> Option<&str> {
    match seen {
        Seen::Message { peer, .. } | Seen::State { peer, .. } => Some(peer),
        Seen::Route(_) => None,
    }
}

fn record(news: &News, only: Option<&str>) -> Option<Vec<u8>> {
    let News::Seen(time, seen) = news else { return None };
    let wanted = only.is_none_or(|only| of_peer(seen) == Some(only));
    wanted.then(|| mrt::record(seen, *time)).flatten()
}

/// A line of JSON; `None` if another neighbour was asked for.
fn line(news: &News, only: Option<&str>) -> Option<Vec<u8>> {
    let mut value = match news {
        News::Lost(count) => json!({ "event": "lost", "count": count }),
        News::Seen(time, seen) => {
            if only.is_some_and(|only| of_peer(seen) != Some(only)) {
                return None;
            }
            with_time(*time, described(seen))
        }
    }
    .to_string();
    value.push('\n');
    Some(value.into_bytes())
}

fn with_time(time: Duration, mut value: Value) -> Value {
    // Micros since 1970 fit a float's 53 bits until the year 2255.
    value["time"] = json!(time.as_secs_f64());
    value
}

fn described(seen: &Seen) -> Value {
    match seen {
        Seen::State { peer, before, after, reason, .. } => json!({
            "event": "state", "peer": peer, "before": before.to_string(),
            "state": after.to_string(), "reason": reason,
        }),
        Seen::Message { peer, sent, ends, octets } => {
            let mut value = message(ends, octets);
            value["event"] = json!(if *sent { "sent" } else { "received" });
            value["peer"] = json!(peer);
            value
        }
        Seen::Route(Event::Best { prefix, next_hops }) => {
            json!({ "event": "best", "prefix": prefix, "nextHops": next_hops })
        }
        Seen::Route(Event::Gone { prefix }) => json!({ "event": "gone", "prefix": prefix }),
        Seen::Route(Event::Converged | Event::Peer { .. }) => json!({ "event": "converged" }),
    }
}

fn message(ends: &Ends, octets: &[u8]) -> Value {
    match ends.read(octets) {
        Some(Message::Update(update)) => self::update(&update),
        Some(Message::Open(open)) => json!({
            "message": "OPEN", "asNumber": open.as_number, "routerID": open.router_id,
            "holdTime": open.hold_time,
        }),
        Some(Message::Notification(notification)) => {
            json!({ "message": "NOTIFICATION", "words": notification.to_string() })
        }
        Some(Message::Keepalive) => json!({ "message": "KEEPALIVE" }),
        Some(Message::RouteRefresh(_)) => json!({ "message": "ROUTE-REFRESH" }),
        None => json!({ "message": "unreadable", "octets": octets.len() }),
    }
}

fn update(update: &Update) -> Value {
    let mut value = Map::from_iter([("message".to_owned(), json!("UPDATE"))]);
    let mut put = |key: &str, what: Value| drop(value.insert(key.to_owned(), what));
    if !update.withdrawn.is_empty() {
        put("withdrawn", json!(update.withdrawn));
    }
    if let Some(family) = update.end_of_rib {
        put("endOfRib", json!(family.to_string()));
    }
    if !update.reach.is_empty() {
        let prefixes = update.reach.iter().flat_map(|reach| &reach.prefixes);
        let hops = update.reach.iter().map(|reach| reach.next_hop.address());
        let attributes = &update.attributes;
        put("announced", json!(prefixes.collect::<Vec<_>>()));
        put("nextHops", json!(hops.collect::<Vec<_>>()));
        put("asPath", json!(attributes.as_path.to_string()));
        let standard = attributes.communities.iter().map(ToString::to_string);
        let large = attributes.large_communities.iter().map(ToString::to_string);
        let communities: Vec<String> = standard.chain(large).collect();
        if !communities.is_empty() {
            put("communities", json!(communities));
        }
        let numbers = [("localPref", attributes.local_pref), ("med", attributes.med)];
        for (key, number) in numbers {
            if let Some(number) = number {
                put(key, json!(number));
            }
        }
        if let Some(id) = attributes.originator_id {
            put("originator", json!(id));
        }
    }
    if let Some(error) = update.errors.first() {
        put("malformed", json!(error.to_string()));
    }
    Value::Object(value)
}
