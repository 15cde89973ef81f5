//! Tells the API server up to where this node enforces policy, in one small object of the node.
//!
//! ```text
//!  source ── Reached, compiled into a generation ──┐
//!                                                  ├──> NodeEnforcement
//!  dataplane's driver ── Applied, problem ─────────┘
//! ```
//! How often it is written does not depend on how many policies there are: at once when something
//! that is asked for is enforced, then a second of pause. Writes of statuses move versions too; what
//! they alone have moved is told half a minute later, together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brindle_api::{NodeEnforcement, NodeEnforcementSpec, ResourceVersion};
use brindle_dataplane_core::{Applied, DriverState};
use brindle_model::Name;
use brindle_model::ruleset::Generation;
use brindle_sources::event::Reached;
use brindle_sources::kubernetes::Connection;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

/// The owner of what is written.
const MANAGER: &str = "brindle-agent";
/// Pause after a write.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a version waits that only statuses have moved.
const LATER: Duration = Duration::from_secs(30);
/// Pause after a write that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest problem that is told, bytes.
const PROBLEM: usize = 1024;

/// What versions follow each resource's name.
type Versions<V> = BTreeMap<&'static str, V>;

/// Where this node's progress is noted. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Reporter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    notes: Mutex<Notes>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Notes {
    /// What is compiled and not enforced, by the generation that holds it.
    awaited: BTreeMap<Generation, Versions<Reached>>,
    applied: Option<Generation>,
    enforced: Versions<ResourceVersion>,
    problem: Option<String>,
    awaiting_start: Vec<String>,
    /// When to write; `None` if all is written.
    due: Option<Instant>,
}

impl Reporter {
    /// Writes what is noted, on the connection's thread and as long as it lasts.
    pub fn start(connection: &Connection, node: &Name) -> Self {
        let reporter = Self::default();
        let objects = Api::all(connection.client().clone());
        connection.spawn(reporter.clone().write(objects, node.to_string()));
        reporter
    }

    /// Notes that objects up to these versions are in a generation.
    pub fn compiled(&self, generation: Generation, reached: Versions<Reached>) {
        if !reached.is_empty() {
            self.note(|notes| {
                let awaited = notes.awaited.entry(generation).or_default();
                for (resource, later) in reached {
                    let asks = awaited.get(resource).is_some_and(|earlier| earlier.asks);
                    awaited.insert(resource, Reached { asks: later.asks || asks, ..later });
                }
            });
        }
    }

    /// Notes how far the dataplane is.
    pub fn applied(&self, dataplane: &Applied) {
        let status = dataplane.status();
        let failing = status.state == DriverState::Failing;
        let mut problem = status.last_error.filter(|_| failing);
        if let Some(text) = &mut problem {
            let end = (0..=PROBLEM.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or_default());
        }
        self.note(|notes| {
            notes.applied = notes.applied.max(status.applied);
            if notes.problem != problem {
                notes.problem = problem;
                notes.write_by(Instant::now());
            }
        });
    }

    /// Notes which settings count when the agent starts again.
    pub fn awaiting_start(&self, settings: Vec<String>) {
        self.note(|notes| {
            if notes.awaiting_start != settings {
                notes.awaiting_start = settings;
                notes.write_by(Instant::now());
            }
        });
    }

    fn note(&self, change: impl FnOnce(&mut Notes)) {
        let mut notes = self.notes();
        change(&mut notes);
        notes.settle();
        drop(notes);
        self.0.changed.notify_one();
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(self, objects: Api<NodeEnforcement>, node: String) {
        let mut failures = 0_u32;
        loop {
            let due = self.notes().due;
            match due {
                None => {
                    self.0.changed.notified().await;
                    continue;
                }
                Some(due) if due > Instant::now() => {
                    tokio::select! {
                        () = self.0.changed.notified() => {}
                        () = sleep_until(due) => {}
                    }
                    continue;
                }
                Some(_) => {}
            }
            let spec = self.notes().take(&node);
            let object = NodeEnforcement {
                metadata: ObjectMeta { name: Some(node.clone()), ..ObjectMeta::default() },
                spec,
            };
            let params = PatchParams::apply(MANAGER).force();
            let patch = Patch::Apply(json!(object));
            let pause = match timeout(ANSWER, objects.patch(&node, &params, &patch)).await {
                Ok(Ok(_)) => {
                    failures = 0;
                    PAUSE
                }
                failed => {
                    let error = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer in time".to_owned(),
                    };
                    // Once a streak: the server may be away for hours.
                    if failures == 0 {
                        warn!(error, "cannot tell what this node enforces; trying again");
                    } else {
                        debug!(error, failures, "cannot tell what this node enforces");
                    }
                    failures += 1;
                    self.notes().write_by(Instant::now());
                    AGAIN
                }
            };
            sleep(pause).await;
        }
    }
}

impl Notes {
    /// Moves what has become enforced.
    fn settle(&mut self) {
        let Some(applied) = self.applied else { return };
        let later = self.awaited.split_off(&applied.next());
        for (resource, reached) in
            std::mem::replace(&mut self.awaited, later).into_values().flatten()
        {
            if self.enforced.insert(resource, reached.version) != Some(reached.version) {
                let wait = if reached.asks { Duration::ZERO } else { LATER };
                self.write_by(Instant::now() + wait);
            }
        }
    }

    fn write_by(&mut self, time: Instant) {
        self.due = Some(self.due.map_or(time, |due| due.min(time)));
    }

    /// What to write now.
    fn take(&mut self, node: &str) -> NodeEnforcementSpec {
        self.due = None;
        let versions = self.enforced.iter();
        NodeEnforcementSpec {
            node: node.to_owned(),
            resource_versions: versions.map(|(r, v)| ((*r).to_owned(), v.to_string())).collect(),
            problem: self.problem.clone(),
            awaiting_start: self.awaiting_start.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(version: &str, asks: bool) -> Versions<Reached> {
        BTreeMap::from([("tiers", Reached { version: version.parse().unwrap(), asks })])
    }

    fn told(reporter: &Reporter) -> Option<String> {
        reporter.notes().take("n1").resource_versions.remove("tiers")
    }

    #[test]
    fn a_version_is_told_when_its_generation_is_enforced() {
        let reporter = Reporter::default();
        reporter.compiled(Generation(3), reached("10", true));
        assert_eq!(reporter.notes().due, None);
        assert_eq!(told(&reporter), None);
        reporter.note(|notes| notes.applied = Some(Generation(2)));
        assert_eq!(told(&reporter), None, "generation 3 is not in the kernel");
        reporter.note(|notes| notes.applied = Some(Generation(3)));
        assert!(reporter.notes().due.is_some_and(|due| due <= Instant::now()));
        assert_eq!(told(&reporter), Some("10".to_owned()));
        assert_eq!(reporter.notes().due, None);
    }

    #[test]
    fn what_a_status_moved_alone_waits() {
        let reporter = Reporter::default();
        reporter.note(|notes| notes.applied = Some(Generation(1)));
        reporter.compiled(Generation(1), reached("10", false));
        let due = reporter.notes().due.unwrap();
        assert!(due > Instant::now() + LATER / 2);
        reporter.compiled(Generation(1), reached("11", true));
        assert!(reporter.notes().due.unwrap() <= Instant::now());
        assert_eq!(told(&reporter), Some("11".to_owned()));
    }

    #[test]
    fn of_one_generation_the_last_version_counts_and_any_question() {
        let reporter = Reporter::default();
        reporter.compiled(Generation(1), reached("10", true));
        reporter.compiled(Generation(1), reached("11", false));
        reporter.note(|notes| notes.applied = Some(Generation(1)));
        assert!(reporter.notes().due.unwrap() <= Instant::now());
        assert_eq!(told(&reporter), Some("11".to_owned()));
    }
}
