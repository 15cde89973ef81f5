//! Interfaces of nodes that a packet passes (§2.6): what comes in, goes out and passes through.
//!
//! A node has one interface to everything that it does not hold itself, its uplink
//! ([`World::uplink`]); the addresses of the node are there. Host endpoints that mean other
//! interfaces are met by nobody. Nothing is translated on the way: a packet before DNAT is the same
//! as after it.

use std::net::IpAddr;

use brindle_api::HostEndpoint;
use brindle_model::Name;
use brindle_model::net::Protocol;
use brindle_model::packet::{ConnState, Flow, Packet};
use brindle_model::ruleset::Stage;
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use k8s_openapi::api::core::v1::Pod;

use crate::cidr::Cidr;
use crate::endpoint::Endpoint;
use crate::judge::{Sender, before_policy, by_state};
use crate::trace::{Place, Step, Trace};
use crate::walk::{self, Asked, Decided};
use crate::world::{World, addresses_of, name_of, node_of};

/// One stage of one host endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostHop {
    /// The node.
    pub node: Name,
    /// The HostEndpoint.
    pub endpoint: Name,
    /// Where on the packet's way.
    pub stage: Stage,
    /// Ingress comes in, to the node or through it.
    pub direction: Direction,
    /// Whether the packet goes on.
    pub verdict: Verdict,
    /// Who decided.
    pub decision: DecisionId,
    /// As of a pod's hop.
    pub logged: Vec<DecisionId>,
    /// As of a pod's hop.
    pub staged: Vec<DecisionId>,
    /// Every clause that was asked, in order.
    pub trace: Vec<Step>,
}

/// Ports that stay open on host endpoints (C36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailsafePorts {
    /// Of the node.
    pub inbound: Vec<FailsafePort>,
    /// Of others.
    pub outbound: Vec<FailsafePort>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailsafePort {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// Only for peers in this prefix.
    pub net: Option<String>,
}

impl Default for FailsafePorts {
    fn default() -> Self {
        // C36.
        let tcp = |port| FailsafePort { protocol: Protocol::TCP, port, net: None };
        let udp = |port| FailsafePort { protocol: Protocol::UDP, port, net: None };
        let (etcd, api) = ([tcp(2379), tcp(2380)], [tcp(6443), tcp(6666), tcp(6667)]);
        let common = || etcd.iter().chain(&api).cloned().chain([tcp(179), tcp(5473)]);
        Self {
            inbound: common().chain([tcp(22), udp(68)]).collect(),
            outbound: common().chain([udp(53), udp(67)]).collect(),
        }
    }
}

/// How the packet passes the uplink of a node.
#[derive(Clone, Copy)]
enum Way {
    /// In, to a process.
    Arrives,
    /// In, and on to a pod.
    ComesThrough,
    /// Out, from a process.
    Departs,
    /// Out, from a pod.
    LeavesThrough,
}

impl Way {
    fn direction(self) -> Direction {
        match self {
            Self::Arrives | Self::ComesThrough => Direction::Ingress,
            Self::Departs | Self::LeavesThrough => Direction::Egress,
        }
    }

    /// C38: the order of the stages.
    fn stages(self) -> &'static [Stage] {
        match self {
            Self::Arrives => &[Stage::Untracked, Stage::PreDnat, Stage::Normal],
            Self::ComesThrough => &[Stage::Untracked, Stage::PreDnat, Stage::Forward],
            Self::Departs => &[Stage::Untracked, Stage::Normal],
            Self::LeavesThrough => &[Stage::Forward],
        }
    }
}

/// The host endpoints that a packet of `sender` meets, on its way to the pods `owners` or, if there
/// are none, to whoever has the address.
pub(crate) fn hops(
    world: &World,
    flow: &Flow,
    sender: &Sender<'_>,
    owners: &[&Pod],
) -> Vec<HostHop> {
    let (source, departs) = match sender {
        // One without an address hangs nowhere yet.
        Sender::Pod(pod) if addresses_of(pod).next().is_none() => return Vec::new(),
        Sender::Pod(pod) => (node_of(pod), Way::LeavesThrough),
        Sender::Node(node) => (Some(*node), Way::Departs),
        Sender::Outside => (None, Way::Departs),
        // Nobody knows where it is.
        Sender::Unknown(_) => return Vec::new(),
    };
    let holder = world.node_holding(flow.packet.destination);
    let (targets, arrives): (Vec<&str>, _) = match owners {
        [] => (holder.into_iter().collect(), Way::Arrives),
        pods => (pods.iter().filter_map(|pod| node_of(pod)).collect(), Way::ComesThrough),
    };
    let mut hops = Vec::new();
    let elsewhere = |node: &&&str| Some(**node) != source;
    // C40: what stays on a node passes no interface of it: host to own pod, pod to own host.
    if let Some(node) = source
        && (targets.is_empty() || targets.iter().any(|target| elsewhere(&target)))
    {
        pass(world, flow, node, departs, &mut hops);
    }
    let mut entered: Vec<&str> = Vec::new();
    for node in targets.iter().filter(elsewhere) {
        if !entered.contains(node) {
            entered.push(node);
            pass(world, flow, node, arrives, &mut hops);
        }
    }
    hops
}

fn pass(world: &World, flow: &Flow, node: &str, way: Way, hops: &mut Vec<HostHop>) {
    let Some(endpoint) = of_uplink(world, node) else { return };
    for stage in way.stages() {
        let mut trace = Trace::default();
        let Some(decided) = stage_of(world, flow, endpoint, *stage, way.direction(), &mut trace)
        else {
            continue;
        };
        let by_rule = matches!(decided.decision, DecisionId::Rule { .. });
        let accepted = by_rule && decided.verdict == Verdict::Allow;
        let early = matches!(stage, Stage::Untracked | Stage::PreDnat);
        if early && accepted {
            let words = "accepted: the later stages of this interface are skipped";
            trace.note("C38", Place::Hop, true, words);
        }
        let Decided { verdict, decision, logged, staged, .. } = decided;
        hops.push(HostHop {
            node: node.into(),
            endpoint: name_of(&endpoint.metadata).into(),
            stage: *stage,
            direction: way.direction(),
            verdict,
            decision,
            logged,
            staged,
            trace: trace.0,
        });
        if early && accepted {
            return;
        }
    }
}

/// C34: of the host endpoints that mean the uplink the first by name; those that mean every
/// interface only if no other does.
fn of_uplink<'a>(world: &'a World, node: &str) -> Option<&'a HostEndpoint> {
    let mut here: Vec<_> = world.host_endpoints.iter().filter(|h| h.spec.node == node).collect();
    here.sort_by_key(|endpoint| name_of(&endpoint.metadata));
    let named = |endpoint: &&&HostEndpoint| match endpoint.spec.interface_name.as_deref() {
        None | Some("") => {
            let expected = expected(endpoint);
            expected.iter().any(|addr| world.is_address_of_node(node, *addr))
        }
        Some(name) => name == world.uplink,
    };
    let every = |h: &&&HostEndpoint| h.spec.interface_name.as_deref() == Some("*");
    here.iter().find(named).or_else(|| here.iter().find(every)).copied()
}

/// The addresses by which rules know a host endpoint (C34); what is none is left out.
pub(crate) fn expected(endpoint: &HostEndpoint) -> Vec<IpAddr> {
    endpoint.spec.expected_ips.iter().filter_map(|text| text.parse().ok()).collect()
}

/// What a stage decides; nothing if the packet does not meet it.
fn stage_of(
    world: &World,
    flow: &Flow,
    endpoint: &HostEndpoint,
    stage: Stage,
    direction: Direction,
    trace: &mut Trace,
) -> Option<Decided> {
    let packet = &flow.packet;
    // C37: untracked policy is not for every interface at once.
    if stage == Stage::Untracked && endpoint.spec.interface_name.as_deref() == Some("*") {
        return None;
    }
    let subject = Endpoint::Host(endpoint);
    let decided = walk::judge(&Asked { world, subject, stage, direction, packet }, trace);
    // C37: but for the normal one a stage is there only if a policy governs in it.
    if stage != Stage::Normal && !decided.governed {
        return None;
    }
    if stage != Stage::Forward && is_neighbour_discovery(packet) {
        let words = "neighbour discovery or MLD on the link: as ARP, nothing polices it";
        return Some(noted("K34", words, DecisionId::NeighbourDiscovery, trace));
    }
    if stage != Stage::Forward && is_failsafe(world, stage, direction, packet) {
        return Some(noted("C36", "open whatever policies say", DecisionId::Failsafe, trace));
    }
    // C9: before connection tracking there is no state to look at.
    if stage != Stage::Untracked && flow.state != ConnState::New {
        *trace = Trace::default();
        return by_state(flow.state, trace);
    }
    Some(decided)
}

fn noted(
    rule: &'static str,
    words: &'static str,
    decision: DecisionId,
    trace: &mut Trace,
) -> Decided {
    *trace = Trace::default();
    trace.note(rule, Place::Hop, true, words);
    before_policy(Verdict::Allow, decision)
}

/// Neighbour and router discovery, and MLD of both versions: without them a closed interface has no
/// neighbours to be open for.
fn is_neighbour_discovery(packet: &Packet) -> bool {
    let meant = packet.icmp().is_some_and(|(t, _)| matches!(t, 130..=136 | 143));
    packet.protocol() == Protocol::ICMPV6 && meant
}

/// C36: by the port at the end that serves; in the untracked stage replies too, by the source port.
fn is_failsafe(world: &World, stage: Stage, direction: Direction, packet: &Packet) -> bool {
    let FailsafePorts { inbound, outbound } = &world.failsafes;
    let (served, asked, peer) = match direction {
        Direction::Ingress => (inbound, outbound, packet.source),
        Direction::Egress => (outbound, inbound, packet.destination),
    };
    let Some((source, destination)) = packet.ports() else { return false };
    let listed = |list: &[FailsafePort], port: u16| {
        list.iter().any(|failsafe| {
            let net = failsafe.net.as_deref().map(Cidr::parse_net);
            failsafe.protocol == packet.protocol()
                && failsafe.port == port
                && net.is_none_or(|net| net.is_some_and(|net| net.contains(peer)))
        })
    };
    listed(served, destination) || (stage == Stage::Untracked && listed(asked, source))
}
