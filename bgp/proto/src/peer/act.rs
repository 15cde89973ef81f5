//! What the actions of the state machine do to a peer.

use std::net::SocketAddr;
use std::time::Duration;

use super::{CONNECT_RETRY, Effect, Env, Input, Peer, new_conn};
use crate::family::FamilySet;
use crate::fsm::{Action, Event, Notify, State};
use crate::message::{Message, Notification, NotificationCode};
use crate::negotiated::Negotiated;
use crate::rib::PeerSession;
use crate::session::open::{self, Offers, RestartFlags};
use crate::session::{OPEN_HOLD, Place};
use crate::speaker::observe;
use crate::timer::Timer;

/// Longest pause after failures of TCP, before jitter.
const MAX_PAUSE_TCP: Duration = CONNECT_RETRY;
/// Longest pause after failures of BGP, which no retry mends, before jitter.
pub(super) const MAX_PAUSE_BGP: Duration = Duration::from_secs(60);
/// A session that lasted this long makes earlier failures forgotten.
const STABLE: Duration = Duration::from_secs(60);

impl Peer {
    /// Does one action at one place, which was in state `before`.
    pub(super) fn act(
        &mut self,
        place: Place,
        action: Action,
        before: State,
        input: &Input,
        env: &mut Env<'_>,
    ) {
        let now = env.now;
        let ever_up = self.history.established_count > 0;
        let transport = self.transport(env);
        let offers = Offers {
            extended_next_hop: self.config.address.is_ipv6(),
            role: self.config.role_to(env.identity),
        };
        let (address, as_number) = (self.config.address, self.config.as_number);
        let Some(session) = self.session_mut(place) else { return };
        match action {
            Action::Connect => {
                let conn = new_conn(env);
                session.conn = Some(conn);
                let remote = SocketAddr::new(self.config.address, self.config.port);
                let source = self.config.source;
                env.effects.push(Effect::Connect { conn, remote, source, transport });
            }
            Action::StartConnectRetry => {
                session.timers.start(Timer::ConnectRetry, now + env.jitter.apply(CONNECT_RETRY));
            }
            Action::StopConnectRetry => session.timers.stop(Timer::ConnectRetry),
            Action::SendOpen => {
                let flags = RestartFlags {
                    restarted: env.restarting && !ever_up,
                    // A session that broke while we ran did not stop the kernel's forwarding.
                    forwarding: if ever_up { FamilySet::ALL } else { env.preserved },
                };
                let ours = open::ours(env.identity, flags, offers);
                session.negotiated = Negotiated::before_open(ours.as_number);
                session.ours = Some(ours.clone());
                session.opened = now;
                session.send(&Message::Open(ours), now);
            }
            Action::SendKeepalive => session.send(&Message::Keepalive, now),
            Action::Send(notify) => {
                let notification = notification(notify, before, input);
                let for_good = session.negotiated.notification_restart && ends_for_good(input);
                let notification = if for_good { notification.hard() } else { notification };
                session.send(&Message::Notification(notification.clone()), now);
                self.history.sent(&notification, &input.words, now);
            }
            Action::StartOpenHold => session.timers.start(Timer::Hold, now + OPEN_HOLD),
            Action::StartHold => match session.hold_time() {
                Some(hold) => session.timers.start(Timer::Hold, now + hold),
                None => session.timers.stop(Timer::Hold),
            },
            Action::StartKeepalive => {
                if let Some(interval) = session.keepalive_time() {
                    session.timers.start(Timer::Keepalive, now + env.jitter.apply(interval));
                }
            }
            Action::SessionUp => self.session_up(place, env),
            Action::SessionDown => self.session_down(place, input, env),
            Action::Process => match &input.message {
                Some(Message::Update(update)) => {
                    self.history.update(update, now);
                    env.effects.push(Effect::Update(Box::new(update.clone())));
                }
                Some(Message::RouteRefresh(refresh)) => env.effects.push(Effect::Refresh(*refresh)),
                _ => {}
            },
            Action::Drop => {
                let ends = || Box::new(observe::ends(session, address, as_number));
                let ends = env.observed.then(ends);
                if let Some((conn, last)) = session.disconnect() {
                    env.effects.push(Effect::Close { conn, last, ends });
                }
                session.timers.stop_all();
            }
            Action::ResetFailures => self.history.failures = 0,
            Action::Damp => self.damp(place, before, input, env),
        }
    }

    fn session_up(&mut self, place: Place, env: &mut Env<'_>) {
        let Some(session) = self.session(place) else { return };
        let (Some(theirs), Some(local)) = (session.theirs.clone(), session.local) else { return };
        let tables = PeerSession {
            negotiated: session.negotiated.clone(),
            router_id: theirs.router_id,
            peer_address: self.config.address,
            local_address: local,
            role: self.config.role_to(env.identity),
            policy: self.config.policy.clone(),
        };
        let keep_stale = self.helper.peer_is_back(&theirs, env.now);
        self.end_of_rib_received = FamilySet::NONE;
        self.history.came_up(env.now);
        self.idle_hold = None;
        env.effects.push(Effect::Up { session: Box::new(tables), keep_stale });
    }

    fn session_down(&mut self, place: Place, input: &Input, env: &mut Env<'_>) {
        let Some(session) = self.session(place) else { return };
        let (theirs, families) = (session.theirs.clone(), session.negotiated.families);
        let keep = match theirs {
            Some(theirs) if self.enabled && is_restart(input, &session.negotiated) => {
                self.helper.peer_restarts(&theirs, families, env.now)
            }
            _ => self.helper.peer_is_gone(),
        };
        if self.history.went_down(env.now) >= STABLE {
            self.history.failures = 0;
        }
        env.effects.push(Effect::Down { keep, reason: input.words.clone() });
    }

    /// Counts a failure and plans the next attempt, unless another connection is on its way.
    fn damp(&mut self, place: Place, before: State, input: &Input, env: &mut Env<'_>) {
        if matches!(input.event, Event::OpenCollisionDump | Event::AutomaticStop) {
            return;
        }
        self.history.error(input.words.clone(), env.now);
        let other = self.session(place.other()).map_or(State::Idle, |s| s.state);
        if !self.enabled || other >= State::OpenConfirm {
            return;
        }
        let of_tcp = input.event == Event::TcpConnectionFails && before != State::OpenConfirm;
        self.pause(if of_tcp { MAX_PAUSE_TCP } else { MAX_PAUSE_BGP }, env);
    }

    /// Counts a failure and plans the next attempt.
    pub(super) fn pause(&mut self, longest: Duration, env: &mut Env<'_>) {
        let doubled = 1_u32 << self.history.failures.min(6);
        self.history.failures = self.history.failures.saturating_add(1);
        if !self.config.passive {
            let pause = (Duration::from_secs(1) * doubled).min(longest);
            self.idle_hold = Some(env.now + env.jitter.apply(pause));
        }
    }

    /// One connection reached Established: the other one is not needed, and the main place is its.
    pub(super) fn won(&mut self, place: Place, env: &mut Env<'_>) {
        let other = place.other();
        let event = match self.session(other).map_or(State::Idle, |s| s.state) {
            State::Idle => None,
            state if state.is_open() => Some(Event::OpenCollisionDump),
            _ => Some(Event::AutomaticStop),
        };
        if let Some(event) = event {
            self.step(other, Input::new(event, "another connection to the neighbour came up"), env);
        }
        if place == Place::Incoming
            && let Some(session) = self.incoming.take()
        {
            self.main = session;
        }
    }
}

/// Whether the neighbour shall forget our routes: the session was stopped and will not come back at
/// once.
fn ends_for_good(input: &Input) -> bool {
    match input.notification.as_ref().map(|notification| notification.code) {
        Some(NotificationCode::OtherConfigurationChange) => false,
        Some(NotificationCode::BfdDown) => true,
        _ => input.event == Event::ManualStop,
    }
}

/// Whether the end of a session leaves the neighbour's forwarding as it was: a connection that broke
/// without a NOTIFICATION (RFC 4724 §4.2), or with any but a Hard Reset if both sides say so
/// (RFC 8538 §4).
fn is_restart(input: &Input, session: &Negotiated) -> bool {
    match (input.event, &input.message) {
        (Event::TcpConnectionFails, _) => true,
        (Event::ManualStop | Event::AutomaticStop, _) => false,
        (_, Some(Message::Notification(notification))) => {
            session.notification_restart && notification.code != NotificationCode::HardReset
        }
        _ => session.notification_restart,
    }
}

/// The NOTIFICATION that an action means.
fn notification(notify: Notify, state: State, input: &Input) -> Notification {
    let code = match notify {
        Notify::Cease | Notify::Received => {
            let given = input.notification.clone();
            return given.unwrap_or_else(|| NotificationCode::CeaseUnspecific.empty());
        }
        Notify::Collision => NotificationCode::ConnectionCollision,
        Notify::HoldTimer => NotificationCode::HoldTimerExpired,
        Notify::SendHoldTimer => NotificationCode::SendHoldTimerExpired,
        Notify::Fsm => match state {
            State::OpenSent => NotificationCode::UnexpectedInOpenSent,
            State::OpenConfirm => NotificationCode::UnexpectedInOpenConfirm,
            State::Established => NotificationCode::UnexpectedInEstablished,
            _ => NotificationCode::FsmUnspecific,
        },
    };
    code.empty()
}
