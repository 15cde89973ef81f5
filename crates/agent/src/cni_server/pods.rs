//! The pods of this node that the compiler knows.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use brindle_model::NamespacedName;
use brindle_model::cluster::{Pod, Uid};

/// Names to wait on, each with the identity of the pod that has it.
#[derive(Debug, Default)]
pub(super) struct LocalPods {
    known: Mutex<BTreeMap<NamespacedName, Option<Uid>>>,
    changed: Condvar,
}

impl LocalPods {
    /// This pod is known now, and of this node; `None` if it is not, or not any more.
    pub(super) fn set(&self, name: &NamespacedName, pod: Option<&Pod>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match pod {
            None => {
                known.remove(name);
            }
            Some(pod) => {
                known.insert(name.clone(), pod.uid);
                self.changed.notify_all();
            }
        }
    }

    /// Waits until the pod is known; false if it is not by the deadline. A pod of the same name that
    /// was there before is another one, with labels of its own, where identities are known.
    pub(super) fn wait(&self, name: &NamespacedName, uid: Option<Uid>, deadline: Instant) -> bool {
        let is_it =
            |known: &Option<Uid>| uid.zip(*known).is_none_or(|(asked, known)| asked == known);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        while !known.get(name).is_some_and(is_it) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let woken = self.changed.wait_timeout(known, left);
            (known, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predecessor_of_the_same_name_is_not_the_pod() {
        let pods = LocalPods::default();
        let name = NamespacedName::new("shop", "web-0");
        let uid = |digit: &str| Uid::parse(&digit.repeat(32));
        let knows = |uid| pods.wait(&name, uid, Instant::now());
        assert!(!knows(None) && !knows(uid("a")));
        pods.set(&name, Some(&Pod { uid: uid("a"), ..Pod::default() }));
        assert!(knows(None) && knows(uid("a")) && !knows(uid("b")));
        pods.set(&name, Some(&Pod { uid: uid("b"), ..Pod::default() }));
        assert!(knows(uid("b")) && !knows(uid("a")));
        pods.set(&name, Some(&Pod::default()));
        assert!(knows(uid("a")), "a folder does not say");
        pods.set(&name, None);
        assert!(!knows(uid("a")));
    }
}
