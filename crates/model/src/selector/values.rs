//! The values that a selector lists.

use std::collections::BTreeSet;

use crate::Name;

/// Distinct texts in ascending order. Nearly every selector lists one, and a cluster has hundreds of
/// thousands of selectors: a slice holds it in two pointers where a tree takes a node for eleven.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(from = "BTreeSet<Name>")]
pub struct Values(Box<[Name]>);

impl Values {
    /// Whether a text is listed.
    pub fn contains(&self, value: &str) -> bool {
        self.0.binary_search_by(|listed| (**listed).cmp(value)).is_ok()
    }

    /// All of them, ascending.
    pub fn iter(&self) -> std::slice::Iter<'_, Name> {
        self.0.iter()
    }

    /// The least.
    pub fn first(&self) -> Option<&Name> {
        self.0.first()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Name> for Values {
    fn from_iter<T: IntoIterator<Item = Name>>(values: T) -> Self {
        let mut values: Vec<Name> = values.into_iter().collect();
        values.sort_unstable();
        values.dedup();
        Self(values.into())
    }
}

impl From<BTreeSet<Name>> for Values {
    fn from(values: BTreeSet<Name>) -> Self {
        Self(values.into_iter().collect())
    }
}

impl From<Name> for Values {
    fn from(value: Name) -> Self {
        Self(Box::new([value]))
    }
}

impl<'a> IntoIterator for &'a Values {
    type Item = &'a Name;
    type IntoIter = std::slice::Iter<'a, Name>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
