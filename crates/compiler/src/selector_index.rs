//! Which selectors may match these labels? Asked for every pod event, so it must not visit all.
//!
//! A conjunction can only match where each of its operands does. Each selector is therefore filed
//! under one operand: under the values of an `In`, the least crowded if there are several; else
//! under the key of a `Has`; only selectors made of negations stand on the list that every query
//! visits. A query walks the labels and tests the selectors filed under them. Where a selector is
//! filed depends on what was there when it came, and changes what a query costs, never its answer.

use std::collections::{BTreeMap, BTreeSet};

use brindle_model::Name;
use brindle_model::labels::EffectiveLabels;
use brindle_model::selector::Selector;

/// A condition without which a selector does not match.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Restriction<'a> {
    /// The key has one of these values.
    In(&'a Name, &'a BTreeSet<Name>),
    /// The key is present.
    Has(&'a Name),
    /// No labels satisfy it.
    Never,
}

/// Every condition that can be read off the selector; none for negations.
pub(crate) fn restrictions(selector: &Selector) -> Vec<Restriction<'_>> {
    match selector {
        Selector::All | Selector::Not(_) | Selector::Or(_) => Vec::new(),
        Selector::None => vec![Restriction::Never],
        Selector::Has(key)
        | Selector::Contains(key, _)
        | Selector::StartsWith(key, _)
        | Selector::EndsWith(key, _) => vec![Restriction::Has(key)],
        Selector::In(key, values) => vec![Restriction::In(key, values)],
        Selector::And(operands) => operands.iter().flat_map(restrictions).collect(),
    }
}

/// Selectors by key `K`, found by what they ask for.
#[derive(Debug)]
pub(crate) struct SelectorIndex<K> {
    selectors: BTreeMap<K, (Selector, Filing)>,
    by_value: BTreeMap<Name, BTreeMap<Name, BTreeSet<K>>>,
    by_key: BTreeMap<Name, BTreeSet<K>>,
    unrestricted: BTreeSet<K>,
}

/// Where a selector was filed.
#[derive(Clone, Debug)]
enum Filing {
    Values(Name, BTreeSet<Name>),
    Key(Name),
    Unrestricted,
    Nowhere,
}

impl<K> Default for SelectorIndex<K> {
    fn default() -> Self {
        Self {
            selectors: BTreeMap::new(),
            by_value: BTreeMap::new(),
            by_key: BTreeMap::new(),
            unrestricted: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Clone> SelectorIndex<K> {
    /// Files a selector, in place of the key's former one.
    pub fn insert(&mut self, key: K, selector: Selector) {
        self.remove(&key);
        let filing = self.choose(&selector);
        match &filing {
            Filing::Values(label, values) => {
                let lists = self.by_value.entry(label.clone()).or_default();
                for value in values {
                    lists.entry(value.clone()).or_default().insert(key.clone());
                }
            }
            Filing::Key(label) => {
                self.by_key.entry(label.clone()).or_default().insert(key.clone());
            }
            Filing::Unrestricted => {
                self.unrestricted.insert(key.clone());
            }
            Filing::Nowhere => {}
        }
        self.selectors.insert(key, (selector, filing));
    }

    /// Takes a selector out, if it is there.
    pub fn remove(&mut self, key: &K) {
        let Some((_, filing)) = self.selectors.remove(key) else { return };
        match filing {
            Filing::Values(label, values) => {
                let Some(lists) = self.by_value.get_mut(&label) else { return };
                for value in values {
                    remove_from(lists, &value, key);
                }
                if lists.is_empty() {
                    self.by_value.remove(&label);
                }
            }
            Filing::Key(label) => remove_from(&mut self.by_key, &label, key),
            Filing::Unrestricted => {
                self.unrestricted.remove(key);
            }
            Filing::Nowhere => {}
        }
    }

    /// Whether no selector is filed.
    pub fn is_empty(&self) -> bool {
        self.selectors.is_empty()
    }

    /// Keys of the selectors that match.
    pub fn matching(&self, labels: &EffectiveLabels<'_>) -> BTreeSet<K> {
        let mut found = BTreeSet::new();
        let mut test = |keys: Option<&BTreeSet<K>>| {
            for key in keys.into_iter().flatten() {
                if self.selectors[key].0.matches(labels) {
                    found.insert(key.clone());
                }
            }
        };
        test(Some(&self.unrestricted));
        labels.for_each(|label, value| {
            test(self.by_value.get(label).and_then(|lists| lists.get(value)));
            test(self.by_key.get(label));
        });
        found
    }

    fn choose(&self, selector: &Selector) -> Filing {
        let restrictions = restrictions(selector);
        if restrictions.iter().any(|r| matches!(r, Restriction::Never)) {
            return Filing::Nowhere;
        }
        let crowd = |label: &Name, values: &BTreeSet<Name>| {
            let lists = self.by_value.get(label);
            let length = |v| lists.and_then(|l| l.get(v)).map_or(0, BTreeSet::len);
            values.iter().map(length).max().unwrap_or(0)
        };
        let values = restrictions.iter().filter_map(|r| match r {
            Restriction::In(label, values) => Some((crowd(label, values), *label, *values)),
            _ => None,
        });
        if let Some((_, label, values)) = values.min_by_key(|(crowd, ..)| *crowd) {
            return Filing::Values(label.clone(), values.clone());
        }
        restrictions
            .iter()
            .find_map(|r| match r {
                Restriction::Has(label) => Some(Filing::Key((*label).clone())),
                _ => None,
            })
            .unwrap_or(Filing::Unrestricted)
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
