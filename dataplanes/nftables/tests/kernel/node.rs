//! A node with two pods and a foreign host, seen from the wires' other ends. Shared by the tests of
//! every backend that filters in network namespaces.
//!
//! Two pods hang on the node by veth pairs. Their ends have no addresses and no stack that answers,
//! so every packet stays the first of its flow. Two more links are the node's own, and a last pair
//! carries a frame after each batch through the same queues of the same CPU: once that has arrived,
//! so has all that was to arrive before.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use brindle_model::cluster::link_group;
use brindle_model::net::Family;
use brindle_model::packet::{Packet, Transport};
use brindle_model::ruleset::{Ruleset, evaluate};
use brindle_model::verdict::{Direction, Verdict};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare};
use nix::unistd::Pid;
use proptest::prelude::*;
use proptest::sample::select;

use crate::generate::{INTERFACES, PORTS, addresses, endpoint_id};
use crate::namespace::run;
use crate::wire::Wire;

/// The node's ends of all wires.
pub const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0];

/// The other end of a pod's wire, and of the foreign ones behind them.
pub fn pod_mac(pod: u8) -> [u8; 6] {
    [2, 0, 0, 0, 2, pod]
}

/// A node with two pods, two links of its own, and two more for what ends a batch, seen from the
/// wires' other ends.
pub struct Node {
    /// The pods' ends.
    pub pods: [Wire; 2],
    /// The ends of the wires without the pod prefix.
    pub foreign: [Wire; 2],
    last: [Wire; 2],
    sent: u16,
}

/// The node's links, in the order of their wires.
const LINKS: [&str; 6] = [INTERFACES[0], INTERFACES[1], "ext0", "ext1", "last0", "last1"];

impl Node {
    /// Makes it; the thread is in the node's namespace then.
    pub fn build() -> Self {
        let mut cpu = CpuSet::new();
        cpu.set(0).expect("CPU 0");
        sched_setaffinity(Pid::from_raw(0), &cpu).expect("pin the thread");
        let open = || std::fs::File::open("/proc/thread-self/ns/net").expect("own namespace");
        let outside = open();
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace for the node");
        let node = open();
        for (key, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            // Frames are made without SCTP's checksum.
            ("netfilter/nf_conntrack_checksum", "0"),
        ] {
            std::fs::write(format!("/proc/sys/net/{key}"), value).expect(key);
        }
        let at = format!("/proc/{}/fd/{}", std::process::id(), outside.as_raw_fd());
        let ip = |line: &str| run("ip", &line.split_whitespace().collect::<Vec<_>>());
        for (i, host) in LINKS.into_iter().enumerate() {
            let mac = format!("02:00:00:00:02:{i:02x}");
            ip(&format!(
                "link add {host} address 02:00:00:00:01:00 type veth peer name w{i} address {mac} netns {at}"
            ));
            let group = if host.starts_with("brd") { link_group(host) } else { 0 };
            ip(&format!("link set {host} group {group} up"));
            for addr in addresses(i) {
                let host = format!("{addr} dev {host}");
                ip(&format!("route add {host}"));
                ip(&format!("neigh add {host} lladdr {mac} nud permanent"));
            }
        }
        setns(&outside, CloneFlags::CLONE_NEWNET).expect("to the wires' ends");
        let wire = |i: usize| {
            run("ip", &["link", "set", &format!("w{i}"), "up"]);
            Wire::open(&format!("w{i}"))
        };
        let (pods, foreign) = ([wire(0), wire(1)], [wire(2), wire(3)]);
        let last = [wire(4), wire(5)];
        setns(&node, CloneFlags::CLONE_NEWNET).expect("to the node");
        // The kernel notices a carrier in its own time.
        let deadline = Instant::now() + Duration::from_secs(10);
        while run("ip", &["-o", "link", "show", "up"]).matches("state UP").count() < LINKS.len() {
            assert!(Instant::now() < deadline, "the links do not come up");
        }
        Self { pods, foreign, last, sent: 0 }
    }

    /// Sends each packet from a pod, and returns which of them arrived at the other.
    pub fn deliver(&mut self, from: usize, packets: &[Packet]) -> BTreeSet<usize> {
        self.carry(from, 1 - from, packets)
    }

    /// Sends each packet over one wire, and returns which of them arrived at another.
    pub fn carry(&mut self, from: usize, to: usize, packets: &[Packet]) -> BTreeSet<usize> {
        while self.wire(to).receive().is_some() {}
        for (at, packet) in packets.iter().enumerate() {
            let mark = u16::try_from(at).expect("few packets");
            self.wire(from).send(&frame(pod_mac(from as u8), packet, mark));
        }
        self.settle();
        let received = std::iter::from_fn(|| self.wire(to).receive());
        received.filter_map(|frame| mark_of(&frame)).map(usize::from).collect()
    }

    /// The other end of a link of the node.
    pub fn wire(&self, at: usize) -> &Wire {
        match at {
            0 | 1 => &self.pods[at],
            2 | 3 => &self.foreign[at - 2],
            _ => &self.last[at - 4],
        }
    }

    /// Waits until all that was sent before has arrived, or never will.
    pub fn settle(&mut self) {
        let mark = self.sent.wrapping_add(1);
        self.sent = mark;
        let [source, destination] = [addresses(4)[0], addresses(5)[0]];
        let transport = Transport::Udp { source: mark, destination: 1 };
        self.last[0].send(&frame(pod_mac(4), &Packet { source, destination, transport }, mark));
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.last[1].receive().and_then(|f| mark_of(&f)) {
                Some(found) if found == mark => break,
                _ => assert!(Instant::now() < deadline, "the last frame did not arrive"),
            }
        }
    }
}

/// Marks stand at the end of each frame.
pub const MARK: &[u8] = b"brindle-mark";

/// The mark of a frame of ours.
pub fn mark_of(frame: &[u8]) -> Option<u16> {
    let (rest, mark) = frame.split_last_chunk::<2>()?;
    rest.ends_with(MARK).then(|| u16::from_be_bytes(*mark))
}

fn transport(packet: &Packet) -> Vec<u8> {
    let ports = |source: u16, destination: u16| {
        let mut header = source.to_be_bytes().to_vec();
        header.extend(destination.to_be_bytes());
        header
    };
    match packet.transport {
        Transport::Tcp { source, destination } => {
            let mut header = ports(source, destination);
            // Sequence, acknowledgement, SYN in a header of 20 bytes, window, checksum, urgent.
            header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
            header
        }
        Transport::Udp { source, destination } => {
            let mut header = ports(source, destination);
            let len = u16::try_from(8 + MARK.len() + 2).expect("short");
            header.extend(len.to_be_bytes());
            header.extend([0, 0]);
            header
        }
        Transport::Sctp { source, destination } => {
            let mut header = ports(source, destination);
            // No tag yet, no checksum; an INIT chunk that spans the mark.
            header.extend([0; 8]);
            header.extend([1, 0, 0, 20 + MARK.len() as u8 + 2, 0, 0, 0, 1]);
            header.extend([0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
            header
        }
        Transport::Icmp { icmp_type, code } => vec![icmp_type, code, 0, 0, 0, 1, 0, 1],
        Transport::Other(_) => vec![0; 8],
    }
}

/// A frame to the node.
pub fn frame(source: [u8; 6], packet: &Packet, mark: u16) -> Vec<u8> {
    let mut payload = transport(packet);
    payload.extend_from_slice(MARK);
    payload.extend(mark.to_be_bytes());
    let mut frame = [NODE_MAC, source].concat();
    let protocol = packet.protocol().0;
    let len = u16::try_from(payload.len()).expect("short");
    match (packet.source, packet.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00]);
            let mut header = vec![0x45, 0];
            header.extend((20 + len).to_be_bytes());
            header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        _ => panic!("both addresses are of one family"),
    }
    frame.extend(payload);
    frame
}

/// The ones' complement sum of 16-bit words (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// A packet from the first pod to the second.
pub fn packet() -> impl Strategy<Value = Packet> {
    let ports = || select([PORTS.to_vec(), vec![2, 5, 90, 9999]].concat());
    let transport = prop_oneof![
        3 => (ports(), ports()).prop_map(|(source, destination)| Transport::Tcp { source, destination }),
        3 => (ports(), ports()).prop_map(|(source, destination)| Transport::Udp { source, destination }),
        1 => (ports(), ports()).prop_map(|(source, destination)| Transport::Sctp { source, destination }),
        2 => (any::<bool>(), 0..2u8).prop_map(|(echo, code)| {
            Transport::Icmp { icmp_type: if echo { 8 } else { 128 }, code }
        }),
        1 => Just(Transport::Other(47)),
    ];
    (0..6usize, 0..6usize, transport).prop_map(|(from, to, transport)| {
        let (from, to) = (from % 3, to % 3 + 3 * (from / 3));
        let mut packet = Packet {
            source: addresses(0)[from + 3 * (to / 3)],
            destination: addresses(1)[to],
            transport,
        };
        // An echo request is of its family.
        let echo = if packet.family() == Family::V4 { 8 } else { 128 };
        if let Transport::Icmp { icmp_type, .. } = &mut packet.transport {
            *icmp_type = echo;
        }
        packet
    })
}

/// Whether both programs on the way admit the packet.
pub fn admitted(ruleset: &Ruleset, from: usize, packet: &Packet) -> bool {
    let judge = |pod: usize, direction: Direction| {
        let endpoint = ruleset.endpoints.get(&endpoint_id(pod))?;
        let program = ruleset.programs.get(&endpoint.program(direction))?;
        Some(evaluate(ruleset, program, packet).verdict == Verdict::Allow)
    };
    // An unknown pod is closed.
    judge(from, Direction::Egress) == Some(true)
        && judge(1 - from, Direction::Ingress) == Some(true)
}

/// A datagram to port 80.
pub fn udp(source: IpAddr, destination: IpAddr) -> Packet {
    Packet { source, destination, transport: Transport::Udp { source: 7, destination: 80 } }
}

/// Addresses of the node itself, once it has them.
pub fn node_addresses() -> [IpAddr; 2] {
    ["10.9.9.9", "fd00:9::9"].map(|a| a.parse().expect("an address"))
}

/// Gives the node addresses of its own.
pub fn with_own_addresses() {
    run("ip", &["link", "set", "lo", "up"]);
    run("ip", &["addr", "add", "10.9.9.9/32", "dev", "lo"]);
    run("ip", &["addr", "add", "fd00:9::9/128", "dev", "lo", "nodad"]);
    // The kernel makes an IPv6 address's local route in its own time, even without detection.
    let deadline = Instant::now() + Duration::from_secs(10);
    while run("ip", &["-6", "route", "show", "table", "local", "fd00:9::9"]).is_empty() {
        assert!(Instant::now() < deadline, "the node does not have its address");
    }
}

/// IPv6 knows no packet without a checksum: computes it over the pseudo header (RFC 8200 §8.1).
pub fn with_udp_checksum(mut frame: Vec<u8>, packet: &Packet) -> Vec<u8> {
    if packet.family() == Family::V6 {
        let sum = upper_layer_checksum(&frame, 17);
        frame[60..62].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// The checksum of what an IPv6 frame carries, of this upper-layer protocol.
pub fn upper_layer_checksum(frame: &[u8], protocol: u8) -> u16 {
    let payload = &frame[54..];
    let len = u8::try_from(payload.len()).expect("short");
    let mut all = frame[22..54].to_vec();
    all.extend([0, len, 0, protocol]);
    all.extend_from_slice(payload);
    all.resize(all.len().next_multiple_of(2), 0);
    checksum(&all)
}
