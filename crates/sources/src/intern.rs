//! One copy of what many objects repeat: strings, sets of labels, selectors, criteria of rules.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::labels::Labels;
use brindle_model::policy::Ends;
use brindle_model::selector::Selector;

/// Shares label keys and values, namespaces, node and port names between objects: twenty thousand
/// pods carry few distinct ones. It shares whole sets of labels too, and of policies the selectors
/// and the criteria of rules: tenants write the same rule for the same resolver, and whom one
/// policy admits another one governs.
#[derive(Debug, Default)]
pub struct Interner {
    names: Shared<Name>,
    labels: Shared<Labels>,
    selectors: Shared<Arc<Selector>>,
    ends: Shared<Arc<Ends>>,
}

/// One copy of each value.
#[derive(Debug)]
struct Shared<T> {
    values: HashSet<T>,
    /// Size at which values that nobody else holds are looked for.
    sweep_at: usize,
}

/// Below this many values a sweep is not worth its while.
const SWEEP_FLOOR: usize = 1024;

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), sweep_at: SWEEP_FLOOR }
    }
}

impl<T: Hash + Eq + Clone> Shared<T> {
    /// Takes in a value that is not there.
    fn insert(&mut self, value: T, is_held: impl Fn(&T) -> bool) -> T {
        if self.values.len() >= self.sweep_at {
            self.values.retain(is_held);
            self.sweep_at = SWEEP_FLOOR.max(self.values.len() * 2);
        }
        self.values.insert(value.clone());
        value
    }
}

impl<T: Hash + Eq> Shared<Arc<T>> {
    /// The one copy of a value.
    fn share(&mut self, value: T) -> Arc<T> {
        match self.values.get(&value) {
            Some(shared) => shared.clone(),
            None => self.insert(Arc::new(value), |held| Arc::strong_count(held) > 1),
        }
    }
}

impl Interner {
    /// The shared copy of `text`.
    pub fn intern(&mut self, text: &str) -> Name {
        match self.names.values.get(text) {
            Some(name) => name.clone(),
            None => self.names.insert(text.into(), |name| Name::strong_count(name) > 1),
        }
    }

    /// The shared copy of these labels.
    pub fn share(&mut self, labels: Labels) -> Labels {
        match self.labels.values.get(&labels) {
            Some(shared) => shared.clone(),
            None => self.labels.insert(labels, Labels::is_shared),
        }
    }

    /// The shared copy of this selector.
    pub fn share_selector(&mut self, selector: Selector) -> Arc<Selector> {
        self.selectors.share(selector)
    }

    /// The shared copy of these criteria.
    pub fn share_ends(&mut self, ends: Ends) -> Arc<Ends> {
        self.ends.share(ends)
    }
}

#[cfg(test)]
mod tests {
    use brindle_model::policy::End;

    use super::*;

    #[test]
    fn shares_and_forgets() {
        let mut interner = Interner::default();
        let (kept, again) = (interner.intern("kept"), interner.intern("kept"));
        assert!(Name::ptr_eq(&kept, &again));
        for i in 0..3 * SWEEP_FLOOR {
            interner.intern(&format!("passing-{i}"));
        }
        assert!(interner.names.values.len() <= SWEEP_FLOOR);
        assert!(Name::ptr_eq(&kept, &interner.intern("kept")));
    }

    #[test]
    fn labels_are_shared_while_they_are_held() {
        let mut interner = Interner::default();
        let labels = |i: usize| [("app", format!("a{i}"))].into_iter().collect::<Labels>();
        let kept = interner.share(labels(0));
        for i in 0..3 * SWEEP_FLOOR {
            interner.share(labels(i));
        }
        assert!(interner.labels.values.len() <= SWEEP_FLOOR);
        assert!(interner.share(labels(0)).is_shared() && kept.is_shared());
    }

    #[test]
    fn criteria_are_shared_while_they_are_held() {
        let mut interner = Interner::default();
        let mut ends = |i: usize| {
            let selector = interner.share_selector(Selector::equals("app", format!("a{i}")));
            let source = End { selector: Some(selector), ..End::default() };
            interner.share_ends(Ends { source, ..Ends::default() })
        };
        let kept = ends(0);
        for i in 0..3 * SWEEP_FLOOR {
            ends(i);
        }
        let again = ends(0);
        assert!(Arc::ptr_eq(&kept, &again));
        let selectors = [&kept, &ends(1)].map(|ends| ends.source.selector.clone().unwrap());
        let shared = interner.share_selector(Selector::clone(&selectors[0]));
        assert!(Arc::ptr_eq(&shared, &selectors[0]) && !Arc::ptr_eq(&shared, &selectors[1]));
        assert!(interner.ends.values.len() <= SWEEP_FLOOR);
    }
}
