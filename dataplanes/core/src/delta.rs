//! Desired against actual, for anything that has keys.
//!
//! The intersection is stored once: twenty thousand routes that are as they should be cost one map
//! entry each, and "what is pending" is a map of its own, so that a commit walks the difference and
//! never the whole (style habit 5).
//!
//! ```text
//!                 desired
//!         ┌──────────────────────┐
//!         │ pending ┌────────────┼─────────┐
//!         │ upserts │  in_sync   │ pending │ actual
//!         │         │ (the same  │ removals│
//!         └─────────┼────────────┘         │
//!                   └──────────────────────┘
//! ```

use std::collections::BTreeMap;

/// What a key needs so that actual becomes desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending<V> {
    /// Desired, and not there.
    Create(V),
    /// Desired, and there with another value.
    Replace {
        /// What it must become.
        desired: V,
        /// What it is.
        actual: V,
    },
    /// There, and not desired.
    Remove(V),
}

impl<V> Pending<V> {
    fn new(desired: Option<V>, actual: Option<V>) -> Option<Self> {
        match (desired, actual) {
            (Some(desired), None) => Some(Self::Create(desired)),
            (Some(desired), Some(actual)) => Some(Self::Replace { desired, actual }),
            (None, Some(actual)) => Some(Self::Remove(actual)),
            (None, None) => None,
        }
    }

    fn into_parts(self) -> (Option<V>, Option<V>) {
        match self {
            Self::Create(desired) => (Some(desired), None),
            Self::Replace { desired, actual } => (Some(desired), Some(actual)),
            Self::Remove(actual) => (None, Some(actual)),
        }
    }

    /// The desired value, if any.
    pub fn desired(&self) -> Option<&V> {
        match self {
            Self::Create(desired) | Self::Replace { desired, .. } => Some(desired),
            Self::Remove(_) => None,
        }
    }

    /// The actual value, if any.
    pub fn actual(&self) -> Option<&V> {
        match self {
            Self::Replace { actual, .. } | Self::Remove(actual) => Some(actual),
            Self::Create(_) => None,
        }
    }
}

/// Two maps, desired and actual, and their difference.
#[derive(Clone, Debug)]
pub struct DeltaTracker<K, V> {
    in_sync: BTreeMap<K, V>,
    pending: BTreeMap<K, Pending<V>>,
}

impl<K, V> Default for DeltaTracker<K, V> {
    fn default() -> Self {
        Self { in_sync: BTreeMap::new(), pending: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> DeltaTracker<K, V> {
    /// Sets the desired value of `key`; `None` removes it.
    pub fn desire(&mut self, key: K, value: Option<V>) {
        let (_, actual) = self.take(&key);
        self.put(key, value, actual);
    }

    /// Records what the outer world holds for `key`; `None` is nothing.
    pub fn observe(&mut self, key: K, value: Option<V>) {
        let (desired, _) = self.take(&key);
        self.put(key, desired, value);
    }

    /// Replaces the whole actual side: what a read-back does.
    pub fn observe_all(&mut self, actual: impl IntoIterator<Item = (K, V)>) {
        let old = std::mem::take(self);
        let mut desired: BTreeMap<K, V> = old.in_sync;
        for (key, pending) in old.pending {
            if let (Some(value), _) = pending.into_parts() {
                desired.insert(key, value);
            }
        }
        for (key, value) in actual {
            let wanted = desired.remove(&key);
            self.put(key, wanted, Some(value));
        }
        for (key, value) in desired {
            self.put(key, Some(value), None);
        }
    }

    /// Records that what was pending for `key` has been carried out.
    pub fn applied(&mut self, key: &K) {
        if let (Some(desired), _) = self.take(key) {
            self.in_sync.insert(key.clone(), desired);
        }
    }

    /// The differences, by ascending key.
    pub fn pending(&self) -> impl Iterator<Item = (&K, &Pending<V>)> {
        self.pending.iter()
    }

    /// The desired value of `key`.
    pub fn desired(&self, key: &K) -> Option<&V> {
        self.in_sync.get(key).or_else(|| self.pending.get(key).and_then(Pending::desired))
    }

    /// The actual value of `key`.
    pub fn actual(&self, key: &K) -> Option<&V> {
        self.in_sync.get(key).or_else(|| self.pending.get(key).and_then(Pending::actual))
    }

    /// What is as it should be, by ascending key.
    pub fn in_sync(&self) -> impl Iterator<Item = (&K, &V)> {
        self.in_sync.iter()
    }

    fn take(&mut self, key: &K) -> (Option<V>, Option<V>) {
        if let Some(value) = self.in_sync.remove(key) {
            return (Some(value.clone()), Some(value));
        }
        self.pending.remove(key).map_or((None, None), Pending::into_parts)
    }

    fn put(&mut self, key: K, desired: Option<V>, actual: Option<V>) {
        match (desired, actual) {
            (Some(desired), Some(actual)) if desired == actual => {
                self.in_sync.insert(key, desired);
            }
            (desired, actual) => {
                if let Some(pending) = Pending::new(desired, actual) {
                    self.pending.insert(key, pending);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Desire(u8, Option<u8>),
        Observe(u8, Option<u8>),
        ObserveAll(BTreeMap<u8, u8>),
        Applied(u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        let key = 0..6u8;
        let value = proptest::option::of(0..3u8);
        prop_oneof![
            4 => (key.clone(), value.clone()).prop_map(|(k, v)| Op::Desire(k, v)),
            3 => (key.clone(), value).prop_map(|(k, v)| Op::Observe(k, v)),
            1 => proptest::collection::btree_map(0..6u8, 0..3u8, 0..6).prop_map(Op::ObserveAll),
            2 => key.prop_map(Op::Applied),
        ]
    }

    proptest! {
        /// The tracker equals two plain maps, whatever happens to it.
        #[test]
        fn equals_two_maps(ops in proptest::collection::vec(op(), 0..60)) {
            let mut tracker = DeltaTracker::default();
            let (mut desired, mut actual) = (BTreeMap::new(), BTreeMap::new());
            let set = |map: &mut BTreeMap<u8, u8>, k, v: Option<u8>| match v {
                Some(v) => drop(map.insert(k, v)),
                None => drop(map.remove(&k)),
            };
            for op in ops {
                match op {
                    Op::Desire(k, v) => {
                        tracker.desire(k, v);
                        set(&mut desired, k, v);
                    }
                    Op::Observe(k, v) => {
                        tracker.observe(k, v);
                        set(&mut actual, k, v);
                    }
                    Op::ObserveAll(map) => {
                        tracker.observe_all(map.clone());
                        actual = map;
                    }
                    Op::Applied(k) => {
                        tracker.applied(&k);
                        set(&mut actual, k, desired.get(&k).copied());
                    }
                }
                for k in 0..6u8 {
                    prop_assert_eq!(tracker.desired(&k), desired.get(&k));
                    prop_assert_eq!(tracker.actual(&k), actual.get(&k));
                    let differs = desired.get(&k) != actual.get(&k);
                    prop_assert_eq!(tracker.pending().any(|(p, _)| *p == k), differs);
                }
            }
        }
    }
}
