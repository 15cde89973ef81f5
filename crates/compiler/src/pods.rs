//! The pods of the cluster, and inverted lists of them by label.
//!
//! A pod is named by a small number inside the compiler: the lists, claims and dirty sets of twenty
//! thousand pods hold four bytes a mention instead of two strings. Numbers are reused and depend
//! on history, so nothing that leaves the compiler is ordered or named by one.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use brindle_model::cluster::Pod;
use brindle_model::labels::SERVICE_ACCOUNT_NAME_LABEL;
use brindle_model::{Name, NamespacedName};
use hashbrown::HashTable;

use crate::label_lists::{LabelLists, insert, remove};
use crate::restriction::Test;
use crate::table::Before;

/// A pod's number within this compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PodIx(u32);

impl PodIx {
    pub const MIN: Self = Self(u32::MIN);
    pub const MAX: Self = Self(u32::MAX);

    fn at(self) -> usize {
        self.0 as usize
    }
}

/// Pods by name and by label.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    pending: BTreeMap<NamespacedName, Option<Arc<Pod>>>,
    /// Numbers by the hash of the name in their slot, which is not held twice.
    by_name: HashTable<PodIx>,
    hasher: RandomState,
    slots: Vec<Option<Slot>>,
    free: Vec<PodIx>,
    lists: PodLists,
}

/// A pod that is known, or of which only an attachment is.
#[derive(Debug)]
struct Slot {
    name: NamespacedName,
    pod: Option<Arc<Pod>>,
}

impl Pods {
    /// Notes a pod, or its absence, for the next advance.
    pub fn note(&mut self, name: NamespacedName, pod: Option<Arc<Pod>>) {
        self.pending.insert(name, pod);
    }

    /// Whether anything was noted since the last advance.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes over what was noted; returns the pods that really changed, as they were before.
    pub fn advance(&mut self) -> Before<PodIx, Arc<Pod>> {
        let mut before = BTreeMap::new();
        let pending = std::mem::take(&mut self.pending);
        if pending.len() > self.slots.len() {
            // Growth by doubling would leave half of it empty.
            self.slots.reserve_exact(pending.len());
        }
        for (name, pod) in pending {
            let old = self.find(&name).and_then(|ix| self.get(ix));
            if old == pod.as_ref() {
                continue;
            }
            let ix = self.intern(&name);
            let old = std::mem::replace(&mut self.slot_mut(ix).pod, pod.clone());
            self.lists.relabel(ix, &name.namespace, old.as_deref(), pod.as_deref());
            before.insert(ix, old);
        }
        before
    }

    /// The number of a name, made if there is none.
    pub fn intern(&mut self, name: &NamespacedName) -> PodIx {
        if let Some(ix) = self.find(name) {
            return ix;
        }
        let slot = Some(Slot { name: name.clone(), pod: None });
        let ix = match self.free.pop() {
            Some(ix) => {
                self.slots[ix.at()] = slot;
                ix
            }
            None => {
                let next = u32::try_from(self.slots.len()).expect("fewer than 2^32 pods");
                self.slots.push(slot);
                PodIx(next)
            }
        };
        let Self { by_name, hasher, slots, .. } = self;
        let hash = |ix: &PodIx| hasher.hash_one(name_in(slots, *ix));
        by_name.insert_unique(hash(&ix), ix, hash);
        ix
    }

    /// Frees the number of a pod that is not known. Nothing may mention it any more.
    pub fn release(&mut self, ix: PodIx) {
        if self.get(ix).is_none()
            && let Some(slot) = self.slots[ix.at()].take()
        {
            let hash = self.hasher.hash_one(&slot.name);
            let entry = self.by_name.find_entry(hash, |named| *named == ix);
            entry.expect("a number in use is found by its name").remove();
            self.free.push(ix);
        }
    }

    /// The number of a name.
    pub fn find(&self, name: &NamespacedName) -> Option<PodIx> {
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, |ix| self.name(*ix) == name).copied()
    }

    /// The pod, if it is known.
    pub fn get(&self, ix: PodIx) -> Option<&Arc<Pod>> {
        self.slots[ix.at()].as_ref()?.pod.as_ref()
    }

    /// The name of a number that is in use.
    pub fn name(&self, ix: PodIx) -> &NamespacedName {
        name_in(&self.slots, ix)
    }

    /// Every known pod.
    pub fn all(&self) -> impl Iterator<Item = PodIx> {
        self.by_name.iter().copied().filter(|ix| self.get(*ix).is_some())
    }

    /// Known pods by label.
    pub fn lists(&self) -> &PodLists {
        &self.lists
    }

    /// How many numbers are in use, and how many were ever made.
    #[cfg(test)]
    pub fn numbers(&self) -> (usize, usize) {
        (self.by_name.len(), self.slots.len())
    }

    fn slot_mut(&mut self, ix: PodIx) -> &mut Slot {
        self.slots[ix.at()].as_mut().expect("the number is in use")
    }
}

fn name_in(slots: &[Option<Slot>], ix: PodIx) -> &NamespacedName {
    &slots[ix.at()].as_ref().expect("the number is in use").name
}

/// Sorted lists of known pods by namespace, and by key and value of their own labels; by service
/// account too, under its system label.
#[derive(Debug, Default)]
pub(crate) struct PodLists {
    by_namespace: BTreeMap<Name, Vec<PodIx>>,
    by_label: LabelLists<PodIx>,
}

impl PodLists {
    /// Pods of a namespace.
    pub fn in_namespace(&self, namespace: &str) -> &[PodIx] {
        self.by_namespace.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Pods with an own label whose value passes the test: one list a value.
    pub fn with(&self, key: &str, test: Test<'_>) -> Vec<&[PodIx]> {
        self.by_label.with(key, test)
    }

    /// Pods of a service account.
    pub fn of_service_account(&self, id: &NamespacedName) -> Vec<PodIx> {
        let mut lists = [
            self.in_namespace(&id.namespace),
            self.by_label.with_value(SERVICE_ACCOUNT_NAME_LABEL, &id.name),
        ];
        lists.sort_by_key(|list| list.len());
        let [short, long] = lists;
        short.iter().filter(|ix| long.binary_search(ix).is_ok()).copied().collect()
    }

    fn relabel(&mut self, ix: PodIx, namespace: &Name, old: Option<&Pod>, new: Option<&Pod>) {
        if old.is_none() {
            insert(&mut self.by_namespace, namespace, &ix);
        }
        if new.is_none() {
            remove(&mut self.by_namespace, namespace, &ix);
        }
        let [before, now] = [old, new].map(|pod| pod?.service_account.as_ref());
        if before != now {
            if let Some(name) = before {
                self.by_label.remove(SERVICE_ACCOUNT_NAME_LABEL, name, &ix);
            }
            if let Some(name) = now {
                self.by_label.insert(&SERVICE_ACCOUNT_NAME_LABEL.into(), name, &ix);
            }
        }
        self.by_label.relabel(&ix, old.map(|pod| &pod.labels), new.map(|pod| &pod.labels));
    }
}
