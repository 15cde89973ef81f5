//! One connection: its octets, its OPENs, its timers and the state of its machine.
//!
//! A `Session` holds what dies with the connection. What outlives it (failures, errors, stale
//! routes) belongs to the `Peer`.

pub(crate) mod open;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::decode::{decode, frame};
use crate::encode::{EncodeError, encode};
use crate::fsm::State;
use crate::message::{Message, Notification, Open, Update};
use crate::negotiated::Negotiated;
use crate::timer::{Time, Timer, Timers};

/// Names a TCP connection between speaker and driver; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(crate) u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A peer's two places for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The connection that we open; the Established one, whoever opened it.
    Main,
    /// One that the neighbour opened and that is not (yet) the main one.
    Incoming,
}

impl Place {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Main, Self::Incoming];

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Main => Self::Incoming,
            Self::Incoming => Self::Main,
        }
    }
}

/// HoldTimer while the neighbour's OPEN is awaited (RFC 4271 §8.2.2).
pub(crate) const OPEN_HOLD: Duration = Duration::from_secs(240);

/// Least send hold time (RFC 9687 §4).
const MIN_SEND_HOLD: Duration = Duration::from_secs(480);

/// State of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The TCP connection, from the attempt to open it on.
    pub(crate) conn: Option<ConnId>,
    /// State of its machine.
    pub(crate) state: State,
    /// Its timers.
    pub(crate) timers: Timers,
    /// When our OPEN went out.
    pub(crate) opened: Time,
    /// Our address on it.
    pub(crate) local: Option<IpAddr>,
    /// The OPEN we sent.
    pub(crate) ours: Option<Open>,
    /// The OPEN that came.
    pub(crate) theirs: Option<Open>,
    /// What follows from both.
    pub(crate) negotiated: Negotiated,
    input: Vec<u8>,
    output: VecDeque<Vec<u8>>,
}

impl Session {
    /// In Idle, without a connection.
    pub(crate) fn new(local_as: u32) -> Self {
        Self {
            conn: None,
            state: State::Idle,
            timers: Timers::default(),
            opened: Time::ZERO,
            local: None,
            ours: None,
            theirs: None,
            negotiated: Negotiated::before_open(local_as),
            input: Vec::new(),
            output: VecDeque::new(),
        }
    }

    /// Forgets the connection; returns it with what was not yet handed to the driver.
    pub(crate) fn disconnect(&mut self) -> Option<(ConnId, Vec<u8>)> {
        let conn = self.conn.take()?;
        let unsent = self.output.drain(..).flatten().collect();
        let (state, local_as) = (self.state, self.negotiated.local_as);
        *self = Self { state, ..Self::new(local_as) };
        Some((conn, unsent))
    }

    /// Takes in octets as TCP delivers them.
    pub(crate) fn receive(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }

    /// The octets of the next whole message.
    pub(crate) fn peek(&self) -> Option<&[u8]> {
        let len = frame(&self.input, &self.negotiated).ok()??;
        self.input.get(..len)
    }

    /// The next whole message, or what is wrong with it.
    pub(crate) fn next_message(&mut self) -> Option<Result<Message, Notification>> {
        let len = match frame(&self.input, &self.negotiated) {
            Ok(Some(len)) => len,
            Ok(None) => return None,
            Err(notification) => return Some(Err(notification)),
        };
        let message = decode(&self.input[..len], &self.negotiated);
        self.input.drain(..len);
        Some(message)
    }

    /// Queues a message for the driver. KEEPALIVEs that wait already are not doubled.
    pub(crate) fn send(&mut self, message: &Message, now: Time) {
        let mut octets = Vec::new();
        // Everything but an UPDATE has an encoding on every session, and an OPEN of ours is short.
        encode(message, &self.negotiated, &mut octets).expect("a control message has an encoding");
        if *message == Message::Keepalive && self.output.back() == Some(&octets) {
            return;
        }
        if self.output.is_empty() {
            self.restart_send_hold(now);
        }
        self.output.push_back(octets);
    }

    /// The next queued message. The driver asks only while it can write: this is the progress that
    /// the SendHoldTimer watches.
    pub(crate) fn transmit(&mut self, now: Time) -> Option<Vec<u8>> {
        let octets = self.output.pop_front()?;
        if self.output.is_empty() {
            self.timers.stop(Timer::SendHold);
        } else {
            self.restart_send_hold(now);
        }
        Some(octets)
    }

    /// An UPDATE in the terms of this session.
    pub(crate) fn encode_update(&self, update: Update) -> Result<Vec<u8>, EncodeError> {
        let mut octets = Vec::new();
        encode(&Message::Update(update), &self.negotiated, &mut octets)?;
        Ok(octets)
    }

    /// Negotiated hold time; `None` if there is none.
    pub(crate) fn hold_time(&self) -> Option<Duration> {
        let seconds = self.negotiated.hold_time;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// A third of the hold time, at least a second (RFC 4271 §4.4).
    pub(crate) fn keepalive_time(&self) -> Option<Duration> {
        Some((self.hold_time()? / 3).max(Duration::from_secs(1)))
    }

    fn restart_send_hold(&mut self, now: Time) {
        let hold = self.hold_time().unwrap_or_default();
        self.timers.start(Timer::SendHold, now + MIN_SEND_HOLD.max(hold * 2));
    }
}
