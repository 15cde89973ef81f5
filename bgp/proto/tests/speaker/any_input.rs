//! Whatever comes, in whatever order: no panic, no stuck peer, every session that came up goes
//! down once.

use std::net::IpAddr;
use std::time::Duration;

use brindle_bgp_proto::encode::encode;
use brindle_bgp_proto::family::{Family, FamilySet};
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::message::{
    Message, NotificationCode, Open, RefreshKind, RouteRefresh, Update,
};
use brindle_bgp_proto::negotiated::Negotiated;
use brindle_bgp_proto::rib::Origin;
use brindle_bgp_proto::session::ConnId;
use brindle_bgp_proto::speaker::{Command, Config, Event, Identity, Io, PeerConfig, Speaker};
use brindle_bgp_proto::timer::Time;
use proptest::prelude::*;

const PEER: &str = "10.0.0.2";

#[derive(Clone, Debug)]
enum Input {
    Accept,
    Connected,
    Closed(usize),
    Octets(usize, Vec<u8>),
    Wait(u16),
    Command(u8),
}

fn message(message: &Message) -> Vec<u8> {
    let mut octets = Vec::new();
    encode(message, &Negotiated::before_open(65002), &mut octets).expect("encodes");
    octets
}

/// Mostly what a neighbour would say, whole; sometimes cut or noise.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let open = |as_number| {
        let router_id = PEER.parse().expect("id");
        message(&Message::Open(Open { as_number, hold_time: 30, router_id, capabilities: vec![] }))
    };
    let refresh =
        RouteRefresh { family: Family::Ipv4Unicast.afi_safi(), kind: RefreshKind::Request };
    let whole = proptest::sample::select(vec![
        open(65002),
        open(65002),
        open(65002),
        open(65009),
        message(&Message::Keepalive),
        message(&Message::Keepalive),
        message(&Message::Keepalive),
        message(&Message::Update(Update::end_of_rib(Family::Ipv4Unicast))),
        message(&Message::RouteRefresh(refresh)),
        message(&Message::Notification(NotificationCode::AdministrativeReset.empty())),
    ]);
    prop_oneof![
        12 => whole.clone(),
        2 => (whole, 0usize..40).prop_map(|(mut octets, len)| { octets.truncate(len); octets }),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => Just(Input::Accept),
        4 => Just(Input::Connected),
        1 => (0usize..3).prop_map(Input::Closed),
        12 => ((0usize..3), octets()).prop_map(|(conn, octets)| Input::Octets(conn, octets)),
        4 => (0u16..40).prop_map(Input::Wait),
        1 => (0u8..6).prop_map(Input::Command),
    ]
}

fn identity(last: u8) -> Identity {
    Identity {
        as_number: 65001,
        router_id: [10, 0, 0, last].into(),
        listen_port: 179,
        hold_time: 90,
        restart_time: 20,
        long_lived_stale_time: 0,
        notification_restart: last.is_multiple_of(2),
        drain: None,
        cluster_id: None,
        next_hops: Default::default(),
    }
}

fn config(passive: bool) -> PeerConfig {
    PeerConfig { passive, ..PeerConfig::new(PEER.parse().expect("address"), 65002) }
}

fn command(which: u8) -> Command {
    match which {
        0 => Command::SetIdentity(None),
        1 => Command::SetIdentity(Some(identity(1))),
        2 => Command::SetIdentity(Some(identity(3))),
        3 => Command::Refresh("peer".into()),
        4 => Command::InSync,
        _ => Command::Originate("10.1.0.0/24".parse().expect("prefix"), Origin::default()),
    }
}

struct Run {
    speaker: Speaker,
    now: Time,
    connecting: Vec<ConnId>,
    open: Vec<ConnId>,
    up: bool,
    ups: u64,
}

impl Run {
    fn new(passive: bool) -> Self {
        let mut speaker = Speaker::new(Config {
            restarting: false,
            forwarding_preserved: FamilySet::NONE,
            jitter_seed: 1,
        });
        let now = Time::ZERO;
        let start = [
            Command::SetIdentity(Some(identity(1))),
            Command::SetPeer("peer".into(), config(passive)),
        ];
        start.into_iter().for_each(|c| speaker.handle_command(c, now).expect("valid"));
        Self { speaker, now, connecting: vec![], open: vec![], up: false, ups: 0 }
    }

    fn feed(&mut self, input: Input) {
        let local: IpAddr = [10, 0, 0, 1].into();
        match input {
            Input::Accept => {
                let remote = PEER.parse().expect("address");
                let accepted = self.speaker.handle_accepted(remote, local, self.now);
                self.open.extend(accepted.map(|accepted| accepted.conn));
            }
            Input::Connected => {
                if let Some(conn) = self.connecting.pop() {
                    self.open.push(conn);
                    self.speaker.handle_connected(conn, local, self.now);
                }
            }
            Input::Closed(which) => {
                if which < self.open.len() {
                    let conn = self.open.remove(which);
                    self.speaker.handle_closed(conn, "closed", self.now);
                }
            }
            Input::Octets(which, octets) => {
                if let Some(conn) = self.open.get(which) {
                    self.speaker.handle_bytes(*conn, &octets, self.now);
                }
            }
            Input::Wait(seconds) => {
                self.now = self.now + Duration::from_secs(seconds.into());
                self.speaker.handle_timeout(self.now);
            }
            Input::Command(which) => {
                self.speaker.handle_command(command(which), self.now).expect("valid");
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(io) = self.speaker.poll_io() {
            match io {
                Io::Connect { conn, .. } => self.connecting.push(conn),
                Io::Close { conn, .. } => {
                    self.connecting.retain(|c| *c != conn);
                    self.open.retain(|c| *c != conn);
                }
                Io::SetKey { .. } | Io::Bfd { .. } | Io::Listen(_) => {}
            }
        }
        while self.speaker.poll_bfd(self.now).is_some() {}
        for conn in &self.open {
            while self.speaker.poll_transmit(*conn, self.now).is_some() {}
        }
        while let Some(event) = self.speaker.poll_event() {
            if let Event::Peer { state, reason, .. } = event {
                assert_eq!(reason.is_some(), self.up && state != State::Established);
                self.up = state == State::Established;
                self.ups += u64::from(self.up);
            }
        }
    }

    fn check(&self, passive: bool) {
        let status = self.speaker.status();
        let peer = &status.peers[0];
        let up = peer.state == State::Established;
        assert_eq!(up, self.up);
        assert_eq!(peer.established_count, self.ups);
        assert_eq!(peer.established_count - peer.flaps, u64::from(up));
        assert_eq!(up, peer.session.is_some());
        let timeout = self.speaker.poll_timeout();
        if status.identity.is_some() && !up && !passive {
            assert!(timeout.is_some(), "stuck: {peer:#?}");
        }
        assert!(self.open.len() + self.connecting.len() <= 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_input_in_any_order(
        passive in any::<bool>(),
        inputs in proptest::collection::vec(input(), 0..80),
    ) {
        let mut run = Run::new(passive);
        for input in inputs {
            run.feed(input);
            run.check(passive);
        }
        run.feed(Input::Wait(40));
        let due = run.speaker.poll_timeout();
        prop_assert!(due.is_none_or(|(at, _)| at > run.now), "a due timer did not fire: {due:?}");
    }
}
