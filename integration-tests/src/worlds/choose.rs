//! Which flows to ask of a world (§7.2): boundary-seeking, and neither all allowed nor all denied.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use brindle_model::NamespacedName;
use brindle_model::packet::{ConnState, Flow, Origin, Packet, Transport};
use brindle_oracle::{World, judge};
use k8s_openapi::api::core::v1::Pod;

use super::compiled::GHOST;
use super::hosts::FAILSAFES;
use super::random::Random;
use super::{addresses, generate, ground};

/// Up to `count` different flows of a world, half of them delivered as far as possible; first those
/// whose outcome differs from a neighbour's: the same flow but for the port, or but for one address.
pub fn choose(world: &World, seed: u64, count: usize) -> Vec<Flow> {
    let mut random = Random::new(seed ^ 0x00f1_0005);
    let ground = Ground::of(world);
    let mut seen = BTreeSet::new();
    // Delivered or not, at a boundary or not.
    let mut pool: [[Vec<Flow>; 2]; 2] = Default::default();
    for _ in 0..count * 2 {
        let flow = ground.flow(&mut random);
        let neighbour = ground.neighbour(&mut random, &flow);
        let outcomes = [&flow, &neighbour].map(|flow| judge(world, flow));
        let boundary = outcomes[0].delivered != outcomes[1].delivered;
        for (flow, outcome) in [flow, neighbour].into_iter().zip(outcomes) {
            // A flow that no pod has a say in tells little.
            let alone = outcome.hops.is_empty() && outcome.hosts.is_empty();
            let dull = alone && !random.once_in(20);
            if !dull && seen.insert(flow.clone()) {
                pool[usize::from(outcome.delivered)][usize::from(!boundary)].push(flow);
            }
        }
    }
    let [mut denied, mut delivered] =
        pool.map(|[at_boundary, others]| at_boundary.into_iter().chain(others).collect::<Vec<_>>());
    let spare = |other: usize| count - other.min(count / 2);
    let (most_denied, most_delivered) = (spare(delivered.len()), spare(denied.len()));
    denied.truncate(most_denied);
    delivered.truncate(most_delivered);
    denied.append(&mut delivered);
    denied.truncate(count);
    denied
}

/// What a world offers to choose from.
struct Ground<'w> {
    /// Pods with all addresses in their status, whoever owns them.
    pods: Vec<(NamespacedName, Vec<IpAddr>)>,
    nodes: Vec<(String, Vec<IpAddr>)>,
    /// Edges of every prefix that a policy or network set names.
    edges: Vec<IpAddr>,
    /// Addresses of Services' endpoints, each with protocols and ports.
    services: BTreeMap<IpAddr, Vec<(&'w str, u16)>>,
    /// Boundary ports of every rule and container, ascending.
    ports: Vec<u16>,
    /// Whether there are host endpoints.
    hosts: bool,
}

impl<'w> Ground<'w> {
    fn of(world: &'w World) -> Self {
        let pods = world.pods.iter().map(|pod| {
            let status = pod.status.iter();
            let ips = status.flat_map(|s| s.pod_ips.iter().flatten()).map(|ip| ip.ip.as_str());
            (id(pod), parsed(ips))
        });
        let nodes = world.nodes.iter().map(|node| {
            let status = node.status.iter();
            let ips = status.flat_map(|s| s.addresses.iter().flatten()).map(|a| a.address.as_str());
            (node.metadata.name.clone().unwrap_or_default(), parsed(ips))
        });
        let hosts = !world.host_endpoints.is_empty();
        let mut ports = ground::ports(world);
        ports.extend(FAILSAFES.iter().filter(|_| hosts));
        Self {
            pods: pods.collect(),
            nodes: nodes.collect(),
            edges: ground::edges(world),
            services: ground::services(world),
            ports: ports.into_iter().collect(),
            hosts,
        }
    }

    fn flow(&self, random: &mut Random) -> Flow {
        let v6 = random.once_in(3);
        let (origin, source) = self.origin(random, v6);
        let destination = self.address(random, v6, if origin == Origin::Outside { 1 } else { 4 });
        let listed = self.services.get(&destination).filter(|ports| !ports.is_empty());
        let transport = match listed {
            Some(ports) if random.once_in(2) => self.listed(random, ports),
            _ => self.transport(random, v6),
        };
        let state = match random.below(40) {
            0 => ConnState::Established,
            1 => ConnState::Related,
            2 => ConnState::Invalid,
            _ => ConnState::New,
        };
        Flow { origin, packet: Packet { source, destination, transport }, state }
    }

    fn origin(&self, random: &mut Random, v6: bool) -> (Origin, IpAddr) {
        match random.below(20) {
            // Host endpoints judge what nodes send and are sent.
            n if n == 0 || (self.hosts && n >= 17) => {
                let (name, addresses) = random.pick(&self.nodes);
                let own = addresses.iter().copied().find(|a| a.is_ipv6() == v6);
                let source = own.unwrap_or_else(|| addresses::any(random, v6));
                (Origin::Node(name.as_str().into()), source)
            }
            1..5 => (Origin::Outside, self.address(random, v6, 0)),
            5 if random.once_in(3) => {
                let ghost = Origin::Pod(NamespacedName::new("x", GHOST));
                (ghost, addresses::any(random, v6))
            }
            _ if self.pods.is_empty() => (Origin::Outside, addresses::outside(random, v6)),
            _ => {
                let (id, own) = random.pick(&self.pods);
                let own = own.iter().copied().find(|a| a.is_ipv6() == v6);
                // A pod that has no such address, or lies, is a spoofer.
                let source = own.filter(|_| !random.once_in(50));
                (Origin::Pod(id.clone()), source.unwrap_or_else(|| addresses::any(random, v6)))
            }
        }
    }

    /// An address: a pod's, or once in `n` times anything that may lie at an edge (0: always that).
    fn address(&self, random: &mut Random, v6: bool, elsewhere: usize) -> IpAddr {
        let of_family = |a: &&IpAddr| a.is_ipv6() == v6;
        if self.hosts && random.once_in(3) {
            let (_, own) = random.pick(&self.nodes);
            if let Some(addr) = own.iter().find(of_family) {
                return *addr;
            }
        }
        if elsewhere > 0 && !(elsewhere > 1 && random.once_in(elsewhere)) && !self.pods.is_empty() {
            let (_, own) = random.pick(&self.pods);
            if let Some(addr) = own.iter().find(of_family) {
                return *addr;
            }
        }
        let services: Vec<_> = self.services.keys().filter(of_family).collect();
        if !services.is_empty() && random.once_in(6) {
            return **random.pick(&services);
        }
        let edges: Vec<_> = self.edges.iter().filter(of_family).collect();
        match random.below(3) {
            0 => addresses::any(random, v6),
            _ if edges.is_empty() => addresses::outside(random, v6),
            _ => **random.pick(&edges),
        }
    }

    fn port(&self, random: &mut Random) -> u16 {
        if random.once_in(3) {
            *random.pick(&self.ports)
        } else {
            *random.pick(&generate::PORTS) as u16
        }
    }

    /// Rules may speak of source ports too.
    fn source_port(&self, random: &mut Random) -> u16 {
        if random.once_in(6) { self.port(random) } else { 40000 + random.below(1000) as u16 }
    }

    /// One of the ports of a Service's endpoint: by chance alone, hardly a flow would meet any but
    /// the commonest.
    fn listed(&self, random: &mut Random, ports: &[(&str, u16)]) -> Transport {
        let source = self.source_port(random);
        match *random.pick(ports) {
            ("UDP", destination) => Transport::Udp { source, destination },
            ("SCTP", destination) => Transport::Sctp { source, destination },
            (_, destination) => Transport::Tcp { source, destination },
        }
    }

    fn transport(&self, random: &mut Random, v6: bool) -> Transport {
        let (source, destination) = (self.source_port(random), self.port(random));
        match random.below(20) {
            0..10 => Transport::Tcp { source, destination },
            10..14 => Transport::Udp { source, destination },
            14..17 => Transport::Sctp { source, destination },
            17 | 18 => {
                let code = random.below(3) as u8 / 2;
                Transport::Icmp { icmp_type: if v6 { 128 } else { 8 }, code }
            }
            _ if random.once_in(2) => {
                Transport::Icmp { icmp_type: *random.pick(&[1, 3, 133, 134, 135]), code: 0 }
            }
            _ => Transport::Other(*random.pick(&[47, 136, 255])),
        }
    }

    /// The same flow with the next boundary port, or with one other address.
    fn neighbour(&self, random: &mut Random, flow: &Flow) -> Flow {
        let mut other = flow.clone();
        let next = |port: &mut u16| {
            let at = self.ports.partition_point(|p| p <= port);
            *port = self.ports[at % self.ports.len()];
        };
        match &mut other.packet.transport {
            Transport::Tcp { destination, .. }
            | Transport::Udp { destination, .. }
            | Transport::Sctp { destination, .. }
                if random.once_in(2) =>
            {
                next(destination);
            }
            _ => {
                let v6 = flow.packet.destination.is_ipv6();
                if flow.origin == Origin::Outside && random.once_in(2) {
                    other.packet.source = self.address(random, v6, 0);
                } else {
                    other.packet.destination = self.address(random, v6, 3);
                }
            }
        }
        other
    }
}

fn id(pod: &Pod) -> NamespacedName {
    NamespacedName::new(
        pod.metadata.namespace.as_deref().unwrap_or("default"),
        pod.metadata.name.as_deref().unwrap_or_default(),
    )
}

fn parsed<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}
