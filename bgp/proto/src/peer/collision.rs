//! Two connections to one neighbour (RFC 4271 §6.8, RFC 6286 §2.3, RFC 4724 §5).

use std::time::Duration;

use super::{Env, Input, Peer};
use crate::fsm::{Event, State};
use crate::session::open;
use crate::session::{Place, Session};
use crate::speaker::command::Identity;
use crate::timer::Time;

/// An OPEN on a second connection this soon after the session came up belongs to a simultaneous
/// attempt, not to a restart.
const SIMULTANEOUS: Duration = Duration::from_secs(10);

impl Peer {
    /// Ends one of two connections now that the one at `place` knows the neighbour's OPEN.
    pub(super) fn resolve_collision(&mut self, place: Place, env: &mut Env<'_>) {
        let Some(other) = self.session(place.other()) else { return };
        match other.state {
            State::Established if self.is_restart(other, env.now) => {
                let words = "the neighbour restarted and opened a new connection";
                self.closed(place.other(), words, env);
            }
            State::Established => self.dump(place, env),
            State::OpenConfirm => {
                if let Some(loser) = self.loser(place, env.identity) {
                    self.dump(loser, env);
                }
            }
            state => {
                let recent = env.now.saturating_since(other.opened) < SIMULTANEOUS;
                if place == Place::Incoming && self.loser(place, env.identity) == Some(place) {
                    self.prefer_own(state, recent, env);
                }
            }
        }
    }

    /// The neighbour's OPEN came on its connection, our own attempt is not as far, and ours would
    /// win: we decide now, before a KEEPALIVE of ours lets the neighbour believe that its connection
    /// is the one. Waiting for the OPEN on ours, as the RFC's words have it, gives the neighbour time
    /// to become Established and dump ours while we dump its.
    ///
    /// With our OPEN underway, its connection goes; it cannot know whether ours is still an attempt,
    /// so else our attempt goes. An OPEN that nobody answered for long went to a neighbour that was
    /// dead then, and decides nothing.
    fn prefer_own(&mut self, own: State, recent: bool, env: &mut Env<'_>) {
        match own {
            State::OpenSent if recent => self.dump(Place::Incoming, env),
            State::Connect | State::Active => {
                let words = "the neighbour's connection came first";
                self.step(Place::Main, Input::new(Event::AutomaticStop, words), env);
            }
            _ => {}
        }
    }

    /// Of two connections that are as far, the one stays that was opened by the speaker with the
    /// higher identifier; with equal identifiers (only between ASes) the higher AS decides.
    fn loser(&self, place: Place, identity: &Identity) -> Option<Place> {
        let theirs = self.session(place)?.theirs.as_ref()?;
        let ours = (identity.router_id, identity.as_number);
        Some(match ours > (theirs.router_id, theirs.as_number) {
            true => Place::Incoming,
            false => Place::Main,
        })
    }

    /// Whether an OPEN on a new connection means that the neighbour has lost the Established one:
    /// if it restarts gracefully, that one is over as if TCP had failed (RFC 4724 §5).
    ///
    /// The RFC decides when TCP connects. That is too early: a neighbour whose attempt crosses
    /// ours connects a moment after the session came up, and gives that connection up itself.
    fn is_restart(&self, established: &Session, now: Time) -> bool {
        let theirs = established.theirs.as_ref().and_then(open::graceful_restart);
        theirs.is_some_and(|restart| !restart.families.is_empty())
            && now.saturating_since(self.history.since) >= SIMULTANEOUS
    }

    fn dump(&mut self, place: Place, env: &mut Env<'_>) {
        let words = "another connection to the neighbour was kept";
        self.step(place, Input::new(Event::OpenCollisionDump, words), env);
    }
}
