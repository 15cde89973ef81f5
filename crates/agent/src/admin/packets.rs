//! Single packets and their counts, with what the compiler knows of their decisions and pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use brindle_compiler::Compiler;
use brindle_dataplane_core::Hit;
use brindle_dataplane_core::nflog::{Event, LOGS_PER_SECOND};
use brindle_model::Name;
use brindle_model::admin::{DecisionHits, Hits, PacketReport, Packets};
use brindle_model::ruleset::{Ruleset, TierEnd};
use brindle_model::verdict::{DecisionId, Label, Verdict};

use super::{Refused, Shared, Sources, blocking, stopping};
use crate::backend::AnyBackend;
use crate::packet_log::{Entry, Remembered};

/// Parameters of `/drops` and `/logged`.
#[derive(serde::Deserialize)]
struct PacketsQuery {
    /// Only packets with a higher number.
    after: Option<u64>,
}

/// The requests.
pub fn routes() -> Router<Arc<Sources>> {
    Router::new()
        .route("/drops", get(drops))
        .route("/logged", get(logged))
        .route("/hits", get(hits))
}

async fn drops(sources: Shared, query: Query<PacketsQuery>) -> Result<Response, Refused> {
    packets(sources, query, Event::Deny).await
}

async fn logged(sources: Shared, query: Query<PacketsQuery>) -> Result<Response, Refused> {
    packets(sources, query, Event::Log).await
}

async fn packets(
    State(sources): Shared,
    Query(query): Query<PacketsQuery>,
    event: Event,
) -> Result<Response, Refused> {
    blocking(move || {
        let found = sources.packet_log.after(event, query.after.unwrap_or(0));
        let cut = found.entries.iter().any(|e| matches!(e.report.decision, Label::Cut(_)));
        let names = sources.pipeline.inspect(move |c| Names::of(c, cut)).map_err(stopping)?;
        let Remembered { entries, lost, overruns } = found;
        let packets = entries.into_iter().map(|entry| names.report(entry)).collect();
        let problem = sources.packet_log.problem();
        let per_second = match event {
            Event::Deny => sources.drops_per_second,
            Event::Log => LOGS_PER_SECOND,
        };
        Ok(Json(Packets { problem, per_second, lost, overruns, packets }).into_response())
    })
    .await?
}

async fn hits(State(sources): Shared) -> Result<Response, Refused> {
    blocking(move || {
        let counters = sources.backend.inspect(AnyBackend::counters).map_err(stopping)?;
        let actions = sources.pipeline.inspect(actions).map_err(stopping)?;
        // The backend's driver goes on meanwhile.
        let read = counters.read().map_err(stopping)?;
        let row = |Hit { decisions, packets, bytes }: Hit| DecisionHits {
            words: words(&decisions),
            action: decisions.iter().find_map(|id| actions.get(id)).cloned().unwrap_or_default(),
            decisions: decisions.to_vec(),
            packets,
            bytes,
        };
        let decisions = read.hits.into_iter().map(row).collect();
        Ok(Json(Hits { decisions, left_out: read.left_out }).into_response())
    })
    .await?
}

fn words(decisions: &[DecisionId]) -> String {
    let words: Vec<_> = decisions.iter().map(ToString::to_string).collect();
    words.join(", or ")
}

/// What the compiler calls things.
struct Names {
    /// The pod behind an interface.
    pods: BTreeMap<Name, String>,
    /// Decisions by what their label begins with if it does not say them.
    cut: BTreeMap<String, DecisionId>,
}

impl Names {
    fn of(compiler: &Compiler, cut: bool) -> Self {
        let ruleset = compiler.ruleset();
        let pod = |(id, endpoint): (&brindle_model::cluster::EndpointId, &Arc<_>)| {
            let endpoint: &brindle_model::ruleset::Endpoint = endpoint;
            (endpoint.host_interface.clone(), id.pod.to_string())
        };
        let labels = actions(compiler).into_keys().map(|id| (id.cut_label(), id));
        Self {
            pods: ruleset.endpoints.iter().map(pod).collect(),
            cut: if cut { labels.collect() } else { BTreeMap::new() },
        }
    }

    fn report(&self, entry: Entry) -> PacketReport {
        let decision = match &entry.report.decision {
            Label::Decision(decision) => Some(decision.clone()),
            Label::Cut(label) => {
                // The last label that begins so, or sorts before it.
                let last = self.cut.range(..=label.clone()).next_back();
                last.filter(|(begin, _)| label.starts_with(begin.as_str()))
                    .map(|(_, id)| id.clone())
            }
        };
        let words = match (&decision, entry.report.decision) {
            (None, Label::Cut(label)) => label,
            (None, Label::Decision(decision)) => decision.to_string(),
            (Some(decision), _) => decision.to_string(),
        };
        let pod = |interface: &Option<String>| self.pods.get(interface.as_deref()?).cloned();
        PacketReport {
            number: entry.number,
            age_seconds: Instant::now().saturating_duration_since(entry.at).as_secs_f64(),
            decision,
            words,
            hook: hook(entry.report.hook),
            from_pod: pod(&entry.input),
            to_pod: pod(&entry.output),
            input: entry.input,
            output: entry.output,
            packet: entry.report.packet,
        }
    }
}

/// `enum nf_inet_hooks`, those that we use.
fn hook(number: u8) -> String {
    match number {
        1 => "input".to_owned(),
        2 => "forward".to_owned(),
        other => other.to_string(),
    }
}

/// Every decision that the ruleset can take, and what it says.
fn actions(compiler: &Compiler) -> BTreeMap<DecisionId, String> {
    let Ruleset { policies, programs, .. } = compiler.ruleset();
    let mut actions = BTreeMap::new();
    for (id, policy) in policies {
        let staged = if id.kind.is_staged() { "staged " } else { "" };
        for rule in policy.ingress.iter().chain(&policy.egress) {
            actions.insert(rule.decision.clone(), format!("{staged}{}", rule.action));
        }
    }
    for program in programs.values() {
        let (verdict, decision) = &program.end;
        actions.insert(decision.clone(), verdict.to_string());
        let closed = program.steps.iter().filter(|step| step.end == TierEnd::Drop);
        let end = |tier: &Name| DecisionId::TierEnd { tier: tier.clone() };
        actions.extend(closed.map(|step| (end(&step.tier), Verdict::Deny.to_string())));
    }
    let always = [
        DecisionId::Revoked,
        DecisionId::Invalid,
        DecisionId::Spoof,
        DecisionId::UnknownEndpoint,
        DecisionId::OverCapacity,
    ];
    actions.extend(always.map(|decision| (decision, Verdict::Deny.to_string())));
    actions
}
