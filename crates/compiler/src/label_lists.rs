//! Who has this label? Sorted lists by key and value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::cluster::{Namespace, NetworkSet, ServiceAccount};
use brindle_model::labels::Labels;

use crate::restriction::Test;
use crate::table::{Before, Table};

/// Sorted lists of keys `K` by label key and value.
#[derive(Debug)]
pub(crate) struct LabelLists<K>(BTreeMap<Name, BTreeMap<Name, Vec<K>>>);

impl<K> Default for LabelLists<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> LabelLists<K> {
    /// Everybody with a label whose value passes the test: one list a value.
    pub fn with(&self, key: &str, test: Test<'_>) -> Vec<&[K]> {
        let Some(values) = self.0.get(key) else { return Vec::new() };
        test.entries(values).into_iter().map(|(_, list)| list.as_slice()).collect()
    }

    /// Everybody with this label and value.
    pub fn with_value(&self, key: &str, value: &str) -> &[K] {
        self.0.get(key).and_then(|values| values.get(value)).map_or(&[], Vec::as_slice)
    }

    pub fn insert(&mut self, key: &Name, value: &Name, item: &K) {
        insert(self.0.entry(key.clone()).or_default(), value, item);
    }

    pub fn remove(&mut self, key: &str, value: &Name, item: &K) {
        if let Some(values) = self.0.get_mut(key) {
            remove(values, value, item);
            if values.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// Moves one from the lists of its former labels to those of its present ones.
    pub fn relabel(&mut self, item: &K, old: Option<&Labels>, new: Option<&Labels>) {
        if old == new {
            return;
        }
        for (key, value) in old.into_iter().flat_map(Labels::iter) {
            self.remove(key, value, item);
        }
        for (key, value) in new.into_iter().flat_map(Labels::iter) {
            self.insert(key, value, item);
        }
    }
}

/// Puts an item on the list of that name.
pub(crate) fn insert<K: Ord + Clone>(lists: &mut BTreeMap<Name, Vec<K>>, name: &Name, item: &K) {
    // Most values are one object's: a list begins without room for more.
    let list = lists.entry(name.clone()).or_insert_with(|| Vec::with_capacity(1));
    if let Err(at) = list.binary_search(item) {
        list.insert(at, item.clone());
    }
}

/// Takes an item off the list of that name.
pub(crate) fn remove<K: Ord>(lists: &mut BTreeMap<Name, Vec<K>>, name: &Name, item: &K) {
    let Some(list) = lists.get_mut(name) else { return };
    if let Ok(at) = list.binary_search(item) {
        list.remove(at);
    }
    if list.is_empty() {
        lists.remove(name);
    }
}

/// One kind of input that has labels, by key and by label.
#[derive(Debug)]
pub(crate) struct Labelled<K, V> {
    table: Table<K, Arc<V>>,
    lists: LabelLists<K>,
}

/// An input that has labels.
pub(crate) trait HasLabels {
    fn labels(&self) -> &Labels;
}

impl HasLabels for Namespace {
    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl HasLabels for ServiceAccount {
    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl HasLabels for NetworkSet {
    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl<K, V> Default for Labelled<K, V> {
    fn default() -> Self {
        Self { table: Table::default(), lists: LabelLists::default() }
    }
}

impl<K: Ord + Clone, V: HasLabels + PartialEq> Labelled<K, V> {
    /// Notes a value, or absence, for the next advance.
    pub fn note(&mut self, key: K, value: Option<Arc<V>>) {
        self.table.note(key, value);
    }

    /// Whether anything was noted since the last advance.
    pub fn has_pending(&self) -> bool {
        self.table.has_pending()
    }

    /// Takes over what was noted.
    pub fn advance(&mut self) -> Before<K, Arc<V>> {
        let before = self.table.advance();
        for (key, old) in &before {
            let new = self.table.get(key).map(|value| value.labels());
            self.lists.relabel(key, old.as_ref().map(|value| value.labels()), new);
        }
        before
    }

    /// The current values.
    pub fn table(&self) -> &Table<K, Arc<V>> {
        &self.table
    }

    /// The current keys by label.
    pub fn lists(&self) -> &LabelLists<K> {
        &self.lists
    }

    /// The current value, or the one before these changes.
    pub fn before<'a>(&'a self, before: &'a Before<K, Arc<V>>, key: &K) -> Option<&'a Arc<V>> {
        match before.get(key) {
            Some(before) => before.as_ref(),
            None => self.table.get(key),
        }
    }
}

impl<K: Ord + Clone> LabelLists<K> {
    /// How many labels have a list.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Several sorted lists as one, without duplicates.
pub(crate) fn joined<K: Ord + Clone>(lists: &[impl AsRef<[K]>]) -> Vec<K> {
    match lists {
        [one] => one.as_ref().to_vec(),
        several => {
            let all: BTreeSet<K> = several.iter().flat_map(|l| l.as_ref()).cloned().collect();
            all.into_iter().collect()
        }
    }
}
