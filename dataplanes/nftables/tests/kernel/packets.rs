//! Real packets: the kernel judges them as the evaluator of the model does.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use brindle_dataplane_core::Backend;
use brindle_dataplane_nftables::Nftables;
use brindle_model::cluster::link_group;
use brindle_model::net::Family;
use brindle_model::packet::{Packet, Transport};
use brindle_model::ruleset::{Ruleset, RulesetDelta};
use brindle_model::verdict::{Direction, Verdict};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::generate::{INTERFACES, addresses, endpoint_id, one_set, ruleset};
use crate::load::{load, loaded};
use crate::namespace::{isolated, run};
use crate::node::{
    MARK, Node, admitted, frame, mark_of, node_addresses, packet, pod_mac, udp,
    upper_layer_checksum, with_own_addresses, with_udp_checksum,
};
use crate::told::{Expected, Witness};

/// Two hundred random rulesets with all criteria, 150 packets each.
#[test]
fn the_kernel_judges_as_the_evaluator_does() {
    let config = ProptestConfig {
        cases: 50,
        max_shrink_iters: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rulesets = proptest::collection::vec(ruleset(), 4);
    let packets = proptest::collection::vec(packet(), 150);
    let (passed, sent) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let judged = TestRunner::new(config).run(&(rulesets, packets), |(rulesets, packets)| {
        isolated(|| {
            for ruleset in &rulesets {
                // Each ruleset has a node of its own, so that no flow is known.
                let mut node = Node::build();
                let witness = Witness::listen();
                let telling = Nftables::telling(10_000).expect("the kernel has nf_tables");
                let backend = load(telling, ruleset);
                let arrived = node.deliver(0, &packets);
                passed.fetch_add(arrived.len(), Ordering::Relaxed);
                sent.fetch_add(packets.len(), Ordering::Relaxed);
                for (at, packet) in packets.iter().enumerate() {
                    let expected = admitted(ruleset, 0, packet);
                    prop_assert_eq!(arrived.contains(&at), expected, "{:?}", packet);
                }
                let told = witness.until_forged(&mut node);
                let counted = backend.counters().read().expect("counters");
                prop_assert_eq!(counted.left_out, 0);
                Expected::of(ruleset, 0, &packets).compare(&told, &counted.hits)?;
            }
            Ok(())
        })
    });
    judged.unwrap_or_else(|e| panic!("{e}"));
    let (passed, sent) = (passed.into_inner(), sent.into_inner());
    let share = passed as f64 / sent as f64;
    assert!((0.1..0.9).contains(&share), "{passed} of {sent} passed: the test shows nothing");
}

/// The open ruleset, with one direction of each pod closed.
fn closed(direction: Direction) -> Ruleset {
    let mut ruleset = open_ruleset();
    let program = brindle_model::ruleset::Program::closed(direction);
    for endpoint in ruleset.endpoints.values_mut() {
        let mut new = (**endpoint).clone();
        match direction {
            Direction::Ingress => new.ingress = program.id(),
            Direction::Egress => new.egress = program.id(),
        }
        *endpoint = new.into();
    }
    ruleset.programs.insert(program.id(), program.into());
    ruleset
}

/// K30: what the node itself sends reaches its pods, whatever their ingress policy.
#[test]
fn the_node_reaches_its_pods() {
    isolated(|| {
        let node = Node::build();
        with_own_addresses();
        let _backend = loaded(&closed(Direction::Ingress));
        for (own, pod) in node_addresses().into_iter().zip([addresses(0)[0], addresses(0)[3]]) {
            let socket = UdpSocket::bind((own, 0)).expect("a socket");
            socket.send_to(&[MARK, &[0, 1]].concat(), (pod, 80)).expect("send");
            let deadline = Instant::now() + Duration::from_secs(10);
            while node.pods[0].receive().and_then(|f| mark_of(&f)) != Some(1) {
                assert!(Instant::now() < deadline, "{own} to {pod} did not arrive");
            }
        }
    });
}

/// A pod reaches its node if its egress program admits it, and only from its own address.
#[test]
fn egress_policy_judges_what_a_pod_sends_to_its_node() {
    for (ruleset, expected) in [(open_ruleset(), true), (closed(Direction::Egress), false)] {
        isolated(|| {
            let node = Node::build();
            with_own_addresses();
            let _backend = loaded(&ruleset);
            for (at, own) in node_addresses().into_iter().enumerate() {
                let socket = UdpSocket::bind((own, 80)).expect("a socket");
                socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
                // The last comes from elsewhere and always arrives, after the others.
                let sources = [(0, 0), (0, 1), (2, 2)].map(|(wire, pod)| (wire, addresses(pod)));
                for (mark, (wire, addresses)) in (0..).zip(sources) {
                    let mut packet = udp(addresses[3 * at], own);
                    packet.transport = Transport::Udp { source: 7 + mark, destination: 80 };
                    let wire = if wire == 0 { &node.pods[0] } else { &node.foreign[0] };
                    wire.send(&with_udp_checksum(frame(pod_mac(0), &packet, mark), &packet));
                }
                let mut arrived = BTreeSet::new();
                while !arrived.contains(&2) {
                    let mut buffer = [0; 64];
                    let len = socket.recv(&mut buffer).expect("the last one arrives");
                    arrived.extend(mark_of(&buffer[..len]));
                }
                assert_eq!(arrived.contains(&0), expected, "{own}");
                assert!(!arrived.contains(&1), "{own}: a forged source");
            }
        });
    }
}

/// A neighbour solicitation of the node's link-local address by the first pod (RFC 4861 §4.3).
fn solicitation(source: Ipv6Addr) -> Vec<u8> {
    // The node's address follows from its MAC (RFC 4291 appendix A).
    let target: Ipv6Addr = "fe80::ff:fe00:100".parse().expect("an address");
    let solicited: Ipv6Addr = "ff02::1:ff00:100".parse().expect("an address");
    // No source link-layer address option from the unspecified address.
    let option = !source.is_unspecified();
    let mut frame = vec![0x33, 0x33, 0xff, 0x00, 0x01, 0x00];
    frame.extend(pod_mac(0));
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, if option { 32 } else { 24 }, 58, 255]);
    frame.extend(source.octets());
    frame.extend(solicited.octets());
    frame.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    frame.extend(target.octets());
    if option {
        frame.extend([1, 1]);
        frame.extend(pod_mac(0));
    }
    let sum = upper_layer_checksum(&frame, 58);
    frame[56..58].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Where an advertisement that the node has sent to the first pod goes, as of now.
fn advertised_to(node: &Node) -> Vec<Ipv6Addr> {
    let destination = |frame: Vec<u8>| {
        let advertisement = frame.get(20) == Some(&58) && frame.get(54) == Some(&136);
        advertisement.then(|| Ipv6Addr::from(<[u8; 16]>::try_from(&frame[38..54]).expect("16")))
    };
    std::iter::from_fn(|| node.pods[0].receive()).filter_map(destination).collect()
}

/// K34: a closed pod still finds its node's link-layer address, from its own addresses, link-local
/// ones and none; not from another's (C41).
#[test]
fn neighbour_discovery_passes_a_closed_pod() {
    isolated(|| {
        let node = Node::build();
        let mut ruleset = closed(Direction::Egress);
        ruleset.endpoints.remove(&endpoint_id(1));
        let _backend = loaded(&ruleset);
        let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
        let own = addresses(0).into_iter().find_map(|a| match a {
            IpAddr::V6(addr) => Some(addr),
            IpAddr::V4(_) => None,
        });
        let foreign = address("fd00:0:0:1::1");
        // From nowhere, the answer goes to all nodes (RFC 4861 §7.2.4).
        let asked = [
            (address("fe80::ff:fe00:200"), address("fe80::ff:fe00:200")),
            (own.expect("it has one"), own.expect("it has one")),
            (Ipv6Addr::UNSPECIFIED, address("ff02::1")),
        ];
        let deadline = Instant::now() + Duration::from_secs(10);
        for (source, answer_to) in asked {
            // The node's address is tentative at first, and then not answered for: ask again.
            loop {
                // If the forged one were answered, it would be before the other.
                node.pods[0].send(&solicitation(foreign));
                node.pods[0].send(&solicitation(source));
                let answers = advertised_to(&node);
                assert!(!answers.contains(&foreign), "a forged source was answered");
                if answers.contains(&answer_to) {
                    break;
                }
                assert!(Instant::now() < deadline, "no advertisement to {source} came");
            }
        }
        let counted = run("nft", &["list", "chain", "inet", "brindle", "from-pods"]);
        assert!(!counted.contains("packets 0 bytes 0 drop"), "{counted}");
    });
}

pub fn open_ruleset() -> Ruleset {
    let mut ruleset = one_set();
    for endpoint in ruleset.endpoints.values_mut() {
        let open = |direction| brindle_model::ruleset::Program {
            stage: brindle_model::ruleset::Stage::Normal,
            direction,
            steps: Vec::new().into(),
            end: (
                Verdict::Allow,
                brindle_model::verdict::DecisionId::Profile { name: "kns.ns".into() },
            ),
        };
        let [ingress, egress] = [Direction::Ingress, Direction::Egress].map(|direction| {
            let program = open(direction);
            let id = program.id();
            ruleset.programs.insert(id, program.into());
            id
        });
        let mut new = (**endpoint).clone();
        (new.ingress, new.egress) = (ingress, egress);
        *endpoint = new.into();
    }
    ruleset
}

/// C41: with every policy open, a pod's packets pass from its own addresses and no others.
#[test]
fn a_forged_source_is_dropped() {
    isolated(|| {
        let mut node = Node::build();
        let _backend = loaded(&open_ruleset());
        for family in Family::ALL {
            let of = |pod| addresses(pod).into_iter().find(|a| Family::of(*a) == family);
            let [own, other, foreign] = [0, 1, 2].map(|pod| of(pod).expect("both families"));
            let to = addresses(1).into_iter().rfind(|a| Family::of(*a) == family);
            let to = to.expect("both families");
            let arrived =
                node.deliver(0, &[udp(own, to), udp(other, to), udp(foreign, to), udp(to, to)]);
            assert_eq!(arrived, BTreeSet::from([0]), "{family:?}");
        }
    });
}

/// C41: no more does a pod speak in a known flow of others.
#[test]
fn a_forged_source_is_dropped_in_a_known_flow() {
    isolated(|| {
        let mut node = Node::build();
        let _backend = loaded(&closed(Direction::Ingress));
        for family in Family::ALL {
            let of = |pod| addresses(pod).into_iter().find(|a| Family::of(*a) == family);
            let [other, outside] = [1, 2].map(|pod| of(pod).expect("both families"));
            let transport = Transport::Udp { source: 80, destination: 7 };
            let reply = Packet { source: outside, destination: other, transport };
            node.deliver(1, &[udp(other, outside)]);
            node.foreign[0].send(&frame(pod_mac(2), &reply, 99));
            let deadline = Instant::now() + Duration::from_secs(10);
            while node.pods[1].receive().and_then(|f| mark_of(&f)) != Some(99) {
                assert!(Instant::now() < deadline, "{family:?}: the flow is not known");
            }
            assert!(node.deliver(0, &[reply]).is_empty(), "{family:?}");
        }
    });
}

/// K37: an interface whose group is wrong is closed, even if it has that of another pod, and for
/// known flows too.
#[test]
fn a_pod_whose_group_is_wrong_is_closed() {
    isolated(|| {
        let mut node = Node::build();
        let _backend = loaded(&open_ruleset());
        let pairs: Vec<_> = addresses(0).into_iter().zip(addresses(1)).collect();
        let requests: Vec<_> = pairs.iter().map(|(own, other)| udp(*own, *other)).collect();
        let reply = |(own, other): &(IpAddr, IpAddr)| Packet {
            source: *other,
            destination: *own,
            transport: Transport::Udp { source: 80, destination: 7 },
        };
        let replies: Vec<_> = pairs.iter().map(reply).collect();
        let fresh = |packets: &[Packet], source| {
            let with = |packet: &Packet| Packet {
                transport: Transport::Udp { source, destination: 80 },
                ..*packet
            };
            packets.iter().map(with).collect::<Vec<_>>()
        };
        assert_eq!(node.deliver(0, &requests).len(), 6);
        assert_eq!(node.deliver(1, &replies).len(), 6);
        let right = link_group(INTERFACES[1]);
        for (port, wrong) in [(1001, 0), (1002, link_group(INTERFACES[0])), (1003, right + 1)] {
            run("ip", &["link", "set", INTERFACES[1], "group", &wrong.to_string()]);
            assert!(node.deliver(1, &replies).is_empty(), "{wrong}: in known flows");
            assert!(node.deliver(1, &fresh(&replies, port)).is_empty(), "{wrong}: new flows");
        }
        run("ip", &["link", "set", INTERFACES[1], "group", &right.to_string()]);
        assert_eq!(node.deliver(1, &replies).len(), 6, "known again");
    });
}

/// K37: an interface with the pod prefix that no endpoint claims is closed in both directions.
#[test]
fn an_unknown_pod_is_closed() {
    isolated(|| {
        let mut node = Node::build();
        let open = open_ruleset();
        let mut backend = loaded(&open);
        let both = |from: usize| -> Vec<Packet> {
            let pairs = addresses(from).into_iter().zip(addresses(1 - from));
            pairs.map(|(source, destination)| udp(source, destination)).collect()
        };
        let mut one = open.clone();
        one.endpoints.remove(&endpoint_id(1));
        backend.stage(&RulesetDelta::between(&open, &one));
        backend.commit().expect("commit");
        assert!(node.deliver(0, &both(0)).is_empty(), "to an unknown pod");
        assert!(node.deliver(1, &both(1)).is_empty(), "from an unknown pod");
        backend.stage(&RulesetDelta::between(&one, &open));
        backend.commit().expect("commit");
        assert_eq!(node.deliver(0, &both(0)).len(), 6, "known again");
    });
}

/// K31: the replies of an admitted flow pass without a rule, and its packets after a change do too.
#[test]
fn replies_pass_without_a_rule() {
    isolated(|| {
        let mut node = Node::build();
        let mut ruleset = open_ruleset();
        // The first pod may send and not be sent to; the second the other way round.
        for (pod, direction) in [(0, Direction::Ingress), (1, Direction::Egress)] {
            let closed = brindle_model::ruleset::Program::closed(direction);
            let endpoint = ruleset.endpoints.get_mut(&endpoint_id(pod)).expect("known");
            let mut new = (**endpoint).clone();
            match direction {
                Direction::Ingress => new.ingress = closed.id(),
                Direction::Egress => new.egress = closed.id(),
            }
            *endpoint = new.into();
            ruleset.programs.insert(closed.id(), closed.into());
        }
        let _backend = loaded(&ruleset);
        for (own, other) in addresses(0).into_iter().zip(addresses(1)) {
            let request = udp(own, other);
            let transport = Transport::Udp { source: 80, destination: 7 };
            let reply = Packet { source: other, destination: own, transport };
            assert!(node.deliver(1, &[reply]).is_empty(), "no flow yet");
            assert_eq!(node.deliver(0, &[request]).len(), 1);
            assert_eq!(node.deliver(1, &[reply]).len(), 1, "a reply");
        }
    });
}
