//! What an API server says about objects: state without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use serde_json::Value;

use super::resource;
use super::status::{self, AllTold, Board};
use super::watch::Told;
use crate::decode::decode;
use crate::document::{self, Revision};
use crate::event::{Changes, Reached};
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
    /// Up to where resources have been told since the last flush.
    reached: BTreeMap<&'static str, Reached>,
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
                self.advance(kind, &object["metadata"]["resourceVersion"], true);
                if let Some(key) = key(kind, &object) {
                    self.remove(key);
                }
            }
            Told::Listed(version) => {
                let gone = self.listing.remove(&kind).unwrap_or_default();
                self.advance(kind, &version.into(), true);
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
        let mut changes =
            Changes { reached: std::mem::take(&mut self.reached), ..Changes::default() };
        self.objects.flush(&mut changes, |_| {});
        changes
    }

    /// Notes that a kind has been told up to a version. `asks` tells whether what is asked for has
    /// changed with it.
    fn advance(&mut self, kind: Kind, version: &Value, asks: bool) {
        // What a list tells has no order.
        if !decides(kind) || self.listing.contains_key(&kind) {
            return;
        }
        let Some(version) = version.as_str().and_then(|text| text.parse().ok()) else { return };
        let reached = self.reached.entry(resource::plural(kind)).or_default();
        reached.version = reached.version.max(version);
        reached.asks |= asks;
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
        let Some(key) = name(kind, &mut object) else { return };
        let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
        if writes_status(kind) {
            let mut told = self.told().lock().unwrap_or_else(PoisonError::into_inner);
            match status::Told::of(&object) {
                Some(said) => told.insert(key.clone(), said),
                None => told.remove(&key),
            };
        }
        let before = self.objects.claims(&key).first().map(|claim| claim.revision);
        let revision = Revision::Generation(generation);
        self.advance(kind, &object["metadata"]["resourceVersion"], before != Some(revision));
        let decoded = decode(&key, object);
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

/// Whether objects of the kind say what is enforced: those that get the condition `Enforced`.
fn decides(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Tier
            | Kind::NetworkPolicy
            | Kind::GlobalNetworkPolicy
            | Kind::NetworkSet
            | Kind::GlobalNetworkSet
            | Kind::ClusterNetworkPolicy
            | Kind::HostEndpoint
    )
}

/// Whether Brindle writes the status of a kind's objects: of its own ones, and of the one upstream
/// kind that has a place for it.
fn writes_status(kind: Kind) -> bool {
    let own = kind.api_version() == brindle_api::API_VERSION;
    kind.has_status() && (own || kind == Kind::ClusterNetworkPolicy)
}

/// Which object this is, after it has been given what lists leave out.
pub(super) fn name(kind: Kind, object: &mut Value) -> Option<ObjectKey> {
    let key = key(kind, object)?;
    // Metadata alone comes under a name of its own.
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.name().into();
    Some(key)
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
        store.take(Kind::Namespace, Told::Listed(String::new()));
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
    fn a_kind_is_reached_up_to_its_list_and_then_its_events() {
        fn tier(version: &str, generation: i64) -> Told {
            Told::Object(json!({
                "metadata": {"name": "t", "resourceVersion": version, "generation": generation},
                "spec": {},
            }))
        }
        let mut store = Store::default();
        let mut take = |told: Vec<Told>| {
            told.into_iter().for_each(|told| store.take(Kind::Tier, told));
            let reached = store.flush().reached.remove("tiers");
            reached.map(|reached| (reached.version.to_string(), reached.asks))
        };
        let reached = |version: &str, asks| Some((version.to_owned(), asks));
        assert_eq!(take(vec![Told::Listing, tier("7", 1)]), None, "a list has no order");
        assert_eq!(take(vec![Told::Listed("9".to_owned())]), reached("9", true));
        assert_eq!(take(vec![tier("10", 1)]), reached("10", false), "its status was written");
        assert_eq!(take(vec![tier("11", 2), tier("12", 2)]), reached("12", true));
        let gone = json!({"metadata": {"name": "t", "resourceVersion": "100"}});
        assert_eq!(take(vec![Told::Deleted(gone)]), reached("100", true));
        store.take(Kind::Namespace, namespace("a", "1"));
        assert_eq!(store.flush().reached, BTreeMap::new(), "pods and their like are not counted");
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
