//! A panic in the decision about one prefix costs that prefix, and nobody else anything.
//!
//! The prefix counts as unknown then: it is withdrawn from every peer and from the forwarding table,
//! and what the panic left half done of it is thrown away. The next change to it is another attempt.
//! A wrong route is worse than none; an agent whose BGP thread has ended has none at all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ipnet::IpNet;

use super::Rib;

impl Rib {
    /// Runs what concerns the decision about one prefix.
    pub(super) fn contain(&mut self, prefix: IpNet, work: impl FnOnce(&mut Self)) {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(()) => drop(self.broken.remove(&prefix)),
            Err(_) => self.quarantine(prefix),
        }
    }

    fn quarantine(&mut self, prefix: IpNet) {
        self.broken.insert(prefix);
        if let Some(entry) = self.loc.get_mut(&prefix) {
            entry.clear();
            self.decided.insert(prefix);
        }
        self.groups.all.values_mut().for_each(|group| group.queue.set(prefix, None));
        self.peers.values_mut().for_each(|peer| peer.queue.set(prefix, None));
    }

    /// Prefixes that have no route for that reason, in order.
    pub(crate) fn broken(&self) -> impl Iterator<Item = IpNet> {
        self.broken.iter().copied()
    }
}
