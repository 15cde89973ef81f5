//! Interfaces of the node itself: the kernel judges at every stage as the evaluator does, before
//! connection tracking and before DNAT. Shared by the tests of every backend that filters there;
//! `load` loads a ruleset, and what it returns keeps it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use brindle_model::host::Failsafes;
use brindle_model::net::Protocol;
use brindle_model::packet::{Packet, Transport};
use brindle_model::ruleset::{
    Action, HostInterface, HostStages, Match, Passage, PolicyRules, PortMatch, Program, Rule,
    Ruleset, Stage, StageProgram, TierEnd, TierStep, evaluate, evaluate_host,
};
use brindle_model::verdict::{DecisionId, Direction, PolicyId, PolicyKind, Verdict};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::generate::{Tiers, addresses, endpoint_id, program, ruleset, tiers};
use crate::namespace::{isolated, run};
use crate::node::{
    MARK, Node, frame, mark_of, node_addresses, packet, pod_mac, udp, with_own_addresses,
    with_udp_checksum,
};
use crate::packets::open_ruleset;

/// Where host endpoints are, as the wires at their other ends.
pub const EXT0: usize = 2;
pub const EXT1: usize = 3;

fn failsafes() -> Arc<Failsafes> {
    let ports = |list: &[&str]| list.iter().map(|port| port.parse().expect("a port")).collect();
    let inbound = ports(&["tcp:81", "udp:443@10.0.1.0/30", "sctp:1@fd00::/16"]);
    Arc::new(Failsafes { inbound, outbound: ports(&["udp:80", "tcp:90"]) })
}

/// The places where a host endpoint may have a program.
const PLACES: [(Stage, Direction); 7] = [
    (Stage::Untracked, Direction::Ingress),
    (Stage::Untracked, Direction::Egress),
    (Stage::PreDnat, Direction::Ingress),
    (Stage::Forward, Direction::Ingress),
    (Stage::Forward, Direction::Egress),
    (Stage::Normal, Direction::Ingress),
    (Stage::Normal, Direction::Egress),
];

/// A program for each place, or none; the normal stage always has both.
type Host = Vec<Option<(Tiers, bool)>>;

fn host() -> impl Strategy<Value = Host> {
    let one = proptest::option::weighted(0.6, (tiers(), any::<bool>()));
    proptest::collection::vec(one, PLACES.len())
}

fn at_stage(stage: Stage, direction: Direction, tiers: &Tiers, allow: bool) -> Program {
    let mut program = program(direction, tiers, allow);
    program.stage = stage;
    if stage != Stage::Normal {
        program.end = (Verdict::Allow, DecisionId::StageEnd);
    }
    if matches!(stage, Stage::Untracked | Stage::PreDnat) {
        program.steps.iter_mut().for_each(|step| step.end = TierEnd::NextTier);
    }
    program
}

fn add(ruleset: &mut Ruleset, interface: HostInterface, programs: Vec<Program>) {
    let named = programs.iter().map(|program| StageProgram {
        stage: program.stage,
        direction: program.direction,
        program: program.id(),
    });
    let host = HostStages {
        endpoint: interface.to_string().into(),
        programs: named.collect(),
        failsafes: failsafes(),
    };
    ruleset.hosts.insert(interface, Arc::new(host));
    ruleset.programs.extend(programs.into_iter().map(|p| (p.id(), Arc::new(p))));
}

/// One of the rulesets of two pods, with the first link under a host endpoint of its own, and the
/// second under one too or under that of all others.
pub fn hosted() -> impl Strategy<Value = Ruleset> {
    (ruleset(), host(), host(), any::<bool>()).prop_map(|(mut ruleset, first, second, named)| {
        let second_is =
            if named { HostInterface::Named("ext1".into()) } else { HostInterface::Others };
        for (interface, host) in [(HostInterface::Named("ext0".into()), first), (second_is, second)]
        {
            let programs = PLACES.iter().zip(host).filter_map(|((stage, direction), choice)| {
                let untracked_for_all =
                    *stage == Stage::Untracked && interface == HostInterface::Others;
                let (tiers, allow) = match choice {
                    _ if untracked_for_all => return None,
                    Some(choice) => choice,
                    None if *stage == Stage::Normal => (Tiers::default(), false),
                    None => return None,
                };
                Some(at_stage(*stage, *direction, &tiers, allow))
            });
            let programs = programs.collect();
            add(&mut ruleset, interface, programs);
        }
        // What ends a batch must get through, whatever the others are.
        for link in ["last0", "last1"] {
            let open = Direction::ALL
                .map(|direction| at_stage(Stage::Normal, direction, &Tiers::default(), true));
            add(&mut ruleset, HostInterface::Named(link.into()), open.into());
        }
        ruleset
    })
}

/// With host endpoints or without.
pub fn any_ruleset() -> impl Strategy<Value = Ruleset> {
    prop_oneof![2 => ruleset(), 1 => hosted()]
}

fn host_admits(ruleset: &Ruleset, link: &str, passage: Passage, packet: &Packet) -> bool {
    let judged = evaluate_host(ruleset, link, passage, packet);
    judged.iter().all(|host| host.judgement.verdict == Verdict::Allow)
}

fn pod_admits(ruleset: &Ruleset, pod: usize, direction: Direction, packet: &Packet) -> bool {
    let judge = || {
        let endpoint = ruleset.endpoints.get(&endpoint_id(pod))?;
        let program = ruleset.programs.get(&endpoint.program(direction))?;
        Some(evaluate(ruleset, program, packet).verdict == Verdict::Allow)
    };
    judge() == Some(true)
}

/// The packet between other addresses: the same ones of other pods or links.
fn between(packet: &Packet, from: usize, to: usize) -> Packet {
    let moved = |addr: IpAddr, owner: usize, now: usize| {
        let at = addresses(owner).iter().position(|a| *a == addr).expect("one of them");
        addresses(now)[at]
    };
    Packet {
        source: moved(packet.source, 0, from),
        destination: moved(packet.destination, 1, to),
        ..*packet
    }
}

/// Random rulesets with host endpoints, packets to, from and through the node.
pub fn judges_at_every_stage<B>(load: impl Fn(&Ruleset) -> B + Sync) {
    let config = ProptestConfig {
        cases: 40,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Default::default()
    };
    let counts = [const { AtomicUsize::new(0) }; 2];
    let packets = proptest::collection::vec(packet(), 120);
    let rulesets = proptest::collection::vec(hosted(), 2);
    let judged = TestRunner::new(config).run(&(rulesets, packets), |(rulesets, packets)| {
        isolated(|| {
            for ruleset in &rulesets {
                let mut node = Node::build();
                with_own_addresses();
                let _backend = load(ruleset);
                // In to a pod, out from a pod, and through: from wire, to wire, addresses of.
                for (from, to, source, destination) in
                    [(EXT0, 0, 1, 0), (0, EXT1, 0, 3), (EXT0, EXT1, 1, 3)]
                {
                    let moved: Vec<_> =
                        packets.iter().map(|p| between(p, source, destination)).collect();
                    let arrived = node.carry(from, to, &moved);
                    for (at, packet) in moved.iter().enumerate() {
                        let enters = match from {
                            EXT0 => host_admits(ruleset, "ext0", Passage::ForwardedIn, packet),
                            pod => pod_admits(ruleset, pod, Direction::Egress, packet),
                        };
                        let leaves = match to {
                            EXT1 => host_admits(ruleset, "ext1", Passage::ForwardedOut, packet),
                            pod => pod_admits(ruleset, pod, Direction::Ingress, packet),
                        };
                        let expected = enters && leaves;
                        counts[usize::from(expected)].fetch_add(1, Ordering::Relaxed);
                        prop_assert_eq!(arrived.contains(&at), expected, "{}", packet);
                    }
                }
                to_and_from_the_node(ruleset, &mut node, &packets, &counts)?;
            }
            Ok(())
        })
    });
    judged.unwrap_or_else(|e| panic!("{e}"));
    let [denied, passed] = counts.map(AtomicUsize::into_inner);
    println!("{denied} denied, {passed} passed");
    let share = passed as f64 / (denied + passed) as f64;
    assert!((0.1..0.9).contains(&share), "{passed} passed, {denied} did not");
}

/// A socket. One that was closed before may still be open in a program that another test is just
/// starting.
fn bind(address: IpAddr, port: u16) -> UdpSocket {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match UdpSocket::bind((address, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {}
            bound => return bound.expect("a socket"),
        }
    }
}

/// UDP to sockets of the node, and from them.
fn to_and_from_the_node(
    ruleset: &Ruleset,
    node: &mut Node,
    packets: &[Packet],
    counts: &[AtomicUsize; 2],
) -> Result<(), TestCaseError> {
    let own = node_addresses();
    let ports = packets.iter().filter_map(|p| match p.transport {
        Transport::Udp { source, destination } => Some((source, destination)),
        _ => None,
    });
    let ports: BTreeSet<(u16, u16)> = ports.collect();
    let served: BTreeSet<u16> = ports.iter().map(|(_, port)| *port).collect();
    for (family, own) in own.into_iter().enumerate() {
        let sockets: Vec<_> = served
            .iter()
            .map(|port| {
                let socket = bind(own, *port);
                socket.set_nonblocking(true).expect("a setting");
                socket
            })
            .collect();
        let sent = ports.iter().map(|(source, destination)| Packet {
            source: addresses(1)[3 * family],
            destination: own,
            transport: Transport::Udp { source: *source, destination: *destination },
        });
        let sent: Vec<Packet> = sent.collect();
        for (mark, packet) in (0..).zip(&sent) {
            let frame = frame(pod_mac(2), packet, mark);
            node.wire(EXT0).send(&with_udp_checksum(frame, packet));
        }
        node.settle();
        let mut arrived = BTreeSet::new();
        for socket in &sockets {
            let mut buffer = [0; 64];
            while let Ok(len) = socket.recv(&mut buffer) {
                arrived.extend(mark_of(&buffer[..len]));
            }
        }
        for (mark, packet) in (0..).zip(&sent) {
            let expected = host_admits(ruleset, "ext0", Passage::ToHost, packet);
            counts[usize::from(expected)].fetch_add(1, Ordering::Relaxed);
            prop_assert_eq!(arrived.contains(&mark), expected, "to the node: {}", packet);
        }
        drop(sockets);
        while node.wire(EXT1).receive().is_some() {}
        let to = addresses(3)[3 * family];
        let mut sent = Vec::new();
        for (mark, (source, destination)) in (0..).zip(&ports) {
            let socket = bind(own, *source);
            let payload = [MARK, &u16::to_be_bytes(mark)].concat();
            // A denial is told to the sender.
            let _ = socket.send_to(&payload, SocketAddr::new(to, *destination));
            let transport = Transport::Udp { source: *source, destination: *destination };
            sent.push(Packet { source: own, destination: to, transport });
        }
        node.settle();
        let received = std::iter::from_fn(|| node.wire(EXT1).receive());
        let arrived: BTreeSet<u16> = received.filter_map(|frame| mark_of(&frame)).collect();
        for (mark, packet) in (0..).zip(&sent) {
            let expected = host_admits(ruleset, "ext1", Passage::FromHost, packet);
            counts[usize::from(expected)].fetch_add(1, Ordering::Relaxed);
            prop_assert_eq!(arrived.contains(&mark), expected, "from the node: {}", packet);
        }
    }
    Ok(())
}

/// Two open pods, and the first link under one policy of one rule for UDP at each of these stages.
pub fn one_rule(stages: &[(Stage, Action, u16)]) -> Ruleset {
    let mut ruleset = open_ruleset();
    let mut programs = Vec::new();
    for (stage, action, port) in stages {
        let id = PolicyId {
            name: stage.to_string().into(),
            namespace: None,
            kind: PolicyKind::GlobalNetworkPolicy,
        };
        let direction = Direction::Ingress;
        let mut matches = Match { protocol: Some(Protocol::UDP), ..Match::default() };
        matches.destination.ports = [PortMatch::Range((*port).into())].into();
        let decision = DecisionId::Rule { policy: id.clone(), direction, index: 0 };
        let rules = vec![Rule { decision, matches, action: *action }];
        let rules = PolicyRules { ingress: rules.into(), ..PolicyRules::default() };
        ruleset.policies.insert(id.clone(), Arc::new(rules));
        let end = if *stage == Stage::Forward { TierEnd::Drop } else { TierEnd::NextTier };
        programs.push(Program {
            stage: *stage,
            direction,
            steps: vec![TierStep { tier: "default".into(), policies: vec![id], end }].into(),
            end: (Verdict::Allow, DecisionId::StageEnd),
        });
    }
    for direction in Direction::ALL {
        programs.push(at_stage(Stage::Normal, direction, &Tiers::default(), true));
    }
    add(&mut ruleset, HostInterface::Named("ext0".into()), programs);
    ruleset
}

pub fn to_port(destination: IpAddr, port: u16) -> Packet {
    let family = usize::from(destination.is_ipv6());
    let transport = Transport::Udp { source: 7, destination: port };
    Packet { transport, ..udp(addresses(2)[3 * family], destination) }
}

/// C37: policy before DNAT sees the port of the service, later policy that of the pod.
pub fn policy_before_dnat_sees_what_the_sender_wrote<B>(load: impl Fn(&Ruleset) -> B + Sync) {
    let service = 30080;
    for (stages, expected) in [
        (&[][..], true),
        (&[(Stage::PreDnat, Action::Deny, service)], false),
        (&[(Stage::PreDnat, Action::Deny, 80)], true),
        (&[(Stage::Forward, Action::Allow, 80)], true),
        (&[(Stage::Forward, Action::Allow, service)], false),
        // C38: what is allowed before DNAT skips the way through.
        (&[(Stage::PreDnat, Action::Allow, service), (Stage::Forward, Action::Deny, 80)], true),
        (&[(Stage::PreDnat, Action::Allow, 80), (Stage::Forward, Action::Deny, 80)], false),
    ] {
        isolated(|| {
            let mut node = Node::build();
            with_own_addresses();
            let _backend = load(&one_rule(stages));
            let pods = [addresses(0)[0], addresses(0)[3]];
            let [v4, v6] = node_addresses();
            let services = format!(
                "table inet services {{
                   chain nodeports {{
                     type nat hook prerouting priority dstnat;
                     ip daddr {v4} udp dport {service} dnat ip to {}:80
                     ip6 daddr {v6} udp dport {service} dnat ip6 to [{}]:80
                   }}
                 }}",
                pods[0], pods[1]
            );
            run("nft", &[&services]);
            for own in [v4, v6] {
                let packet = to_port(own, service);
                let frame = with_udp_checksum(frame(pod_mac(2), &packet, 1), &packet);
                node.wire(EXT0).send(&frame);
                node.settle();
                let received = std::iter::from_fn(|| node.wire(0).receive());
                let arrived = received.filter_map(|frame| mark_of(&frame)).any(|mark| mark == 1);
                assert_eq!(arrived, expected, "{own}: {stages:?}");
            }
        });
    }
}

/// C39: what untracked policy allows has no entry of connection tracking, and skips what follows;
/// what it has nothing to say of is tracked.
pub fn untracked_policy_keeps_connection_tracking_away<B>(load: impl Fn(&Ruleset) -> B + Sync) {
    isolated(|| {
        let mut node = Node::build();
        let ruleset =
            one_rule(&[(Stage::Untracked, Action::Allow, 53), (Stage::Forward, Action::Allow, 80)]);
        let _backend = load(&ruleset);
        for pod in [addresses(0)[0], addresses(0)[3]] {
            let packets = [53, 80, 443].map(|port| to_port(pod, port));
            assert_eq!(node.carry(EXT0, 0, &packets), BTreeSet::from([0, 1]), "{pod}");
            let family = if pod.is_ipv6() { "ipv6" } else { "ipv4" };
            let tracked = run("conntrack", &["-L", "-f", family]);
            assert!(tracked.contains("dport=80"), "{tracked}");
            assert!(!tracked.contains("dport=53"), "{tracked}");
            // Not the answer: it is the first packet of a flow of its own, judged by the pod's policy.
            let answer = Packet {
                source: pod,
                destination: packets[0].source,
                transport: Transport::Udp { source: 53, destination: 7 },
            };
            assert_eq!(node.carry(0, EXT0, &[answer]).len(), 1, "{pod}");
        }
    });
}
