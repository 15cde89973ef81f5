//! The one `Installation`: objects are made as it says, and kept so.
//!
//! ```text
//!  Installation ──┐                ┌─> apply (server-side, forced) whatever differs
//!  own objects  ──┴─> this task ───┼─> Available, Progressing, Degraded
//!  (metadata)                      └─> deleted? agents, nodes, everything; then the finalizer
//! ```
//! Drift shows as an event of an object that carries our label, or that does not any more. All
//! objects are applied then: what is as it should be is not written by the API server, and makes no
//! further event.

mod health;
mod render;
mod uninstall;

use std::collections::BTreeMap;
use std::time::Duration;

use brindle_api::{API_VERSION, INSTALLATION_NAME, Installation, InstallationSpec};
use brindle_sources::kubernetes::Connection;
use brindle_sources::kubernetes::watch::{Listing, Message, Told, Watch};
use k8s_openapi::Resource;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::objects::{ObjectError, Objects, name, now, owned_paths, path, path_of, title};
use health::{Condition, Findings, Rollout};
use uninstall::Step;

/// Keeps an Installation until nothing of it is left.
const FINALIZER: &str = "brindle.io/uninstall";
/// Messages that may wait.
const QUEUE: usize = 64;
/// Least time between two looks, so that a burst of events costs one.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two looks while something is under way.
const SOON: Duration = Duration::from_secs(3);
/// Time after which everything is applied again, whatever events said.
const ALL_AGAIN: Duration = Duration::from_secs(300);
/// Labels of the agent's pods.
const AGENTS: &str = "app.kubernetes.io/component=agent";

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Followed {
    Installation,
    /// Objects of this kind with our label.
    Own(&'static str),
}

impl std::fmt::Display for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Installation => Installation::KIND,
            Self::Own(kind) => kind,
        })
    }
}

/// Follows the Installation for as long as it is polled. `grace` is told how long nodes may be gone;
/// `default_grace` is what that is unless the Installation says.
pub async fn follow(
    connection: &Connection,
    grace: &watch::Sender<Duration>,
    default_grace: Duration,
) {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let listing = Listing { path: installations(), ..Listing::default() };
    start(connection, Followed::Installation, listing, &sender);
    let mut task = Task {
        server: Objects::new(connection.client().clone()),
        found: None,
        versions: BTreeMap::new(),
        is_stale: true,
        applied: None,
        refused: Vec::new(),
        said: None,
    };
    let mut follows_own = false;
    let mut next = Instant::now() + ALL_AGAIN;
    loop {
        tokio::select! {
            Some(message) = receiver.recv() => {
                task.take(message);
                while let Ok(message) = receiver.try_recv() {
                    task.take(message);
                }
                if task.found.is_some() && !follows_own {
                    follows_own = true;
                    follow_own(connection, &sender);
                }
                let period = task.spec().ok().and_then(|spec| spec.node_grace_period);
                let period = period.map_or(default_grace, |p| Duration::from_secs(p.seconds().into()));
                grace.send_if_modified(|known| std::mem::replace(known, period) != period);
                next = next.min(Instant::now() + LOOK);
            }
            () = sleep_until(next) => next = Instant::now() + task.look().await,
        }
    }
}

fn installations() -> String {
    format!("/apis/{API_VERSION}/{}", Installation::URL_PATH_SEGMENT)
}

fn follow_own(connection: &Connection, sender: &mpsc::Sender<Message<Followed>>) {
    let (key, value) = render::MANAGED;
    for (kind, path) in owned_paths() {
        let listing = Listing {
            path: path.to_owned(),
            labels: Some(format!("{key}={value}")),
            // Its status is looked at when something has changed; events need not carry it.
            metadata_only: kind != "DaemonSet",
            comes_soon: false,
        };
        start(connection, Followed::Own(kind), listing, sender);
    }
}

fn start(
    connection: &Connection,
    followed: Followed,
    listing: Listing,
    sender: &mpsc::Sender<Message<Followed>>,
) {
    let watch = Watch::new(connection.client().clone(), followed, listing, sender.clone());
    connection.spawn(watch.run());
}

struct Task {
    server: Objects,
    found: Option<Value>,
    /// Of each own object, what changes when somebody changes it.
    versions: BTreeMap<(&'static str, String), String>,
    /// Whether something may not be as it should be.
    is_stale: bool,
    /// When everything was applied.
    applied: Option<Instant>,
    /// What could not be.
    refused: Vec<String>,
    /// The status that was last written.
    said: Option<Value>,
}

impl Task {
    fn take(&mut self, message: Message<Followed>) {
        let Message::Told(followed, told) = message else { return };
        match (followed, told) {
            (Followed::Installation, Told::Object(object)) => self.put(object),
            (Followed::Installation, Told::Deleted(_)) => {
                self.found = None;
                self.said = None;
            }
            (Followed::Own(kind), Told::Object(object)) => {
                let metadata = &object["metadata"];
                // The generation leaves writes of a status out; a kind without one has no status.
                let version = match metadata["generation"].as_i64() {
                    Some(generation) => generation.to_string(),
                    None => metadata["resourceVersion"].as_str().unwrap_or_default().to_owned(),
                };
                let key = (kind, name(&object).to_owned());
                if self.versions.insert(key, version.clone()).as_ref() != Some(&version) {
                    self.is_stale = true;
                }
            }
            (Followed::Own(kind), Told::Deleted(object)) => {
                self.versions.remove(&(kind, name(&object).to_owned()));
                self.is_stale = true;
            }
            // After a gap, whatever was missed.
            (Followed::Own(_), Told::Listed(_)) => self.is_stale = true,
            (_, Told::Listing | Told::Listed(_)) => {}
        }
    }

    fn put(&mut self, object: Value) {
        let generation = |object: &Value| object["metadata"]["generation"].clone();
        let before = self.found.as_ref().map(generation);
        self.is_stale |= before != Some(generation(&object));
        self.found = Some(object);
    }

    fn spec(&self) -> Result<InstallationSpec, serde_json::Error> {
        let spec = self.found.as_ref().map(|found| found["spec"].clone());
        spec.map_or_else(|| Ok(InstallationSpec::default()), serde_json::from_value)
    }

    /// Brings the cluster nearer to what is asked for; returns when to look again.
    async fn look(&mut self) -> Duration {
        let Some(found) = self.found.clone() else { return ALL_AGAIN };
        let spec = match self.spec() {
            Ok(spec) => spec,
            Err(error) => {
                let message = format!("spec: {error}");
                self.say(&found, &[degraded("Invalid", message)]).await;
                return ALL_AGAIN;
            }
        };
        if !found["metadata"]["deletionTimestamp"].is_null() {
            return self.remove(&found, &spec).await;
        }
        if let Err(error) = self.keep(&found).await {
            warn!(%error, "cannot add the finalizer; trying again");
            return SOON;
        }
        if self.applied.is_none_or(|applied| applied.elapsed() >= ALL_AGAIN) {
            self.is_stale = true;
        }
        if std::mem::take(&mut self.is_stale) {
            self.apply(&spec).await;
        }
        let (findings, settled) = self.findings().await;
        self.say(&found, &findings.conditions()).await;
        if settled { ALL_AGAIN } else { SOON }
    }

    /// Adds the finalizer.
    async fn keep(&self, found: &Value) -> Result<(), ObjectError> {
        let mut all = finalizers(found);
        if all.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(());
        }
        all.push(FINALIZER.into());
        self.set_finalizers(found, all).await
    }

    /// Removes the finalizer.
    async fn release(&self, found: &Value) -> Result<(), ObjectError> {
        // As it is now: its status has just been written.
        let fresh = self.server.get(&installations(), INSTALLATION_NAME).await?;
        let fresh = fresh.as_ref().unwrap_or(found);
        let mut others = finalizers(fresh);
        others.retain(|finalizer| finalizer != FINALIZER);
        self.set_finalizers(fresh, others).await
    }

    async fn set_finalizers(&self, found: &Value, all: Vec<Value>) -> Result<(), ObjectError> {
        let version = &found["metadata"]["resourceVersion"];
        let patch = json!({ "metadata": { "finalizers": all, "resourceVersion": version } });
        self.server.merge(&installations(), INSTALLATION_NAME, &patch).await
    }

    async fn apply(&mut self, spec: &InstallationSpec) {
        self.refused.clear();
        self.applied = Some(Instant::now());
        let objects = match render::objects(spec) {
            Ok(objects) => objects,
            Err(error) => return self.refused.push(error.to_string()),
        };
        for object in &objects {
            let applied = match path_of(object) {
                Ok(path) => self.server.apply(path, object).await,
                Err(error) => Err(error),
            };
            if let Err(error) = applied {
                warn!(object = title(object), %error, "cannot apply");
                self.refused.push(format!("{}: {error}", title(object)));
            }
        }
        // What was refused is tried again at the next look.
        self.is_stale = !self.refused.is_empty();
        info!(objects = objects.len(), refused = self.refused.len(), "applied");
    }

    /// What is known of the parts, and whether all is as it should be.
    async fn findings(&self) -> (Findings, bool) {
        let mut findings = Findings { refused: self.refused.clone(), ..Findings::default() };
        let path_to = |kind| path(kind).unwrap_or_default();
        match self.server.get(path_to("DaemonSet"), "brindle-agent").await {
            Ok(agent) => findings.agent = agent,
            Err(error) => findings.refused.push(format!("DaemonSet brindle-agent: {error}")),
        }
        let complete = findings.agent.as_ref().is_some_and(|a| Rollout::of(a).is_complete());
        if !complete {
            match self.server.list(path_to("Pod"), Some(AGENTS)).await {
                Ok(pods) => findings.pods = pods,
                Err(error) => findings.refused.push(format!("pods of the agent: {error}")),
            }
        }
        let settled = complete && findings.refused.is_empty();
        (findings, settled)
    }

    async fn remove(&mut self, found: &Value, spec: &InstallationSpec) -> Duration {
        if !finalizers(found).iter().any(|finalizer| finalizer == FINALIZER) {
            return ALL_AGAIN;
        }
        let condition = match uninstall::step(&self.server, spec).await {
            Ok(Step::Done) => match self.release(found).await {
                Ok(()) => {
                    info!("uninstalled");
                    self.versions.clear();
                    return ALL_AGAIN;
                }
                Err(error) => degraded("NotRemoved", error.to_string()),
            },
            Ok(Step::Waiting(what)) => Condition {
                kind: "Progressing",
                holds: true,
                reason: "Uninstalling",
                message: format!("waiting for {what}"),
            },
            Err(error) => degraded("NotRemoved", error.to_string()),
        };
        self.say(found, &[condition]).await;
        SOON
    }

    /// Writes the status, if it is news.
    async fn say(&mut self, found: &Value, conditions: &[Condition]) {
        let generation = found["metadata"]["generation"].as_i64().unwrap_or_default();
        let before = self.said.as_ref().unwrap_or(&found["status"]);
        let status = health::status(conditions, generation, before, &now());
        if self.said.as_ref() == Some(&status) {
            return;
        }
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": Installation::KIND,
            "metadata": { "name": INSTALLATION_NAME },
            "status": status,
        });
        match self.server.apply_status(&installations(), &object).await {
            Ok(()) => self.said = Some(status),
            Err(error) => warn!(%error, "cannot write the status of the Installation"),
        }
    }
}

fn finalizers(object: &Value) -> Vec<Value> {
    object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default()
}

fn degraded(reason: &'static str, message: String) -> Condition {
    Condition { kind: "Degraded", holds: true, reason, message }
}
