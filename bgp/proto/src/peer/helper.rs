//! Helping a neighbour that restarts: its routes stay, marked stale (RFC 4724 §4.2), and where it asks
//! for that as the last resort for long (RFC 9494 §4.2).
//!
//! ```text
//!   session lost ─► restart time ─► long-lived stale time ─► swept
//!                       │                  │
//!                       └── neighbour is back, F bit ──► until End-of-RIB, at most …
//! ```

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
    ipv4: Option<Kept>,
    ipv6: Option<Kept>,
}

/// Stale routes of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    until: Time,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The restart time runs; then they are stale for that long, if at all.
    Restart(Duration),
    /// They are the last resort.
    LongLived,
    /// The neighbour is back.
    Refill,
}

/// Families whose time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Their stale routes go.
    pub(crate) gone: FamilySet,
    /// Their stale routes stay for long, as the last resort.
    pub(crate) long_lived: FamilySet,
}

impl Helper {
    fn of(&mut self, family: Family) -> &mut Option<Kept> {
        match family {
            Family::Ipv4Unicast => &mut self.ipv4,
            Family::Ipv6Unicast => &mut self.ipv6,
        }
    }

    /// Families of which stale routes are kept.
    fn families(mut self) -> FamilySet {
        Family::ALL.into_iter().filter(|family| self.of(*family).is_some()).collect()
    }

    /// The session broke without a NOTIFICATION; returns the families whose routes stay. A family
    /// that only the long-lived capability names has no restart time (RFC 9494 §4.2).
    pub(crate) fn peer_restarts(
        &mut self,
        theirs: &Open,
        negotiated: FamilySet,
        now: Time,
    ) -> FamilySet {
        *self = Self::default();
        // Without the one capability the other means nothing (RFC 9494 §3.1).
        let Some(restart) = open::graceful_restart(theirs) else { return FamilySet::NONE };
        let named = open::restart_families(restart, false);
        for family in negotiated.iter() {
            let seconds = if named.contains(family) { restart.restart_time } else { 0 };
            let long = open::long_lived(theirs, family).map_or(0, |entry| entry.stale_time);
            if seconds > 0 || long > 0 {
                let until = now + Duration::from_secs(seconds.into());
                let phase = Phase::Restart(Duration::from_secs(long.into()));
                *self.of(family) = Some(Kept { until, phase });
            }
        }
        self.families()
    }

    /// The session is up again; returns the families whose stale routes may stay until
    /// End-of-RIB: those for which the neighbour went on forwarding, as the capability says by which
    /// they were kept.
    pub(crate) fn peer_is_back(&mut self, theirs: &Open, now: Time) -> FamilySet {
        let restarted = open::graceful_restart(theirs)
            .map_or(FamilySet::NONE, |restart| open::restart_families(restart, true));
        for family in Family::ALL {
            let kept = self.of(family);
            let refill = Kept { until: now + STALE_TIME, phase: Phase::Refill };
            let long = open::long_lived(theirs, family).is_some_and(|entry| entry.forwarding);
            *kept = match *kept {
                Some(Kept { phase: Phase::Restart(_), .. }) if restarted.contains(family) => {
                    Some(refill)
                }
                // Their time goes on (RFC 9494 §4.2).
                Some(Kept { until, phase: Phase::LongLived }) if long => {
                    Some(Kept { until: until.min(refill.until), ..refill })
                }
                _ => None,
            };
        }
        self.families()
    }

    /// The session ended for good; returns the families whose routes stay: none.
    pub(crate) fn peer_is_gone(&mut self) -> FamilySet {
        *self = Self::default();
        FamilySet::NONE
    }

    /// The neighbour has sent all its routes of a family: stale ones are to go.
    pub(crate) fn end_of_rib(&mut self, family: Family) {
        *self.of(family) = None;
    }

    /// Families whose time is over.
    pub(crate) fn expire(&mut self, now: Time) -> Expired {
        let mut expired = Expired::default();
        for family in Family::ALL {
            let kept = self.of(family);
            match *kept {
                Some(Kept { until, phase }) if until <= now => match phase {
                    Phase::Restart(long) if !long.is_zero() => {
                        *kept = Some(Kept { until: now + long, phase: Phase::LongLived });
                        expired.long_lived.insert(family);
                    }
                    _ => {
                        *kept = None;
                        expired.gone.insert(family);
                    }
                },
                _ => {}
            }
        }
        expired
    }

    /// When stale routes go, or become the last resort, at the latest.
    pub(crate) fn deadline(&self) -> Option<Time> {
        [self.ipv4, self.ipv6].into_iter().flatten().map(|kept| kept.until).min()
    }
}
