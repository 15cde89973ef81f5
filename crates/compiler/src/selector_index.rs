//! Which selectors may match these labels? Asked for every pod event, so it must not visit all.
//!
//! Each selector is filed at the narrowest places that its restrictions name: under values of a
//! label, the least crowded if there are several; else under the beginning of a value; else under
//! a label's key; and only selectors made of negations stand on the list that every query visits.
//! Labels that everybody has come last. A query walks the labels and tests the selectors filed
//! under them. Where a selector is filed depends on what was there when it came, and changes what
//! a query costs, never its answer.
//!
//! A cluster of many tenants has hundreds of thousands of selectors, nearly all of which govern
//! nothing here. So a selector is held by whoever brought it, has a number inside the index, and is
//! mentioned by that; where it is filed follows from it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::labels::{EffectiveLabels, NAMESPACE_LABEL_PREFIX, PARENT_NAME_LABEL};
use brindle_model::labels::{NAMESPACE_NAME_LABEL, ORCHESTRATOR_LABEL, SERVICE_ACCOUNT_NAME_LABEL};
use brindle_model::policy::Policy;
use brindle_model::selector::Selector;
use hashbrown::HashTable;

use crate::restriction::{Restriction, Test, narrowest};

/// Selectors by key `K`, each held by an `S`, found by what they ask for.
#[derive(Debug)]
pub(crate) struct SelectorIndex<K, S = Selector> {
    slots: Vec<Option<Slot<K, S>>>,
    free: Vec<Number>,
    /// Numbers by the hash of the key in their slot, which is not held twice.
    by_key: HashTable<Number>,
    hasher: RandomState,
    by_label: BTreeMap<Name, Filed>,
    unrestricted: Numbers,
}

#[derive(Debug)]
struct Slot<K, S> {
    key: K,
    holder: S,
}

/// What holds a selector.
pub(crate) trait HoldsSelector {
    fn selector(&self) -> &Selector;
}

impl HoldsSelector for Selector {
    fn selector(&self) -> &Selector {
        self
    }
}

impl HoldsSelector for Arc<Policy> {
    fn selector(&self) -> &Selector {
        &self.subject
    }
}

/// A selector's number within its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u32);

impl Number {
    fn at(self) -> usize {
        self.0 as usize
    }
}

/// Numbers in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Numbers(Vec<Number>);

impl Numbers {
    fn insert(&mut self, number: Number) {
        if let Err(at) = self.0.binary_search(&number) {
            // Most places are one selector's: a list begins without room for more.
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, number);
        }
    }

    fn remove(&mut self, number: Number) {
        if let Ok(at) = self.0.binary_search(&number) {
            self.0.remove(at);
        }
    }
}

/// What is filed under one label.
#[derive(Debug, Default)]
struct Filed {
    by_value: BTreeMap<Name, Numbers>,
    by_prefix: BTreeMap<Name, Numbers>,
    with_any: Numbers,
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

impl<K, S> Default for SelectorIndex<K, S> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashTable::new(),
            hasher: RandomState::new(),
            by_label: BTreeMap::new(),
            unrestricted: Numbers::default(),
        }
    }
}

impl<K: Eq + Hash, S: HoldsSelector> SelectorIndex<K, S> {
    /// Files a selector, in place of the key's former one.
    pub fn insert(&mut self, key: K, holder: S) {
        if let Some(number) = self.number(&key) {
            let slot = self.slots[number.at()].as_mut().expect(IN_USE);
            if slot.holder.selector() == holder.selector() {
                slot.holder = holder;
                return;
            }
            self.remove(&key);
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.slots.push(None);
                Number(u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 selectors"))
            }
        };
        let places =
            narrowest(holder.selector(), &|restriction| Some(places(restriction)), &|places| {
                self.cost(places)
            });
        match places {
            Some(places) => {
                for place in places {
                    self.by_label.entry(place.label.clone()).or_default().insert(place, number);
                }
            }
            None => self.unrestricted.insert(number),
        }
        self.slots[number.at()] = Some(Slot { key, holder });
        let Self { by_key, hasher, slots, .. } = self;
        let hash = |number: &Number| hasher.hash_one(&slot(slots, *number).key);
        by_key.insert_unique(hash(&number), number, hash);
    }

    /// Makes room for as many selectors if that is more than there are: growth by doubling would leave
    /// half of it empty.
    pub fn expect(&mut self, more: usize) {
        if more > self.slots.len() {
            self.slots.reserve_exact(more);
        }
    }

    /// Takes a selector out, if it is there.
    pub fn remove(&mut self, key: &K) {
        let Some(number) = self.number(key) else { return };
        let entry = self.by_key.find_entry(self.hasher.hash_one(key), |found| *found == number);
        entry.expect(IN_USE).remove();
        let Slot { holder, .. } = self.slots[number.at()].take().expect(IN_USE);
        self.free.push(number);
        self.unrestricted.remove(number);
        // Wherever it may have been filed.
        every_place(holder.selector(), &mut |place| {
            let Some(filed) = self.by_label.get_mut(&place.label) else { return };
            filed.remove(&place, number);
            if filed.is_empty() {
                self.by_label.remove(&place.label);
            }
        });
    }

    /// Whether no selector is filed.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Keys of the selectors that match, each once, in no particular order.
    pub fn matching(&self, labels: &EffectiveLabels<'_>) -> Vec<&K> {
        self.numbers(labels).0.into_iter().map(|number| self.key(number)).collect()
    }

    /// Keys of the selectors that match one of two sets of labels and not the other, likewise. No
    /// labels are labels that nothing matches.
    pub fn differing(&self, labels: [Option<&EffectiveLabels<'_>>; 2]) -> Vec<&K> {
        let [a, b] = labels.map(|labels| labels.map_or_else(Numbers::default, |l| self.numbers(l)));
        let alone = |of: &Numbers, other: &Numbers| {
            let alone = of.0.iter().filter(|number| other.0.binary_search(number).is_err());
            alone.copied().collect::<Vec<_>>()
        };
        let differing = [alone(&a, &b), alone(&b, &a)].concat();
        differing.into_iter().map(|number| self.key(number)).collect()
    }

    /// Numbers of the selectors that match. Equal numbers mean equal selectors until the index
    /// changes.
    pub fn numbers(&self, labels: &EffectiveLabels<'_>) -> Numbers {
        let mut numbers = Vec::new();
        self.visit(labels, |number| {
            if self.slot(number).holder.selector().matches(labels) {
                numbers.push(number);
            }
        });
        numbers.sort_unstable();
        numbers.dedup();
        Numbers(numbers)
    }

    /// The keys of these numbers.
    pub fn keys(&self, numbers: &Numbers) -> impl Iterator<Item = &K> {
        numbers.0.iter().map(|number| self.key(*number))
    }

    fn key(&self, number: Number) -> &K {
        &self.slot(number).key
    }

    /// Visits the selectors that may match; one of them may be visited more than once.
    fn visit(&self, labels: &EffectiveLabels<'_>, mut visit: impl FnMut(Number)) {
        self.unrestricted.0.iter().copied().for_each(&mut visit);
        labels.for_each(|label, value| {
            if let Some(filed) = self.by_label.get(label) {
                filed.with_value(value).for_each(&mut visit);
            }
        });
    }

    fn number(&self, key: &K) -> Option<Number> {
        let hash = self.hasher.hash_one(key);
        self.by_key.find(hash, |number| self.slot(*number).key == *key).copied()
    }

    fn slot(&self, number: Number) -> &Slot<K, S> {
        slot(&self.slots, number)
    }
}

impl<K, S> SelectorIndex<K, S> {
    /// What it costs to visit these places: how many pods go there first, then how many selectors
    /// they meet.
    fn cost(&self, places: &[Place]) -> (usize, usize) {
        let crowd = |place: &Place| {
            let filed = self.by_label.get(&place.label);
            filed.and_then(|filed| filed.at(place)).map_or(0, |numbers| numbers.0.len())
        };
        let popularity = places.iter().map(Place::popularity).max().unwrap_or_default();
        (popularity, places.iter().map(crowd).max().unwrap_or_default())
    }
}

const IN_USE: &str = "the number is in use";

fn slot<K, S>(slots: &[Option<Slot<K, S>>], number: Number) -> &Slot<K, S> {
    slots[number.at()].as_ref().expect(IN_USE)
}

impl Filed {
    fn insert(&mut self, place: Place, number: Number) {
        let list = match place.value {
            Value::This(value) => self.by_value.entry(value).or_default(),
            Value::Prefix(text) => self.by_prefix.entry(text).or_default(),
            Value::Any => &mut self.with_any,
        };
        list.insert(number);
    }

    fn remove(&mut self, place: &Place, number: Number) {
        match &place.value {
            Value::This(value) => remove_from(&mut self.by_value, value, number),
            Value::Prefix(text) => remove_from(&mut self.by_prefix, text, number),
            Value::Any => self.with_any.remove(number),
        }
    }

    fn at(&self, place: &Place) -> Option<&Numbers> {
        match &place.value {
            Value::This(value) => self.by_value.get(value),
            Value::Prefix(text) => self.by_prefix.get(text),
            Value::Any => Some(&self.with_any),
        }
    }

    fn is_empty(&self) -> bool {
        self.by_value.is_empty() && self.by_prefix.is_empty() && self.with_any.0.is_empty()
    }

    /// What is filed where this value of the label leads.
    fn with_value(&self, value: &str) -> impl Iterator<Item = Number> {
        let lengths = if self.by_prefix.is_empty() { 0..0 } else { 0..value.len() + 1 };
        let prefixes = lengths.filter_map(|length| self.by_prefix.get(value.get(..length)?));
        let lists = self.by_value.get(value).into_iter().chain(prefixes).chain([&self.with_any]);
        lists.flat_map(|numbers| &numbers.0).copied()
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

/// Visits every place where a selector may be filed.
fn every_place(selector: &Selector, visit: &mut impl FnMut(Place)) {
    let mut of = |key, test| places(Restriction { key, test }).into_iter().for_each(&mut *visit);
    match selector {
        Selector::All | Selector::None | Selector::Not(_) => {}
        Selector::Has(key) => of(key, Test::Any),
        Selector::In(key, values) => of(key, Test::In(values)),
        Selector::StartsWith(key, text) => of(key, Test::StartsWith(text)),
        Selector::Contains(key, text) => of(key, Test::Contains(text)),
        Selector::EndsWith(key, text) => of(key, Test::EndsWith(text)),
        Selector::And(operands) | Selector::Or(operands) => {
            operands.iter().for_each(|operand| every_place(operand, visit));
        }
    }
}

fn remove_from(lists: &mut BTreeMap<Name, Numbers>, name: &Name, number: Number) {
    if let Some(list) = lists.get_mut(name) {
        list.remove(number);
        if list.0.is_empty() {
            lists.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
