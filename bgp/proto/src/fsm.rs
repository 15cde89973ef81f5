//! The session state machine of one connection, as a table (RFC 4271 §8).
//!
//! ```text
//!            start          connected          OPEN            KEEPALIVE
//!   Idle ───────────► Connect ───────► OpenSent ───► OpenConfirm ───► Established
//!    ▲ │ passive start   │ ▲ retry        │
//!    │ └───────────► Active ◄─────────────┘ connection lost
//!    └──────────── every error, every stop ───────────────────────────────┘
//! ```
//!
//! [`transition`] is pure: state and event in, next state and actions out. It knows no clock, no
//! message and no peer. A peer runs one machine per *connection* (§6.8 wants
//! two while a collision is open) and interprets the actions.
//!
//! Where this table differs from the letter of §8.2.2, on purpose:
//! - Optional attributes that are FALSE here have no events: DelayOpen (12, 20) and the tracking of
//!   half-open connections (14, 15), which Linux does not show.
//! - A NOTIFICATION is never answered with one (event 25 in OpenSent says "FSM error" in the RFC;
//!   §4.5 says that the connection is closed at once).
//! - Header and OPEN errors in Established are named as such (1/x, 2/x) and not as 5/x.
//! - Leaving for Idle without a stop always ends in [`Action::Damp`]: the automatic start after the
//!   IdleHoldTimer is the only way out, so no failure can loop without a pause.
//! - Event 29 is RFC 9687's SendHoldTimer_Expires.

#[cfg(test)]
mod tests;

/// Connection states (RFC 4271 §8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No connection, none wanted or a pause before the next.
    Idle,
    /// A TCP connection is being opened.
    Connect,
    /// Waiting for a TCP connection: from the neighbour, or for the next own attempt.
    Active,
    /// Our OPEN is out, the neighbour's is awaited.
    OpenSent,
    /// OPENs are exchanged, KEEPALIVE is awaited.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl State {
    /// All states in the RFC's order.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::Connect,
        Self::Active,
        Self::OpenSent,
        Self::OpenConfirm,
        Self::Established,
    ];

    /// Whether a TCP connection exists and an OPEN was sent on it.
    pub fn is_open(self) -> bool {
        self >= Self::OpenSent
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}

/// Events, numbered as in RFC 4271 §8.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Event {
    /// The configuration wants a connection.
    ManualStart = 1,
    /// The configuration wants none.
    ManualStop = 2,
    /// The speaker itself starts again.
    AutomaticStart = 3,
    /// The configuration wants a connection that the neighbour opens.
    ManualStartPassive = 4,
    /// The speaker itself starts again and lets the neighbour connect.
    AutomaticStartPassive = 5,
    /// As 3, after the pause for oscillating peers.
    AutomaticStartDamped = 6,
    /// As 5, after the pause for oscillating peers.
    AutomaticStartDampedPassive = 7,
    /// The speaker itself stops, e.g. because another connection of the peer won.
    AutomaticStop = 8,
    /// Time for another attempt to connect.
    ConnectRetryTimerExpires = 9,
    /// The neighbour was silent for the hold time.
    HoldTimerExpires = 10,
    /// Time for a KEEPALIVE.
    KeepaliveTimerExpires = 11,
    /// The pause after a failure is over.
    IdleHoldTimerExpires = 13,
    /// Our TCP connection was accepted.
    TcpConnectionAcked = 16,
    /// The neighbour's TCP connection was accepted.
    TcpConnectionConfirmed = 17,
    /// The TCP connection failed or was closed.
    TcpConnectionFails = 18,
    /// A valid OPEN came.
    BgpOpen = 19,
    /// A message with a bad header came (§6.1).
    BgpHeaderError = 21,
    /// A bad OPEN came (§6.2).
    BgpOpenMessageError = 22,
    /// This connection lost the collision (§6.8).
    OpenCollisionDump = 23,
    /// NOTIFICATION 2/1 came.
    NotificationVersionError = 24,
    /// Any other NOTIFICATION came.
    NotificationMessage = 25,
    /// A KEEPALIVE came.
    KeepaliveMessage = 26,
    /// A valid UPDATE (or ROUTE-REFRESH, RFC 2918) came.
    UpdateMessage = 27,
    /// An UPDATE came that RFC 7606 cannot save.
    UpdateMessageError = 28,
    /// Nothing could be written for the send hold time (RFC 9687).
    SendHoldTimerExpires = 29,
}

impl Event {
    /// All events in the RFC's order.
    pub const ALL: [Self; 25] = [
        Self::ManualStart,
        Self::ManualStop,
        Self::AutomaticStart,
        Self::ManualStartPassive,
        Self::AutomaticStartPassive,
        Self::AutomaticStartDamped,
        Self::AutomaticStartDampedPassive,
        Self::AutomaticStop,
        Self::ConnectRetryTimerExpires,
        Self::HoldTimerExpires,
        Self::KeepaliveTimerExpires,
        Self::IdleHoldTimerExpires,
        Self::TcpConnectionAcked,
        Self::TcpConnectionConfirmed,
        Self::TcpConnectionFails,
        Self::BgpOpen,
        Self::BgpHeaderError,
        Self::BgpOpenMessageError,
        Self::OpenCollisionDump,
        Self::NotificationVersionError,
        Self::NotificationMessage,
        Self::KeepaliveMessage,
        Self::UpdateMessage,
        Self::UpdateMessageError,
        Self::SendHoldTimerExpires,
    ];
}

/// Which NOTIFICATION an action sends; its text and data are the peer's to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Cease (6/x), the subcode by who stops us (RFC 4486).
    Cease,
    /// Cease, Connection Collision Resolution (6/7).
    Collision,
    /// Hold Timer Expired (4/0).
    HoldTimer,
    /// Send Hold Timer Expired (8/0, RFC 9687).
    SendHoldTimer,
    /// Finite State Machine Error (5/x, the subcode by state: RFC 6608).
    Fsm,
    /// What the decoder found wrong (1/x, 2/x, 3/x).
    Received,
}

/// What the owner of the machine has to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a TCP connection to the neighbour.
    Connect,
    /// Start the ConnectRetryTimer from its full length.
    StartConnectRetry,
    /// Stop the ConnectRetryTimer.
    StopConnectRetry,
    /// Send OPEN.
    SendOpen,
    /// Send KEEPALIVE.
    SendKeepalive,
    /// Send this NOTIFICATION.
    Send(Notify),
    /// Start the HoldTimer at the large value for OpenSent (§8.2.2: four minutes).
    StartOpenHold,
    /// Start the HoldTimer at the negotiated value; none if that is zero.
    StartHold,
    /// Start the KeepaliveTimer; none if the hold time is zero.
    StartKeepalive,
    /// The session is up: routes may flow.
    SessionUp,
    /// The session is over; comes exactly once after each [`Action::SessionUp`].
    SessionDown,
    /// Hand the message to the RIB.
    Process,
    /// Stop every timer of the connection and close its TCP connection.
    Drop,
    /// Forget earlier failures: ConnectRetryCounter to zero.
    ResetFailures,
    /// Count a failure and start the IdleHoldTimer (§8.1.1 DampPeerOscillations).
    Damp,
}

/// Where a state and an event lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The next state.
    pub next: State,
    /// What to do on the way.
    pub actions: &'static [Action],
}

/// The table (RFC 4271 §8.2.2).
pub fn transition(state: State, event: Event) -> Transition {
    let (next, actions) = match state {
        State::Idle => idle(event),
        State::Connect => connect(event),
        State::Active => active(event),
        State::OpenSent => open_sent(event),
        State::OpenConfirm => open_confirm(event),
        State::Established => established(event),
    };
    Transition { next, actions }
}

type Row = (State, &'static [Action]);

fn idle(event: Event) -> Row {
    use Action::{Connect, ResetFailures, StartConnectRetry};
    use Event as E;
    match event {
        E::ManualStart | E::AutomaticStart => {
            (State::Connect, &[ResetFailures, StartConnectRetry, Connect])
        }
        E::AutomaticStartDamped | E::IdleHoldTimerExpires => {
            (State::Connect, &[StartConnectRetry, Connect])
        }
        E::ManualStartPassive | E::AutomaticStartPassive => {
            (State::Active, &[ResetFailures, StartConnectRetry])
        }
        E::AutomaticStartDampedPassive => (State::Active, &[StartConnectRetry]),
        _ => (State::Idle, &[]),
    }
}

fn connect(event: Event) -> Row {
    use Action::{Connect, Damp, Drop, ResetFailures, StartConnectRetry};
    use Event as E;
    match event {
        E::ManualStop => (State::Idle, &[Drop, ResetFailures]),
        E::ConnectRetryTimerExpires => (State::Connect, &[Drop, StartConnectRetry, Connect]),
        E::TcpConnectionAcked | E::TcpConnectionConfirmed => (State::OpenSent, OPEN),
        _ if is_start(event) => (State::Connect, &[]),
        _ => (State::Idle, &[Drop, Damp]),
    }
}

fn active(event: Event) -> Row {
    use Action::{Connect, Damp, Drop, ResetFailures, StartConnectRetry};
    use Event as E;
    match event {
        E::ManualStop => (State::Idle, &[Drop, ResetFailures]),
        E::ConnectRetryTimerExpires => (State::Connect, &[StartConnectRetry, Connect]),
        E::TcpConnectionAcked | E::TcpConnectionConfirmed => (State::OpenSent, OPEN),
        _ if is_start(event) => (State::Active, &[]),
        _ => (State::Idle, &[Drop, Damp]),
    }
}

fn open_sent(event: Event) -> Row {
    use Action::{
        Damp, Drop, ResetFailures, Send, SendKeepalive, StartConnectRetry, StartHold,
        StartKeepalive, StopConnectRetry,
    };
    use Event as E;
    match event {
        E::ManualStop => (State::Idle, &[Send(Notify::Cease), Drop, ResetFailures]),
        E::AutomaticStop => (State::Idle, &[Send(Notify::Cease), Drop, Damp]),
        E::HoldTimerExpires => (State::Idle, &[Send(Notify::HoldTimer), Drop, Damp]),
        E::SendHoldTimerExpires => (State::Idle, &[Send(Notify::SendHoldTimer), Drop, Damp]),
        E::TcpConnectionFails => (State::Active, &[Drop, StartConnectRetry]),
        E::BgpOpen => {
            (State::OpenConfirm, &[StopConnectRetry, SendKeepalive, StartKeepalive, StartHold])
        }
        E::BgpHeaderError | E::BgpOpenMessageError => {
            (State::Idle, &[Send(Notify::Received), Drop, Damp])
        }
        E::OpenCollisionDump => (State::Idle, &[Send(Notify::Collision), Drop, Damp]),
        E::NotificationVersionError | E::NotificationMessage => (State::Idle, &[Drop, Damp]),
        E::TcpConnectionAcked | E::TcpConnectionConfirmed => (State::OpenSent, &[]),
        _ if is_start(event) => (State::OpenSent, &[]),
        _ => (State::Idle, &[Send(Notify::Fsm), Drop, Damp]),
    }
}

fn open_confirm(event: Event) -> Row {
    use Action::{
        Damp, Drop, ResetFailures, Send, SendKeepalive, SessionUp, StartHold, StartKeepalive,
    };
    use Event as E;
    match event {
        E::ManualStop => (State::Idle, &[Send(Notify::Cease), Drop, ResetFailures]),
        E::AutomaticStop => (State::Idle, &[Send(Notify::Cease), Drop, Damp]),
        E::HoldTimerExpires => (State::Idle, &[Send(Notify::HoldTimer), Drop, Damp]),
        E::SendHoldTimerExpires => (State::Idle, &[Send(Notify::SendHoldTimer), Drop, Damp]),
        E::KeepaliveTimerExpires => (State::OpenConfirm, &[SendKeepalive, StartKeepalive]),
        E::TcpConnectionFails | E::NotificationVersionError | E::NotificationMessage => {
            (State::Idle, &[Drop, Damp])
        }
        E::BgpHeaderError | E::BgpOpenMessageError => {
            (State::Idle, &[Send(Notify::Received), Drop, Damp])
        }
        E::OpenCollisionDump => (State::Idle, &[Send(Notify::Collision), Drop, Damp]),
        E::KeepaliveMessage => (State::Established, &[StartHold, SessionUp]),
        E::TcpConnectionAcked | E::TcpConnectionConfirmed => (State::OpenConfirm, &[]),
        _ if is_start(event) => (State::OpenConfirm, &[]),
        _ => (State::Idle, &[Send(Notify::Fsm), Drop, Damp]),
    }
}

fn established(event: Event) -> Row {
    use Action::{
        Damp, Drop, Process, ResetFailures, Send, SendKeepalive, SessionDown, StartHold,
        StartKeepalive,
    };
    use Event as E;
    match event {
        E::ManualStop => (State::Idle, &[Send(Notify::Cease), SessionDown, Drop, ResetFailures]),
        E::AutomaticStop => (State::Idle, &[Send(Notify::Cease), SessionDown, Drop, Damp]),
        E::HoldTimerExpires => (State::Idle, &[Send(Notify::HoldTimer), SessionDown, Drop, Damp]),
        E::SendHoldTimerExpires => {
            (State::Idle, &[Send(Notify::SendHoldTimer), SessionDown, Drop, Damp])
        }
        E::KeepaliveTimerExpires => (State::Established, &[SendKeepalive, StartKeepalive]),
        E::TcpConnectionFails | E::NotificationVersionError | E::NotificationMessage => {
            (State::Idle, &[SessionDown, Drop, Damp])
        }
        E::BgpHeaderError | E::BgpOpenMessageError | E::UpdateMessageError => {
            (State::Idle, &[Send(Notify::Received), SessionDown, Drop, Damp])
        }
        E::OpenCollisionDump => (State::Idle, &[Send(Notify::Collision), SessionDown, Drop, Damp]),
        E::KeepaliveMessage => (State::Established, &[StartHold]),
        E::UpdateMessage => (State::Established, &[StartHold, Process]),
        E::TcpConnectionAcked | E::TcpConnectionConfirmed => (State::Established, &[]),
        _ if is_start(event) => (State::Established, &[]),
        _ => (State::Idle, &[Send(Notify::Fsm), SessionDown, Drop, Damp]),
    }
}

/// A connection came: stop retrying, introduce ourselves, wait long for the answer.
const OPEN: &[Action] = &[Action::StopConnectRetry, Action::SendOpen, Action::StartOpenHold];

/// Starts are ignored outside Idle (§8.2.2).
fn is_start(event: Event) -> bool {
    matches!(
        event,
        Event::ManualStart
            | Event::AutomaticStart
            | Event::ManualStartPassive
            | Event::AutomaticStartPassive
            | Event::AutomaticStartDamped
            | Event::AutomaticStartDampedPassive
    )
}
