//! Looking on: everything that goes over the wire, in order, and nothing while nobody does.

use std::time::Duration;

use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::message::Message;
use brindle_bgp_proto::rib::Origin;
use brindle_bgp_proto::speaker::{Command, Observed, Seen};
use brindle_bgp_proto::timer::Time;

use crate::net::{Net, Setup};

const SECOND: Duration = Duration::from_secs(1);

fn seen(net: &mut Net, at: usize) -> Vec<Observed> {
    std::iter::from_fn(|| net.nodes[at].speaker.poll_observed()).collect()
}

/// What was seen, in a word each.
fn words(seen: &[Observed]) -> Vec<String> {
    let word = |observed: &Observed| match &observed.what {
        Seen::State { before, after, .. } => format!("{before} to {after}"),
        Seen::Route(_) => "route".into(),
        Seen::Message { sent, ends, octets, .. } => {
            let way = if *sent { "sent" } else { "received" };
            match ends.read(octets).expect("whole and readable") {
                Message::Open(open) => format!("{way} OPEN of AS {}", open.as_number),
                Message::Update(update) => match update.end_of_rib {
                    Some(_) => format!("{way} End-of-RIB"),
                    None => format!("{way} {} routes", update.reach.len()),
                },
                Message::Notification(notification) => format!("{way} {notification}"),
                Message::Keepalive => format!("{way} KEEPALIVE"),
                Message::RouteRefresh(_) => format!("{way} ROUTE-REFRESH"),
            }
        }
    };
    seen.iter().map(word).collect()
}

#[test]
fn a_session_is_seen_from_its_open_to_its_notification() {
    let setups = [Setup::new(65001, [1, 1, 1, 1], 1), Setup::new(65002, [2, 2, 2, 2], 2)];
    let mut net = Net::new(Duration::from_millis(1), &setups);
    net.nodes[0].speaker.set_observed(true);
    (0..2).for_each(|at| net.command(at, Command::InSync));
    net.command(0, Command::Originate("10.1.0.0/24".parse().expect("net"), Origin::default()));
    net.peer(0, 1, false);
    net.peer(1, 0, true);
    assert!(net.until(10 * SECOND, |net| net.is_up(0, 1)));
    net.run(SECOND);
    net.command(0, Command::RemovePeer("n1".into()));
    net.run(SECOND);
    let all = seen(&mut net, 0);
    let keepalive = |word: &String| !word.contains("KEEPALIVE") && !word.contains("End-of-RIB");
    let words: Vec<String> = words(&all).into_iter().filter(keepalive).collect();
    assert_eq!(
        words,
        [
            "Idle to Connect",
            "Connect to OpenSent",
            "sent OPEN of AS 65001",
            "received OPEN of AS 65002",
            "OpenSent to OpenConfirm",
            "OpenConfirm to Established",
            "sent 1 routes",
            "sent peer de-configured (6/3)",
            "Established to Idle",
        ]
    );
    let times: Vec<Time> = all.iter().map(|observed| observed.at).collect();
    assert!(times.is_sorted(), "{times:?}");
    let last = all.iter().rev().find_map(|observed| match &observed.what {
        Seen::State { before: State::Established, reason, .. } => reason.clone(),
        _ => None,
    });
    assert!(last.is_some_and(|reason| !reason.is_empty()));

    net.nodes[0].speaker.set_observed(false);
    net.peer(0, 1, false);
    assert!(net.until(90 * SECOND, |net| net.is_up(0, 1)));
    assert!(seen(&mut net, 0).is_empty());
}
