//! One copy of equal values.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// Fewer values than this are not worth a search for unused ones.
const SMALL: usize = 1024;

/// A set of shared values; those that nobody else holds go when the set has doubled.
#[derive(Clone, Debug)]
pub(crate) struct Interner<T> {
    values: HashSet<Arc<T>>,
    collect_at: usize,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), collect_at: SMALL }
    }
}

impl<T: Eq + Hash> Interner<T> {
    /// The shared copy of a value.
    pub(crate) fn intern(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.values.get(&value) {
            return known.clone();
        }
        if self.values.len() >= self.collect_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.collect_at = (2 * self.values.len()).max(SMALL);
        }
        let shared = Arc::new(value);
        self.values.insert(shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_go() {
        let mut interner = Interner::default();
        let kept = interner.intern(0);
        assert!(Arc::ptr_eq(&kept, &interner.intern(0)));
        for value in 1..100_000 {
            interner.intern(value);
            assert!(interner.values.len() <= SMALL, "nobody holds more than one");
        }
        assert!(Arc::ptr_eq(&kept, &interner.intern(0)));
    }
}
