//! The end of a restart: when best routes may be reported (RFC 4724 §4.1).
//!
//! A speaker that restarts finds the kernel with the routes of its previous run. Were it to report
//! best routes as they come in, each would replace a kernel route with what the first peer said,
//! and the owner could never tell which old ones are left over. So it waits until every peer has
//! sent all its routes, or until the Selection_Deferral_Timer, which is the restart time.

use std::time::Duration;

use crate::family::FamilySet;
use crate::timer::Time;

/// Where the restart is.
#[derive(Clone, Debug)]
pub(crate) struct Deferral {
    restarting: bool,
    preserved: FamilySet,
    in_sync: bool,
    deadline: Option<Time>,
    converged: bool,
}

impl Deferral {
    pub(crate) fn new(restarting: bool, preserved: FamilySet) -> Self {
        let preserved = if restarting { preserved } else { FamilySet::NONE };
        Self { restarting, preserved, in_sync: false, deadline: None, converged: false }
    }

    /// The speaker has an identity: the timer starts with the first.
    pub(crate) fn start(&mut self, restart_time: u16, now: Time) {
        let deadline = now + Duration::from_secs(restart_time.into());
        self.deadline.get_or_insert(deadline);
    }

    /// All sources have said what to originate.
    pub(crate) fn in_sync(&mut self) {
        self.in_sync = true;
    }

    /// Ends the restart if all peers have sent their routes or time is over.
    pub(crate) fn check(&mut self, all_peers_done: bool, now: Time) {
        let over = all_peers_done || self.deadline.is_some_and(|at| at <= now);
        if self.restarting && self.in_sync && over {
            self.restarting = false;
        }
    }

    /// When to check again without any other cause.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.deadline.filter(|_| self.restarting && self.in_sync)
    }

    /// Whether this start continues an earlier one and is not over.
    pub(crate) fn is_restarting(&self) -> bool {
        self.restarting
    }

    /// Families whose forwarding outlived the restart.
    pub(crate) fn preserved(&self) -> FamilySet {
        self.preserved
    }

    /// Whether all sources were synced.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.in_sync
    }

    /// Whether the owner may sweep, asked when nothing is left to report; true once.
    pub(crate) fn converges(&mut self) -> bool {
        let now = self.in_sync && !self.restarting && !self.converged;
        self.converged |= now;
        now
    }

    /// Whether that was said.
    pub(crate) fn has_converged(&self) -> bool {
        self.converged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::since_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_restart_waits_for_sources_and_for_peers_or_time() {
        let mut deferral = Deferral::new(true, FamilySet::ALL);
        deferral.start(120, at(1));
        deferral.start(120, at(100));
        deferral.check(true, at(2));
        assert!(deferral.is_restarting(), "sources are not synced");
        assert_eq!(deferral.deadline(), None, "time alone ends nothing yet");
        deferral.in_sync();
        deferral.check(false, at(120));
        assert!(deferral.is_restarting() && !deferral.converges());
        assert_eq!(deferral.deadline(), Some(at(121)));
        deferral.check(false, at(121));
        assert!(!deferral.is_restarting());
        assert!(deferral.converges());
        assert!(!deferral.converges(), "said once");
    }

    #[test]
    fn a_first_start_preserves_nothing_and_waits_for_sources_alone() {
        let mut deferral = Deferral::new(false, FamilySet::ALL);
        assert!(deferral.preserved().is_empty());
        assert!(!deferral.converges());
        deferral.in_sync();
        assert!(deferral.converges());
    }
}
