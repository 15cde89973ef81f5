//! Metrics of the leader, in OpenMetrics text over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::TcpListener;
use tracing::warn;

use crate::enforcement::{Reason, Verdict};
use crate::watched::Enforceable;

/// Upper bounds of the histogram, seconds: from one node beside the API server to a large cluster
/// with a node that is slow.
const BOUNDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 300.0];

/// What is counted. Clones share it.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    seconds: Family<Labels, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let make: fn() -> Histogram = || Histogram::new(BOUNDS);
        let seconds = Family::new_with_constructor(make);
        let mut registry = Registry::with_prefix("brindle_operator");
        let help = "Time from a change to its enforcement by every node that must";
        registry.register_with_unit("time_to_enforced", help, Unit::Seconds, seconds.clone());
        Self { registry: Arc::new(registry), seconds }
    }
}

impl Metrics {
    /// Counts what is said of an object, if that is when its change became enforced. Of a change that
    /// an operator did not see come the time is not known, and it is not counted.
    pub fn note(&self, kind: Enforceable, verdict: &Verdict) {
        if let (Reason::Enforced, Some(took)) = (verdict.reason, verdict.took) {
            let labels = Labels { kind: kind.kind() };
            self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    /// Serves `/metrics` until dropped. An address that is taken costs the metrics, and is said.
    pub async fn serve(self, address: SocketAddr) {
        let router = Router::new().route("/metrics", get(render)).with_state(self);
        let served = match TcpListener::bind(address).await {
            Ok(listener) => axum::serve(listener, router).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            warn!(%address, %error, "no metrics are served");
        }
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

async fn render(State(metrics): State<Metrics>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn verdict(reason: Reason, took: Option<Duration>) -> Verdict {
        Verdict {
            generation: 1,
            version: "1".parse().unwrap(),
            reason,
            since: None,
            enforced: 1,
            desired: 1,
            slowest: None,
            laggards: Vec::new(),
            took,
        }
    }

    #[test]
    fn only_what_was_seen_to_become_enforced_is_counted() {
        let metrics = Metrics::default();
        let took = Some(Duration::from_millis(300));
        metrics.note(Enforceable::Tier, &verdict(Reason::Enforced, took));
        metrics.note(Enforceable::Tier, &verdict(Reason::Enforced, None));
        metrics.note(Enforceable::Tier, &verdict(Reason::Pending, took));
        let text = metrics.text().unwrap();
        for line in [
            "brindle_operator_time_to_enforced_seconds_count{kind=\"Tier\"} 1\n",
            "brindle_operator_time_to_enforced_seconds_bucket{le=\"0.25\",kind=\"Tier\"} 0\n",
            "brindle_operator_time_to_enforced_seconds_bucket{le=\"0.5\",kind=\"Tier\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
