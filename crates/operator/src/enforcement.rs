//! On how many nodes a policy is enforced.
//!
//! A node says up to which `resourceVersion` of each resource it enforces; an object, with which one
//! its generation appeared. The first at or above the second: the node enforces it. So a change of a
//! policy costs one small write a node, whatever the number of policies, and one or two writes of
//! the policy's status.
//!
//! **Who must**: nodes that exist and have ever said up to where they enforce; of a host endpoint the
//! one that it names. One that never has,
//! runs no pod of ours: an agent writes the CNI configuration when it enforces.
//!
//! **What writes of statuses do**: they move an object's version without its generation. The version
//! that counts is kept, in the status too, for the operator's next start.

mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use brindle_api::ResourceVersion;
use serde_json::Value;
use tokio::time::Instant;

pub use verdict::{Reason, Verdict};

use crate::watched::Enforceable;

/// How long a change may take before it is said that it is not enforced everywhere yet. Most changes
/// are faster, and so cost one write.
const PATIENCE: Duration = Duration::from_millis(500);
/// Least time between two accounts of one object's progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its resource.
    pub kind: Enforceable,
    /// Its namespace, if it lives in one.
    pub namespace: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
}

/// Objects, nodes, and what nodes say.
#[derive(Debug, Default)]
pub struct Enforcement {
    nodes: BTreeSet<Box<str>>,
    reports: BTreeMap<Box<str>, Report>,
    objects: BTreeMap<ObjectKey, Object>,
    /// Objects of which there may be something new to say.
    open: BTreeSet<ObjectKey>,
}

/// What a node says.
#[derive(Debug)]
struct Report {
    versions: BTreeMap<Enforceable, ResourceVersion>,
    problem: Option<Box<str>>,
}

#[derive(Debug)]
struct Object {
    uid: Box<str>,
    generation: i64,
    /// A node must enforce this kind up to here.
    version: ResourceVersion,
    /// The one node that must, if not all.
    only: Option<Box<str>>,
    /// When the generation was seen to appear, until it is enforced.
    appeared: Option<Instant>,
    accepted: Option<Accepted>,
    /// What its status says, or soon will.
    said: Option<Verdict>,
    said_at: Instant,
    /// A node that did not enforce it when last looked at.
    laggard: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accepted {
    generation: i64,
    holds: bool,
}

impl Enforcement {
    /// Takes in an object as the API server has it. `is_news` is false for what a first list tells.
    pub fn put(&mut self, kind: Enforceable, object: &Value, is_news: bool, now: Instant) {
        let Some(key) = ObjectKey::of(kind, object) else { return };
        let metadata = &object["metadata"];
        let generation = metadata["generation"].as_i64().unwrap_or_default();
        let version = metadata["resourceVersion"].as_str().and_then(|text| text.parse().ok());
        let version: ResourceVersion = version.unwrap_or_default();
        let accepted = condition(object, "Accepted").and_then(|accepted| {
            Some(Accepted {
                generation: accepted["observedGeneration"].as_i64()?,
                holds: accepted["status"] == "True",
            })
        });
        let uid = metadata["uid"].as_str().unwrap_or_default();
        let said = Verdict::read(object);
        let known = self.objects.get_mut(&key);
        match known.filter(|known| known.generation == generation && *known.uid == *uid) {
            Some(known) => {
                if known.accepted != accepted {
                    known.accepted = accepted;
                    self.open.insert(key);
                }
            }
            None => {
                let kept = said.as_ref().filter(|said| said.generation == generation);
                let version = kept.map_or(version, |said| said.version.min(version));
                let new = Object {
                    uid: uid.into(),
                    generation,
                    version,
                    only: only(kind, object),
                    appeared: (is_news && kept.is_none()).then_some(now),
                    accepted,
                    said,
                    said_at: now,
                    laggard: None,
                };
                self.objects.insert(key.clone(), new);
                self.open.insert(key);
            }
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.objects.remove(key);
        self.open.remove(key);
    }

    /// The objects of a kind.
    pub fn keys(&self, kind: Enforceable) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys().filter(move |key| key.kind == kind)
    }

    /// Takes in what a node says.
    pub fn report(&mut self, name: &str, object: &Value) {
        let said = |kind: Enforceable| {
            let text = object["spec"]["resourceVersions"][kind.resource()].as_str()?;
            Some((kind, text.parse().ok()?))
        };
        let report = Report {
            versions: Enforceable::ALL.into_iter().filter_map(said).collect(),
            problem: object["spec"]["problem"].as_str().map(Into::into),
        };
        let before = self.reports.insert(name.into(), report);
        // A node's first word may make it one that must, and one that goes back has lost something.
        let after = &self.reports[name];
        let reopens = before.is_none_or(|before| {
            before.versions.iter().any(|(kind, version)| after.versions.get(kind) < Some(version))
        });
        if reopens {
            self.open_all();
        }
    }

    /// Forgets what a node said.
    pub fn remove_report(&mut self, name: &str) {
        if self.reports.remove(name).is_some() {
            self.open_all();
        }
    }

    /// The nodes that have said something.
    pub fn reporters(&self) -> impl Iterator<Item = &str> {
        self.reports.keys().map(|name| &**name)
    }

    /// Says which nodes exist.
    pub fn set_nodes(&mut self, nodes: &BTreeSet<Box<str>>) {
        if self.nodes != *nodes {
            self.nodes.clone_from(nodes);
            self.open_all();
        }
    }

    fn open_all(&mut self) {
        self.open.extend(self.objects.keys().cloned());
    }

    /// What is new to say of objects, and when to ask again even if nothing is told meanwhile.
    pub fn news(&mut self, now: Instant) -> (Vec<(ObjectKey, Verdict)>, Option<Instant>) {
        let musts: Vec<(&str, &Report)> =
            self.nodes.iter().filter_map(|node| Some((&**node, self.reports.get(node)?))).collect();
        let (mut news, mut again) = (Vec::new(), None::<Instant>);
        let mut settled = Vec::new();
        for key in &self.open {
            let Some(object) = self.objects.get_mut(key) else { continue };
            let verdict = object.judge(key.kind, &musts, now);
            if object.said.as_ref().is_some_and(|said| said.is_as_good_as(&verdict)) {
                if verdict.reason == Reason::Enforced {
                    settled.push(key.clone());
                }
                continue;
            }
            let earliest = match verdict.reason {
                Reason::Enforced | Reason::NotAccepted => now,
                // It may be enforced at once, or may be known to be on its way already.
                _ if object.speaks_of(object.generation) => object.said_at + PROGRESS,
                _ => object.said_at + PATIENCE,
            };
            if earliest > now {
                again = Some(again.map_or(earliest, |again| again.min(earliest)));
                continue;
            }
            object.said = Some(verdict.clone());
            object.said_at = now;
            if verdict.reason == Reason::Enforced {
                object.appeared = None;
                settled.push(key.clone());
            }
            news.push((key.clone(), verdict));
        }
        settled.iter().for_each(|key| {
            self.open.remove(key);
        });
        (news, again)
    }
}

impl ObjectKey {
    /// Which object this is; `None` if it says no name.
    pub fn of(kind: Enforceable, object: &Value) -> Option<Self> {
        let metadata = &object["metadata"];
        let namespace = metadata["namespace"].as_str().map(Into::into);
        Some(Self { kind, namespace, name: metadata["name"].as_str()?.into() })
    }
}

impl Object {
    fn speaks_of(&self, generation: i64) -> bool {
        self.said.as_ref().is_some_and(|said| said.generation == generation)
    }

    fn judge(&mut self, kind: Enforceable, musts: &[(&str, &Report)], now: Instant) -> Verdict {
        let must = |(node, _): &&(&str, &Report)| self.only.as_deref().is_none_or(|o| o == *node);
        let musts: Vec<&(&str, &Report)> = musts.iter().filter(must).collect();
        let behind = |(_, report): &&&(&str, &Report)| {
            report.versions.get(&kind).is_none_or(|reached| *reached < self.version)
        };
        let laggards: Vec<&(&str, &Report)> = musts.iter().filter(behind).copied().collect();
        // One that says why is named before one that is just slow.
        let worst = laggards.iter().min_by_key(|(_, report)| report.problem.is_none());
        let slowest = worst.map_or(self.laggard.as_deref(), |(node, _)| Some(node));
        let slowest = slowest.map(Box::from);
        self.laggard = worst.map(|(node, _)| Box::from(*node));
        let accepted = self.accepted.filter(|accepted| accepted.generation == self.generation);
        let reason = match accepted {
            Some(Accepted { holds: false, .. }) => Reason::NotAccepted,
            _ if musts.is_empty() => Reason::NoNodes,
            _ if !laggards.is_empty() => Reason::Pending,
            None => Reason::NotJudged,
            Some(_) => Reason::Enforced,
        };
        let named = laggards.iter().map(|(node, report)| match &report.problem {
            Some(problem) => format!("{node}: {problem}"),
            None => (*node).to_owned(),
        });
        Verdict {
            generation: self.generation,
            version: self.version,
            reason,
            since: self.said.as_ref().and_then(|said| said.since_if(reason)),
            enforced: musts.len() - laggards.len(),
            desired: musts.len(),
            slowest,
            laggards: named.take(verdict::NAMED).collect(),
            took: self.appeared.map(|appeared| now.saturating_duration_since(appeared)),
        }
    }
}

/// The one node that must enforce an object, if not all.
fn only(kind: Enforceable, object: &Value) -> Option<Box<str>> {
    let node = object["spec"]["node"].as_str()?;
    (kind == Enforceable::HostEndpoint).then(|| node.into())
}

/// The condition of a type.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

#[cfg(test)]
mod tests;
