//! Answers of an agent that cannot start yet: it is alive, not ready, and says why.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use brindle_model::admin::Failure;
use tokio::sync::oneshot;

use super::{health, listen_tcp, listen_unix};

/// Answers so on the admin API's unix socket and TCP address while `work` runs; `why` is told to
/// whoever asks more than whether the agent lives. Without this a kubelet would take an agent that
/// waits for hours for one that hangs, and start it again and again.
///
/// # Errors
/// The socket or the address cannot be listened on; `work` has not begun then.
pub fn meanwhile<T>(
    socket: &Path,
    address: Option<SocketAddr>,
    why: &'static str,
    work: impl FnOnce() -> T,
) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (unix, tcp) = runtime.block_on(async {
        let unix =
            listen_unix(socket).with_context(|| format!("listen on {}", socket.display()))?;
        let tcp = match address {
            Some(address) => {
                Some(listen_tcp(address).await.with_context(|| format!("listen on {address}"))?)
            }
            None => None,
        };
        anyhow::Ok((unix, tcp))
    })?;
    let refused = move || async move {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Failure { error: why.to_owned() }))
    };
    let router =
        Router::new().route("/healthz", get(|| async { health(Vec::new()) })).fallback(refused);
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            runtime.block_on(async {
                let over_unix = async { axum::serve(unix, router.clone()).await };
                let over_tcp = async {
                    match tcp {
                        Some(listener) => axum::serve(listener, router.clone()).await,
                        None => std::future::pending().await,
                    }
                };
                // Neither ends by itself.
                tokio::select! {
                    _ = over_unix => {}
                    _ = over_tcp => {}
                    _ = stopped => {}
                }
            });
        });
        let done = work();
        drop(stop);
        Ok(done)
    })
}
