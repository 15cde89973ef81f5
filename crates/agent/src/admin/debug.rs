//! Dumps of what the owners hold, as sorted JSON: two of them can be compared as text.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use brindle_bgp_speaker::{PeerName, PrefixReport, RouteQuery, RouteTable};
use brindle_compiler::Compiler;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Refused, Shared, Sources, blocking, stopping};

/// The requests below `/debug`.
pub fn routes() -> Router<Arc<Sources>> {
    Router::new()
        .route("/debug/ruleset", get(ruleset))
        .route("/debug/sets", get(sets))
        .route("/debug/endpoints", get(endpoints))
        .route("/debug/routing", get(routing))
        .route("/debug/routes", get(route_table))
        .route("/debug/bgp", get(bgp))
        .route("/debug/bgp/routes", get(bgp_routes))
        .route("/debug/bgp/why", get(bgp_why))
        .route("/debug/ipam", get(ipam))
        .route("/debug/deltas", get(deltas))
}

async fn ruleset(State(sources): Shared) -> Result<Response, Refused> {
    compiled(sources, |compiler| text(&compiler.dump())).await
}

async fn sets(State(sources): Shared) -> Result<Response, Refused> {
    compiled(sources, |compiler| text(&compiler.dump().sets)).await
}

async fn endpoints(State(sources): Shared) -> Result<Response, Refused> {
    compiled(sources, |compiler| {
        let dump = compiler.dump();
        text(&json!({ "endpoints": dump.endpoints, "programs": dump.programs }))
    })
    .await
}

async fn routing(State(sources): Shared) -> Result<Response, Refused> {
    compiled(sources, |compiler| {
        let (routing, shadowed) = (compiler.routing(), compiler.shadowed_peers());
        text(&json!({ "routing": routing, "shadowedPeers": shadowed }))
    })
    .await
}

async fn route_table(State(sources): Shared) -> Result<Response, Refused> {
    let status =
        blocking(move || sources.route_table.inspect(brindle_dataplane_core::RouteTable::status));
    Ok(document(text(&status.await?.map_err(stopping)?)))
}

async fn bgp(State(sources): Shared) -> Result<Response, Refused> {
    let status = sources.bgp.status().await.map_err(stopping)?;
    Ok(document(text(&json!({
        "speaker": status.speaker,
        "listening": status.listening,
        "listenError": status.listen_error,
        "uptimeSeconds": status.uptime,
    }))))
}

/// Routes in one answer, unless more are asked for.
const ROUTES: usize = 1000;

/// Parameters of `/debug/bgp/routes`.
#[derive(Deserialize)]
struct RoutesQuery {
    table: Table,
    peer: Option<String>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Table {
    Received,
    Advertised,
    Best,
}

async fn bgp_routes(
    State(sources): Shared,
    Query(query): Query<RoutesQuery>,
) -> Result<Response, Refused> {
    let query = RouteQuery {
        table: match query.table {
            Table::Received => RouteTable::Received,
            Table::Advertised => RouteTable::Advertised,
            Table::Best => RouteTable::Best,
        },
        peer: known(&sources, query.peer).await?,
        limit: query.limit.unwrap_or(ROUTES),
    };
    Ok(document(text(&sources.bgp.routes(query).await.map_err(stopping)?)))
}

/// Parameters of `/debug/bgp/why`.
#[derive(Deserialize)]
struct WhyQuery {
    prefix: IpNet,
    peer: Option<String>,
}

async fn bgp_why(
    State(sources): Shared,
    Query(query): Query<WhyQuery>,
) -> Result<Response, Refused> {
    let peer = known(&sources, query.peer).await?;
    let report = sources.bgp.explain(query.prefix, peer).await.map_err(stopping)?;
    let remark = blocking(move || {
        sources.pipeline.inspect(move |compiler| compiler.service_remark(&query.prefix))
    });
    let remark = remark.await?.map_err(stopping)?;
    Ok(document(text(&Explained { report, remark })))
}

/// What the speaker knows of a prefix, and what it was not told.
#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    report: PrefixReport,
    /// Why the address of a Service is not announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
}

/// A neighbour that was asked about must be there: an empty answer would look like the truth.
pub(super) async fn known(
    sources: &Sources,
    peer: Option<String>,
) -> Result<Option<PeerName>, Refused> {
    let Some(peer) = peer else { return Ok(None) };
    let status = sources.bgp.status().await.map_err(stopping)?;
    match status.speaker.peers.into_iter().find(|known| *known.name == *peer) {
        Some(known) => Ok(Some(known.name)),
        None => Err(Refused(StatusCode::NOT_FOUND, format!("no neighbour `{peer}`"))),
    }
}

async fn ipam(State(sources): Shared) -> Result<Response, Refused> {
    let leases = sources.ipam.leases();
    let leases: BTreeMap<String, Value> =
        leases.iter().map(|(handle, held)| (handle.to_string(), json!(held))).collect();
    Ok(document(text(&json!({ "blocks": sources.ipam.status(), "leases": leases }))))
}

async fn deltas(State(sources): Shared) -> Result<Response, Refused> {
    let [dataplane, routes] = [sources.dataplane.status(), sources.routes.status()];
    let pending =
        blocking(move || sources.route_table.inspect(brindle_dataplane_core::RouteTable::pending));
    let pending = pending.await?.map_err(stopping)?;
    let routes = json!({ "driver": routes, "pending": pending });
    Ok(document(text(&json!({ "dataplane": { "driver": dataplane }, "routes": routes }))))
}

/// Writes a dump on the compile thread: it borrows what that thread owns.
async fn compiled(
    sources: Arc<Sources>,
    dump: impl FnOnce(&Compiler) -> String + Send + 'static,
) -> Result<Response, Refused> {
    let text = blocking(move || sources.pipeline.inspect(dump));
    Ok(document(text.await?.map_err(stopping)?))
}

fn text(value: &impl Serialize) -> String {
    // All keys are strings and no value refuses to be written.
    serde_json::to_string_pretty(value).unwrap_or_else(|error| json!(error.to_string()).to_string())
}

fn document(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
