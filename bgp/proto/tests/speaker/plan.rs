//! What a plan says is what the orders do: each is made, then carried out, and the two are compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use brindle_bgp_proto::bfd;
use brindle_bgp_proto::capability::Role;
use brindle_bgp_proto::policy::{
    Action, Filter, Matches, MaxPrefixes, PeerFilter, PeerPolicy, Rule, Rules,
};
use brindle_bgp_proto::rib::{Drain, Origin};
use brindle_bgp_proto::speaker::plan::{Fate, ForwardingPlan, PeerPlan};
use brindle_bgp_proto::speaker::{
    Command, Hops, Identity, PeerConfig, Plan, RangeConfig, RouteTable,
};
use ipnet::IpNet;

use crate::net::{Net, Setup, address, identity};

const SECOND: Duration = Duration::from_secs(1);
const BLOCK: &str = "10.1.0.0/24";
const THEIRS: &str = "10.2.0.0/24";

fn prefix(text: &str) -> IpNet {
    text.parse().expect("prefix")
}

/// Node 0 with two neighbours of other ASes; each originates a prefix.
fn star() -> Net {
    let setup = |n: u8| Setup::new(65000 + u32::from(n), [n, n, n, n], n.into());
    let mut net = Net::new(Duration::from_millis(1), &[setup(1), setup(2), setup(3)]);
    (0..3).for_each(|at| net.command(at, Command::InSync));
    for to in [1, 2] {
        net.peer(0, to, false);
        net.peer(to, 0, true);
    }
    net.command(0, Command::Originate(prefix(BLOCK), Origin::default()));
    net.command(1, Command::Originate(prefix(THEIRS), Origin::default()));
    assert!(net.until(10 * SECOND, |net| net.is_up(0, 1) && net.is_up(0, 2)));
    net.run(SECOND);
    net
}

fn to(node: usize) -> PeerConfig {
    PeerConfig::new(address(node), 65001 + u32::try_from(node).expect("few nodes"))
}

fn set(node: usize, config: PeerConfig) -> Command {
    Command::SetPeer(format!("n{node}").into(), config)
}

fn plan(net: &Net, commands: &[Command]) -> Plan {
    net.nodes[0].speaker.clone().plan(commands.to_vec(), net.now)
}

fn of<'a>(plan: &'a Plan, name: &str) -> &'a PeerPlan {
    plan.peers.iter().find(|peer| *peer.name == *name).expect("the neighbour is in the plan")
}

/// What each neighbour has.
fn told(net: &Net) -> BTreeMap<(String, IpNet), String> {
    let list = net.nodes[0].speaker.routes(RouteTable::Advertised, None, usize::MAX);
    let routes = list.routes.into_iter();
    routes
        .map(|route| {
            let peer = route.peer.as_deref().unwrap_or_default().to_owned();
            ((peer, route.prefix), format!("{:?} {:?}", route.as_path, route.communities))
        })
        .collect()
}

/// Makes a plan, carries the orders out, and holds the plan against what happened.
fn carry_out(net: &mut Net, commands: &[Command]) -> Plan {
    let plan = plan(net, commands);
    let before = told(net);
    let flaps = |net: &Net, node: usize| {
        let status = net.nodes[0].speaker.status();
        let name = format!("n{node}");
        let peer = status.peers.into_iter().find(|peer| *peer.name == *name);
        peer.map(|peer| (peer.flaps, peer.established_count, peer.since))
    };
    let counts = [1, 2].map(|node| flaps(net, node));
    commands.iter().for_each(|command| net.command(0, command.clone()));
    net.run(30 * SECOND);
    let after = told(net);
    for (node, count) in [1, 2].into_iter().zip(counts) {
        let name = format!("n{node}");
        let planned = plan.peers.iter().find(|peer| *peer.name == *name);
        let kept = planned.is_none_or(|peer| peer.session == Fate::Kept);
        assert_eq!(flaps(net, node) == count, kept, "{name}: {planned:?}");
        let mut has: BTreeMap<IpNet, ()> =
            before.keys().filter(|(peer, _)| *peer == name).map(|(_, p)| (*p, ())).collect();
        if let Some(planned) = planned {
            has.retain(|prefix, ()| !planned.withdrawn.contains(prefix));
            has.extend(planned.announced.iter().map(|route| (route.prefix, ())));
        }
        let real: BTreeMap<IpNet, ()> =
            after.keys().filter(|(peer, _)| *peer == name).map(|(_, p)| (*p, ())).collect();
        assert_eq!(has, real, "{name} has what was planned");
    }
    plan
}

#[test]
fn what_is_as_before_changes_nothing_and_a_plan_is_no_deed() {
    let mut net = star();
    assert_eq!(plan(&net, &[set(1, to(1))]), Plan::default());
    let (before, status) = (told(&net), net.status(0, 1));
    let drastic = [Command::RemovePeer("n1".into()), Command::Withdraw(prefix(BLOCK))];
    assert_eq!(plan(&net, &drastic).peers.len(), 2);
    net.run(SECOND);
    assert_eq!((told(&net), net.status(0, 1)), (before, status));
    assert!(net.is_up(0, 1) && net.is_up(1, 0));
}

#[test]
fn only_what_a_session_begins_with_resets_it_and_the_plan_says_what_that_is() {
    let hops = PeerConfig { hops: Hops::Security(1), role: Some(Role::Peer), ..to(1) };
    let plan = carry_out(&mut star(), &[set(1, hops)]);
    let [peer] = &plan.peers[..] else { panic!("{plan:?}") };
    assert_eq!((&*peer.name, peer.session), ("n1", Fate::Reset));
    let reason = "the peer's configuration changed: number of hops, role";
    assert_eq!(peer.reason.as_deref(), Some(reason));
    assert!(peer.announced.is_empty() && peer.withdrawn.is_empty(), "the same once it is back");

    let bfd = bfd::Config { desired_min_tx: SECOND, required_min_rx: SECOND, detect_mult: 3 };
    let live = PeerConfig { port: 1790, passive: true, bfd: Some(bfd), ..to(1) };
    let mut net = star();
    let plan = carry_out(&mut net, &[set(1, live)]);
    let peer = of(&plan, "n1");
    assert_eq!((peer.session, &peer.applied[..]), (Fate::Kept, &["port", "passive", "BFD"][..]));
    assert!(net.status(0, 1).bfd.is_some(), "a session that is up is watched from now on");
}

#[test]
fn a_filter_is_planned_both_ways() {
    let all = Rule { matches: Matches::default(), action: Action::Reject };
    let rules = || Rules { ipv4: vec![all.clone()], ipv6: Vec::new() };
    let filter = Filter { name: "shut".into(), import: rules(), export: rules() };
    let filters = vec![PeerFilter::Known(Arc::new(filter))];
    let policy = PeerPolicy { filters, ..PeerPolicy::default() };
    let plan = carry_out(&mut star(), &[set(1, PeerConfig { policy, ..to(1) })]);
    let peer = of(&plan, "n1");
    assert_eq!((peer.session, &peer.applied[..]), (Fate::Kept, &["filters and limits"][..]));
    assert_eq!(peer.withdrawn, [prefix(BLOCK)]);
    let gone =
        ForwardingPlan { prefix: prefix(THEIRS), before: vec![address(1)], after: Vec::new() };
    assert_eq!(plan.forwarding, [gone]);
    assert_eq!(plan.peers.len(), 1, "the other neighbour is not concerned");
}

#[test]
fn neighbours_come_and_go_with_what_they_would_be_told() {
    let mut net = star();
    let removed = carry_out(&mut net, &[Command::RemovePeer("n1".into())]);
    let peer = of(&removed, "n1");
    assert_eq!((peer.session, &peer.withdrawn[..]), (Fate::Removed, &[prefix(BLOCK)][..]));
    assert_eq!(peer.reason.as_deref(), Some("the peer was removed"));
    assert_eq!(removed.forwarding.len(), 1);

    let next_hops = [address(0)].into_iter().collect();
    let known = Identity { next_hops, ..identity(net.nodes[0].setup) };
    net.command(0, Command::SetIdentity(Some(known)));
    let added = carry_out(&mut net, &[set(1, to(1))]);
    let peer = of(&added, "n1");
    assert_eq!((peer.session, peer.announced.len()), (Fate::Added, 1));
    assert_eq!(peer.announced[0].as_path, "65001");

    let unfit = PeerConfig { unfit: Some("no".into()), ..to(1) };
    let closed = carry_out(&mut net, &[set(1, unfit)]);
    let peer = of(&closed, "n1");
    assert_eq!((peer.session, peer.reason.as_deref()), (Fate::Closed, Some("no")));
    let opened = carry_out(&mut net, &[set(1, to(1))]);
    let peer = of(&opened, "n1");
    assert_eq!((peer.session, peer.announced.len()), (Fate::Opened, 1));
}

#[test]
fn another_identity_says_what_it_costs() {
    let mut net = star();
    let known = identity(net.nodes[0].setup);
    let later = Identity { hold_time: 30, drain: Some(Drain::Withdraw), ..known.clone() };
    let drained = carry_out(&mut net, &[Command::SetIdentity(Some(later))]);
    let says = ["hold time: counts from the next session on", "draining: counts at once"];
    assert_eq!(drained.identity, says);
    assert!(drained.peers.iter().all(|peer| peer.session == Fate::Kept));
    assert_eq!(of(&drained, "n2").withdrawn, [prefix(BLOCK)]);

    let other = Identity { router_id: [9, 9, 9, 9].into(), ..known };
    let reset = carry_out(&mut net, &[Command::SetIdentity(Some(other))]);
    assert!(reset.peers.iter().all(|peer| peer.session == Fate::Reset), "{reset:?}");
    let reason = of(&reset, "n1").reason.as_deref();
    assert_eq!(reason, Some("our AS or router id changed"));
    assert_eq!(of(&reset, "n1").announced.len(), 1, "and it is in service again");
}

#[test]
fn a_limit_that_is_passed_already_closes() {
    let limits = MaxPrefixes { ipv4: Some(0), ipv6: None, warn_percent: 75, restart: None };
    let policy = PeerPolicy { max_prefixes: Some(limits), ..PeerPolicy::default() };
    for config in [
        PeerConfig { policy: policy.clone(), ..to(1) },
        PeerConfig { policy, hops: Hops::Security(1), ..to(1) },
    ] {
        let plan = carry_out(&mut star(), &[set(1, config)]);
        let peer = of(&plan, "n1");
        assert_eq!(peer.session, Fate::Closed);
        assert!(peer.reason.as_deref().is_some_and(|why| why.contains("prefixes")), "{peer:?}");
    }
}

#[test]
fn a_range_takes_in_again_whom_its_change_sends_away() {
    let mut net = star();
    let range = |max_peers, template| {
        let prefix = prefix("10.0.0.0/24");
        Command::SetRange("rack".into(), RangeConfig { prefix, max_peers, template })
    };
    net.command(0, Command::RemovePeer("n1".into()));
    net.command(0, range(5, to(1)));
    let as_number = net.nodes[0].setup.as_number;
    let back = PeerConfig::new(address(0), as_number);
    net.command(1, Command::SetPeer("n0".into(), back));
    let guest = format!("rack/{}", address(1));
    let is_there = |net: &Net| {
        let peers = net.nodes[0].speaker.status().peers;
        peers.iter().any(|peer| *peer.name == *guest && peer.session.is_some())
    };
    assert!(net.until(60 * SECOND, is_there));
    net.run(SECOND);

    let fewer = plan(&net, &[range(1, to(1))]);
    assert!(fewer.peers.is_empty(), "{fewer:?}");
    assert_eq!((&*fewer.ranges[0].name, fewer.ranges[0].range), ("rack", "changed"));
    let other = plan(&net, &[range(1, PeerConfig { require_role: true, ..to(1) })]);
    let peer = of(&other, &guest);
    assert_eq!(peer.session, Fate::Reset);
    assert!(peer.withdrawn.is_empty() && other.forwarding.is_empty(), "{other:?}");
    let gone = plan(&net, &[Command::RemovePeer("rack".into())]);
    assert_eq!((of(&gone, &guest).session, gone.ranges[0].range), (Fate::Removed, "removed"));
    assert_eq!(of(&gone, &guest).reason.as_deref(), Some("the range was removed"));
}
