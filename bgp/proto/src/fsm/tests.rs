//! The table of RFC 4271 §8.2.2 written a second time, cell by cell, and its invariants.

use proptest::prelude::*;

use super::*;

/// Rows are events by number, columns are states: next state, then actions in short.
///
/// `C` connect, `R`/`r` start/stop ConnectRetry, `O` OPEN, `K` KEEPALIVE, `L` large hold, `H` hold,
/// `k` keepalive timer, `U`/`D` session up/down, `P` process, `X` drop, `0` reset failures, `d`
/// damp, `!c` Cease, `!7` collision, `!4` hold, `!8` send hold, `!5` FSM error, `!e` the decoder's.
const TABLE: &str = "
ev  Idle       Connect       Active        OpenSent        OpenConfirm     Established
1   Con 0RC    Con -         Act -         OpS -           OpC -           Est -
2   Idl -      Idl X0        Idl X0        Idl !cX0        Idl !cX0        Idl !cDX0
3   Con 0RC    Con -         Act -         OpS -           OpC -           Est -
4   Act 0R     Con -         Act -         OpS -           OpC -           Est -
5   Act 0R     Con -         Act -         OpS -           OpC -           Est -
6   Con RC     Con -         Act -         OpS -           OpC -           Est -
7   Act R      Con -         Act -         OpS -           OpC -           Est -
8   Idl -      Idl Xd        Idl Xd        Idl !cXd        Idl !cXd        Idl !cDXd
9   Idl -      Con XRC       Con RC        Idl !5Xd        Idl !5Xd        Idl !5DXd
10  Idl -      Idl Xd        Idl Xd        Idl !4Xd        Idl !4Xd        Idl !4DXd
11  Idl -      Idl Xd        Idl Xd        Idl !5Xd        OpC Kk          Est Kk
13  Con RC     Idl Xd        Idl Xd        Idl !5Xd        Idl !5Xd        Idl !5DXd
16  Idl -      OpS rOL       OpS rOL       OpS -           OpC -           Est -
17  Idl -      OpS rOL       OpS rOL       OpS -           OpC -           Est -
18  Idl -      Idl Xd        Idl Xd        Act XR          Idl Xd          Idl DXd
19  Idl -      Idl Xd        Idl Xd        OpC rKkH        Idl !5Xd        Idl !5DXd
21  Idl -      Idl Xd        Idl Xd        Idl !eXd        Idl !eXd        Idl !eDXd
22  Idl -      Idl Xd        Idl Xd        Idl !eXd        Idl !eXd        Idl !eDXd
23  Idl -      Idl Xd        Idl Xd        Idl !7Xd        Idl !7Xd        Idl !7DXd
24  Idl -      Idl Xd        Idl Xd        Idl Xd          Idl Xd          Idl DXd
25  Idl -      Idl Xd        Idl Xd        Idl Xd          Idl Xd          Idl DXd
26  Idl -      Idl Xd        Idl Xd        Idl !5Xd        Est HU          Est H
27  Idl -      Idl Xd        Idl Xd        Idl !5Xd        Idl !5Xd        Est HP
28  Idl -      Idl Xd        Idl Xd        Idl !5Xd        Idl !5Xd        Idl !eDXd
29  Idl -      Idl Xd        Idl Xd        Idl !8Xd        Idl !8Xd        Idl !8DXd
";

#[test]
fn every_cell_of_the_table() {
    let mut cells = 0;
    for row in TABLE.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let words: Vec<_> = row.split_whitespace().collect();
        let number: u8 = words[0].parse().expect("event number");
        let event = *Event::ALL.iter().find(|e| **e as u8 == number).expect("event");
        for (state, cell) in State::ALL.into_iter().zip(words[1..].chunks(2)) {
            let got = transition(state, event);
            let next = got.next.to_string();
            let short: String = got.actions.iter().map(|a| short(*a)).collect();
            let short = if short.is_empty() { "-" } else { &short };
            let next = match got.next {
                State::OpenSent => "OpS",
                State::OpenConfirm => "OpC",
                _ => &next[..3],
            };
            assert_eq!((next, short), (cell[0], cell[1]), "{state} on event {number}");
            cells += 1;
        }
    }
    assert_eq!(cells, State::ALL.len() * Event::ALL.len());
}

fn short(action: Action) -> &'static str {
    match action {
        Action::Connect => "C",
        Action::StartConnectRetry => "R",
        Action::StopConnectRetry => "r",
        Action::SendOpen => "O",
        Action::SendKeepalive => "K",
        Action::StartOpenHold => "L",
        Action::StartHold => "H",
        Action::StartKeepalive => "k",
        Action::SessionUp => "U",
        Action::SessionDown => "D",
        Action::Process => "P",
        Action::Drop => "X",
        Action::ResetFailures => "0",
        Action::Damp => "d",
        Action::Send(Notify::Cease) => "!c",
        Action::Send(Notify::Collision) => "!7",
        Action::Send(Notify::HoldTimer) => "!4",
        Action::Send(Notify::SendHoldTimer) => "!8",
        Action::Send(Notify::Fsm) => "!5",
        Action::Send(Notify::Received) => "!e",
    }
}

/// What a sequence of events did, as far as the invariants need it.
#[derive(Default)]
struct Walk {
    open_seen: bool,
    keepalive_seen: bool,
    up: bool,
    timers: [bool; 3],
}

impl Walk {
    fn step(&mut self, state: State, event: Event) -> State {
        let Transition { next, actions } = transition(state, event);
        self.open_seen |= event == Event::BgpOpen && state == State::OpenSent;
        self.keepalive_seen |= event == Event::KeepaliveMessage && state == State::OpenConfirm;
        for action in actions {
            match action {
                Action::StartConnectRetry => self.timers[0] = true,
                Action::StopConnectRetry => self.timers[0] = false,
                Action::StartOpenHold | Action::StartHold => self.timers[1] = true,
                Action::StartKeepalive => self.timers[2] = true,
                Action::Drop => self.timers = [false; 3],
                Action::SessionUp => {
                    assert!(!self.up, "up twice");
                    self.up = true;
                }
                Action::SessionDown => {
                    assert!(self.up, "down without up, or twice");
                    self.up = false;
                }
                _ => {}
            }
        }
        assert_eq!(self.up, next == State::Established);
        if next == State::Established {
            assert!(self.open_seen && self.keepalive_seen, "Established without a handshake");
        }
        if !next.is_open() {
            (self.open_seen, self.keepalive_seen) = (false, false);
        }
        if next == State::Idle {
            assert_eq!(self.timers, [false; 3], "timers run in Idle");
        }
        next
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Established needs OPEN and KEEPALIVE; each exit from it says so exactly once; Idle is quiet.
    #[test]
    fn any_sequence_keeps_the_invariants(
        events in proptest::collection::vec(proptest::sample::select(&Event::ALL[..]), 0..60)
    ) {
        let mut walk = Walk::default();
        let mut state = State::Idle;
        for event in events {
            state = walk.step(state, event);
        }
    }

    /// The same along paths that get far: seven of eight events are what a good session does next.
    #[test]
    fn long_sessions_keep_the_invariants(
        picks in proptest::collection::vec(
            (0u8..8, proptest::sample::select(&Event::ALL[..])),
            0..80,
        )
    ) {
        let mut walk = Walk::default();
        let mut state = State::Idle;
        for (which, any) in picks {
            let good = match state {
                State::Idle => Event::ManualStart,
                State::Connect | State::Active => Event::TcpConnectionAcked,
                State::OpenSent => Event::BgpOpen,
                State::OpenConfirm => Event::KeepaliveMessage,
                State::Established => Event::UpdateMessage,
            };
            state = walk.step(state, if which == 0 { any } else { good });
        }
    }
}
