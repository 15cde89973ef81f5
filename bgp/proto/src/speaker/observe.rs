//! What goes over the wire and what comes of it, for who looks on.
//!
//! Nothing is kept while nobody does. What was seen waits until it is fetched: the driver fetches
//! after every call.

use std::net::IpAddr;

use super::Speaker;
use super::command::PeerName;
use super::event::Event;
use crate::decode::{decode, frame};
use crate::fsm::State;
use crate::message::Message;
use crate::negotiated::Negotiated;
use crate::session::Session;
use crate::timer::Time;

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// When.
    pub at: Time,
    /// What.
    pub what: Seen,
}

/// What can be seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A message came or went.
    Message {
        /// Whose session it is.
        peer: PeerName,
        /// Whether it went.
        sent: bool,
        /// Between whom.
        ends: Ends,
        /// All of it, header included.
        octets: Vec<u8>,
    },
    /// The state of a peer changed.
    State {
        /// Whose.
        peer: PeerName,
        /// Between whom.
        ends: Ends,
        /// From this.
        before: State,
        /// To that.
        after: State,
        /// Why, if it left Established.
        reason: Option<String>,
    },
    /// What is reported of routes to the owner of the forwarding table.
    Route(Event),
}

/// The two ends of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Ends {
    /// Our address; unspecified while there is no connection.
    pub local: IpAddr,
    /// The peer's address.
    pub peer: IpAddr,
    /// Our AS and the peer's, and how their messages are read.
    pub negotiated: Negotiated,
}

impl Ends {
    /// The message in the terms of the session; `None` if it cannot be read.
    pub fn read(&self, octets: &[u8]) -> Option<Message> {
        decode(octets, &self.negotiated).ok()
    }
}

impl Speaker {
    /// Whether somebody looks on from now on.
    pub fn set_observed(&mut self, observed: bool) {
        self.observed = observed;
        if !observed {
            self.seen.clear();
        }
    }

    /// The next thing that was seen.
    pub fn poll_observed(&mut self) -> Option<Observed> {
        self.seen.pop_front()
    }

    pub(super) fn saw(&mut self, at: Time, what: Seen) {
        if self.observed {
            self.seen.push_back(Observed { at, what });
        }
    }

    /// Messages to a peer are on their way, whole and one after the other.
    pub(super) fn saw_sent(&mut self, at: Time, name: &PeerName, ends: &Ends, octets: &[u8]) {
        let mut rest = octets;
        while let Ok(Some(len)) = frame(rest, &ends.negotiated) {
            let (message, more) = rest.split_at(len);
            let (peer, ends) = (name.clone(), ends.clone());
            let octets = message.to_vec();
            self.saw(at, Seen::Message { peer, sent: true, ends, octets });
            rest = more;
        }
    }
}

/// The ends of one connection of a peer. Before the OPEN came its AS is the one it must have.
pub(crate) fn ends(session: &Session, peer: IpAddr, peer_as: u32) -> Ends {
    let unspecified: IpAddr = match peer {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    Ends {
        local: session.local.unwrap_or(unspecified),
        peer,
        negotiated: Negotiated { peer_as, ..session.negotiated.clone() },
    }
}
