//! What an API server says about objects: state without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use serde_json::Value;

use super::status::{self, AllTold, Board};
use super::watch::Told;
use crate::decode::decode;
use crate::document::{self, Revision};
use crate::event::Changes;
use crate::object::{Kind, ObjectKey};
use crate::objects::Objects;
use crate::report::ObjectReport;

/// The objects of an API server.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: Objects,
    /// Kinds that are being listed, with the objects of which the list has not told.
    listing: BTreeMap<Kind, BTreeSet<ObjectKey>>,
    listed: BTreeSet<Kind>,
    told: AllTold,
}

impl Store {
    /// Takes in what a watch has told.
    pub fn take(&mut self, kind: Kind, told: Told) {
        match told {
            Told::Listing => {
                let known = self.objects.keys(kind).cloned().collect();
                self.listing.insert(kind, known);
            }
            Told::Object(object) => self.put(kind, object),
            Told::Deleted(object) => {
                if let Some(key) = key(kind, &object) {
                    self.remove(key);
                }
            }
            Told::Listed => {
                let gone = self.listing.remove(&kind).unwrap_or_default();
                gone.into_iter().for_each(|key| self.remove(key));
                self.listed.insert(kind);
            }
        }
    }

    /// Whether a kind was listed whole once.
    pub fn is_listed(&self, kind: Kind) -> bool {
        self.listed.contains(&kind)
    }

    /// Takes what has changed since the last time.
    pub fn flush(&mut self) -> Changes {
        let mut changes = Changes::default();
        self.objects.flush(&mut changes, |_| {});
        changes
    }

    /// What the objects' own status says.
    pub fn told(&self) -> &AllTold {
        &self.told
    }

    /// Notes what is to be written into objects that have changed.
    pub fn note(&self, changes: &Changes, node: &str, board: &Board) {
        for (key, report) in &changes.objects {
            self.note_one(key, report.as_ref(), node, board);
        }
    }

    /// Notes what is to be written into all objects.
    pub fn note_all(&self, node: &str, board: &Board) {
        for (key, report) in self.objects.reports() {
            self.note_one(key, Some(report), node, board);
        }
    }

    fn note_one(
        &self,
        key: &ObjectKey,
        report: Option<&Arc<ObjectReport>>,
        node: &str,
        board: &Board,
    ) {
        if writes_status(key.kind) {
            let rank = status::rank(key, node, self.objects.keys(Kind::Node));
            board.note(key, report, rank);
        }
    }

    fn remove(&mut self, key: ObjectKey) {
        self.told().lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        self.objects.withdraw(key, |_| true);
    }

    fn put(&mut self, kind: Kind, mut object: Value) {
        let Some(key) = key(kind, &object) else { return };
        // Lists leave them out, and metadata alone comes under a name of its own.
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.name().into();
        let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
        if writes_status(kind) {
            let mut told = self.told().lock().unwrap_or_else(PoisonError::into_inner);
            match status::Told::of(&object) {
                Some(said) => told.insert(key.clone(), said),
                None => told.remove(&key),
            };
        }
        let decoded = decode(&key, object);
        let revision = Revision::Generation(generation);
        let (key, claim) = self.objects.convert(key, &decoded, None, revision);
        if !kind.has_status() {
            for problem in &claim.conversion.problems {
                tracing::warn!(object = %key, %problem, "broken");
            }
        }
        if let Some(unnamed) = self.listing.get_mut(&kind) {
            unnamed.remove(&key);
        }
        self.objects.withdraw(key.clone(), |_| true);
        self.objects.claim(key, claim);
    }
}

/// Whether Brindle writes the status of a kind's objects: of its own ones.
fn writes_status(kind: Kind) -> bool {
    kind.has_status() && kind.api_version() == brindle_api::API_VERSION
}

/// Which object this is. An API server has none without a name.
fn key(kind: Kind, object: &Value) -> Option<ObjectKey> {
    document::key(kind, object)
        .inspect_err(|error| tracing::error!(error, "the API server told of a nameless object"))
        .ok()
}

#[cfg(test)]
mod tests {
    use brindle_model::cluster::Update;
    use serde_json::json;

    use super::*;

    fn namespace(name: &str, label: &str) -> Told {
        Told::Object(json!({"metadata": {"name": name, "labels": {"a": label}}}))
    }

    fn list(store: &mut Store, objects: Vec<Told>) -> Vec<String> {
        store.take(Kind::Namespace, Told::Listing);
        objects.into_iter().for_each(|told| store.take(Kind::Namespace, told));
        store.take(Kind::Namespace, Told::Listed);
        told(store)
    }

    fn told(store: &mut Store) -> Vec<String> {
        let updates = store.flush().updates.into_iter();
        let line = |update| match update {
            Update::Namespace(name, Some(_)) => format!("{name} is"),
            Update::Namespace(name, None) => format!("{name} is gone"),
            other => panic!("{other:?}"),
        };
        updates.map(line).collect()
    }

    #[test]
    fn a_list_takes_away_what_it_does_not_name() {
        let mut store = Store::default();
        assert!(!store.is_listed(Kind::Namespace));
        let first = list(&mut store, vec![namespace("a", "1"), namespace("b", "1")]);
        assert_eq!(first, ["a is", "b is"]);
        assert!(store.is_listed(Kind::Namespace));
        let second = list(&mut store, vec![namespace("b", "1"), namespace("c", "1")]);
        assert_eq!(second, ["a is gone", "c is"]);
    }

    #[test]
    fn a_list_that_breaks_off_takes_nothing_away() {
        let mut store = Store::default();
        list(&mut store, vec![namespace("a", "1"), namespace("b", "1")]);
        store.take(Kind::Namespace, Told::Listing);
        store.take(Kind::Namespace, namespace("a", "2"));
        assert_eq!(told(&mut store), ["a is"]);
        assert_eq!(list(&mut store, vec![namespace("b", "1")]), ["a is gone"]);
    }

    #[test]
    fn a_broken_object_is_absent_alone() {
        let mut store = Store::default();
        list(&mut store, vec![namespace("a", "1"), namespace("b", "1")]);
        let broken = json!({"metadata": {"name": "a", "labels": {"a": 1}}});
        store.take(Kind::Namespace, Told::Object(broken));
        store.take(Kind::Namespace, namespace("b", "2"));
        assert_eq!(told(&mut store), ["a is gone", "b is"]);
    }
}
