//! One kind of input: its values as of the last flush, and what came since.

use std::collections::BTreeMap;

/// Values by key. A noted value takes effect with [`Table::advance`]; of several for one key the
/// last counts, whatever came between.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    now: BTreeMap<K, V>,
    pending: BTreeMap<K, Option<V>>,
}

/// The keys whose value really changed, each with its value before.
pub(crate) type Before<K, V> = BTreeMap<K, Option<V>>;

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), pending: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V: PartialEq> Table<K, V> {
    /// Notes a value, or absence, for the next advance.
    pub fn note(&mut self, key: K, value: Option<V>) {
        self.pending.insert(key, value);
    }

    /// Whether anything was noted since the last advance.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes over what was noted.
    pub fn advance(&mut self) -> Before<K, V> {
        let pending = std::mem::take(&mut self.pending);
        if self.now.is_empty() {
            // Nearly all that there will be comes now. A tree that is made at once has full nodes,
            // one that grows in order has nodes that are half empty.
            let present = pending.into_iter().filter_map(|(key, value)| Some((key, value?)));
            self.now = present.collect();
            return self.now.keys().map(|key| (key.clone(), None)).collect();
        }
        let mut before = BTreeMap::new();
        for (key, value) in pending {
            if self.now.get(&key) == value.as_ref() {
                continue;
            }
            let old = match value {
                Some(value) => self.now.insert(key.clone(), value),
                None => self.now.remove(&key),
            };
            before.insert(key, old);
        }
        before
    }

    /// The current value.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.now.get(key)
    }

    /// The current values.
    pub fn now(&self) -> &BTreeMap<K, V> {
        &self.now
    }

    /// All current values by ascending key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.now.iter()
    }
}
