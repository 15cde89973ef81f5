//! Helping a neighbour that restarts: its routes stay, marked stale (RFC 4724 §4.2).

use std::time::Duration;

use crate::family::{Family, FamilySet};
use crate::message::Open;
use crate::session::open;
use crate::timer::Time;

/// How long stale routes may wait for End-of-RIB once the neighbour is back.
const STALE_TIME: Duration = Duration::from_secs(300);

/// What is kept for a neighbour, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Helper {
    stale: FamilySet,
    deadline: Option<Time>,
}

impl Helper {
    /// The session broke without a NOTIFICATION; returns the families whose routes stay.
    pub(crate) fn peer_restarts(
        &mut self,
        theirs: &Open,
        negotiated: FamilySet,
        now: Time,
    ) -> FamilySet {
        *self = Self::default();
        let Some(restart) = open::graceful_restart(theirs) else { return FamilySet::NONE };
        let named = open::restart_families(restart, false);
        self.stale = negotiated.iter().filter(|family| named.contains(*family)).collect();
        if restart.restart_time == 0 {
            self.stale = FamilySet::NONE;
        }
        if !self.stale.is_empty() {
            self.deadline = Some(now + Duration::from_secs(restart.restart_time.into()));
        }
        self.stale
    }

    /// The session is up again; returns the families whose stale routes may stay until
    /// End-of-RIB: those for which the neighbour went on forwarding.
    pub(crate) fn peer_is_back(&mut self, theirs: &Open, now: Time) -> FamilySet {
        let forwarding = open::graceful_restart(theirs)
            .map_or(FamilySet::NONE, |restart| open::restart_families(restart, true));
        self.stale = self.stale.iter().filter(|family| forwarding.contains(*family)).collect();
        self.deadline = (!self.stale.is_empty()).then(|| now + STALE_TIME);
        self.stale
    }

    /// The session ended for good; returns the families whose routes stay: none.
    pub(crate) fn peer_is_gone(&mut self) -> FamilySet {
        *self = Self::default();
        FamilySet::NONE
    }

    /// The neighbour has sent all its routes of a family: stale ones are to go.
    pub(crate) fn end_of_rib(&mut self, family: Family) {
        self.stale.remove(family);
        if self.stale.is_empty() {
            self.deadline = None;
        }
    }

    /// Families whose time is over.
    pub(crate) fn expire(&mut self, now: Time) -> FamilySet {
        if self.deadline.is_none_or(|at| at > now) {
            return FamilySet::NONE;
        }
        std::mem::take(self).stale
    }

    /// When stale routes go at the latest.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.deadline
    }
}
