//! `POST /bgp/diff`: what edits of objects would change for the speaker.
//!
//! ```text
//! EditFiles ─ read like a source ─> updates ─ copy of the compiler's routing ─> changes
//!                                     copy of the speaker <─ orders <─ bridge <─┘
//! ```
//! Each stage is the one that the objects would go through if they were written.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use brindle_bgp_speaker::PlanError;
use brindle_compiler::{Compiler, Missing};
use brindle_model::admin::EditFiles;
use brindle_model::cluster::Update;
use brindle_sources::convert;
use brindle_sources::edits;
use brindle_sources::object::ObjectKey;

use super::{Refused, Shared, Sources, blocking, stopping};

/// The request.
pub fn routes() -> Router<Arc<Sources>> {
    Router::new().route("/bgp/diff", post(diff))
}

fn wrong(error: impl std::fmt::Display) -> Refused {
    Refused(StatusCode::BAD_REQUEST, error.to_string())
}

async fn diff(
    State(sources): Shared,
    body: Result<Json<EditFiles>, JsonRejection>,
) -> Result<Response, Refused> {
    let Json(files) =
        body.map_err(|rejection| Refused(rejection.status(), rejection.body_text()))?;
    let updates = updates(&files)?;
    if sources.pipeline.generation().is_none() {
        let text = "the agent has not read all objects yet: there is nothing to compare with";
        return Err(stopping(text));
    }
    let pipeline = sources.pipeline.clone();
    let list = updates.values().cloned().collect();
    let tried = blocking(move || pipeline.inspect(move |compiler| compiler.try_routing(list)));
    let changes = tried.await?.map_err(stopping)?.map_err(|Missing(update)| {
        let key = updates.iter().find(|(_, other)| **other == update).map(|(key, _)| key);
        wrong(match key {
            Some(key) => format!("there is no {key} that could be gone"),
            None => "what is to be gone is not there".to_owned(),
        })
    })?;
    let plan = sources.plans.plan(changes).await.map_err(|error| match error {
        PlanError::TooLarge { .. } => Refused(StatusCode::CONFLICT, error.to_string()),
        PlanError::Failed => Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        PlanError::Stopped(stopped) => stopping(stopped),
    })?;
    Ok(Json(plan).into_response())
}

/// What the files say, of what concerns routing.
fn updates(files: &EditFiles) -> Result<BTreeMap<ObjectKey, Update>, Refused> {
    let mut updates = BTreeMap::new();
    for file in &files.without {
        let objects = edits::read(&file.name, &file.text).map_err(wrong)?;
        let gone = objects.into_keys().filter_map(|key| {
            let update = convert::update(&key, None)?;
            Some((key, update))
        });
        updates.extend(gone);
    }
    for file in &files.with {
        let objects = edits::read(&file.name, &file.text).map_err(wrong)?;
        updates.extend(objects.into_iter().map(|(key, (_, update))| (key, update)));
    }
    updates.retain(|_, update| Compiler::concerns_routing(update));
    match updates.is_empty() {
        true => Err(wrong(
            "no object of the files concerns BGP: that is BGPConfiguration, BGPPeer, BGPFilter, \
             Node, Service and EndpointSlice",
        )),
        false => Ok(updates),
    }
}
