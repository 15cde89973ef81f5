//! How many prefixes a peer may advertise (RFC 4271 §6.7, RFC 4486 §4).

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
        let near = count as u128 * 100 >= u128::from(limit) * u128::from(self.warn_percent);
        near.then(|| format!("{count} of at most {limit} {family} prefixes"))
    }
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
