//! How many objects name a shared object, so that it exists exactly as long as one does.

use std::collections::{BTreeMap, BTreeSet};

/// Counted references to keys, and the keys whose count moved since the last [`Uses::settle`].
#[derive(Debug)]
pub(crate) struct Uses<K> {
    counts: BTreeMap<K, usize>,
    touched: BTreeSet<K>,
}

impl<K> Default for Uses<K> {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Uses<K> {
    /// One more object names `key`.
    pub fn add(&mut self, key: &K) {
        *self.counts.entry(key.clone()).or_default() += 1;
        self.touched.insert(key.clone());
    }

    /// One object fewer names `key`.
    pub fn release(&mut self, key: &K) {
        let count = self.counts.get_mut(key).expect("every release follows an add");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(key);
        }
        self.touched.insert(key.clone());
    }

    /// Whether anything names `key`.
    pub fn contains(&self, key: &K) -> bool {
        self.counts.contains_key(key)
    }

    /// The keys whose count moved; a count may be back where it was.
    pub fn settle(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.touched)
    }
}
