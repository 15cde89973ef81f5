//! Two connections to one neighbour (RFC 4271 §6.8, RFC 6286 §2.3, RFC 4724 §5).

use super::{Env, Peer};
use crate::fsm::State;
use crate::session::open;
use crate::session::{Direction, Session};
use crate::speaker::command::Identity;

/// A new connection stands against an Established session that is not to be given up for it.
#[derive(Debug)]
pub(crate) struct InUse;

impl Peer {
    /// The connection to dump now that `place` knows the neighbour's OPEN, if any.
    ///
    /// Of two that are as far, the one stays that was opened by the speaker with the higher
    /// identifier; with equal identifiers (only between ASes) the higher AS decides. An
    /// Established one always stays.
    pub(super) fn collision(&self, place: Direction, identity: &Identity) -> Option<Direction> {
        let theirs = self.session(place)?.theirs.as_ref()?;
        let other = self.session(place.other())?;
        match other.state {
            State::Established => Some(place),
            State::OpenConfirm => {
                let we_win =
                    (identity.router_id, identity.as_number) > (theirs.router_id, theirs.as_number);
                Some(if we_win { Direction::Incoming } else { Direction::Outgoing })
            }
            _ => None,
        }
    }

    /// Before a connection is accepted: one that the neighbour has surely lost makes room.
    ///
    /// A neighbour that restarts gracefully connects anew while we still believe in the old
    /// session, which is then over as if TCP had failed (RFC 4724 §5). Of two incoming connections
    /// that are not Established the neighbour has given up the older one.
    pub(super) fn make_room(&mut self, env: &mut Env<'_>) -> Result<(), InUse> {
        for place in [Direction::Outgoing, Direction::Incoming] {
            let Some(session) = self.session(place) else { continue };
            let replaced = match session.state {
                State::Established if preserves(session) => true,
                State::Established => return Err(InUse),
                _ => place == Direction::Incoming,
            };
            if replaced {
                self.closed(place, "the neighbour opened a new connection", env);
            }
        }
        Ok(())
    }
}

/// Whether the neighbour said that it preserves forwarding for any family when it restarts.
fn preserves(session: &Session) -> bool {
    let theirs = session.theirs.as_ref().and_then(open::graceful_restart);
    theirs.is_some_and(|restart| !restart.families.is_empty())
}
