//! What two or three speakers make of each other.

use std::time::Duration;

use brindle_bgp_proto::capability::Capability;
use brindle_bgp_proto::encode::encode;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::message::{Message, Open};
use brindle_bgp_proto::negotiated::Negotiated;
use brindle_bgp_proto::rib::Origin;
use brindle_bgp_proto::speaker::{Command, Event, Identity, Io, PeerConfig, RouteTable};

use crate::net::{Net, Setup, address, identity};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn low(seed: u64) -> Setup {
    Setup::new(65001, [1, 1, 1, 1], seed)
}

fn high(seed: u64) -> Setup {
    Setup::new(65002, [2, 2, 2, 2], seed)
}

/// Two active speakers that start in the same instant if their seeds are equal.
fn pair(latency: Duration, setups: [Setup; 2]) -> Net {
    let mut net = Net::new(latency, &setups);
    for (at, prefix) in [(0, "10.1.0.0/24"), (1, "10.2.0.0/24")] {
        net.command(at, Command::Originate(prefix.parse().expect("prefix"), Origin::default()));
        net.command(at, Command::InSync);
    }
    net.peer(0, 1, false);
    net.peer(1, 0, false);
    net
}

fn both_up(net: &Net) -> bool {
    net.is_up(0, 1) && net.is_up(1, 0)
}

fn best(prefix: &str, next_hop: usize) -> Event {
    Event::Best { prefix: prefix.parse().expect("prefix"), next_hops: vec![address(next_hop)] }
}

#[test]
fn a_crossing_of_connections_leaves_that_of_the_higher_id() {
    let same_id = Setup::new(65002, [1, 1, 1, 1], 5);
    for (setups, winner) in [
        ([low(5), high(5)], 1),
        ([high(5), low(5)], 0),
        ([low(5), same_id], 1),
        ([same_id, low(5)], 0),
    ] {
        let mut net = pair(20 * MS, setups);
        assert!(net.until(5 * SECOND, both_up));
        net.run(SECOND);
        assert!(both_up(&net));
        for at in 0..2 {
            assert_eq!(net.nodes[at].opened.len(), 1, "both tried");
            assert_eq!(net.nodes[at].open.len(), 1, "one connection is left");
            assert_eq!(net.status(at, 1 - at).established_count, 1);
        }
        assert_eq!(net.nodes[winner].open, net.nodes[winner].opened, "its own stayed");
        assert!(net.nodes[1 - winner].open != net.nodes[1 - winner].opened);
    }
}

#[test]
fn no_timing_makes_two_sessions_or_none() {
    for seed in 0..400 {
        let latency = MS * (1 + u32::try_from(seed * 7 % 120).expect("small"));
        let mut net = pair(latency, [low(seed), high(seed * 31 % 400)]);
        assert!(net.until(30 * SECOND, both_up), "seed {seed}");
        net.run(5 * SECOND);
        for at in 0..2 {
            let status = net.status(at, 1 - at);
            assert_eq!(status.state, State::Established, "seed {seed}: {status:#?}");
            assert_eq!(net.nodes[at].open.len(), 1, "seed {seed}");
            assert_eq!(status.families[0].accepted, 1, "seed {seed}");
        }
    }
}

#[test]
fn attempts_that_cross_end_no_session() {
    for seed in 0..2000 {
        let latency = MS * (1 + u32::try_from(seed * 7 % 40).expect("small"));
        let mut net = Net::new(latency, &[low(seed), high(seed)]);
        net.spread = latency * u32::try_from(seed % 5).expect("small");
        net.peer(0, 1, false);
        net.peer(1, 0, false);
        assert!(net.until(30 * SECOND, both_up), "seed {seed}");
        net.run(30 * SECOND);
        for at in 0..2 {
            let status = net.status(at, 1 - at);
            let sessions = (status.established_count, status.flaps);
            assert_eq!(sessions, (1, 0), "seed {seed}, node {at}: {status:#?}");
        }
    }
}

#[test]
fn the_same_input_gives_the_same_octets() {
    let run = || {
        let mut net = pair(7 * MS, [low(3), high(4)]);
        net.run(100 * SECOND);
        net.restart(1);
        net.peer(1, 0, false);
        net.run(100 * SECOND);
        net.trace
    };
    let trace = run();
    assert!(trace.len() > 20);
    assert_eq!(trace, run());
}

#[test]
fn a_passive_peer_waits_and_two_passive_ones_wait_for_ever() {
    let mut net = Net::new(MS, &[low(1), high(2)]);
    net.peer(0, 1, true);
    net.peer(1, 0, false);
    assert!(net.until(5 * SECOND, both_up));
    assert!(net.nodes[0].opened.is_empty());

    let mut net = Net::new(MS, &[low(1), high(2)]);
    net.peer(0, 1, true);
    net.peer(1, 0, true);
    net.run(1000 * SECOND);
    assert_eq!(net.status(0, 1).state, State::Active);
}

#[test]
fn a_restart_is_helped_and_the_restarted_waits_before_it_reports() {
    let mut net = pair(MS, [low(1), high(2)]);
    assert!(net.until(5 * SECOND, both_up));
    net.run(SECOND);
    assert!(net.nodes[0].events.contains(&best("10.2.0.0/24", 1)));

    net.restart(1);
    net.run(5 * MS);
    let status = net.status(0, 1);
    assert!(status.state != State::Established && status.families[0].stale == 1);
    net.peer(1, 0, false);
    assert!(net.until(20 * SECOND, both_up));
    net.run(SECOND);
    let reported = |net: &Net| net.nodes[1].events.iter().any(|e| matches!(e, Event::Best { .. }));
    assert!(!reported(&net), "sources of the restarted are not in sync");
    assert_eq!(net.status(0, 1).families[0].stale, 1, "no End-of-RIB, nothing is swept");

    net.command(1, Command::Originate("10.2.0.0/24".parse().expect("prefix"), Origin::default()));
    net.command(1, Command::InSync);
    net.run(SECOND);
    assert!(reported(&net));
    assert_eq!(net.nodes[1].events.last(), Some(&Event::Converged));
    assert_eq!(net.status(0, 1).families[0].stale, 0);
    let gone = |e: &Event| matches!(e, Event::Gone { .. });
    assert!(!net.nodes[0].events.iter().any(gone), "the helper never lost the route");
}

#[test]
fn a_neighbour_that_stays_away_is_the_last_resort_for_as_long_as_it_asked() {
    let mut net = pair(MS, [low(1), high(2)]);
    let asking = Identity { long_lived_stale_time: 1000, ..identity(net.nodes[1].setup) };
    net.command(1, Command::SetIdentity(Some(asking)));
    assert!(net.until(5 * SECOND, both_up));
    net.run(SECOND);
    let route = |net: &Net| {
        let list = net.nodes[0].speaker.routes(RouteTable::Received, None, 10);
        list.routes.first().map(|route| route.communities.clone())
    };
    assert_eq!(route(&net), Some(Vec::new()));

    net.restart(1);
    net.run(29 * SECOND);
    assert_eq!(route(&net), Some(Vec::new()), "it may still come back");
    net.run(5 * SECOND);
    assert_eq!(route(&net), Some(vec!["65535:6".to_owned()]));
    assert_eq!(net.status(0, 1).families[0].stale, 1);
    let gone = |e: &Event| matches!(e, Event::Gone { .. });
    assert!(!net.nodes[0].events.iter().any(gone), "it is the only route");
    net.run(1000 * SECOND);
    assert!(net.nodes[0].events.iter().any(gone));
    assert_eq!(route(&net), None);
}

#[test]
fn a_restarted_speaker_waits_no_longer_than_its_restart_time() {
    let mut net = Net::new(MS, &[low(1), high(2), Setup::new(65003, [3, 3, 3, 3], 3)]);
    net.command(1, Command::Originate("10.2.0.0/24".parse().expect("prefix"), Origin::default()));
    net.command(1, Command::InSync);
    net.peer(1, 0, false);
    net.restart(0);
    net.peer(0, 1, false);
    // Node 2 knows nothing of us and refuses.
    net.peer(0, 2, false);
    net.command(0, Command::InSync);
    net.run(25 * SECOND);
    assert!(net.is_up(0, 1));
    assert!(!net.nodes[0].events.contains(&best("10.2.0.0/24", 1)));
    net.run(6 * SECOND);
    let events = &net.nodes[0].events;
    let route = events.iter().position(|e| *e == best("10.2.0.0/24", 1));
    let converged = events.iter().position(|e| *e == Event::Converged);
    assert!(route.is_some() && route < converged, "{events:?}");
}

#[test]
fn a_restarted_speaker_without_identity_does_not_let_the_owner_sweep() {
    let mut net = Net::new(MS, &[low(1), high(2)]);
    net.restart(0);
    net.command(0, Command::SetIdentity(None));
    net.peer(0, 1, false);
    net.command(0, Command::InSync);
    net.run(SECOND);
    assert!(!net.nodes[0].events.contains(&Event::Converged));
    assert!(net.nodes[0].speaker.status().restarting);
}

#[test]
fn a_new_connection_after_a_power_failure_replaces_the_dead_one() {
    let mut net = pair(MS, [low(1), high(2)]);
    assert!(net.until(5 * SECOND, both_up));
    net.run(15 * SECOND);
    net.power_failure(1);
    net.command(1, Command::Originate("10.2.0.0/24".parse().expect("prefix"), Origin::default()));
    net.command(1, Command::InSync);
    net.peer(1, 0, false);
    assert!(net.until(5 * SECOND, both_up), "long before the hold time of 90 s");
    net.run(SECOND);
    let status = net.status(0, 1);
    assert_eq!((status.established_count, status.flaps), (2, 1));
    assert!(status.last_sent_notification.is_none());
    assert!(!net.nodes[0].events.iter().any(|e| matches!(e, Event::Gone { .. })));
}

#[test]
fn stopping_says_goodbye_or_nothing() {
    for graceful in [true, false] {
        let mut net = pair(MS, [low(1), high(2)]);
        assert!(net.until(5 * SECOND, both_up));
        net.run(SECOND);
        net.command(0, Command::Stop { graceful });
        net.run(SECOND);
        assert!(net.nodes[0].speaker.is_stopped());
        let status = net.status(1, 0);
        let received = status.last_received_notification.map(|n| n.message);
        assert_eq!(received.is_none(), graceful, "{received:?}");
        assert!(received.is_none_or(|words| words.contains("(6/2)")));
        let gone = net.nodes[1].events.iter().any(|e| matches!(e, Event::Gone { .. }));
        assert_eq!(gone, !graceful);
        let at_home = net.nodes[0].events.iter().any(|e| matches!(e, Event::Gone { .. }));
        assert!(!at_home, "the owner keeps its routes");
    }
}

#[test]
fn pauses_grow_to_their_limit_and_a_lasting_session_forgets() {
    let mut net = Net::new(MS, &[low(1), high(2)]);
    // Node 1 does not know node 0 and refuses it.
    net.peer(0, 1, false);
    net.run(20 * SECOND);
    let early = net.nodes[0].opened.len();
    assert!((4..=8).contains(&early), "{early} attempts in 20 s");
    net.run(100 * SECOND);
    let later = net.nodes[0].opened.len() - early;
    assert!((10..=14).contains(&later), "{later} attempts in 100 s at 7.5 to 10 s");
    assert!(net.status(0, 1).failures > 10);

    net.peer(1, 0, true);
    assert!(net.until(11 * SECOND, both_up));
    net.run(61 * SECOND);
    net.restart(1);
    net.run(SECOND / 2);
    assert_eq!(net.status(0, 1).failures, 1);
}

#[test]
fn a_wrong_as_slows_down_to_a_minute() {
    let mut net = Net::new(MS, &[low(1), high(2)]);
    net.peer(0, 1, false);
    net.nodes[0].setup.as_number = 64999;
    net.peer(1, 0, true);
    net.run(200 * SECOND);
    let before = net.nodes[0].opened.len();
    net.run(600 * SECOND);
    let attempts = net.nodes[0].opened.len() - before;
    assert!((9..=14).contains(&attempts), "{attempts} attempts in 600 s");
    let error = net.status(1, 0).last_error.expect("an error").message;
    assert!(error.contains("in AS 65001") && error.contains("with AS 64999"), "{error}");
}

#[test]
fn two_peers_with_one_address_say_so_and_the_first_has_it() {
    let mut net = pair(MS, [low(1), high(2)]);
    assert!(net.until(5 * SECOND, both_up));
    let mut config = PeerConfig::new(address(1), 65002);
    net.command(0, Command::SetPeer("z".into(), config.clone()));
    let z = |net: &Net| {
        let peers = net.nodes[0].speaker.status().peers;
        peers.into_iter().find(|p| &*p.name == "z").expect("z")
    };
    assert_eq!(z(&net).idle_because.as_deref(), Some("peer n1 has the same address"));
    assert!(net.is_up(0, 1));
    net.command(0, Command::RemovePeer("n1".into()));
    assert!(net.until(20 * SECOND, |net| z(net).state == State::Established));
    assert_eq!(z(&net).idle_because, None);

    config.as_number = 0;
    let refused = Command::SetPeer("y".into(), config);
    let now = net.now;
    assert!(net.nodes[0].speaker.handle_command(refused, now).is_err());
}

#[test]
fn a_peer_that_takes_no_data_is_given_up_after_the_send_hold_time() {
    let mut net = pair(MS, [low(1), high(2)]);
    assert!(net.until(5 * SECOND, both_up));
    net.run(SECOND);
    // The driver of node 0 finds no room to write, while node 1 goes on talking.
    let conn = net.nodes[0].open.remove(0);
    let keepalive = [[0xff; 16].as_slice(), &[0, 19, 4]].concat();
    let start = net.now;
    while net.is_up(0, 1) && net.now < start + 600 * SECOND {
        let now = net.now + 10 * SECOND;
        net.now = now;
        net.nodes[0].speaker.handle_bytes(conn, &keepalive, now);
        net.nodes[0].speaker.handle_timeout(now);
    }
    let waited = net.now.saturating_since(start);
    assert!((480 * SECOND..530 * SECOND).contains(&waited), "{waited:?}");
    let error = net.status(0, 1).last_error.expect("an error").message;
    assert!(error.contains("takes no data"), "{error}");
}

#[test]
fn a_second_connection_soon_after_the_first_is_dumped_and_a_later_one_is_a_restart() {
    for (age, restart) in [(5, false), (15, true)] {
        let mut net = pair(MS, [low(1), high(2)]);
        assert!(net.until(5 * SECOND, both_up));
        net.run(age * SECOND);
        let now = net.now;
        let speaker = &mut net.nodes[0].speaker;
        let conn = speaker.handle_accepted(address(1), address(0), now).expect("accepted").conn;
        assert_eq!(speaker.status().peers[0].flaps, 0, "TCP alone ends nothing");
        let router_id = [2, 2, 2, 2].into();
        let capabilities = vec![Capability::FourOctetAs(65002)];
        let open = Message::Open(Open { as_number: 65002, hold_time: 90, router_id, capabilities });
        let mut octets = Vec::new();
        encode(&open, &Negotiated::before_open(65002), &mut octets).expect("encodes");
        speaker.handle_bytes(conn, &octets, now);
        let closed = std::iter::from_fn(|| speaker.poll_io()).collect::<Vec<_>>();
        let [Io::Close { conn: closed, last }] = &closed[..] else { panic!("{closed:?}") };
        assert_eq!(*closed != conn, restart);
        assert_eq!(last.ends_with(&[3, 6, 7]), !restart, "{last:02x?}");
        assert_eq!(speaker.status().peers[0].flaps, u64::from(restart));
    }
}
