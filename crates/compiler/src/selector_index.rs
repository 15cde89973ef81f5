//! Which selectors may match these labels? Asked for every pod event, so it must not visit all.
//!
//! Each selector is filed at the narrowest places that its restrictions name: under values of a
//! label, the least crowded if there are several; else under the beginning of a value; else under
//! a label's key; and only selectors made of negations stand on the list that every query visits.
//! Labels that everybody has come last. A query walks the labels and tests the selectors filed
//! under them. Where a selector is filed depends on what was there when it came, and changes what
//! a query costs, never its answer.

use std::collections::{BTreeMap, BTreeSet};

use brindle_model::Name;
use brindle_model::labels::{EffectiveLabels, NAMESPACE_LABEL_PREFIX, PARENT_NAME_LABEL};
use brindle_model::labels::{NAMESPACE_NAME_LABEL, ORCHESTRATOR_LABEL, SERVICE_ACCOUNT_NAME_LABEL};
use brindle_model::selector::Selector;

use crate::restriction::{Restriction, Test, narrowest};

/// Selectors by key `K`, found by what they ask for.
#[derive(Debug)]
pub(crate) struct SelectorIndex<K> {
    /// Each selector, and where it is filed; `None` if it is unrestricted.
    selectors: BTreeMap<K, (Selector, Option<Vec<Place>>)>,
    by_label: BTreeMap<Name, Filed<K>>,
    unrestricted: BTreeSet<K>,
}

/// What is filed under one label.
#[derive(Debug)]
struct Filed<K> {
    by_value: BTreeMap<Name, BTreeSet<K>>,
    by_prefix: BTreeMap<Name, BTreeSet<K>>,
    with_any: BTreeSet<K>,
}

/// A place to file a selector at.
#[derive(Clone, Debug)]
struct Place {
    label: Name,
    value: Value,
}

/// The value that a label must have.
#[derive(Clone, Debug)]
enum Value {
    This(Name),
    Prefix(Name),
    Any,
}

impl<K> Default for SelectorIndex<K> {
    fn default() -> Self {
        Self {
            selectors: BTreeMap::new(),
            by_label: BTreeMap::new(),
            unrestricted: BTreeSet::new(),
        }
    }
}

impl<K> Default for Filed<K> {
    fn default() -> Self {
        Self { by_value: BTreeMap::new(), by_prefix: BTreeMap::new(), with_any: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> SelectorIndex<K> {
    /// Files a selector, in place of the key's former one.
    pub fn insert(&mut self, key: K, selector: Selector) {
        self.remove(&key);
        let places = narrowest(&selector, &|restriction| Some(places(restriction)), &|places| {
            self.cost(places)
        });
        match &places {
            Some(places) => {
                for place in places {
                    self.by_label.entry(place.label.clone()).or_default().insert(place, &key);
                }
            }
            None => {
                self.unrestricted.insert(key.clone());
            }
        }
        self.selectors.insert(key, (selector, places));
    }

    /// Takes a selector out, if it is there.
    pub fn remove(&mut self, key: &K) {
        let Some((_, places)) = self.selectors.remove(key) else { return };
        let Some(places) = places else {
            self.unrestricted.remove(key);
            return;
        };
        for place in places {
            // Two operands of a disjunction may lead to one place.
            let Some(filed) = self.by_label.get_mut(&place.label) else { continue };
            filed.remove(&place, key);
            if filed.is_empty() {
                self.by_label.remove(&place.label);
            }
        }
    }

    /// Whether no selector is filed.
    pub fn is_empty(&self) -> bool {
        self.selectors.is_empty()
    }

    /// Keys of the selectors that match.
    pub fn matching(&self, labels: &EffectiveLabels<'_>) -> BTreeSet<K> {
        let mut found = BTreeSet::new();
        self.visit(labels, |key| {
            if self.selectors[key].0.matches(labels) {
                found.insert(key.clone());
            }
        });
        found
    }

    /// Visits the selectors that may match; one of them may be visited more than once.
    fn visit(&self, labels: &EffectiveLabels<'_>, mut visit: impl FnMut(&K)) {
        self.unrestricted.iter().for_each(&mut visit);
        labels.for_each(|label, value| {
            if let Some(filed) = self.by_label.get(label) {
                filed.with_value(value).for_each(&mut visit);
            }
        });
    }

    /// What it costs to visit these places: how many pods go there first, then how many selectors
    /// they meet.
    fn cost(&self, places: &[Place]) -> (usize, usize) {
        let crowd = |place: &Place| {
            let filed = self.by_label.get(&place.label);
            filed.and_then(|filed| filed.at(place)).map_or(0, BTreeSet::len)
        };
        let popularity = places.iter().map(Place::popularity).max().unwrap_or_default();
        (popularity, places.iter().map(crowd).max().unwrap_or_default())
    }
}

impl<K: Ord + Clone> Filed<K> {
    fn insert(&mut self, place: &Place, key: &K) {
        let list = match &place.value {
            Value::This(value) => self.by_value.entry(value.clone()).or_default(),
            Value::Prefix(text) => self.by_prefix.entry(text.clone()).or_default(),
            Value::Any => &mut self.with_any,
        };
        list.insert(key.clone());
    }

    fn remove(&mut self, place: &Place, key: &K) {
        match &place.value {
            Value::This(value) => remove_from(&mut self.by_value, value, key),
            Value::Prefix(text) => remove_from(&mut self.by_prefix, text, key),
            Value::Any => {
                self.with_any.remove(key);
            }
        }
    }

    fn at(&self, place: &Place) -> Option<&BTreeSet<K>> {
        match &place.value {
            Value::This(value) => self.by_value.get(value),
            Value::Prefix(text) => self.by_prefix.get(text),
            Value::Any => Some(&self.with_any),
        }
    }

    fn is_empty(&self) -> bool {
        self.by_value.is_empty() && self.by_prefix.is_empty() && self.with_any.is_empty()
    }

    /// What is filed where this value of the label leads.
    fn with_value(&self, value: &str) -> impl Iterator<Item = &K> {
        let lengths = if self.by_prefix.is_empty() { 0..0 } else { 0..value.len() + 1 };
        let prefixes = lengths.filter_map(|length| self.by_prefix.get(value.get(..length)?));
        self.by_value.get(value).into_iter().chain(prefixes).flatten().chain(&self.with_any)
    }
}

impl Place {
    /// How many pods have the label, roughly: of two places the less popular is visited less often.
    fn popularity(&self) -> usize {
        match &self.value {
            _ if *self.label == *ORCHESTRATOR_LABEL => 3,
            Value::This(_) => 0,
            Value::Prefix(_) => 1,
            Value::Any => {
                let own =
                    [NAMESPACE_NAME_LABEL, SERVICE_ACCOUNT_NAME_LABEL].contains(&&*self.label);
                let inherited = self.label.strip_prefix(NAMESPACE_LABEL_PREFIX);
                if own || inherited == Some(PARENT_NAME_LABEL) { 3 } else { 2 }
            }
        }
    }
}

/// Where selectors with this restriction are filed.
fn places(restriction: Restriction<'_>) -> Vec<Place> {
    let place = |value| Place { label: restriction.key.clone(), value };
    match restriction.test {
        Test::In(values) => values.iter().map(|v| place(Value::This(v.clone()))).collect(),
        Test::StartsWith(text) => vec![place(Value::Prefix(text.clone()))],
        Test::Any | Test::Contains(_) | Test::EndsWith(_) => vec![place(Value::Any)],
    }
}

fn remove_from<K: Ord>(lists: &mut BTreeMap<Name, BTreeSet<K>>, name: &Name, key: &K) {
    if let Some(list) = lists.get_mut(name) {
        list.remove(key);
        if list.is_empty() {
            lists.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
