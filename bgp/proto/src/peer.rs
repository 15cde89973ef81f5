//! A neighbour: up to two connections, and what outlives them.
//!
//! RFC 4271 §6.8 lets both sides connect at once, so a peer has two places for a connection, each
//! with its own state machine: `main` connects and retries (unless the peer is passive),
//! `incoming` exists from an accepted connection to its end. As soon as one of them knows the
//! neighbour's OPEN and the other is as far, one is dumped ([`collision`]). The one that becomes
//! Established moves to `main`, so that the neighbour can always connect anew.
//!
//! ```text
//!  handle_* ──► step(place, event) ──► fsm::transition ──► actions ──► Effect (driver, RIB)
//!                                                             └──────► timers, errors, failures
//! ```
//!
//! Everything here is synchronous; time and randomness come in [`Env`].

mod act;
mod collision;
mod helper;
mod history;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::family::{Family, FamilySet};
use crate::fsm::{self, Event, State};
use crate::message::{Message, Notification, NotificationCode, RouteRefresh, Update};
use crate::negotiated::Negotiated;
use crate::policy::Exceeded;
use crate::rib::{PeerId, PeerSession};
use crate::session::open;
use crate::session::{ConnId, OPEN_HOLD, Place, Session};
use crate::speaker::command::{Identity, PeerConfig};
use crate::speaker::transport::Transport;
use crate::speaker::{Ends, Guest, observe};
use crate::timer::{Jitter, Time, Timer};

use act::MAX_PAUSE_BGP;
pub(crate) use helper::{Expired, Helper};
pub(crate) use history::History;

/// ConnectRetryTimer, before jitter: a lost SYN costs no more than this. Much less than the 120 s
/// of RFC 4271 §10, since a node without its fabric is useless.
const CONNECT_RETRY: Duration = Duration::from_secs(10);
/// First attempts are spread over this, so that a rack does not connect in one instant.
const START_SPREAD: Duration = Duration::from_millis(500);

/// What a peer needs of its surroundings for one step.
pub(crate) struct Env<'a> {
    pub(crate) now: Time,
    pub(crate) identity: &'a Identity,
    /// Whether this start continues an earlier one and is not over.
    pub(crate) restarting: bool,
    /// Families whose forwarding went on over that restart.
    pub(crate) preserved: FamilySet,
    pub(crate) jitter: &'a mut Jitter,
    pub(crate) next_conn: &'a mut u64,
    /// Whether somebody looks on.
    pub(crate) observed: bool,
    pub(crate) effects: &'a mut Vec<Effect>,
}

/// What a step asks of the speaker, in order.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Open a TCP connection.
    Connect { conn: ConnId, remote: SocketAddr, source: Option<IpAddr>, transport: Transport },
    /// Write what is left and close.
    /// The ends are for who looks on.
    Close { conn: ConnId, last: Vec<u8>, ends: Option<Box<Ends>> },
    /// A message came, and somebody looks on.
    Heard(Box<Ends>, Vec<u8>),
    /// The session is up. Stale routes of other families than these are to go.
    Up { session: Box<PeerSession>, keep_stale: FamilySet },
    /// The session is over. Routes of these families stay as stale ones, others go.
    Down { keep: FamilySet, reason: String },
    /// Routes came.
    Update(Box<Update>),
    /// The neighbour wants our routes again.
    Refresh(RouteRefresh),
}

/// An event with what came along.
struct Input {
    event: Event,
    /// What the decoder wants sent, or the subcode of a Cease.
    notification: Option<Notification>,
    /// What happened, for the operator.
    words: String,
    message: Option<Message>,
}

impl Input {
    fn new(event: Event, words: impl Into<String>) -> Self {
        Self { event, notification: None, words: words.into(), message: None }
    }
}

/// A neighbour.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its name in the tables.
    pub(crate) id: PeerId,
    pub(crate) config: PeerConfig,
    pub(crate) main: Session,
    pub(crate) incoming: Option<Session>,
    pub(crate) helper: Helper,
    pub(crate) history: History,
    /// Nobody named it: it came by a range.
    pub(crate) guest: Option<Guest>,
    /// Whether connections are wanted and taken.
    enabled: bool,
    /// IdleHoldTimer of the main place.
    idle_hold: Option<Time>,
    /// It advertised too much, and may come back then; `None` once its configuration changes.
    over_limit: Option<(Exceeded, Option<Time>)>,
    /// Families of which this session has sent all.
    end_of_rib_received: FamilySet,
    /// Whether a session since the start has sent all of all.
    sent_all: bool,
    /// Where a test wants a panic.
    #[cfg(any(test, feature = "fault-injection"))]
    pub(crate) fault: Option<crate::speaker::Fault>,
}

impl Peer {
    /// Idle until [`Peer::start`].
    pub(crate) fn new(id: PeerId, config: PeerConfig) -> Self {
        Self {
            id,
            config,
            main: Session::new(0),
            incoming: None,
            helper: Helper::default(),
            history: History::default(),
            guest: None,
            enabled: false,
            idle_hold: None,
            over_limit: None,
            end_of_rib_received: FamilySet::NONE,
            sent_all: false,
            #[cfg(any(test, feature = "fault-injection"))]
            fault: None,
        }
    }

    /// Lets the peer connect and accept.
    pub(crate) fn start(&mut self, env: &mut Env<'_>) {
        self.enabled = true;
        self.history.failures = 0;
        if !self.config.passive {
            self.idle_hold = Some(env.now + env.jitter.below(START_SPREAD));
        }
    }

    /// The same after a failure, which is counted: the pause before the first attempt grows.
    pub(crate) fn start_again(&mut self, env: &mut Env<'_>) {
        self.enabled = true;
        self.pause(MAX_PAUSE_BGP, env);
    }

    /// Ends both connections with this Cease and accepts none until started again.
    pub(crate) fn stop(&mut self, code: NotificationCode, why: &str, env: &mut Env<'_>) {
        self.stop_with(&code.saying(why), why, env);
    }

    fn stop_with(&mut self, notification: &Notification, why: &str, env: &mut Env<'_>) {
        self.enabled = false;
        self.idle_hold = None;
        for place in Place::ALL {
            let notification = Some(notification.clone());
            self.step(place, Input { notification, ..Input::new(Event::ManualStop, why) }, env);
        }
    }

    /// Ends the session of a peer that advertises more than it may; it waits for its time, or for
    /// another configuration.
    pub(crate) fn hold_back(&mut self, exceeded: Exceeded, env: &mut Env<'_>) {
        let words = exceeded.words();
        self.stop_with(&exceeded.notification(), &words, env);
        self.history.error(words, env.now);
        self.over_limit = Some((exceeded, exceeded.restart.map(|after| env.now + after)));
    }

    /// BFD says that the neighbour does not forward: the session ends, and with it its routes
    /// (RFC 9384).
    pub(crate) fn bfd_down(&mut self, why: &str, env: &mut Env<'_>) {
        let notification = Some(NotificationCode::BfdDown.empty());
        let input = Input { notification, ..Input::new(Event::AutomaticStop, why) };
        self.step(Place::Main, input, env);
        self.history.error(why.into(), env.now);
        self.pause(MAX_PAUSE_BGP, env);
    }

    /// Forgets that the peer advertised too much: other limits are in force.
    pub(crate) fn forgive(&mut self) {
        self.over_limit = None;
    }

    /// What it advertised too much of, while it is held back for that.
    pub(crate) fn over_limit(&self) -> Option<Exceeded> {
        self.over_limit.map(|(exceeded, _)| exceeded)
    }

    /// Ends both connections without a word, as a restart does.
    pub(crate) fn abandon(&mut self, env: &mut Env<'_>) {
        self.enabled = false;
        for place in Place::ALL {
            self.step(place, Input::new(Event::TcpConnectionFails, "we restart"), env);
            self.step(place, Input::new(Event::ManualStop, "we restart"), env);
        }
        self.idle_hold = None;
    }

    /// Whether connections are wanted and taken.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The neighbour has sent all its routes of a family (RFC 4724 §2).
    pub(crate) fn end_of_rib(&mut self, family: Family) {
        self.end_of_rib_received.insert(family);
        self.helper.end_of_rib(family);
    }

    /// Whether the neighbour has, since our start, sent all its routes; one that says no
    /// End-of-RIB, or restarts itself and may be waiting for ours, is not waited for
    /// (RFC 4724 §4.1).
    pub(crate) fn has_sent_all(&mut self) -> bool {
        let received = self.end_of_rib_received;
        self.sent_all |= self.established().is_some_and(|session| {
            let theirs = session.theirs.as_ref().and_then(open::graceful_restart);
            let complete = session.negotiated.families.iter().all(|f| received.contains(f));
            complete || theirs.is_none_or(|restart| restart.restarted)
        });
        self.sent_all
    }

    /// State of the furthest connection; a passive peer that waits is Active.
    pub(crate) fn state(&self) -> State {
        let incoming = self.incoming.as_ref().map_or(State::Idle, |s| s.state);
        let waiting = if self.enabled && self.config.passive { State::Active } else { State::Idle };
        self.main.state.max(incoming).max(waiting)
    }

    /// The Established connection.
    pub(crate) fn established(&self) -> Option<&Session> {
        Some(&self.main).filter(|session| session.state == State::Established)
    }

    /// The connection at a place.
    pub(crate) fn session(&self, place: Place) -> Option<&Session> {
        match place {
            Place::Main => Some(&self.main),
            Place::Incoming => self.incoming.as_ref(),
        }
    }

    /// The same, to change it.
    pub(crate) fn session_mut(&mut self, place: Place) -> Option<&mut Session> {
        match place {
            Place::Main => Some(&mut self.main),
            Place::Incoming => self.incoming.as_mut(),
        }
    }

    /// Where a connection is.
    pub(crate) fn place_of(&self, conn: ConnId) -> Option<Place> {
        Place::ALL
            .into_iter()
            .find(|place| self.session(*place).is_some_and(|s| s.conn == Some(conn)))
    }

    /// Socket options of its connections.
    pub(crate) fn transport(&self, env: &Env<'_>) -> Transport {
        self.config.transport(env.identity)
    }

    /// Whether TCP is up on a connection.
    pub(crate) fn is_open(&self, conn: ConnId) -> bool {
        let session = self.place_of(conn).and_then(|place| self.session(place));
        session.is_some_and(|session| session.state.is_open())
    }

    /// Our attempt to connect succeeded.
    pub(crate) fn connected(&mut self, local: IpAddr, env: &mut Env<'_>) {
        self.main.local = Some(local);
        let input = Input::new(Event::TcpConnectionAcked, "connected");
        self.step(Place::Main, input, env);
    }

    /// The neighbour connected; returns the name of the connection.
    pub(crate) fn accept(&mut self, local: IpAddr, env: &mut Env<'_>) -> ConnId {
        if self.incoming.is_some() {
            // Of two of its connections the neighbour has given up the older one.
            self.closed(Place::Incoming, "the neighbour opened a new connection", env);
        }
        let conn = new_conn(env);
        let mut session = Session::new(env.identity.as_number);
        session.conn = Some(conn);
        session.local = Some(local);
        self.incoming = Some(session);
        if self.main.state == State::Idle && !self.config.passive {
            // Give it time to come up before we try ourselves.
            self.idle_hold = Some(env.now + env.jitter.apply(CONNECT_RETRY));
        }
        for event in [Event::AutomaticStartPassive, Event::TcpConnectionConfirmed] {
            self.step(Place::Incoming, Input::new(event, "accepted"), env);
        }
        conn
    }

    /// TCP failed or was closed; `words` say how.
    pub(crate) fn closed(&mut self, place: Place, words: &str, env: &mut Env<'_>) {
        self.history.error(words.into(), env.now);
        self.step(place, Input::new(Event::TcpConnectionFails, words), env);
    }

    /// Octets came.
    pub(crate) fn receive(&mut self, place: Place, octets: &[u8], env: &mut Env<'_>) {
        #[cfg(any(test, feature = "fault-injection"))]
        self.fail_at(crate::speaker::Fault::Receive);
        let Some(session) = self.session_mut(place) else { return };
        session.receive(octets);
        let Some(conn) = session.conn else { return };
        // A message may end the connection, or move it to the main place.
        while let Some(place) = self.place_of(conn) {
            self.show(place, env);
            match self.session_mut(place).and_then(Session::next_message) {
                Some(Ok(message)) => self.message(place, message, env),
                Some(Err(notification)) => self.bad_message(place, notification, env),
                None => break,
            }
        }
    }

    /// Shows the next message to who looks on, before it is read.
    fn show(&self, place: Place, env: &mut Env<'_>) {
        if env.observed
            && let Some(session) = self.session(place)
            && let Some(octets) = session.peek()
        {
            let ends = observe::ends(session, self.config.address, self.config.as_number);
            env.effects.push(Effect::Heard(Box::new(ends), octets.to_vec()));
        }
    }

    /// Fires what is due.
    pub(crate) fn timeout(&mut self, env: &mut Env<'_>) {
        for place in Place::ALL {
            while let Some(timer) = self.session_mut(place).and_then(|s| s.timers.expire(env.now)) {
                self.expired(place, timer, env);
            }
        }
        if self.over_limit.is_some_and(|(_, until)| until.is_some_and(|at| at <= env.now)) {
            // Whether it may start is not ours to say.
            self.over_limit = None;
        }
        if self.idle_hold.is_some_and(|at| at <= env.now) {
            self.idle_hold = None;
            let incoming = self.incoming.as_ref().map_or(State::Idle, |s| s.state);
            if self.main.state == State::Idle && incoming < State::OpenConfirm {
                let input = Input::new(Event::IdleHoldTimerExpires, "time for another attempt");
                self.step(Place::Main, input, env);
            }
        }
    }

    /// The earliest deadline with its name.
    pub(crate) fn next_timeout(&self) -> Option<(Time, &'static str)> {
        let timers = [Some(&self.main), self.incoming.as_ref()].into_iter().flatten();
        timers
            .filter_map(|session| session.timers.next())
            .map(|(at, timer)| (at, timer.name()))
            .chain(self.idle_hold.map(|at| (at, "idle hold")))
            .chain(self.over_limit.and_then(|(_, until)| Some((until?, "prefix limit"))))
            .chain(self.helper.deadline().map(|at| (at, "stale routes")))
            .chain(self.guest.as_ref().and_then(|guest| Some((guest.forget_at?, "forgetting"))))
            .min()
    }

    fn expired(&mut self, place: Place, timer: Timer, env: &mut Env<'_>) {
        let hold = self.session(place).and_then(Session::hold_time).unwrap_or(OPEN_HOLD);
        let (event, words) = match timer {
            Timer::ConnectRetry => (
                Event::ConnectRetryTimerExpires,
                format!("no answer to our connection attempt: is {} there?", self.config.address),
            ),
            Timer::Hold => (
                Event::HoldTimerExpires,
                format!("nothing heard for {} s (hold time)", hold.as_secs()),
            ),
            Timer::Keepalive => (Event::KeepaliveTimerExpires, String::new()),
            Timer::SendHold => (
                Event::SendHoldTimerExpires,
                "the neighbour takes no data: send hold time is over".into(),
            ),
        };
        if timer == Timer::ConnectRetry {
            self.history.error(words.clone(), env.now);
        }
        self.step(place, Input::new(event, words), env);
    }

    fn message(&mut self, place: Place, message: Message, env: &mut Env<'_>) {
        let event = match &message {
            Message::Open(_) => return self.open(place, message, env),
            Message::Update(_) | Message::RouteRefresh(_) => Event::UpdateMessage,
            Message::Keepalive => Event::KeepaliveMessage,
            Message::Notification(notification) => {
                self.history.received(notification, env.now);
                match notification.code {
                    NotificationCode::UnsupportedVersion => Event::NotificationVersionError,
                    _ => Event::NotificationMessage,
                }
            }
        };
        let words = match &message {
            Message::Notification(notification) => format!("the neighbour says: {notification}"),
            _ => format!("{} out of place", kind_of(&message)),
        };
        self.step(place, Input { message: Some(message), ..Input::new(event, words) }, env);
    }

    fn open(&mut self, place: Place, message: Message, env: &mut Env<'_>) {
        let Message::Open(theirs) = &message else { return };
        let wanted_as = self.config.as_number;
        let (role, required) = (self.config.role_to(env.identity), self.config.require_role);
        let Some(session) = self.session_mut(place) else { return };
        if session.state == State::OpenSent {
            let refusal = open::check(theirs, env.identity, wanted_as)
                .and_then(|()| open::check_role(theirs, role, required));
            if let Err(refusal) = refusal {
                let input = Input {
                    notification: Some(refusal.notification),
                    ..Input::new(Event::BgpOpenMessageError, refusal.words)
                };
                return self.step(place, input, env);
            }
            if let Some(ours) = &session.ours {
                session.negotiated = Negotiated::new(ours, theirs);
                session.theirs = Some(theirs.clone());
            }
            self.resolve_collision(place, env);
        }
        let input = Input { message: Some(message), ..Input::new(Event::BgpOpen, "second OPEN") };
        self.step(place, input, env);
    }

    fn bad_message(&mut self, place: Place, notification: Notification, env: &mut Env<'_>) {
        let event = match notification.code.code() {
            1 => Event::BgpHeaderError,
            2 => Event::BgpOpenMessageError,
            _ => Event::UpdateMessageError,
        };
        let words = format!("the neighbour sent what cannot be read: {notification}");
        self.step(
            place,
            Input { notification: Some(notification), ..Input::new(event, words) },
            env,
        );
    }

    /// One event at one place: the table's next state and actions.
    fn step(&mut self, place: Place, input: Input, env: &mut Env<'_>) {
        let Some(session) = self.session_mut(place) else { return };
        let before = session.state;
        let transition = fsm::transition(before, input.event);
        session.state = transition.next;
        for action in transition.actions {
            self.act(place, *action, before, &input, env);
        }
        if before != State::Established && transition.next == State::Established {
            self.won(place, env);
        }
        if self.incoming.as_ref().is_some_and(|session| session.conn.is_none()) {
            self.incoming = None;
        }
    }
}

fn new_conn(env: &mut Env<'_>) -> ConnId {
    *env.next_conn += 1;
    ConnId(*env.next_conn)
}

fn kind_of(message: &Message) -> &'static str {
    match message {
        Message::Open(_) => "OPEN",
        Message::Update(_) => "UPDATE",
        Message::Notification(_) => "NOTIFICATION",
        Message::Keepalive => "KEEPALIVE",
        Message::RouteRefresh(_) => "ROUTE-REFRESH",
    }
}
