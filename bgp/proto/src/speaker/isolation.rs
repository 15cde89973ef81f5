//! A panic while one peer is handled costs that peer its sessions, and nobody else anything.
//!
//! What the panic left half done is thrown away: the peer's state machines, its routes, its place
//! in the tables. What stays is its configuration and its history, which says what happened. The
//! peer then starts anew after a pause that grows, so that a route which always leads to the same
//! panic does not make the node connect in a tight loop.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::command::PeerName;
use super::{Guest, Io, Speaker};
use crate::encode::encode;
use crate::fsm::State;
use crate::message::{Message, NotificationCode};
use crate::negotiated::Negotiated;
use crate::peer::Peer;
use crate::rib::PeerId;
use crate::session::ConnId;
use crate::timer::Time;

impl Speaker {
    /// Runs what concerns one peer; `None` if that panicked, and the peer was restarted.
    pub(super) fn contain<T>(
        &mut self,
        name: &PeerName,
        now: Time,
        work: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.restart_peer(name, &words(&*panic), now);
                None
            }
        }
    }

    /// Ends a peer's connections (Cease 6/8, RFC 4486 §4), forgets its routes and starts it anew.
    fn restart_peer(&mut self, name: &PeerName, panic: &str, now: Time) {
        let Some(broken) = self.peers.remove(name) else { return };
        let conns: Vec<ConnId> =
            self.conns.iter().filter(|(_, of)| *of == name).map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.conns.remove(&conn);
            let code = NotificationCode::OutOfResources;
            let last = if broken.is_open(conn) { last_words(code) } else { Vec::new() };
            self.io.push_back(Io::Close { conn, last });
        }
        self.stop_bfd(name);
        self.rib.purge(broken.id);
        self.next_peer += 1;
        let why = format!("internal error, the session was restarted: {panic}");
        let mut peer = Peer::new(PeerId(self.next_peer), broken.config);
        peer.guest = broken.guest.map(|guest| Guest { forget_at: None, ..guest });
        peer.history = broken.history;
        peer.history.panicked(why.clone(), now);
        let owns_address = self.owner_of(peer.config.address) == Some(name);
        self.peers.insert(name.clone(), peer);
        self.report_state(name, State::Idle, Some(why));
        if owns_address {
            self.step(name, now, Peer::start_again);
        }
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".into())
}

/// A NOTIFICATION without any negotiated state: its encoding hangs on none.
pub(super) fn last_words(code: NotificationCode) -> Vec<u8> {
    let mut octets = Vec::new();
    let message = Message::Notification(code.empty());
    encode(&message, &Negotiated::before_open(0), &mut octets)
        .expect("a NOTIFICATION has an encoding on every session");
    octets
}
