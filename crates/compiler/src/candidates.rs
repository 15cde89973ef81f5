//! Who may match this selector? Asked when a set is new, so it must not visit the whole cluster.
//!
//! The answer holds everybody who matches and often others; the selector has the last word. It
//! comes from the inverted label lists: those of namespaces and service accounts lead on to those
//! who inherit their labels.

use std::borrow::Cow;
use std::slice;

use brindle_model::Name;
use brindle_model::cluster::NetworkSetId;
use brindle_model::labels::{
    NAMESPACE_LABEL_PREFIX, NAMESPACE_NAME_LABEL, ORCHESTRATOR, ORCHESTRATOR_LABEL,
    PARENT_NAME_LABEL, SERVICE_ACCOUNT_LABEL_PREFIX, SERVICE_ACCOUNT_NAME_LABEL,
};
use brindle_model::selector::Selector;

use crate::label_lists::joined;
use crate::pods::PodIx;
use crate::restriction::{Restriction, Test, narrowest};
use crate::world::World;

/// Sorted lists that together hold everybody who satisfies a restriction.
type Lists<'a, K> = Vec<Cow<'a, [K]>>;

/// What a restriction says about namespaces.
enum Where<'a> {
    /// Nothing: it is about another label.
    NotAsked,
    Anywhere,
    In(Vec<&'a Name>),
}

impl World {
    /// Known pods among which every match of the selector is: those of the shortest lists that an
    /// operand of the selector names, as far as they stand in the lists of the others too; all pods
    /// if the selector restricts nothing.
    pub fn candidates(&self, selector: &Selector) -> Vec<PodIx> {
        /// Looking a pod up in more lists than this costs more than testing the selector on it.
        const FEW: usize = 4;
        let operands = match selector {
            Selector::And(operands) => operands,
            other => slice::from_ref(other),
        };
        let lists = |s| narrowest(s, &|restriction| self.pods_with(restriction), &total);
        let mut listed: Vec<Lists<'_, PodIx>> = operands.iter().filter_map(lists).collect();
        listed.sort_by_key(|lists| total(lists));
        let Some((shortest, others)) = listed.split_first() else {
            return self.pods.all().collect();
        };
        let mut candidates = joined(shortest);
        for lists in others.iter().filter(|lists| lists.len() <= FEW) {
            candidates.retain(|ix| lists.iter().any(|list| list.binary_search(ix).is_ok()));
        }
        candidates
    }

    /// Known network sets among which every match of the selector is.
    pub fn candidate_network_sets(&self, selector: &Selector) -> Vec<NetworkSetId> {
        match narrowest(selector, &|restriction| self.network_sets_with(restriction), &total) {
            Some(lists) => joined(&lists),
            None => self.network_sets.table().iter().map(|(id, _)| id.clone()).collect(),
        }
    }

    fn pods_with<'a>(&'a self, restriction: Restriction<'a>) -> Option<Lists<'a, PodIx>> {
        let Restriction { key, test } = restriction;
        let lists = self.pods.lists();
        let namespaces = match self.namespaces_with(restriction) {
            Where::Anywhere => return None,
            Where::In(names) => Some(names),
            Where::NotAsked => None,
        };
        Some(if let Some(names) = namespaces {
            names.into_iter().map(|name| Cow::Borrowed(lists.in_namespace(name))).collect()
        } else if **key == *ORCHESTRATOR_LABEL {
            return (!test.holds(ORCHESTRATOR)).then(Vec::new);
        } else if let Some(key) = key.strip_prefix(SERVICE_ACCOUNT_LABEL_PREFIX) {
            let of = |id| Cow::Owned(lists.of_service_account(id));
            match key {
                PARENT_NAME_LABEL => borrowed(lists.with(SERVICE_ACCOUNT_NAME_LABEL, test)),
                _ => {
                    self.service_accounts.lists().with(key, test).concat().iter().map(of).collect()
                }
            }
        } else {
            borrowed(lists.with(key, test))
        })
    }

    fn network_sets_with<'a>(
        &'a self,
        restriction: Restriction<'a>,
    ) -> Option<Lists<'a, NetworkSetId>> {
        let Restriction { key, test } = restriction;
        match self.namespaces_with(restriction) {
            Where::Anywhere => None,
            Where::In(names) => {
                let of = |name| self.network_sets_in(name).cloned().collect();
                Some(names.into_iter().map(|name| Cow::Owned(of(name))).collect())
            }
            Where::NotAsked if pods_alone_have(key) => Some(Vec::new()),
            Where::NotAsked => Some(borrowed(self.network_sets.lists().with(key, test))),
        }
    }

    fn namespaces_with<'a>(&'a self, restriction: Restriction<'a>) -> Where<'a> {
        let Restriction { key, test } = restriction;
        let inherited = key.strip_prefix(NAMESPACE_LABEL_PREFIX);
        match inherited {
            _ if **key == *NAMESPACE_NAME_LABEL || inherited == Some(PARENT_NAME_LABEL) => {
                match test {
                    Test::Any => Where::Anywhere,
                    _ => {
                        let known = self.namespaces.table().now();
                        let entries = test.entries(known).into_iter();
                        Where::In(entries.map(|(name, _)| name).collect())
                    }
                }
            }
            Some(key) => {
                Where::In(self.namespaces.lists().with(key, test).into_iter().flatten().collect())
            }
            None => Where::NotAsked,
        }
    }
}

/// Whether a label is one that network sets never have (C13).
pub(crate) fn pods_alone_have(key: &str) -> bool {
    key == ORCHESTRATOR_LABEL
        || key == SERVICE_ACCOUNT_NAME_LABEL
        || key.starts_with(SERVICE_ACCOUNT_LABEL_PREFIX)
}

/// Whether no network set can match, whatever its labels.
pub(crate) fn matches_pods_alone(selector: &Selector) -> bool {
    // One place where network sets may be for every restriction that they can satisfy.
    let places = |restriction: Restriction<'_>| {
        Some(if pods_alone_have(restriction.key) { Vec::new() } else { vec![()] })
    };
    narrowest(selector, &places, &<[()]>::len).is_some_and(|places| places.is_empty())
}

fn borrowed<K: Clone>(lists: Vec<&[K]>) -> Lists<'_, K> {
    lists.into_iter().map(Cow::Borrowed).collect()
}

fn total<K: Clone>(lists: &[Cow<'_, [K]>]) -> usize {
    lists.iter().map(|list| list.len()).sum()
}
