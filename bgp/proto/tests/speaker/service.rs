//! Taking peers and nodes out of service: limits of prefixes, shutdowns with words, draining, and
//! what a NOTIFICATION leaves.

use std::time::Duration;

use brindle_bgp_proto::bfd;
use brindle_bgp_proto::capability::Role;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::policy::{MaxPrefixes, MaxPrefixesOut, PeerPolicy};
use brindle_bgp_proto::rib::{Drain, Origin};
use brindle_bgp_proto::speaker::{Command, Event, Hops, Identity, PeerConfig, RouteTable};
use ipnet::IpNet;

use crate::net::{Net, Setup, address, identity};

const SECOND: Duration = Duration::from_secs(1);

fn prefix(text: &str) -> IpNet {
    text.parse().expect("prefix")
}

/// Two peers; node 0 connects.
fn pair(as_numbers: [u32; 2], change: impl Fn(Identity) -> Identity) -> Net {
    let setups =
        [Setup::new(as_numbers[0], [1, 1, 1, 1], 1), Setup::new(as_numbers[1], [2, 2, 2, 2], 2)];
    let mut net = Net::new(Duration::from_millis(1), &setups);
    for (at, setup) in setups.into_iter().enumerate() {
        let identity = change(identity(setup));
        net.command(at, Command::SetIdentity(Some(identity)));
        net.command(at, Command::InSync);
        net.peer(at, 1 - at, at == 1);
    }
    net.command(0, Command::Originate(prefix("10.1.0.0/24"), Origin::default()));
    assert!(net.until(10 * SECOND, |net| net.is_up(0, 1) && net.is_up(1, 0)));
    net.run(SECOND);
    net
}

fn set(net: &mut Net, at: usize, change: impl FnOnce(PeerConfig) -> PeerConfig) {
    let to = 1 - at;
    let config = PeerConfig::new(address(to), net.nodes[to].setup.as_number);
    let config = change(PeerConfig { passive: at == 1, ..config });
    net.command(at, Command::SetPeer(format!("n{to}").into(), config));
}

fn limit(ipv4: u32, restart: Option<Duration>) -> PeerPolicy {
    let limits = MaxPrefixes { ipv4: Some(ipv4), ipv6: None, warn_percent: 75, restart };
    PeerPolicy { max_prefixes: Some(limits), ..PeerPolicy::default() }
}

#[test]
fn a_peer_over_its_limit_waits_for_its_time_or_another_limit() {
    for restart in [None, Some(100 * SECOND)] {
        let mut net = pair([65001, 65002], |identity| identity);
        set(&mut net, 1, |config| PeerConfig { policy: limit(3, restart), ..config });
        for third in 2..=3 {
            net.command(
                0,
                Command::Originate(prefix(&format!("10.{third}.0.0/24")), Origin::default()),
            );
        }
        net.run(SECOND);
        assert!(net.is_up(1, 0), "3 of 3");
        let warning = net.status(1, 0).prefix_warning;
        assert_eq!(warning.as_deref(), Some("3 of at most 3 ipv4 unicast prefixes"));

        net.command(0, Command::Originate(prefix("10.4.0.0/24"), Origin::default()));
        net.run(SECOND);
        let received = net.status(0, 1).last_received_notification.expect("a Cease").message;
        let data = "maximum number of prefixes reached (6/1), data 00010100000003";
        assert_eq!(received, data);
        assert!(net.nodes[1].speaker.routes(RouteTable::Best, None, 9).routes.is_empty());

        net.run(98 * SECOND);
        let status = net.status(1, 0);
        assert_eq!(status.state, State::Idle, "it is not let in");
        let why = status.idle_because.expect("a reason");
        assert!(why.starts_with("the peer advertised more than 3 ipv4 unicast prefixes"), "{why}");

        if restart.is_some() {
            net.command(0, Command::Withdraw(prefix("10.4.0.0/24")));
            assert!(net.until(70 * SECOND, |net| net.is_up(1, 0)), "after its time");
            assert_eq!(net.status(1, 0).idle_because, None);
        } else {
            net.run(1000 * SECOND);
            assert!(!net.is_up(1, 0), "it waits for another configuration");
            set(&mut net, 1, |config| PeerConfig { policy: limit(9, restart), ..config });
            assert!(net.until(70 * SECOND, |net| net.is_up(1, 0)), "another limit");
        }
    }
}

#[test]
fn a_limit_that_is_lowered_below_what_is_there_counts_at_once() {
    let mut net = pair([65001, 65002], |identity| identity);
    net.command(0, Command::Originate(prefix("10.2.0.0/24"), Origin::default()));
    net.run(SECOND);
    set(&mut net, 1, |config| PeerConfig { policy: limit(1, None), ..config });
    net.run(SECOND);
    assert_eq!(net.status(1, 0).state, State::Idle);
    assert_eq!((net.status(1, 0).flaps, net.status(0, 1).flaps), (1, 1));
}

fn limit_out(ipv4: u32) -> PeerPolicy {
    let limits = MaxPrefixesOut { ipv4: Some(ipv4), ipv6: None, warn_percent: 75 };
    PeerPolicy { max_prefixes_out: Some(limits), ..PeerPolicy::default() }
}

/// What node 1 has from node 0.
fn received(net: &Net) -> Vec<String> {
    let list = net.nodes[1].speaker.routes(RouteTable::Received, None, 99);
    list.routes.iter().map(|route| route.prefix.to_string()).collect()
}

#[test]
fn what_is_beyond_the_limit_of_what_a_peer_is_told_waits_for_a_place() {
    let mut net = pair([65001, 65002], |identity| identity);
    set(&mut net, 0, |config| PeerConfig { policy: limit_out(2), ..config });
    let originate = |net: &mut Net, text: &str| {
        net.command(0, Command::Originate(prefix(text), Origin::default()));
        net.run(SECOND);
    };
    originate(&mut net, "10.3.0.0/24");
    originate(&mut net, "10.0.0.0/24");
    originate(&mut net, "10.2.0.0/24");
    assert_eq!(received(&net), ["10.1.0.0/24", "10.3.0.0/24"], "who was first");
    let status = net.status(0, 1);
    assert_eq!(
        status.prefix_warning.as_deref(),
        Some("told of 2 of at most 2 ipv4 unicast prefixes, 2 more are withheld")
    );
    let report = net.nodes[0].speaker.explain(prefix("10.2.0.0/24"), None);
    let last = report.outward[0].steps.last().expect("a step");
    let why = "the peer has as many ipv4 unicast prefixes as it is to have: 2";
    assert_eq!((last.step, &*last.detail, last.passed), ("limit", why, false));

    net.command(0, Command::Withdraw(prefix("10.3.0.0/24")));
    net.run(SECOND);
    assert_eq!(received(&net), ["10.0.0.0/24", "10.1.0.0/24"], "the first that waits");
    set(&mut net, 0, |config| PeerConfig { policy: limit_out(1), ..config });
    net.run(SECOND);
    assert_eq!(received(&net), ["10.0.0.0/24"], "lowered");
    set(&mut net, 0, |config| config);
    net.run(SECOND);
    assert_eq!(received(&net), ["10.0.0.0/24", "10.1.0.0/24", "10.2.0.0/24"]);
    assert_eq!((net.status(0, 1).flaps, net.status(0, 1).prefix_warning), (0, None));
}

#[test]
fn a_shutdown_carries_its_words() {
    let mut net = pair([65001, 65002], |identity| identity);
    set(&mut net, 0, |config| PeerConfig { shutdown: Some("rack 7 moves".into()), ..config });
    net.run(SECOND);
    let received = net.status(1, 0).last_received_notification.expect("a Cease").message;
    assert_eq!(received, "administrative shutdown (6/2): rack 7 moves");
    let status = net.status(0, 1);
    let sent = status.last_sent_notification.expect("a Cease").message;
    assert_eq!(sent, received);
    assert_eq!(status.idle_because.as_deref(), Some("rack 7 moves"));
    net.run(200 * SECOND);
    assert_eq!(net.status(0, 1).state, State::Idle);
    set(&mut net, 0, |config| config);
    assert!(net.until(70 * SECOND, |net| net.is_up(0, 1)));

    let long = "x".repeat(256);
    let config = PeerConfig { shutdown: Some(long.into()), ..PeerConfig::new(address(1), 65002) };
    let command = Command::SetPeer("n1".into(), config);
    assert!(command.validate().is_err(), "255 octets fit");
}

fn drain(net: &mut Net, drain: Option<Drain>) {
    let identity = Identity { drain, ..identity(net.nodes[0].setup) };
    net.command(0, Command::SetIdentity(Some(identity)));
    net.run(SECOND);
}

#[test]
fn a_node_that_is_drained_is_the_last_choice_or_none_and_keeps_its_sessions() {
    for (as_numbers, external) in [([65001, 65002], true), ([65001, 65001], false)] {
        let mut net = pair(as_numbers, |identity| identity);
        drain(&mut net, Some(Drain::GracefulShutdown));
        let route = |net: &Net| {
            let list = net.nodes[1].speaker.routes(RouteTable::Best, None, 9);
            list.routes.into_iter().next()
        };
        let found = route(&net).expect("the route stays");
        assert_eq!(found.communities, ["65535:0"]);
        assert_eq!(found.local_pref, Some(0), "external {external}: the receiver sees to it");

        drain(&mut net, Some(Drain::Withdraw));
        assert_eq!(route(&net), None);
        let report = net.nodes[0].speaker.explain(prefix("10.1.0.0/24"), None);
        let last = report.outward[0].steps.last().expect("a step").clone();
        assert_eq!((last.step, last.passed), ("rules", false));
        assert_eq!(net.nodes[0].speaker.status().drain, Some("withdrawn"));

        drain(&mut net, None);
        let found = route(&net).expect("it is back");
        assert!(found.communities.is_empty());
        assert_eq!(found.local_pref, (!external).then_some(100));
        assert_eq!((net.status(0, 1).flaps, net.status(1, 0).flaps), (0, 0));
    }
}

fn gone(net: &Net) -> bool {
    net.nodes[1].events.iter().any(|event| matches!(event, Event::Gone { .. }))
}

/// RFC 8538: with the N bit on both sides only a Hard Reset ends forwarding.
#[test]
fn a_notification_keeps_routes_where_both_say_so() {
    for offered in [true, false] {
        let mut net =
            pair([65001, 65002], |identity| Identity { notification_restart: offered, ..identity });
        // Another TTL is another session (Cease 6/6), which comes back by itself.
        set(&mut net, 0, |config| PeerConfig { hops: Hops::Multihop(9), ..config });
        net.run(Duration::from_millis(3));
        assert!(!net.is_up(1, 0));
        let received = net.status(1, 0).last_received_notification.expect("a Cease").message;
        assert_eq!(received, "other configuration change (6/6)", "never a hard one");
        assert_eq!(gone(&net), !offered);
        assert_eq!(net.status(1, 0).stale_until.is_some(), offered);
    }
}

#[test]
fn a_shutdown_is_a_hard_reset_where_others_would_not_end_forwarding() {
    let mut net =
        pair([65001, 65002], |identity| Identity { notification_restart: true, ..identity });
    set(&mut net, 0, |config| PeerConfig { shutdown: Some("bye".into()), ..config });
    net.run(SECOND);
    let received = net.status(1, 0).last_received_notification.expect("a Cease").message;
    assert_eq!(received, "hard reset (6/9): administrative shutdown (6/2): bye");
    assert!(gone(&net));
}

/// A neighbour that is silent at once, as after a power failure: BGP alone needs its hold time.
#[test]
fn bfd_ends_the_session_with_a_neighbour_that_does_not_forward() {
    let watched = |config: PeerConfig| PeerConfig {
        bfd: Some(bfd::Config {
            desired_min_tx: SECOND / 10,
            required_min_rx: SECOND / 10,
            detect_mult: 3,
        }),
        ..config
    };
    let mut net = pair([65001, 65002], |identity| identity);
    (0..2).for_each(|at| set(&mut net, at, watched));
    let is_watched = |net: &Net| {
        let up = |at: usize| net.status(at, 1 - at).bfd.is_some_and(|bfd| bfd.state == "Up");
        up(0) && up(1)
    };
    assert!(net.until(60 * SECOND, is_watched), "{:#?}", net.status(0, 1));
    net.run(100 * SECOND);
    assert!(is_watched(&net));
    net.nodes[1].events.clear();

    net.cut = true;
    net.run(SECOND / 2);
    for at in 0..2 {
        let status = net.status(at, 1 - at);
        assert!(!net.is_up(at, 1 - at));
        let sent = status.last_sent_notification.expect("a Cease").message;
        assert!(sent.starts_with("BFD down (6/10): BFD says that the neighbour"), "{sent}");
        assert_eq!(status.stale_until, None, "no graceful restart of the dead");
    }
    assert!(gone(&net), "its routes are gone");

    net.cut = false;
    assert!(net.until(90 * SECOND, is_watched), "and it comes back");
}

#[test]
fn bfd_takes_nothing_from_further_away_than_the_neighbour_may_be() {
    let bfd = bfd::Config { desired_min_tx: SECOND, required_min_rx: SECOND, detect_mult: 3 };
    for (hops, ttl, up) in [
        (Hops::Usual, 255, true),
        (Hops::Usual, 254, false),
        (Hops::Multihop(1), 254, false),
        (Hops::Multihop(2), 254, true),
        (Hops::Multihop(2), 63, true),
        (Hops::Security(3), 253, true),
        (Hops::Security(3), 252, false),
    ] {
        let mut net = pair([65001, 65002], |identity| identity);
        net.bfd_ttl = ttl;
        let watched = |config| PeerConfig { bfd: Some(bfd), hops, ..config };
        (0..2).for_each(|at| set(&mut net, at, watched));
        net.run(60 * SECOND);
        let is_up = net.status(0, 1).bfd.is_some_and(|bfd| bfd.state == "Up");
        assert_eq!(is_up, up, "{hops:?} {ttl}");
    }
    let mut net = pair([65001, 65002], |identity| identity);
    let one = |hops| move |config| PeerConfig { bfd: Some(bfd), hops, ..config };
    set(&mut net, 0, one(Hops::Usual));
    set(&mut net, 1, one(Hops::Multihop(2)));
    net.run(60 * SECOND);
    assert!(net.status(0, 1).bfd.is_some_and(|bfd| bfd.state == "Down"), "two ports");
}

#[test]
fn roles_that_do_not_fit_end_the_session_and_one_that_is_missing_may() {
    use Role::{Customer, Peer, Provider};
    for (ours, theirs, required, fits) in [
        (Some(Provider), Some(Customer), true, true),
        (Some(Provider), Some(Peer), false, false),
        (Some(Customer), None, false, true),
        (Some(Customer), None, true, false),
        (None, Some(Peer), false, true),
    ] {
        let mut net = pair([65001, 65002], |identity| identity);
        let own = |config| PeerConfig { role: ours, require_role: required, ..config };
        set(&mut net, 0, own);
        set(&mut net, 1, |config| PeerConfig { role: theirs, ..config });
        net.run(SECOND * 5);
        assert_eq!(net.is_up(0, 1), fits, "{ours:?} {theirs:?} {required}");
        if !fits {
            let sent = net.status(0, 1).last_sent_notification;
            let received = net.status(0, 1).last_received_notification;
            let mut words = sent.into_iter().chain(received).map(|n| n.message);
            assert!(words.any(|words| words.starts_with("role mismatch (2/11)")));
        }
    }
}

#[test]
fn internal_sessions_have_no_role() {
    let mut net = pair([65001, 65001], |identity| identity);
    for at in 0..2 {
        set(&mut net, at, |config| PeerConfig { role: Some(Role::Provider), ..config });
    }
    assert!(net.until(10 * SECOND, |net| net.is_up(0, 1)), "two providers");
}

#[test]
fn what_does_not_fit_keeps_the_session_down_and_says_why() {
    let mut net = pair([65001, 65002], |identity| identity);
    assert!(net.until(10 * SECOND, |net| net.is_up(0, 1)));
    set(&mut net, 0, |config| PeerConfig { unfit: Some("no client".into()), ..config });
    net.run(SECOND * 60);
    let status = net.status(0, 1);
    assert_eq!(status.state, State::Idle, "neither connects nor accepts");
    assert_eq!((status.idle_because.as_deref(), status.established_count), (Some("no client"), 1));
    let sent = status.last_sent_notification.expect("a Cease").message;
    assert!(sent.starts_with("peer de-configured (6/3)"), "{sent}");
    set(&mut net, 0, |config| PeerConfig { unfit: None, ..config });
    assert!(net.until(90 * SECOND, |net| net.is_up(0, 1)), "and fits again");
}
