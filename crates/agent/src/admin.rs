//! The admin API: health, metrics, status, debug dumps (the wire types and the list of requests
//! stand in [`brindle_model::admin`]).
//!
//! Questions are put to the owners of the state on their own threads; nothing is shared with them.

mod bgp_diff;
mod debug;
mod meanwhile;
mod metrics;
mod monitor;
mod packets;
mod status;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use brindle_bgp_speaker::Commands;
use brindle_dataplane_core::{Applied, DriverSender, RouteTable};
use brindle_ipam::Ipam;
use brindle_model::Name;
use brindle_model::admin::{Failure, Health, Synced};
use tokio::net::{TcpListener, UnixListener};

pub use meanwhile::meanwhile;

use crate::backend::AnyBackend;
use crate::bgp::Plans;
use crate::blocks::BlockStore;
use crate::connections::Changes;
use crate::northbound::Barriers;
use crate::packet_log::PacketLog;
use crate::pipeline::Pipeline;
use crate::settings::AgentSettings;

/// What the admin API asks.
pub struct Sources {
    /// This node.
    pub node: Name,
    /// Where objects come from.
    pub source: String,
    /// When the agent started.
    pub started: Instant,
    /// The compiler.
    pub pipeline: Pipeline,
    /// The folder.
    pub barriers: Barriers,
    /// Progress of the backend's driver.
    pub dataplane: Applied,
    /// Progress of the route table's driver.
    pub routes: Applied,
    /// The route table.
    pub route_table: DriverSender<RouteTable>,
    /// The backend.
    pub backend: DriverSender<AnyBackend>,
    /// Denied packets that a decision tells of at most, a second.
    pub drops_per_second: u32,
    /// The agent's settings.
    pub settings: Arc<AgentSettings>,
    /// Packets that the kernel told of.
    pub packet_log: Arc<PacketLog>,
    /// The speaker.
    pub bgp: Commands,
    /// What the speaker would do.
    pub plans: Plans,
    /// The judge of connections that were admitted before.
    pub connections: Changes,
    /// The address manager.
    pub ipam: Arc<Ipam<BlockStore>>,
}

type Shared = State<Arc<Sources>>;

/// An answer that is not 200.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(Failure { error: self.1 })).into_response()
    }
}

/// Asked while the agent comes down.
fn stopping(error: impl std::fmt::Display) -> Refused {
    Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

/// Everything, for the unix socket.
pub fn full(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/sync", post(sync))
        .route("/settings", get(settings))
        .merge(bgp_diff::routes())
        .merge(debug::routes())
        .merge(monitor::routes())
        .merge(packets::routes())
        .with_state(sources.clone())
        .merge(public(sources))
}

/// What may be seen over TCP.
pub fn public(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(sources)
}

/// Serves on a unix socket that only root may use; one that a killed agent left is replaced (the
/// caller holds the node's lock).
///
/// # Errors
/// The socket cannot be made.
pub fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Listens on TCP.
///
/// # Errors
/// The address is not ours or taken.
pub async fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

async fn status(State(sources): Shared) -> Result<Response, Refused> {
    let bgp = sources.bgp.status().await.ok();
    let status = blocking(move || status::node(&sources, bgp.as_ref())).await?;
    let status = status.map_err(stopping)?;
    Ok(Json(status).into_response())
}

async fn healthz(State(sources): Shared) -> Response {
    health(status::problems(&sources))
}

async fn readyz(State(sources): Shared) -> Response {
    let mut problems = status::problems(&sources);
    if sources.pipeline.applied().is_none() {
        problems.push("the first complete ruleset is not enforced yet".to_owned());
    }
    health(problems)
}

fn health(problems: Vec<String>) -> Response {
    let ok = problems.is_empty();
    let code = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Health { ok, problems })).into_response()
}

async fn metrics(State(sources): Shared) -> Result<Response, Refused> {
    let bgp = sources.bgp.status().await.ok();
    let text = blocking(move || {
        let status = status::node(&sources, bgp.as_ref()).map_err(stopping)?;
        metrics::render(&status).map_err(stopping)
    });
    let text = text.await??;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn settings(State(sources): Shared) -> Result<Response, Refused> {
    Ok(Json(blocking(move || sources.settings.report()).await?).into_response())
}

/// Parameters of `/sync`.
#[derive(serde::Deserialize)]
struct SyncQuery {
    /// Seconds.
    timeout: Option<f64>,
}

/// Longest wait for `/sync`.
const MAX_SYNC: Duration = Duration::from_secs(300);

async fn sync(State(sources): Shared, Query(query): Query<SyncQuery>) -> Result<Response, Refused> {
    let timeout = Duration::try_from_secs_f64(query.timeout.unwrap_or(5.0))
        .ok()
        .filter(|timeout| *timeout <= MAX_SYNC);
    let Some(timeout) = timeout else {
        let limit = format!("timeout is not between 0 and {} seconds", MAX_SYNC.as_secs());
        return Err(Refused(StatusCode::BAD_REQUEST, limit));
    };
    blocking(move || {
        sources.barriers.sync(Instant::now() + timeout).map_err(|error| {
            let problems = status::problems(&sources).join("; ");
            let text = if problems.is_empty() { error.to_string() } else { problems };
            Refused(StatusCode::GATEWAY_TIMEOUT, text)
        })?;
        let generation = sources.pipeline.applied();
        let generation = generation.ok_or_else(|| stopping("nothing is enforced yet"))?;
        Ok(Json(Synced { generation }).into_response())
    })
    .await?
}

/// Runs what waits for another thread beside the server's.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Refused> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
