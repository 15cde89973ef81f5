//! The pods of this node that the compiler knows.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use brindle_model::NamespacedName;

/// A set of names to wait on.
#[derive(Debug, Default)]
pub(super) struct LocalPods {
    known: Mutex<BTreeSet<NamespacedName>>,
    changed: Condvar,
}

impl LocalPods {
    /// Whether this pod is known, and of this node.
    pub(super) fn set(&self, pod: &NamespacedName, here: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !here {
            known.remove(pod);
        } else if known.insert(pod.clone()) {
            self.changed.notify_all();
        }
    }

    /// Waits until the pod is known; false if it is not by the deadline.
    pub(super) fn wait(&self, pod: &NamespacedName, deadline: Instant) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        while !known.contains(pod) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let woken = self.changed.wait_timeout(known, left);
            (known, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}
