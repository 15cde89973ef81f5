//! BFD: packets, the state table, and two sessions over a path that loses packets.

use std::time::Duration;

use brindle_bgp_proto::bfd::{Change, Config, Diagnostic, InvalidPacket, Packet, Session, State};
use brindle_bgp_proto::timer::Time;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn config(interval: Duration, detect_mult: u8) -> Config {
    Config { desired_min_tx: interval, required_min_rx: interval, detect_mult }
}

/// A packet of a neighbour that names itself 7.
fn said(state: State, ours: u32) -> Packet {
    Packet {
        diagnostic: Diagnostic::None,
        state,
        poll: false,
        final_: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: 7,
        your_discriminator: ours,
        desired_min_tx: 100 * MS,
        required_min_rx: 100 * MS,
        required_min_echo_rx: Duration::ZERO,
    }
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let state =
        prop_oneof![Just(State::AdminDown), Just(State::Down), Just(State::Init), Just(State::Up)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let numbers = (1..=u8::MAX, 1..=u32::MAX, 1..=u32::MAX);
    (state, flags, numbers, any::<[u32; 3]>()).prop_map(|(state, flags, numbers, intervals)| {
        let [tx, rx, echo] = intervals.map(|micros| Duration::from_micros(micros.into()));
        Packet {
            diagnostic: Diagnostic::PathDown,
            state,
            poll: flags.0,
            final_: flags.1,
            control_plane_independent: flags.2,
            demand: flags.3,
            detect_mult: numbers.0,
            my_discriminator: numbers.1,
            your_discriminator: numbers.2,
            desired_min_tx: tx,
            required_min_rx: rx,
            required_min_echo_rx: echo,
        }
    })
}

proptest! {
    #[test]
    fn a_packet_reads_as_written(packet in any_packet()) {
        prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }

    /// Whatever octets come, in whatever order time passes: no panic, and never Up without a
    /// neighbour that names our session.
    #[test]
    fn any_input_does_no_harm(
        inputs in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..30), any_packet(), 0..500_u64), 0..40)
    ) {
        let mut now = Time::ZERO;
        let mut session = Session::new(config(100 * MS, 3), 1, 1, now);
        for (octets, packet, wait) in inputs {
            if let Ok(packet) = Packet::decode(&octets) {
                session.handle_packet(&packet, now);
            }
            session.handle_packet(&packet, now);
            now = now + Duration::from_millis(wait);
            session.handle_timeout(now);
            while session.poll_transmit(now).is_some() {}
            prop_assert!(session.poll_timeout().is_none_or(|at| at > now));
        }
    }
}

#[test]
fn what_must_be_discarded() {
    let good = said(State::Up, 1).encode();
    assert!(Packet::decode(&good).is_ok());
    let with = |at: usize, octet: u8| {
        let mut octets = good;
        octets[at] = octet;
        Packet::decode(&octets)
    };
    assert_eq!(Packet::decode(&good[..23]), Err(InvalidPacket::Length));
    assert_eq!(with(0, 2 << 5), Err(InvalidPacket::Version(2)));
    assert_eq!(with(3, 23), Err(InvalidPacket::Length));
    assert_eq!(with(3, 25), Err(InvalidPacket::Length));
    assert_eq!(with(2, 0), Err(InvalidPacket::DetectMult));
    assert_eq!(with(1, 0b1100_0001), Err(InvalidPacket::Multipoint));
    assert_eq!(with(1, 0b1100_0100), Err(InvalidPacket::Authenticated));
    assert_eq!(with(7, 0), Err(InvalidPacket::MyDiscriminator));
    assert_eq!(with(11, 0), Err(InvalidPacket::YourDiscriminator(State::Up)));
    assert!(Packet::decode(&said(State::Down, 0).encode()).is_ok(), "the first packet");
}

/// RFC 5880 §6.8.6: our state, what the neighbour says, our next state, and what is reported.
#[test]
fn the_state_table() {
    use State::{AdminDown, Down, Init, Up};
    let down = Some(Change::Down(Diagnostic::NeighborSignaledDown));
    for (from, heard, next, change) in [
        (Down, AdminDown, Down, None),
        (Down, Down, Init, None),
        (Down, Init, Up, Some(Change::Up)),
        (Down, Up, Down, None),
        (Init, AdminDown, Down, None),
        (Init, Down, Init, None),
        (Init, Init, Up, Some(Change::Up)),
        (Init, Up, Up, Some(Change::Up)),
        (Up, AdminDown, Down, None),
        (Up, Down, Down, down),
        (Up, Init, Up, None),
        (Up, Up, Up, None),
    ] {
        let mut session = Session::new(config(100 * MS, 3), 1, 1, Time::ZERO);
        let way: &[State] = match from {
            Init => &[Down],
            Up => &[Down, Init],
            _ => &[],
        };
        way.iter().for_each(|state| session.handle_packet(&said(*state, 1), Time::ZERO));
        session.poll_change();
        assert_eq!(session.state(), from);
        session.handle_packet(&said(heard, 1), Time::ZERO);
        assert_eq!((session.state(), session.poll_change()), (next, change), "{from} {heard}");
    }
    let mut session = Session::new(config(100 * MS, 3), 1, 1, Time::ZERO);
    session.handle_packet(&said(Down, 2), Time::ZERO);
    assert_eq!(session.state(), Down, "another session of ours is meant");
}

/// Two sessions with 1 ms between them; packets are lost while `lost` says so.
struct Pair {
    now: Time,
    sessions: [Session; 2],
    flying: Vec<(Time, usize, Packet)>,
    sent: [Vec<Time>; 2],
    changes: Vec<(Time, usize, Change)>,
}

impl Pair {
    fn new(configs: [Config; 2]) -> Self {
        let session = |at: usize| Session::new(configs[at], 10 + at as u32, at as u64, Time::ZERO);
        Self {
            now: Time::ZERO,
            sessions: [session(0), session(1)],
            flying: Vec::new(),
            sent: Default::default(),
            changes: Vec::new(),
        }
    }

    fn run(&mut self, time: Duration, lost: impl Fn(Time) -> bool) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + MS;
            let (due, flying) = self.flying.drain(..).partition(|(at, ..)| *at <= self.now);
            self.flying = flying;
            let due: Vec<(Time, usize, Packet)> = due;
            for (_, to, packet) in due {
                let packet = Packet::decode(&packet.encode()).expect("what we send is valid");
                self.sessions[to].handle_packet(&packet, self.now);
            }
            for at in 0..2 {
                self.sessions[at].handle_timeout(self.now);
                while let Some(packet) = self.sessions[at].poll_transmit(self.now) {
                    self.sent[at].push(self.now);
                    if !lost(self.now) {
                        self.flying.push((self.now + MS, 1 - at, packet));
                    }
                }
                if let Some(change) = self.sessions[at].poll_change() {
                    self.changes.push((self.now, at, change));
                }
            }
        }
    }
}

#[test]
fn two_sessions_come_up_slowly_and_then_run_at_the_slower_wish() {
    let mut pair = Pair::new([config(50 * MS, 3), config(200 * MS, 4)]);
    pair.run(3000 * MS, |_| false);
    assert!(pair.sessions.iter().all(|session| session.state() == State::Up));
    assert_eq!(pair.sessions[0].detection_time(), Some(800 * MS), "4 of 200 ms");
    assert_eq!(pair.sessions[1].detection_time(), Some(600 * MS), "3 of 200 ms");
    pair.sent = Default::default();
    pair.run(10_000 * MS, |_| false);
    for sent in &pair.sent {
        let gaps = sent.windows(2).map(|two| two[1].saturating_since(two[0]));
        let gaps: Vec<Duration> = gaps.collect();
        assert!(gaps.iter().all(|gap| (149 * MS..=201 * MS).contains(gap)), "{gaps:?}");
    }
    assert_eq!(pair.changes.len(), 2, "up once each");
}

#[test]
fn silence_is_noticed_in_the_detection_time_and_not_before() {
    let mut pair = Pair::new([config(100 * MS, 3), config(100 * MS, 3)]);
    pair.run(3000 * MS, |_| false);
    let cut = pair.now;
    pair.changes.clear();
    pair.run(2000 * MS, |_| true);
    assert_eq!(pair.changes.len(), 2);
    for (at, _, change) in &pair.changes {
        assert_eq!(*change, Change::Down(Diagnostic::ControlDetectionTimeExpired));
        let after = at.saturating_since(cut);
        assert!((200 * MS..=302 * MS).contains(&after), "{after:?}");
    }
    pair.run(5000 * MS, |_| false);
    assert!(pair.sessions.iter().all(|session| session.state() == State::Up), "and back");
    assert_eq!(pair.changes.len(), 4);
}

#[test]
fn two_of_three_lost_packets_do_no_harm() {
    let mut pair = Pair::new([config(100 * MS, 4), config(100 * MS, 4)]);
    pair.run(3000 * MS, |_| false);
    pair.changes.clear();
    // 180 ms of every 300 are lost.
    pair.run(30_000 * MS, |now| now.elapsed().as_millis() % 300 < 180);
    assert_eq!(pair.changes, []);
}

#[test]
fn a_poll_is_answered_at_once_and_ours_goes_on_until_it_is() {
    let mut session = Session::new(config(100 * MS, 3), 1, 1, Time::ZERO);
    session.handle_packet(&said(State::Down, 1), Time::ZERO);
    session.handle_packet(&said(State::Init, 1), Time::ZERO);
    let at = |ms: u32| Time::ZERO + MS * ms;
    let polling = |session: &mut Session, now| {
        std::iter::from_fn(|| session.poll_transmit(now)).last().map(|packet| packet.poll)
    };
    assert_eq!(polling(&mut session, at(100)), Some(true), "our faster rate is announced");
    session.handle_packet(&said(State::Up, 1), at(150));
    assert_eq!(polling(&mut session, at(250)), Some(true));
    session.handle_packet(&Packet { final_: true, ..said(State::Up, 1) }, at(260));
    assert_eq!(polling(&mut session, at(360)), Some(false));
    session.handle_packet(&Packet { poll: true, ..said(State::Up, 1) }, at(361));
    let answer = session.poll_transmit(at(361)).expect("at once");
    assert!(answer.final_ && !answer.poll);
    assert_eq!(session.poll_transmit(at(361)), None);
}

#[test]
fn a_neighbour_that_wants_nothing_gets_nothing() {
    let mut session = Session::new(config(100 * MS, 3), 1, 1, Time::ZERO);
    session.handle_packet(&said(State::Down, 1), Time::ZERO);
    let mute = Packet { required_min_rx: Duration::ZERO, ..said(State::Init, 1) };
    session.handle_packet(&mute, Time::ZERO);
    assert_eq!(session.poll_transmit(Time::ZERO + 5000 * MS), None);
    session.handle_packet(&Packet { poll: true, ..mute }, Time::ZERO);
    assert!(session.poll_transmit(Time::ZERO).is_some_and(|packet| packet.final_));
}

#[test]
fn a_configuration_that_flaps_by_itself_is_refused() {
    assert!(config(100 * MS, 3).validate().is_ok());
    assert!(config(100 * MS, 1).validate().is_err());
    assert!(config(9 * MS, 3).validate().is_err());
    assert!(config(61_000 * MS, 3).validate().is_err());
}
