//! The status of Brindle's own objects in the API server: accepted or not, and why.
//!
//! Every agent judges every object, and all come to the same result, so one write is enough. Nobody
//! is elected: each object ranks the nodes in an order of its own, the first one writes at once, and
//! the next ones wait a little longer each. Whoever sees meanwhile that the object says what it
//! would write, does not write. A node that is down costs its objects a delay; no requests are made
//! to find out who is there, and a write more than needed does no harm, as it is a server-side apply
//! of the same text.
//!
//! An agent writes when its own judgement changes, never because the text of another differs: two
//! versions that word a problem differently do not answer each other.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::resource;
use crate::document::Revision;
use crate::object::ObjectKey;
use crate::report::ObjectReport;

/// The owner of what agents write, whichever of them does.
const MANAGER: &str = "brindle";
/// The condition's type.
const ACCEPTED: &str = "Accepted";
/// How much later each node of an object's order writes than the one before.
const STEP: Duration = Duration::from_secs(2);
/// Nodes of an object's order that wait differently long.
const STEPS: u32 = 30;
/// Pause after each write, so that an agent makes at most 20 a second.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause before a write that failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest message, bytes.
const MESSAGE: usize = 4096;
/// What is to be told, and when. A later judgement of an object replaces an earlier one.
#[derive(Debug, Default)]
pub(super) struct Board {
    due: Mutex<Due>,
    changed: Notify,
}

type Due = BTreeMap<ObjectKey, (Instant, Arc<ObjectReport>)>;

/// What an object's status says already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    generation: i64,
    accepted: String,
    since: String,
}

/// What the objects say, as far as the watches know.
pub(super) type AllTold = Arc<Mutex<BTreeMap<ObjectKey, Told>>>;

impl Told {
    /// What this object says; `None` if that is nothing.
    pub fn of(object: &Value) -> Option<Self> {
        let conditions = object["status"]["conditions"].as_array()?;
        let accepted = conditions.iter().find(|c| c["type"] == ACCEPTED)?;
        Some(Self {
            generation: accepted["observedGeneration"].as_i64()?,
            accepted: accepted["status"].as_str()?.to_owned(),
            since: accepted["lastTransitionTime"].as_str()?.to_owned(),
        })
    }
}

/// What an object says of the generation that it has; `None` if that is nothing.
pub(super) fn accepted_in(object: &Value) -> Option<bool> {
    let told = Told::of(object)?;
    let current = object["metadata"]["generation"].as_i64() == Some(told.generation);
    current.then_some(told.accepted == "True")
}

/// A node's place in the order of an object, from 0.
pub(super) fn rank<'a>(
    key: &ObjectKey,
    node: &str,
    nodes: impl Iterator<Item = &'a ObjectKey>,
) -> u32 {
    let weight = |node: &str| {
        let mut hasher = DefaultHasher::new();
        (key, node).hash(&mut hasher);
        hasher.finish()
    };
    let own = weight(node);
    nodes.filter(|other| weight(&other.name) < own).take(STEPS as usize).count() as u32
}

impl Board {
    /// Notes a judgement, or that an object is gone. `rank` is this node's place in the object's
    /// order.
    pub fn note(&self, key: &ObjectKey, report: Option<&Arc<ObjectReport>>, rank: u32) {
        let mut due = self.due();
        match report {
            Some(report) => due.insert(key.clone(), (Instant::now() + STEP * rank, report.clone())),
            None => due.remove(key),
        };
        drop(due);
        self.changed.notify_one();
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn earliest(&self) -> Option<(Instant, ObjectKey)> {
        let due = self.due();
        let earliest = due.iter().map(|(key, (at, _))| (*at, key)).min();
        earliest.map(|(at, key)| (at, key.clone()))
    }

    /// Puts a judgement back whose write failed, unless there is a later one.
    fn again(&self, key: ObjectKey, report: Arc<ObjectReport>) {
        self.due().entry(key).or_insert_with(|| (Instant::now() + AGAIN, report));
    }

    /// Writes what is due, for as long as the runtime lasts.
    pub async fn write(self: Arc<Self>, client: Client, told: AllTold) {
        loop {
            let Some((at, key)) = self.earliest() else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = self.changed.notified() => continue,
                () = sleep_until(at) => {}
            }
            let Some((_, report)) = self.due().remove(&key) else { continue };
            let said = told.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
            if said.as_ref().is_some_and(|said| says(said, &report)) {
                continue;
            }
            match timeout(ANSWER, apply(&client, &key, &report, said.as_ref())).await {
                Ok(Ok(())) => {}
                // It is gone, or its definition is.
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {}
                Ok(Err(error)) => {
                    tracing::warn!(object = %key, %error, "cannot write the status");
                    self.again(key, report);
                }
                Err(_) => self.again(key, report),
            }
            sleep(PAUSE).await;
        }
    }
}

fn says(said: &Told, report: &ObjectReport) -> bool {
    said.generation == generation(report) && said.accepted == accepted(report)
}

fn generation(report: &ObjectReport) -> i64 {
    match report.revision {
        Revision::Generation(generation) => generation,
        Revision::Text(_) => 0,
    }
}

fn accepted(report: &ObjectReport) -> &'static str {
    if report.is_accepted() { "True" } else { "False" }
}

async fn apply(
    client: &Client,
    key: &ObjectKey,
    report: &ObjectReport,
    said: Option<&Told>,
) -> Result<(), kube::Error> {
    let object = object(key, report, said);
    let request = Request::new(resource::path_of(key));
    let params = PatchParams::apply(MANAGER).force();
    let request = request.patch_subresource("status", &key.name, &params, &Patch::Apply(object));
    let request = request.map_err(kube::Error::BuildRequest)?;
    client.request::<Value>(request).await.map(drop)
}

fn object(key: &ObjectKey, report: &ObjectReport, said: Option<&Told>) -> Value {
    let status = accepted(report);
    let reason = match (report.is_accepted(), report.has_effect) {
        (true, _) => "Accepted",
        (false, true) => "Broken",
        (false, false) => "Refused",
    };
    let unchanged = said.filter(|said| said.accepted == status);
    let since = unchanged.map_or_else(now, |said| said.since.clone());
    let mut object = json!({
        "apiVersion": key.kind.api_version(),
        "kind": key.kind.name(),
        "metadata": { "name": &*key.name },
        "status": {
            "conditions": [{
                "type": ACCEPTED,
                "status": status,
                "reason": reason,
                "message": message(report),
                "observedGeneration": generation(report),
                "lastTransitionTime": since,
            }],
        },
    });
    // Others' kinds have conditions and nothing else.
    if key.kind.api_version() == brindle_api::API_VERSION {
        object["status"]["observedGeneration"] = generation(report).into();
    }
    if let Some(namespace) = &key.namespace {
        object["metadata"]["namespace"] = (&**namespace).into();
    }
    object
}

/// The problems in words, warnings too; how a broken policy fails is said first.
fn message(report: &ObjectReport) -> String {
    let mut text = match (report.is_accepted(), report.has_effect) {
        (true, _) => String::new(),
        (false, true) => "what is broken admits nobody: ".to_owned(),
        (false, false) => "without effect: ".to_owned(),
    };
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    text += &problems.join("; ");
    let end = (0..=MESSAGE.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

/// The time, in whole seconds as everywhere in Kubernetes.
fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use brindle_model::Name;

    use super::*;
    use crate::object::Kind;
    use crate::problem::{Problem, Severity};

    fn key(kind: Kind, name: &str) -> ObjectKey {
        ObjectKey { kind, namespace: None, name: Name::from(name) }
    }

    #[test]
    fn ranks_are_an_order_of_the_nodes() {
        let nodes: Vec<ObjectKey> = (0..10).map(|i| key(Kind::Node, &format!("n{i}"))).collect();
        let mut first = std::collections::BTreeSet::new();
        for object in 0..100 {
            let object = key(Kind::Tier, &format!("t{object}"));
            let mut ranks: Vec<(u32, &str)> =
                nodes.iter().map(|n| (rank(&object, &n.name, nodes.iter()), &*n.name)).collect();
            ranks.sort_unstable();
            assert!(ranks.iter().map(|(rank, _)| *rank).eq(0..10), "{ranks:?}");
            first.insert(ranks[0].1.to_owned());
        }
        assert_eq!(first.len(), 10, "the writes are shared: {first:?}");
    }

    #[test]
    fn what_is_written_is_read_back_as_said() {
        let problem = Problem {
            severity: Severity::Error,
            field: "spec.cidr".to_owned(),
            message: "no CIDR".to_owned(),
        };
        let report = ObjectReport {
            place: None,
            revision: Revision::Generation(3),
            has_effect: false,
            problems: vec![problem],
        };
        let object = object(&key(Kind::IpPool, "p"), &report, None);
        let condition = &object["status"]["conditions"][0];
        assert_eq!(condition["message"], "without effect: spec.cidr: no CIDR");
        assert_eq!(condition["reason"], "Refused");
        let said = Told::of(&object).unwrap();
        assert!(says(&said, &report));
        assert!(!says(
            &said,
            &ObjectReport { revision: Revision::Generation(4), ..report.clone() }
        ));
        assert!(!says(&said, &ObjectReport { problems: Vec::new(), ..report }));
    }
}
