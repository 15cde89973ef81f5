//! Neighbours that nobody named.

use std::time::Duration;

use brindle_bgp_proto::family::FamilySet;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::rib::Origin;
use brindle_bgp_proto::speaker::{
    Command, Config, Io, Md5Key, Password, PeerConfig, RangeConfig, RangeStatus, Speaker,
};
use brindle_bgp_proto::timer::Time;
use ipnet::IpNet;
use proptest::prelude::*;

use crate::net::{Net, Setup, address, identity};

const SECOND: Duration = Duration::from_secs(1);
const HUB: usize = 0;

/// The hub, which waits for whoever comes, and some others that connect to it.
fn hub_and(others: u8, max_peers: u32) -> Net {
    let mut setups = vec![Setup::new(65000, [9, 9, 9, 9], 9)];
    setups.extend((1..=others).map(|n| Setup::new(65001, [1, 1, 1, n], n.into())));
    let mut net = Net::new(Duration::from_millis(1), &setups);
    (0..setups.len()).for_each(|at| net.command(at, Command::InSync));
    net.command(HUB, range("10.0.0.0/24", max_peers, |config| config));
    for at in 1..setups.len() {
        let block = format!("10.{at}.0.0/24").parse().expect("prefix");
        net.command(at, Command::Originate(block, Origin::default()));
        net.peer(at, HUB, false);
    }
    net
}

fn range(prefix: &str, max_peers: u32, change: impl Fn(PeerConfig) -> PeerConfig) -> Command {
    let prefix: IpNet = prefix.parse().expect("prefix");
    let template = change(PeerConfig::new(prefix.addr(), 65001));
    Command::SetRange("racks".into(), RangeConfig { prefix, max_peers, template })
}

fn of_hub(net: &Net) -> RangeStatus {
    net.nodes[HUB].speaker.status().ranges.remove(0)
}

/// The peers of the hub: name and state.
fn peers(net: &Net) -> Vec<(String, State)> {
    let peers = net.nodes[HUB].speaker.status().peers.into_iter();
    peers.map(|peer| (peer.name.to_string(), peer.state)).collect()
}

fn up(net: &Net) -> usize {
    peers(net).iter().filter(|(_, state)| *state == State::Established).count()
}

#[test]
fn whoever_comes_from_the_range_is_a_peer_until_it_was_gone_for_a_minute() {
    let mut net = hub_and(2, 10);
    assert!(net.until(5 * SECOND, |net| up(net) == 2), "{:?}", peers(&net));
    net.run(SECOND);
    assert_eq!(peers(&net)[0].0, "racks/10.0.0.2");
    let status = net.nodes[HUB].speaker.status();
    assert_eq!((status.learned, status.peers[0].range.as_deref()), (2, Some("racks")));
    assert!(status.peers[0].passive && of_hub(&net).peers == 2);

    net.command(1, Command::RemovePeer("n0".into()));
    net.run(SECOND);
    assert_eq!(peers(&net)[0].1, State::Active, "it is remembered");
    let status = net.nodes[HUB].speaker.status();
    let last = status.peers[0].last_received_notification.clone().expect("a Cease").message;
    assert!(last.contains("(6/3)"), "{last}");
    assert_eq!(status.learned, 1);
    net.run(61 * SECOND);
    assert_eq!(peers(&net).len(), 1, "and forgotten");
    net.peer(1, HUB, false);
    assert!(net.until(5 * SECOND, |net| up(net) == 2), "it may come again");
}

#[test]
fn stale_routes_are_not_forgotten_with_their_peer() {
    let mut net = hub_and(1, 10);
    assert!(net.until(5 * SECOND, |net| up(net) == 1));
    net.run(SECOND);
    // Its restart time is 30 s; it comes back after that, and the minute begins then.
    net.restart(1);
    net.run(29 * SECOND);
    let status = net.nodes[HUB].speaker.status();
    assert_eq!((status.learned, status.peers[0].families[0].stale), (1, 1));
    net.run(60 * SECOND);
    assert_eq!((net.nodes[HUB].speaker.status().learned, peers(&net).len()), (0, 1));
    net.run(2 * SECOND);
    assert!(peers(&net).is_empty(), "{:?}", peers(&net));
}

#[test]
fn a_full_range_turns_away_but_for_those_who_are_gone() {
    let mut net = hub_and(3, 2);
    net.run(5 * SECOND);
    assert_eq!((up(&net), of_hub(&net).peers), (2, 2));
    let outside = (1..=3).find(|at| !net.is_up(*at, HUB)).expect("one is left");
    let told = net.status(outside, HUB).last_received_notification.expect("a Cease").message;
    assert!(told.starts_with("connection rejected (6/5)"), "{told}");
    let range = of_hub(&net);
    assert!(range.rejected > 0);
    let words = range.last_rejected.expect("remembered").message;
    assert!(words.contains(&address(outside).to_string()), "{words}");

    let inside = (1..=3).find(|at| *at != outside).expect("two are in");
    net.command(inside, Command::RemovePeer("n0".into()));
    assert!(net.until(90 * SECOND, |net| net.is_up(outside, HUB)), "there is room");
    assert_eq!(of_hub(&net).peers, 2);
}

#[test]
fn the_as_must_fit_and_a_peer_of_its_own_goes_before_the_range() {
    let mut net = hub_and(1, 10);
    assert!(net.until(5 * SECOND, |net| up(net) == 1));
    net.peer(HUB, 1, true);
    assert!(net.until(90 * SECOND, |net| net.is_up(1, HUB) && net.is_up(HUB, 1)));
    assert_eq!(peers(&net), [("n1".into(), State::Established)]);
    net.command(HUB, Command::RemovePeer("n1".into()));
    assert!(net.until(90 * SECOND, |net| peers(net).iter().any(|(name, _)| name.contains('/'))));
    assert!(net.until(90 * SECOND, |net| up(net) == 1));

    net.command(HUB, range("10.0.0.0/24", 10, |config| PeerConfig { as_number: 65009, ..config }));
    let error = |net: &Net| {
        let peers = net.nodes[HUB].speaker.status().peers;
        peers.first().and_then(|peer| peer.last_error.clone()).map(|error| error.message)
    };
    assert!(net.until(90 * SECOND, |net| error(net).is_some()));
    let error = error(&net).expect("an error");
    assert!(error.contains("in AS 65001") && error.contains("AS 65009"), "{error}");
    assert_eq!(up(&net), 0);
}

#[test]
fn changes_of_a_range_reach_its_peers() {
    let mut net = hub_and(2, 10);
    assert!(net.until(5 * SECOND, |net| up(net) == 2));
    let words = |words: &'static str| {
        move |config: PeerConfig| PeerConfig { shutdown: Some(words.into()), ..config }
    };
    net.command(HUB, range("10.0.0.0/24", 10, words("moving")));
    net.run(2 * SECOND);
    assert_eq!((up(&net), of_hub(&net).idle_because.as_deref()), (0, Some("moving")));
    net.command(HUB, range("10.0.0.0/30", 10, |config| config));
    assert!(net.until(90 * SECOND, |net| up(net) == 2));
    // One that holds only the first.
    net.command(HUB, range("10.0.0.2/32", 10, |config| config));
    net.run(20 * SECOND);
    assert_eq!(peers(&net), [("racks/10.0.0.2".into(), State::Established)]);
    net.command(HUB, Command::RemovePeer("racks".into()));
    net.run(SECOND);
    assert!(peers(&net).is_empty() && net.nodes[HUB].speaker.status().ranges.is_empty());
}

#[test]
fn the_key_of_a_range_is_that_of_its_prefix_and_of_each_peer() {
    let mut net = hub_and(1, 10);
    let key = Md5Key::new(b"k").expect("a key");
    let password = Some(Password { key: Some(key.clone()), problem: None });
    let signed =
        range("10.0.0.0/24", 10, |config| PeerConfig { password: password.clone(), ..config });
    let speaker = &mut net.nodes[HUB].speaker;
    let mut keys = |command| {
        speaker.handle_command(command, net.now).expect("valid");
        let told = std::iter::from_fn(|| speaker.poll_io());
        let told = told.filter_map(|io| match io {
            Io::SetKey { remote, key } => Some((remote.to_string(), key.is_some())),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(keys(signed), [("10.0.0.0/24".to_owned(), true)]);
    let moved =
        range("10.0.0.0/25", 10, |config| PeerConfig { password: password.clone(), ..config });
    assert_eq!(keys(moved), [("10.0.0.0/24".into(), false), ("10.0.0.0/25".into(), true)]);
    let accepted = speaker.handle_accepted(address(1), address(HUB), net.now).expect("let in");
    assert_eq!(accepted.transport.key, Some(key));
    let mut told = std::iter::from_fn(|| speaker.poll_io());
    assert!(told.any(|io| matches!(io, Io::SetKey { remote, .. } if remote == address(1).into())));
}

#[derive(Clone, Debug)]
enum Input {
    /// From one of the addresses; more come than find room.
    Accept(u8),
    Closed(usize),
    Octets(usize, Vec<u8>),
    Wait(u64),
    Range(u32),
    Named(u8),
    Unnamed(u8),
}

fn input() -> impl Strategy<Value = Input> {
    let noise = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        6 => (2..8_u8).prop_map(Input::Accept),
        2 => (0..6_usize).prop_map(Input::Closed),
        2 => (0..6_usize, noise).prop_map(|(conn, octets)| Input::Octets(conn, octets)),
        3 => (0..90_u64).prop_map(Input::Wait),
        1 => (1..4_u32).prop_map(Input::Range),
        1 => (2..8_u8).prop_map(Input::Named),
        1 => (2..8_u8).prop_map(Input::Unnamed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whoever comes and goes in whatever order: never more than may be, every connection belongs to
    /// a peer or was told to go, and in the end everybody is forgotten.
    #[test]
    fn a_range_never_holds_more_than_it_may(inputs in prop::collection::vec(input(), 0..60)) {
        let mut speaker = Speaker::new(Config {
            restarting: false,
            forwarding_preserved: FamilySet::NONE,
            jitter_seed: 1,
        });
        let mut now = Time::ZERO;
        let own = Some(identity(Setup::new(65000, [9, 9, 9, 9], 9)));
        let mut most = 3;
        for command in [Command::SetIdentity(own), range("10.0.0.0/24", most, |c| c)] {
            speaker.handle_command(command, now).expect("valid");
        }
        let mut open = Vec::new();
        let end = [Input::Wait(300), Input::Wait(300)];
        let named: Vec<Input> = (2..8).map(Input::Unnamed).collect();
        for input in inputs.into_iter().chain(named).chain(end) {
            let mut limit_is_new = false;
            match input {
                Input::Accept(last) => {
                    let remote = [10, 0, 0, last].into();
                    let accepted = speaker.handle_accepted(remote, address(HUB), now);
                    open.extend(accepted.map(|accepted| accepted.conn));
                }
                Input::Closed(which) if which < open.len() => {
                    let conn = open.remove(which);
                    speaker.handle_closed(conn, "closed", now);
                }
                Input::Octets(which, octets) if which < open.len() => {
                    speaker.handle_bytes(open[which], &octets, now);
                }
                Input::Wait(seconds) => {
                    now = now + SECOND * u32::try_from(seconds).expect("small");
                    speaker.handle_timeout(now);
                }
                Input::Range(max_peers) => {
                    limit_is_new = max_peers < most;
                    most = max_peers;
                    let command = range("10.0.0.0/24", most, |config| config);
                    speaker.handle_command(command, now).expect("valid");
                }
                Input::Named(last) => {
                    let config = PeerConfig::new([10, 0, 0, last].into(), 65001);
                    let config = PeerConfig { passive: true, ..config };
                    let command = Command::SetPeer(format!("n{last}").into(), config);
                    speaker.handle_command(command, now).expect("valid");
                }
                Input::Unnamed(last) => {
                    let command = Command::RemovePeer(format!("n{last}").into());
                    speaker.handle_command(command, now).expect("valid");
                }
                Input::Closed(_) | Input::Octets(..) => {}
            }
            while let Some(io) = speaker.poll_io() {
                if let Io::Close { conn, .. } = io {
                    open.retain(|known| *known != conn);
                }
            }
            open.iter().for_each(|conn| drop(speaker.poll_transmit(*conn, now)));
            let status = speaker.status();
            let guests = status.peers.iter().filter(|peer| peer.range.is_some()).count();
            prop_assert_eq!(guests, status.ranges[0].peers);
            // A smaller limit ends no session.
            let bound = if limit_is_new { 3 } else { 3.max(most) };
            prop_assert!(u32::try_from(guests).expect("few") <= bound);
            prop_assert!(open.len() <= 2 * status.peers.len(), "a connection of nobody");
        }
        // An OPEN that does not come ends a connection after 240 s.
        prop_assert!(open.is_empty(), "{open:?}");
        prop_assert!(speaker.status().peers.is_empty());
    }
}
