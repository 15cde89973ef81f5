//! A flow through its hops, and what is decided before policy (§1.4, §1.5).

use std::net::IpAddr;

use brindle_model::net::Protocol;
use brindle_model::packet::{ConnState, Flow, Origin, Packet};
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use brindle_model::{Name, NamespacedName};
use k8s_openapi::api::core::v1::Pod;

use crate::policy;
use crate::trace::{Place, Step, Trace};
use crate::world::{World, addresses_of, has_own_network, id_of, is_host_network, node_of};

/// What becomes of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Every pod and direction that the packet passes, or would pass if nothing before denied it.
    pub hops: Vec<Hop>,
    /// Whether every hop allows it. Without a hop policy has no say, and it is delivered.
    pub delivered: bool,
}

/// One pod and direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The node that decides: the pod's own. `None` if the pod is unknown or not scheduled.
    pub node: Option<Name>,
    /// The pod.
    pub pod: NamespacedName,
    /// As seen from the pod.
    pub direction: Direction,
    /// Whether the packet goes on.
    pub verdict: Verdict,
    /// Who decided.
    pub decision: DecisionId,
    /// Every clause that was asked, in order.
    pub trace: Vec<Step>,
}

/// Judges one packet of a flow against the objects as they are.
pub fn judge(world: &World, flow: &Flow) -> Outcome {
    let packet = &flow.packet;
    let sender = Sender::of(world, &flow.origin);
    let mut hops = Vec::new();
    match &sender {
        // K28: a pod's traffic to its own address never leaves it.
        Sender::Pod(pod) if addresses_of(pod).any(|a| a == packet.destination) => {
            return Outcome { hops, delivered: true };
        }
        Sender::Pod(pod) => hops.push(egress(world, pod, flow)),
        Sender::Unknown(id) => hops.push(unknown(id, flow.state)),
        Sender::Node(_) | Sender::Outside => {}
    }
    // K19, K25: the destination is read after DNAT; K38: only a live pod owns its address. While
    // an address moves between pods (K39) each of its owners must let the packet in.
    for pod in world.owners(packet.destination) {
        hops.push(ingress(world, pod, flow, &sender));
    }
    let delivered = hops.iter().all(|hop| hop.verdict == Verdict::Allow);
    Outcome { hops, delivered }
}

/// The origin, looked up.
enum Sender<'a> {
    /// A pod with a network of its own.
    Pod(&'a Pod),
    /// A pod that there is no object for, or one that has finished.
    Unknown(&'a NamespacedName),
    /// The network namespace of a node.
    Node(&'a str),
    /// Beyond the cluster, or a host-network pod of no node.
    Outside,
}

impl<'a> Sender<'a> {
    fn of(world: &'a World, origin: &'a Origin) -> Self {
        match origin {
            Origin::Outside => Self::Outside,
            Origin::Node(name) => Self::Node(name),
            Origin::Pod(id) => match world.pod(id) {
                // K27: a host-network pod is its node.
                Some(pod) if is_host_network(pod) => node_of(pod).map_or(Self::Outside, Self::Node),
                Some(pod) if has_own_network(pod) => Self::Pod(pod),
                // K37, K38: whatever still sends from there is nobody that policy knows.
                _ => Self::Unknown(id),
            },
        }
    }
}

/// K37: an endpoint without a pod is closed.
fn unknown(id: &NamespacedName, state: ConnState) -> Hop {
    let mut trace = Trace::default();
    let (verdict, decision) = by_state(state, &mut trace).unwrap_or_else(|| {
        trace.note("K37", Place::Hop, true, "no live pod of this name: closed");
        (Verdict::Deny, DecisionId::UnknownEndpoint)
    });
    let pod = id.clone();
    Hop { node: None, pod, direction: Direction::Egress, verdict, decision, trace: trace.0 }
}

fn egress(world: &World, pod: &Pod, flow: &Flow) -> Hop {
    let packet = &flow.packet;
    let mut trace = Trace::default();
    let decided = if is_neighbour_discovery(world, pod, packet) {
        trace.note("K34", Place::Hop, true, "neighbour discovery or MLD with the host side");
        (Verdict::Allow, DecisionId::NeighbourDiscovery)
    } else if !addresses_of(pod).any(|a| a == packet.source) {
        // C41: before connection tracking, or a pod could join another's flow.
        trace.note("C41", Place::Hop, true, format!("{} is not the pod's address", packet.source));
        (Verdict::Deny, DecisionId::Spoof)
    } else if let Some(decided) = by_state(flow.state, &mut trace) {
        decided
    } else {
        // K30: the own node is no exception in this direction.
        policy::judge(world, pod, Direction::Egress, packet, &mut trace)
    };
    hop(pod, Direction::Egress, decided, trace)
}

fn ingress(world: &World, pod: &Pod, flow: &Flow, sender: &Sender<'_>) -> Hop {
    let mut trace = Trace::default();
    let own_node = matches!(sender, Sender::Node(node) if node_of(pod) == Some(*node));
    let decided = if own_node {
        // K30: by origin, never by source address.
        trace.note("K30", Place::Hop, true, "sent by the pod's own node");
        (Verdict::Allow, DecisionId::OwnNode)
    } else if let Some(decided) = by_state(flow.state, &mut trace) {
        decided
    } else {
        policy::judge(world, pod, Direction::Ingress, &flow.packet, &mut trace)
    };
    hop(pod, Direction::Ingress, decided, trace)
}

fn hop(pod: &Pod, direction: Direction, decided: (Verdict, DecisionId), trace: Trace) -> Hop {
    let (verdict, decision) = decided;
    let node = node_of(pod).map(Name::from);
    Hop { node, pod: id_of(&pod.metadata), direction, verdict, decision, trace: trace.0 }
}

/// What connection tracking decides before policy is asked.
fn by_state(state: ConnState, trace: &mut Trace) -> Option<(Verdict, DecisionId)> {
    match state {
        ConnState::New => None,
        ConnState::Established => {
            trace.note("K31", Place::Hop, true, "belongs to an accepted flow");
            Some((Verdict::Allow, DecisionId::Established))
        }
        ConnState::Related => {
            trace.note("K32", Place::Hop, true, "an ICMP error of an accepted flow");
            Some((Verdict::Allow, DecisionId::Established))
        }
        ConnState::Invalid => {
            trace.note("C9", Place::Hop, true, "fits no flow");
            Some((Verdict::Deny, DecisionId::Invalid))
        }
    }
}

/// K34: ICMPv6 130–133, 135 and 136 between a pod and its host side. Router advertisements (134)
/// from a pod are not exempt. A pod speaks to its host side through link-local and multicast
/// addresses and those of its node, from an address of its own, a link-local one, or none yet
/// (RFC 4862 §5.4.2).
fn is_neighbour_discovery(world: &World, pod: &Pod, packet: &Packet) -> bool {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.source, packet.destination) else {
        return false;
    };
    let exempt_type = packet.icmp().is_some_and(|(t, _)| matches!(t, 130..=133 | 135 | 136));
    let own_source = source.is_unspecified()
        || source.is_unicast_link_local()
        || addresses_of(pod).any(|a| a == packet.source);
    let host_side = destination.is_unicast_link_local()
        || destination.is_multicast()
        || node_of(pod).is_some_and(|n| world.is_address_of_node(n, packet.destination));
    packet.protocol() == Protocol::ICMPV6 && exempt_type && own_source && host_side
}
