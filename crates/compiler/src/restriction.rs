//! What can be read off a selector without labels at hand: conditions without which it does not
//! match. Both directions of the question use them: which selectors may match these labels
//! ([`crate::selector_index`]), and who may match this selector ([`crate::candidates`]).
//!
//! A conjunction can only match where each of its operands does, so the narrowest operand stands
//! for it; a disjunction where one of them does, so all of them do together, if each restricts
//! anything. Negations restrict nothing: they match where the key is absent (K11).

use std::collections::BTreeMap;
use std::ops::Bound;

use brindle_model::Name;
use brindle_model::selector::{Selector, Values};

/// A label that must be there, with a value that passes a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restriction<'a> {
    pub key: &'a Name,
    pub test: Test<'a>,
}

/// A test of a label's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Test<'a> {
    Any,
    In(&'a Values),
    StartsWith(&'a Name),
    Contains(&'a Name),
    EndsWith(&'a Name),
}

impl Test<'_> {
    pub fn holds(self, value: &str) -> bool {
        match self {
            Self::Any => true,
            Self::In(values) => values.contains(value),
            Self::StartsWith(text) => value.starts_with(&**text),
            Self::Contains(text) => value.contains(&**text),
            Self::EndsWith(text) => value.ends_with(&**text),
        }
    }

    /// The entries whose key passes the test, without a look at the others where possible.
    pub fn entries<V>(self, map: &BTreeMap<Name, V>) -> Vec<(&Name, &V)> {
        match self {
            Self::In(values) => values.iter().filter_map(|v| map.get_key_value(v)).collect(),
            Self::StartsWith(text) => {
                let from = map.range::<str, _>((Bound::Included(&**text), Bound::Unbounded));
                from.take_while(|(value, _)| value.starts_with(&**text)).collect()
            }
            Self::Any | Self::Contains(_) | Self::EndsWith(_) => {
                map.iter().filter(|(value, _)| self.holds(value)).collect()
            }
        }
    }
}

/// Places that together hold everything the selector matches, at the least cost; `None` if that
/// could be anywhere. `places` tells where a restriction leads, and likewise `None` for anywhere.
pub(crate) fn narrowest<'a, P, C: Ord>(
    selector: &'a Selector,
    places: &impl Fn(Restriction<'a>) -> Option<Vec<P>>,
    cost: &impl Fn(&[P]) -> C,
) -> Option<Vec<P>> {
    let restricted = |key, test| places(Restriction { key, test });
    match selector {
        Selector::All | Selector::Not(_) => None,
        Selector::None => Some(Vec::new()),
        Selector::Has(key) => restricted(key, Test::Any),
        Selector::In(key, values) => restricted(key, Test::In(values)),
        Selector::StartsWith(key, text) => restricted(key, Test::StartsWith(text)),
        Selector::Contains(key, text) => restricted(key, Test::Contains(text)),
        Selector::EndsWith(key, text) => restricted(key, Test::EndsWith(text)),
        Selector::And(operands) => {
            let narrowed = operands.iter().filter_map(|s| narrowest(s, places, cost));
            narrowed.min_by_key(|places| cost(places))
        }
        Selector::Or(operands) => {
            let mut all = Vec::new();
            for operand in operands {
                all.extend(narrowest(operand, places, cost)?);
            }
            Some(all)
        }
    }
}
