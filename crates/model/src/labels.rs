//! Labels as stored: a small sorted vector of shared strings.
//!
//! Twenty thousand pods carry few distinct strings, so keys and values are [`Name`]s that a source
//! interns; the vector costs two pointers a label and no tree nodes.

use std::borrow::Borrow;

use crate::Name;

/// Prefix under which a namespace's labels appear among a pod's effective labels (C11).
pub const NAMESPACE_LABEL_PREFIX: &str = "pcns.";
/// Effective label that holds the pod's namespace (C12).
pub const NAMESPACE_NAME_LABEL: &str = "projectcalico.org/namespace";

/// A set of labels with unique keys, sorted by key.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Labels(Box<[(Name, Name)]>);

impl Labels {
    /// The value of `key`, if present; an empty value is a value (K11).
    pub fn get(&self, key: &str) -> Option<&Name> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// All labels by ascending key.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Name)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<Name>, V: Into<Name>> FromIterator<(K, V)> for Labels {
    /// Of several values for one key the last is kept.
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let map: std::collections::BTreeMap<Name, Name> =
            pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self(map.into_iter().collect())
    }
}

/// Anything that answers "which value has this key?": effective labels need not be stored joined.
pub trait LabelLookup {
    /// The value of `key`, if present.
    fn lookup(&self, key: &str) -> Option<&str>;
}

impl LabelLookup for Labels {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).map(Borrow::borrow)
    }
}

/// The effective labels of a pod: its own, then its namespace's under
/// [`NAMESPACE_LABEL_PREFIX`], then the system label [`NAMESPACE_NAME_LABEL`] (C11, C12).
#[derive(Clone, Copy, Debug)]
pub struct EffectiveLabels<'a> {
    /// The pod's own labels; a source has stripped keys beginning `pcns.` or `pcsa.` (C12).
    pub own: &'a Labels,
    /// Labels of the namespace; empty if the namespace is not known.
    pub namespace_labels: Option<&'a Labels>,
    /// The namespace's name.
    pub namespace: &'a str,
}

impl LabelLookup for EffectiveLabels<'_> {
    fn lookup(&self, key: &str) -> Option<&str> {
        if key == NAMESPACE_NAME_LABEL {
            return Some(self.namespace);
        }
        match key.strip_prefix(NAMESPACE_LABEL_PREFIX) {
            Some(key) => self.namespace_labels?.lookup(key),
            None => self.own.lookup(key),
        }
    }
}
