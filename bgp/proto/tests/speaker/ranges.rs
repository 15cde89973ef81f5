//! Neighbours that nobody named.

use std::time::Duration;

use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::rib::Origin;
use brindle_bgp_proto::speaker::{
    Command, Io, Md5Key, Password, PeerConfig, RangeConfig, RangeStatus,
};
use ipnet::IpNet;

use crate::net::{Net, Setup, address};

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
