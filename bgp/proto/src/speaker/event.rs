//! What a speaker reports.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::fsm::State;
use crate::rib::RibEvent;
use crate::speaker::command::PeerName;

/// A report of the speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Route to this prefix by these next hops (sorted, equal cost). Replaces what was said before
    /// about the prefix.
    Best {
        /// The destination.
        prefix: IpNet,
        /// Where to, at least one.
        next_hops: Vec<IpAddr>,
    },
    /// No route to this prefix any more.
    Gone {
        /// The destination.
        prefix: IpNet,
    },
    /// Every route that peers had for us was reported: what the kernel still holds of an earlier
    /// run, and no [`Event::Best`] named since the start, may be removed. Comes once, after
    /// [`Command::InSync`](super::Command::InSync) and, if restarting, the deferral of RFC 4724
    /// §4.1.
    Converged,
    /// The session of a peer came up, went down or moved. Of several moves that wait to be
    /// fetched only the last is told.
    Peer {
        /// Whose.
        name: PeerName,
        /// The state of its furthest connection.
        state: State,
        /// Why it left Established, in words.
        reason: Option<String>,
    },
}

impl From<RibEvent> for Event {
    fn from(event: RibEvent) -> Self {
        match event {
            RibEvent::Best { prefix, paths } => {
                let mut next_hops: Vec<_> =
                    paths.iter().map(|path| path.next_hop.address()).collect();
                next_hops.sort_unstable();
                next_hops.dedup();
                Self::Best { prefix, next_hops }
            }
            RibEvent::Withdrawn { prefix } => Self::Gone { prefix },
        }
    }
}
