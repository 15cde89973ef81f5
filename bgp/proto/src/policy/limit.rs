//! How many prefixes a peer may advertise (RFC 4271 §6.7, RFC 4486 §4), and is told of.

use std::time::Duration;

use crate::family::Family;
use crate::message::{Notification, NotificationCode};

/// Limits by family, counted before any filter: what protects memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPrefixes {
    /// For IPv4; no limit unless given.
    pub ipv4: Option<u32>,
    /// For IPv6; no limit unless given.
    pub ipv6: Option<u32>,
    /// From how many percent of a limit on the status warns.
    pub warn_percent: u8,
    /// After what time the peer may come back; without, once its configuration changes.
    pub restart: Option<Duration>,
}

/// How many prefixes a peer is told of, counted after all filters. Those that do not fit are withheld
/// and the session goes on: who has a place keeps it, the lowest prefix gets the next that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPrefixesOut {
    /// For IPv4; no limit unless given.
    pub ipv4: Option<u32>,
    /// For IPv6; no limit unless given.
    pub ipv6: Option<u32>,
    /// From how many percent of a limit on the status warns.
    pub warn_percent: u8,
}

/// A limit that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) family: Family,
    pub(crate) limit: u32,
    pub(crate) restart: Option<Duration>,
}

impl MaxPrefixes {
    /// The limit of a family.
    pub fn of(&self, family: Family) -> Option<u32> {
        match family {
            Family::Ipv4Unicast => self.ipv4,
            Family::Ipv6Unicast => self.ipv6,
        }
    }

    /// The first limit that these numbers of prefixes pass.
    pub(crate) fn exceeded(&self, count: impl Fn(Family) -> usize) -> Option<Exceeded> {
        Family::ALL.into_iter().find_map(|family| {
            let limit = self.of(family)?;
            let within = u32::try_from(count(family)).is_ok_and(|count| count <= limit);
            (!within).then_some(Exceeded { family, limit, restart: self.restart })
        })
    }

    /// What to say of a number of prefixes that comes near its limit.
    pub(crate) fn warning(&self, family: Family, count: usize) -> Option<String> {
        let limit = self.of(family)?;
        is_near(count, limit, self.warn_percent)
            .then(|| format!("{count} of at most {limit} {family} prefixes"))
    }
}

impl MaxPrefixesOut {
    /// The limit of a family.
    pub fn of(&self, family: Family) -> Option<u32> {
        match family {
            Family::Ipv4Unicast => self.ipv4,
            Family::Ipv6Unicast => self.ipv6,
        }
    }

    /// What to say of a number of prefixes that comes near its limit, with those beyond it.
    pub(crate) fn warning(&self, family: Family, count: usize, withheld: usize) -> Option<String> {
        let limit = self.of(family)?;
        is_near(count, limit, self.warn_percent).then(|| {
            let told = format!("told of {count} of at most {limit} {family} prefixes");
            match withheld {
                0 => told,
                more => format!("{told}, {more} more are withheld"),
            }
        })
    }
}

fn is_near(count: usize, limit: u32, warn_percent: u8) -> bool {
    count as u128 * 100 >= u128::from(limit) * u128::from(warn_percent)
}

impl Exceeded {
    /// Cease with what was too much: AFI, SAFI, limit (RFC 4486 §4).
    pub(crate) fn notification(self) -> Notification {
        let pair = self.family.afi_safi();
        let [afi_high, afi_low] = pair.afi.to_be_bytes();
        let mut data = vec![afi_high, afi_low, pair.safi];
        data.extend(self.limit.to_be_bytes());
        NotificationCode::MaximumPrefixes.with_data(data)
    }

    /// For the operator.
    pub(crate) fn words(self) -> String {
        let Self { family, limit, restart } = self;
        let back = match restart {
            Some(after) => format!("it may come back {} s later", after.as_secs()),
            None => "raise the limit or change the peer to let it come back".into(),
        };
        format!("the peer advertised more than {limit} {family} prefixes; {back}")
    }
}
