//! Why a prefix is where it is or is not: the step that stops it, from both ends of a session.

use std::sync::Arc;
use std::time::Duration;

use brindle_bgp_proto::policy::{
    Action, Filter, Matches, PeerFilter, PeerPolicy, PrefixMatch, PrefixOperator, Rule, Rules,
};
use brindle_bgp_proto::rib::Origin;
use brindle_bgp_proto::speaker::explain::Trace;
use brindle_bgp_proto::speaker::{Command, PeerConfig, RouteTable};
use ipnet::IpNet;

use crate::net::{Net, Setup, address};

const SECOND: Duration = Duration::from_secs(1);
const BLOCK: &str = "10.1.0.0/24";

fn net(text: &str) -> IpNet {
    text.parse().expect("prefix")
}

/// Node 0 originates [`BLOCK`], node 1 is its peer in another AS, node 2 another one of both.
fn triangle() -> Net {
    let setup = |n: u8| Setup::new(65000 + u32::from(n), [n, n, n, n], n.into());
    let mut net = Net::new(Duration::from_millis(1), &[setup(1), setup(2), setup(3)]);
    for at in 0..3 {
        net.command(at, Command::InSync);
        (0..3).filter(|to| *to != at).for_each(|to| net.peer(at, to, to > at));
    }
    net.command(0, Command::Originate(self::net(BLOCK), Origin::default()));
    assert!(net.until(10 * SECOND, |net| (0..3).all(|at| net.is_up(at, (at + 1) % 3))));
    net.run(SECOND);
    net
}

fn set_policy(net: &mut Net, at: usize, to: usize, policy: PeerPolicy) {
    let as_number = net.nodes[to].setup.as_number;
    let passive = to > at;
    let config = PeerConfig { passive, policy, ..PeerConfig::new(address(to), as_number) };
    net.command(at, Command::SetPeer(format!("n{to}").into(), config));
    net.run(SECOND);
}

fn reject(import: bool) -> PeerPolicy {
    let matches = Matches {
        prefix: Some(PrefixMatch {
            net: net(BLOCK),
            operator: PrefixOperator::Equal,
            min_len: 24,
            max_len: 32,
        }),
        ..Matches::default()
    };
    let rules = Rules { ipv4: vec![Rule { matches, action: Action::Reject }], ipv6: Vec::new() };
    let filter = match import {
        true => Filter { name: "edge".into(), import: rules, ..Filter::default() },
        false => Filter { name: "edge".into(), export: rules, ..Filter::default() },
    };
    PeerPolicy { filters: vec![PeerFilter::Known(Arc::new(filter))], ..PeerPolicy::default() }
}

/// The last step of a prefix at one node: outward to, or inward from, another.
fn last(net: &mut Net, at: usize, outward: bool, other: usize, prefix: &str) -> String {
    let name = format!("n{other}");
    let report = net.nodes[at].speaker.explain(self::net(prefix), Some(&name));
    let traces = if outward { report.outward } else { report.inward };
    let [Trace { steps, arrives, .. }] = &traces[..] else { panic!("{traces:?}") };
    assert!(steps[..steps.len() - 1].iter().all(|step| step.passed), "only the last may stop");
    let step = steps.last().expect("a step");
    assert_eq!(step.passed, *arrives);
    let mark = if step.passed { "ok" } else { "stop" };
    format!("{mark} {}: {}", step.step, step.detail)
}

#[test]
fn a_block_gets_out_and_in_and_not_on() {
    let mut net = triangle();
    for (at, outward, other, expected) in [
        (0, true, 1, "ok wire: sent"),
        (1, false, 0, "ok forwarding: given to the route table"),
        (1, true, 0, "stop rules: the best path came from this peer"),
        (
            1,
            true,
            2,
            "stop filters: learned routes are not told on: no export rule with `source: \
             RemotePeers` accepts it",
        ),
        (
            1,
            false,
            2,
            "stop received: the peer has sent all its routes, and this one is not among them",
        ),
    ] {
        assert_eq!(last(&mut net, at, outward, other, BLOCK), expected, "{at} {other}");
    }
    assert_eq!(
        last(&mut net, 0, true, 1, "10.9.0.0/24"),
        "stop origin: this node does not originate it and no peer told of it"
    );
    let report = net.nodes[1].speaker.explain(self::net("10.1.0.7/32"), None);
    assert_eq!(report.prefix, self::net(BLOCK), "an address stands for its prefix");
    assert_eq!((report.inward.len(), report.outward.len()), (2, 2));
}

#[test]
fn a_rule_that_rejects_is_named_at_either_end_and_costs_no_session() {
    let mut net = triangle();
    set_policy(&mut net, 0, 1, reject(false));
    let expected = "stop filters: BGPFilter edge, exportV4[0] rejects it";
    assert_eq!(last(&mut net, 0, true, 1, BLOCK), expected);
    assert!(last(&mut net, 1, false, 0, BLOCK).starts_with("stop received"));

    set_policy(&mut net, 0, 1, PeerPolicy::default());
    assert_eq!(last(&mut net, 1, false, 0, BLOCK), "ok forwarding: given to the route table");

    set_policy(&mut net, 1, 0, reject(true));
    let expected = "stop filters: BGPFilter edge, importV4[0] rejects it";
    assert_eq!(last(&mut net, 1, false, 0, BLOCK), expected);
    let list = net.nodes[1].speaker.routes(RouteTable::Received, Some("n0"), 10);
    let [route] = &list.routes[..] else { panic!("{list:?}") };
    assert_eq!(route.note.as_deref(), Some("BGPFilter edge, importV4[0] rejects it"));
    assert!(!route.used);
    assert!(net.nodes[1].speaker.routes(RouteTable::Best, None, 10).routes.is_empty());

    let broken = PeerFilter::Broken { name: "gone".into(), problem: "does not exist".into() };
    let policy = PeerPolicy { filters: vec![broken], ..PeerPolicy::default() };
    set_policy(&mut net, 0, 1, policy);
    let expected = "stop filters: nothing passes: BGPFilter gone does not exist";
    assert_eq!(last(&mut net, 0, true, 1, BLOCK), expected);
    assert!(net.status(0, 1).filter_problem.is_some());
    assert_eq!((net.status(0, 1).flaps, net.status(1, 0).flaps), (0, 0));
}

#[test]
fn a_worse_path_says_what_beats_it() {
    let mut net = triangle();
    net.command(2, Command::Originate(self::net("10.0.0.0/8"), Origin::default()));
    net.command(0, Command::Originate(self::net("10.0.0.0/8"), Origin::default()));
    net.run(SECOND);
    let ok = "ok forwarding: given to the route table";
    assert_eq!(last(&mut net, 1, false, 0, "10.0.0.0/8"), ok);
    assert_eq!(last(&mut net, 1, false, 2, "10.0.0.0/8"), ok, "equal cost");
    assert_eq!(
        last(&mut net, 2, false, 0, "10.0.0.0/8"),
        "stop decision: this node originates the prefix itself"
    );

    let prepend = Action::Accept(vec![brindle_bgp_proto::policy::Change::PrependAsPath(vec![1])]);
    let rule = Rule { matches: Matches::default(), action: prepend };
    let export = Rules { ipv4: vec![rule], ipv6: Vec::new() };
    let filter = Filter { name: "longer".into(), export, ..Filter::default() };
    let filters = vec![PeerFilter::Known(Arc::new(filter))];
    set_policy(&mut net, 2, 1, PeerPolicy { filters, ..PeerPolicy::default() });
    assert_eq!(
        last(&mut net, 1, false, 2, "10.0.0.0/8"),
        "stop decision: the path of n0 has a shorter AS path"
    );
    let list = net.nodes[1].speaker.routes(RouteTable::Best, None, 2);
    assert_eq!((list.routes.len(), list.left_off), (2, 1));
}

#[test]
fn without_a_session_the_reason_is_that_of_the_peer() {
    let mut net = triangle();
    net.command(1, Command::RemovePeer("n0".into()));
    net.run(SECOND);
    let words = last(&mut net, 0, true, 1, BLOCK);
    assert!(words.starts_with("stop session: "), "{words}");
    assert!(words.contains("peer de-configured (6/3)"), "{words}");
    assert!(last(&mut net, 0, false, 1, "10.9.0.0/24").starts_with("stop session: "));
}
