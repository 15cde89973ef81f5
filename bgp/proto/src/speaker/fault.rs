//! Faults of our own that tests ask for.

use super::{PeerName, Speaker};
use crate::peer::Peer;

/// Where the handling of a peer shall panic, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// When octets come.
    Receive,
    /// When routes have been put into the tables.
    Update,
    /// When octets are asked for.
    Transmit,
}

impl Speaker {
    pub(super) fn arm(&mut self, name: &PeerName, fault: Fault) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.fault = Some(fault);
        }
    }
}

impl Peer {
    /// Panics if a test asked for it here.
    pub(crate) fn fail_at(&self, place: Fault) {
        assert_ne!(self.fault, Some(place), "injected fault");
    }
}
