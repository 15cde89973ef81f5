//! One session (RFC 5880 §6.8), in the active role.

use std::time::Duration;

use super::{Diagnostic, Packet, State};
use crate::timer::{Jitter, Time};

/// How often a session that is not up sends at most (§6.8.3).
const SLOW: Duration = Duration::from_secs(1);

/// What is wanted of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often to send at most, once it is up.
    pub desired_min_tx: Duration,
    /// How often to receive at most.
    pub required_min_rx: Duration,
    /// After how many of our packets missed the neighbour takes us for dead.
    pub detect_mult: u8,
}

/// Such a session would be of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// One lost packet would end everything, and jitter with it (§6.8.7).
    #[error("a detection multiplier below 2 ends a session for one lost packet")]
    DetectMult,
    /// Nothing could be sent or heard, or only at a rate that no node can keep.
    #[error("an interval of BFD is between 10 ms and 60 s")]
    Interval,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Both sides hear each other.
    Up,
    /// That is over.
    Down(Diagnostic),
}

/// A session with one neighbour.
#[derive(Clone, Debug)]
pub struct Session {
    config: Config,
    state: State,
    diagnostic: Diagnostic,
    discriminator: u32,
    /// What the neighbour said last; nothing before it spoke, or once it was silent too long.
    remote: Option<Packet>,
    /// Our intervals were announced by a poll that is not answered yet.
    polling: bool,
    /// When the neighbour is taken for dead.
    detection: Option<Time>,
    next_packet: Time,
    /// A poll of the neighbour is to be answered.
    answer: bool,
    change: Option<Change>,
    jitter: Jitter,
}

impl Config {
    /// Whether a session can run like that.
    ///
    /// # Errors
    /// A value makes no sense.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let sane = Duration::from_millis(10)..=Duration::from_secs(60);
        if self.detect_mult < 2 {
            return Err(InvalidConfig::DetectMult);
        }
        match sane.contains(&self.desired_min_tx) && sane.contains(&self.required_min_rx) {
            true => Ok(()),
            false => Err(InvalidConfig::Interval),
        }
    }
}

impl Session {
    /// A session that is down and says so at once. The discriminator names it among all of ours,
    /// and is not 0.
    pub fn new(config: Config, discriminator: u32, seed: u64, now: Time) -> Self {
        Self {
            config,
            state: State::Down,
            diagnostic: Diagnostic::None,
            discriminator,
            remote: None,
            polling: false,
            detection: None,
            next_packet: now,
            answer: false,
            change: None,
            jitter: Jitter::new(seed),
        }
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it went down last.
    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// How long the neighbour may be silent (§6.8.4); `None` before it spoke.
    pub fn detection_time(&self) -> Option<Duration> {
        let remote = self.remote?;
        let interval = self.config.required_min_rx.max(remote.desired_min_tx);
        Some(interval * u32::from(remote.detect_mult))
    }

    /// Takes in a packet of the neighbour that passed [`Packet::decode`] (§6.8.6, from the checks on
    /// that need the session).
    pub fn handle_packet(&mut self, packet: &Packet, now: Time) {
        if packet.your_discriminator != 0 && packet.your_discriminator != self.discriminator {
            return;
        }
        self.remote = Some(*packet);
        if packet.final_ {
            self.polling = false;
        }
        self.transit(packet.state);
        self.answer |= packet.poll;
        self.detection = self.detection_time().map(|time| now + time);
        // A neighbour that can take packets sooner than we knew need not wait.
        self.next_packet = self.next_packet.min(now + self.interval());
    }

    /// The state machine (§6.8.6).
    fn transit(&mut self, remote: State) {
        match (self.state, remote) {
            (State::AdminDown | State::Down, State::Down) => self.state = State::Init,
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.state = State::Up;
                self.diagnostic = Diagnostic::None;
                // The faster rate is announced (§6.5, §6.8.3).
                self.polling = true;
                self.change = Some(Change::Up);
            }
            (State::Up, State::Down) => self.down(Diagnostic::NeighborSignaledDown),
            // Its operator took it down: no fault of forwarding, and nothing to act on
            // (RFC 5882 §3.2).
            (State::Init | State::Up, State::AdminDown) => {
                self.state = State::Down;
                self.diagnostic = Diagnostic::NeighborSignaledDown;
                self.polling = false;
            }
            _ => {}
        }
    }

    fn down(&mut self, diagnostic: Diagnostic) {
        let was_up = self.state == State::Up;
        self.state = State::Down;
        self.diagnostic = diagnostic;
        self.polling = false;
        if was_up {
            self.change = Some(Change::Down(diagnostic));
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.detection.is_some_and(|at| at <= now) {
            self.detection = None;
            self.remote = None;
            if self.state > State::Down {
                self.down(Diagnostic::ControlDetectionTimeExpired);
            }
        }
    }

    /// What to send now, if anything is due.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Packet> {
        if std::mem::take(&mut self.answer) {
            return Some(Packet { poll: false, final_: true, ..self.packet() });
        }
        if self.next_packet > now || !self.may_send() {
            return None;
        }
        self.next_packet = now + self.jitter.apply(self.interval());
        Some(self.packet())
    }

    /// When to come back.
    pub fn poll_timeout(&self) -> Option<Time> {
        let packet = self.may_send().then_some(self.next_packet);
        packet.into_iter().chain(self.detection).min()
    }

    /// What happened since the last call.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.change.take()
    }

    /// Whether periodic packets are wanted by the neighbour (§6.8.7).
    fn may_send(&self) -> bool {
        let Some(remote) = &self.remote else { return true };
        let quiet = remote.demand && self.state == State::Up && remote.state == State::Up;
        !remote.required_min_rx.is_zero() && (!quiet || self.polling)
    }

    /// How often to send.
    fn interval(&self) -> Duration {
        let remote = self.remote.map(|remote| remote.required_min_rx).unwrap_or_default();
        self.desired_min_tx().max(remote)
    }

    fn desired_min_tx(&self) -> Duration {
        match self.state {
            State::Up => self.config.desired_min_tx,
            _ => self.config.desired_min_tx.max(SLOW),
        }
    }

    fn packet(&self) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.polling,
            final_: false,
            // It lives and dies with the control plane (RFC 5882 §4.3).
            control_plane_independent: false,
            demand: false,
            detect_mult: self.config.detect_mult,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.map_or(0, |remote| remote.my_discriminator),
            desired_min_tx: self.desired_min_tx(),
            required_min_rx: self.config.required_min_rx,
            required_min_echo_rx: Duration::ZERO,
        }
    }
}
