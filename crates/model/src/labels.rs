//! Labels as stored: a small sorted vector of shared strings.
//!
//! Twenty thousand pods carry few distinct strings, so keys and values are [`Name`]s that a source
//! interns; the vector costs two pointers a label and no tree nodes. The replicas of a workload
//! carry the same labels, so the vector is shared as well.

use std::borrow::Borrow;
use std::sync::Arc;

use crate::Name;

/// Prefix under which a namespace's labels appear among effective labels (C11).
pub const NAMESPACE_LABEL_PREFIX: &str = "pcns.";
/// Prefix under which a service account's labels appear among effective labels (C11).
pub const SERVICE_ACCOUNT_LABEL_PREFIX: &str = "pcsa.";
/// Effective label that holds the namespace (C12).
pub const NAMESPACE_NAME_LABEL: &str = "projectcalico.org/namespace";
/// Effective label that holds a pod's service account (C12).
pub const SERVICE_ACCOUNT_NAME_LABEL: &str = "projectcalico.org/serviceaccount";
/// Effective label that tells pods from everything else (C12).
pub const ORCHESTRATOR_LABEL: &str = "projectcalico.org/orchestrator";
/// Value of [`ORCHESTRATOR_LABEL`] on every pod.
pub const ORCHESTRATOR: &str = "k8s";
/// Label that a namespace or service account has beside its own: its name (C11).
pub const PARENT_NAME_LABEL: &str = "projectcalico.org/name";

/// Whether a key is one of the system labels. Nothing has one of its own: a network set that says
/// `projectcalico.org/orchestrator: k8s` would otherwise pass for pods (C12).
pub fn is_system_label(key: &str) -> bool {
    matches!(key, NAMESPACE_NAME_LABEL | SERVICE_ACCOUNT_NAME_LABEL | ORCHESTRATOR_LABEL)
}

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
pub struct Labels(Arc<[(Name, Name)]>);

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

    /// Whether another value holds the same copy.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl<K: Into<Name>, V: Into<Name>> FromIterator<(K, V)> for Labels {
    /// Of several values for one key the last is kept.
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let mut pairs: Vec<(Name, Name)> =
            pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|later, earlier| {
            let again = later.0 == earlier.0;
            if again {
                std::mem::swap(later, earlier);
            }
            again
        });
        Self(pairs.into())
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

/// The effective labels of an endpoint or network set: its own, those of its namespace and service
/// account under their prefixes, and the system labels, which no own label overrides or stands in
/// for (C11–C13).
#[derive(Clone, Copy, Debug)]
pub struct EffectiveLabels<'a> {
    /// Its own labels; a source has stripped keys that begin with a prefix (C12).
    pub own: &'a Labels,
    /// Its namespace, if its kind has one.
    pub namespace: Option<Parent<'a>>,
    /// Its service account: pods only.
    pub service_account: Option<Parent<'a>>,
    /// Whether it is a pod, and not a network set.
    pub is_pod: bool,
}

/// A namespace or service account that passes its labels on.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels; `None` if there is no object of that name.
    pub labels: Option<&'a Labels>,
}

impl<'a> Parent<'a> {
    fn lookup(self, key: &str) -> Option<&'a str> {
        match key {
            PARENT_NAME_LABEL => Some(self.name),
            _ => self.labels?.get(key).map(Borrow::borrow),
        }
    }

    /// Visits its labels, with `prefix` before each key.
    fn for_each(self, prefix: &str, visit: &mut impl FnMut(&str, &str)) {
        let mut prefixed = format!("{prefix}{PARENT_NAME_LABEL}");
        visit(&prefixed, self.name);
        let labels = self.labels.into_iter().flat_map(Labels::iter);
        for (key, value) in labels.filter(|(key, _)| ***key != *PARENT_NAME_LABEL) {
            prefixed.truncate(prefix.len());
            prefixed.push_str(key);
            visit(&prefixed, value);
        }
    }
}

impl EffectiveLabels<'_> {
    /// Visits every label once, with its full key, in no particular order.
    pub fn for_each(&self, mut visit: impl FnMut(&str, &str)) {
        for key in [NAMESPACE_NAME_LABEL, SERVICE_ACCOUNT_NAME_LABEL, ORCHESTRATOR_LABEL] {
            if let Some(value) = self.system(key) {
                visit(key, value);
            }
        }
        for (key, value) in self.own.iter().filter(|(key, _)| !is_system_label(key)) {
            visit(key, value);
        }
        if let Some(namespace) = self.namespace {
            namespace.for_each(NAMESPACE_LABEL_PREFIX, &mut visit);
        }
        if let Some(service_account) = self.service_account {
            service_account.for_each(SERVICE_ACCOUNT_LABEL_PREFIX, &mut visit);
        }
    }

    fn system(&self, key: &str) -> Option<&str> {
        match key {
            NAMESPACE_NAME_LABEL => self.namespace.map(|parent| parent.name),
            SERVICE_ACCOUNT_NAME_LABEL => self.service_account.map(|parent| parent.name),
            ORCHESTRATOR_LABEL => self.is_pod.then_some(ORCHESTRATOR),
            _ => None,
        }
    }
}

impl LabelLookup for EffectiveLabels<'_> {
    fn lookup(&self, key: &str) -> Option<&str> {
        if is_system_label(key) {
            return self.system(key);
        }
        if let Some(key) = key.strip_prefix(NAMESPACE_LABEL_PREFIX) {
            return self.namespace?.lookup(key);
        }
        if let Some(key) = key.strip_prefix(SERVICE_ACCOUNT_LABEL_PREFIX) {
            return self.service_account?.lookup(key);
        }
        self.own.lookup(key)
    }
}
