//! A flow through its hops, and what is decided before policy (§1.4, §1.5).

use std::net::IpAddr;

use brindle_model::net::Protocol;
use brindle_model::packet::{ConnState, Flow, Origin, Packet};
use brindle_model::ruleset::Stage;
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use brindle_model::{Name, NamespacedName};
use k8s_openapi::api::core::v1::Pod;

use crate::endpoint::Endpoint;
use crate::host::{self, HostHop};
use crate::trace::{Place, Step, Trace};
use crate::walk::{self, Asked, Decided};
use crate::world::{World, addresses_of, has_own_network, id_of, is_host_network, node_of};

/// What becomes of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Every pod and direction that the packet passes, or would pass if nothing before denied it.
    pub hops: Vec<Hop>,
    /// Every stage of a host endpoint, likewise, in the order in which it passes them.
    pub hosts: Vec<HostHop>,
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
    /// The Log rules of enforced policies that matched on the way, in order (C5).
    pub logged: Vec<DecisionId>,
    /// Of each staged policy that was asked before the decision, the rule that would have decided
    /// had it been enforced and nothing before it (C7).
    pub staged: Vec<DecisionId>,
    /// Every clause that was asked, in order.
    pub trace: Vec<Step>,
}

/// Judges one packet of a flow against the objects as they are.
pub fn judge(world: &World, flow: &Flow) -> Outcome {
    match Sender::of(world, &flow.origin) {
        // K28: a pod's traffic to its own address never leaves it.
        Sender::Pod(pod) if addresses_of(pod).any(|a| a == flow.packet.destination) => {
            Outcome { hops: Vec::new(), hosts: Vec::new(), delivered: true }
        }
        sender => judge_on_the_way(world, flow, &sender),
    }
}

/// Judges one packet that was sent to a Service, as it is behind DNAT. It differs from [`judge`] where
/// the Service leads back to the pod that sends: such a packet leaves the pod and enters it again, so
/// both directions are asked, with the pod itself as the peer (K29).
pub fn judge_behind_service(world: &World, flow: &Flow) -> Outcome {
    judge_on_the_way(world, flow, &Sender::of(world, &flow.origin))
}

fn judge_on_the_way(world: &World, flow: &Flow, sender: &Sender<'_>) -> Outcome {
    let packet = &flow.packet;
    let mut hops = Vec::new();
    match sender {
        Sender::Pod(pod) => hops.push(egress(world, pod, flow)),
        Sender::Unknown(id) => hops.push(unknown(id, flow.state)),
        Sender::Node(_) | Sender::Outside => {}
    }
    // K19, K25: the destination is read after DNAT; K38: only a live pod owns its address. While
    // an address moves between pods (K39) each of its owners must let the packet in.
    let owners = world.owners(packet.destination);
    for pod in &owners {
        hops.push(ingress(world, pod, flow, sender));
    }
    let hosts = host::hops(world, flow, sender, &owners);
    let mut outcome = Outcome { hops, hosts, delivered: true };
    outcome.settle();
    outcome
}

impl Outcome {
    /// Works out from the hops whether the packet is delivered.
    pub(crate) fn settle(&mut self) {
        let verdicts = self.hops.iter().map(|hop| hop.verdict);
        let mut verdicts = verdicts.chain(self.hosts.iter().map(|hop| hop.verdict));
        self.delivered = verdicts.all(|verdict| verdict == Verdict::Allow);
    }
}

/// The origin, looked up.
pub(crate) enum Sender<'a> {
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
    let decided = by_state(state, &mut trace).unwrap_or_else(|| {
        trace.note("K37", Place::Hop, true, "no live pod of this name: closed");
        before_policy(Verdict::Deny, DecisionId::UnknownEndpoint)
    });
    hop(None, id.clone(), Direction::Egress, decided, trace)
}

fn egress(world: &World, pod: &Pod, flow: &Flow) -> Hop {
    let packet = &flow.packet;
    let mut trace = Trace::default();
    let decided = if is_neighbour_discovery(world, pod, packet) {
        trace.note("K34", Place::Hop, true, "neighbour discovery or MLD with the host side");
        before_policy(Verdict::Allow, DecisionId::NeighbourDiscovery)
    } else if !addresses_of(pod).any(|a| a == packet.source) {
        // C41: before connection tracking, or a pod could join another's flow.
        trace.note("C41", Place::Hop, true, format!("{} is not the pod's address", packet.source));
        before_policy(Verdict::Deny, DecisionId::Spoof)
    } else if let Some(decided) = by_state(flow.state, &mut trace) {
        decided
    } else {
        // K30: the own node is no exception in this direction; C40: no host endpoint is asked.
        let to_node =
            node_of(pod).is_some_and(|node| world.is_address_of_node(node, packet.destination));
        if to_node {
            trace.note("C40", Place::Hop, true, "to its own node: no host endpoint judges it");
        }
        let (direction, stage) = (Direction::Egress, Stage::Normal);
        let asked = Asked { world, subject: Endpoint::Pod(pod), stage, direction, packet };
        let decided = walk::judge(&asked, &mut trace);
        // K30: after egress policy an option decides.
        if to_node && world.drops_pods_to_node && decided.verdict == Verdict::Allow {
            trace.note("C40", Place::Hop, true, "what pods send to their node is dropped here");
            Decided { verdict: Verdict::Deny, decision: DecisionId::EndpointToHost, ..decided }
        } else {
            decided
        }
    };
    hop_of(pod, Direction::Egress, decided, trace)
}

fn ingress(world: &World, pod: &Pod, flow: &Flow, sender: &Sender<'_>) -> Hop {
    let mut trace = Trace::default();
    let own_node = matches!(sender, Sender::Node(node) if node_of(pod) == Some(*node));
    let decided = if own_node {
        // K30: by origin, never by source address.
        trace.note("K30", Place::Hop, true, "sent by the pod's own node");
        before_policy(Verdict::Allow, DecisionId::OwnNode)
    } else if let Some(decided) = by_state(flow.state, &mut trace) {
        decided
    } else {
        let (direction, packet) = (Direction::Ingress, &flow.packet);
        let (subject, stage) = (Endpoint::Pod(pod), Stage::Normal);
        walk::judge(&Asked { world, subject, stage, direction, packet }, &mut trace)
    };
    hop_of(pod, Direction::Ingress, decided, trace)
}

/// A decision that no policy had a part in.
pub(crate) fn before_policy(verdict: Verdict, decision: DecisionId) -> Decided {
    Decided { verdict, decision, logged: Vec::new(), staged: Vec::new(), governed: false }
}

fn hop_of(pod: &Pod, direction: Direction, decided: Decided, trace: Trace) -> Hop {
    hop(node_of(pod).map(Name::from), id_of(&pod.metadata), direction, decided, trace)
}

fn hop(
    node: Option<Name>,
    pod: NamespacedName,
    direction: Direction,
    decided: Decided,
    trace: Trace,
) -> Hop {
    let Decided { verdict, decision, logged, staged, .. } = decided;
    Hop { node, pod, direction, verdict, decision, logged, staged, trace: trace.0 }
}

/// What connection tracking decides before policy is asked.
pub(crate) fn by_state(state: ConnState, trace: &mut Trace) -> Option<Decided> {
    match state {
        ConnState::New => None,
        ConnState::Established => {
            trace.note("K31", Place::Hop, true, "belongs to an accepted flow");
            Some(before_policy(Verdict::Allow, DecisionId::Established))
        }
        ConnState::Related => {
            trace.note("K32", Place::Hop, true, "an ICMP error of an accepted flow");
            Some(before_policy(Verdict::Allow, DecisionId::Established))
        }
        ConnState::Invalid => {
            trace.note("C9", Place::Hop, true, "fits no flow");
            Some(before_policy(Verdict::Deny, DecisionId::Invalid))
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
