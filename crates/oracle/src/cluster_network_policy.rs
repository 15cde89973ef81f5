//! ClusterNetworkPolicy (§3).

use brindle_api::{
    ClusterNetworkPolicyEgressPeer, ClusterNetworkPolicyIngressPeer, ClusterNetworkPolicyPort,
    ClusterNetworkPolicyProtocol, ClusterNetworkPolicySpec, ClusterNetworkPolicySubject,
    NamespacedPod,
};
use brindle_model::net::Protocol;
use brindle_model::verdict::{Direction, PolicyId};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::cidr::Cidr;
use crate::label_selector::{self, Reading};
use crate::lists::{self, List};
use crate::member::Doubt;
use crate::names::is_port_name;
use crate::peer::{Answer, OtherEnd};
use crate::policy_rule::{broken, deny_doubtful_pass};
use crate::port::named_ports;
use crate::trace::{Action, Place, Trace};
use crate::walk::Asked;
use crate::world::{World, has_unreadable_address, label_of, name_of, namespace_of, pod_label};

/// Most entries of a list of peers, protocols or networks (§3).
const MAX_ENTRIES: usize = 25;

/// A rule of either direction.
pub(crate) struct Rule<'a> {
    action: &'a str,
    peers: Vec<Peer<'a>>,
    protocols: Option<&'a [ClusterNetworkPolicyProtocol]>,
}

/// An entry of `from` or `to`, its fields as they are set.
struct Peer<'a> {
    namespaces: Option<&'a LabelSelector>,
    pods: Option<&'a NamespacedPod>,
    nodes: Option<&'a LabelSelector>,
    networks: Option<&'a [String]>,
    domain_names: bool,
}

impl<'a> From<&'a ClusterNetworkPolicyIngressPeer> for Peer<'a> {
    fn from(peer: &'a ClusterNetworkPolicyIngressPeer) -> Self {
        Self {
            namespaces: peer.namespaces.as_ref(),
            pods: peer.pods.as_ref(),
            nodes: None,
            networks: None,
            domain_names: false,
        }
    }
}

impl<'a> From<&'a ClusterNetworkPolicyEgressPeer> for Peer<'a> {
    fn from(peer: &'a ClusterNetworkPolicyEgressPeer) -> Self {
        Self {
            namespaces: peer.namespaces.as_ref(),
            pods: peer.pods.as_ref(),
            nodes: peer.nodes.as_ref(),
            networks: peer.networks.as_deref(),
            domain_names: peer.domain_names.is_some(),
        }
    }
}

/// The rules with which a policy governs the subject and direction; `None` if it does not.
pub(crate) fn governing<'a>(
    spec: &'a ClusterNetworkPolicySpec,
    asked: &Asked<'_>,
    id: &PolicyId,
    trace: &mut Trace,
) -> Option<Vec<Rule<'a>>> {
    let place = || Place::Policy(id.clone());
    // A5: pods alone.
    let pod = asked.subject.pod()?;
    // A4, C32: types are the directions that have rules.
    let rules: Vec<Rule<'a>> = match asked.direction {
        Direction::Ingress => (spec.ingress.iter())
            .map(|r| Rule {
                action: &r.action,
                peers: r.from.iter().map(Peer::from).collect(),
                protocols: r.protocols.as_deref(),
            })
            .collect(),
        Direction::Egress => (spec.egress.iter())
            .map(|r| Rule {
                action: &r.action,
                peers: r.to.iter().map(Peer::from).collect(),
                protocols: r.protocols.as_deref(),
            })
            .collect(),
    };
    if rules.is_empty() {
        trace.note("A4", place(), false, format!("it has no {} rules", asked.direction));
        return None;
    }
    // A1: priorities go from 0 to 1000. One that is none says as little as an unknown tier.
    if !(0..=1000).contains(&spec.priority) {
        let words = format!("broken: there is no priority {}", spec.priority);
        trace.note("C33", place(), false, words);
        return None;
    }
    // C33: unknown tier or missing subject.
    if !matches!(spec.tier.as_str(), "Admin" | "Baseline") {
        trace.note("C33", place(), false, format!("broken: unknown tier {:?}", spec.tier));
        return None;
    }
    let (rule, selected, words) = subject(asked.world, &spec.subject, pod);
    trace.note(rule, place(), selected, words).then_some(rules)
}

/// A5: exactly one of namespaces and pods; an empty selector is all.
fn subject(world: &World, subject: &ClusterNetworkPolicySubject, pod: &Pod) -> Answer {
    let reading = match (&subject.namespaces, &subject.pods) {
        (Some(namespaces), None) => namespace_matches(world, namespaces, pod),
        (None, Some(pods)) => pod_matches(world, pods, pod),
        (None, None) => return ("C33", false, "broken: the subject is missing".into()),
        (Some(_), Some(_)) => return ("C33", false, "broken: two subjects".into()),
    };
    match reading {
        Reading::Matched => ("A5", true, "selects the pod".into()),
        Reading::Failed(why) => ("A5", false, why),
        // C16, C33: not applied.
        Reading::Broken(why) => ("C33", false, format!("broken: subject: {why}")),
    }
}

fn namespace_matches(world: &World, selector: &LabelSelector, pod: &Pod) -> Reading {
    let namespace = namespace_of(&pod.metadata);
    label_selector::read(selector, &|key| world.namespace_label(namespace, key))
}

fn pod_matches(world: &World, selector: &NamespacedPod, pod: &Pod) -> Reading {
    let pods = label_selector::read(&selector.pod_selector, &|key| pod_label(pod, key));
    match (namespace_matches(world, &selector.namespace_selector, pod), pods) {
        (broken @ Reading::Broken(_), _) | (_, broken @ Reading::Broken(_)) => broken,
        (failed @ Reading::Failed(_), _) | (_, failed) => failed,
    }
}

/// What a rule says of the packet.
pub(crate) fn ask(
    rule: &Rule<'_>,
    asked: &Asked<'_>,
    policy: &PolicyId,
    index: u32,
    trace: &mut Trace,
) -> Option<Action> {
    // A2.
    let action = match rule.action {
        "Accept" => Action::Allow,
        "Deny" => Action::Deny,
        "Pass" => Action::Pass,
        other => {
            let fault = ("A13", format!("unknown action {other:?}"));
            return broken(Action::Deny, fault, policy, index, trace);
        }
    };
    if let Some(fault) = fault(rule, action) {
        return broken(action, fault, policy, index, trace);
    }
    let list = |place| List { policy, rule: index, number: "A8", place };
    let (peers, protocols) = (list(lists::peers), list(lists::ports));
    let matches = |doubt, trace: &mut Trace| {
        let question = Question { asked, doubt };
        asked.other_ends().into_iter().any(|end| {
            let peers = peers.any(&rule.peers, trace, |peer| question.peer(peer, end));
            let protocols = match rule.protocols {
                // A8: omitted = all traffic, ICMP and unknown protocols included.
                None => protocols.missing("A8", "any protocol", trace),
                Some(entries) => {
                    // A11, K20: the destination pod: on ingress the subject, on egress the peer.
                    let destination = asked.destination(end);
                    protocols.any(entries, trace, |wanted| question.protocol(wanted, destination))
                }
            };
            peers && protocols
        })
    };
    let matched = matches(Doubt::of(action), trace);
    let place = || Place::Rule { policy: policy.clone(), rule: index, action };
    let words = if matched { "peers and protocols match" } else { "they do not both match" };
    if trace.note("A2", place(), matched, words) {
        return Some(action);
    }
    let may_pass = action == Action::Pass && matches(Doubt::HoldsAll, &mut Trace::default());
    may_pass.then(|| deny_doubtful_pass(place(), trace))
}

/// Why a whole rule is broken. A13: a broken entry of an Accept matches nothing and leaves the
/// others; in a Deny or Pass it denies everything.
fn fault(rule: &Rule<'_>, action: Action) -> Option<(&'static str, String)> {
    // A8: peers ≥ 1 entry; protocols, if given, likewise.
    if rule.peers.is_empty() {
        return Some(("A8", "no peers".into()));
    }
    let protocols = rule.protocols.unwrap_or_default();
    if rule.protocols.is_some_and(<[_]>::is_empty) {
        return Some(("A8", "no protocols".into()));
    }
    if rule.peers.len() > MAX_ENTRIES || protocols.len() > MAX_ENTRIES {
        return Some(("A8", format!("more than {MAX_ENTRIES} entries")));
    }
    // A11: named ports not together with networks or nodes.
    let sound = protocols.iter().filter(|entry| protocol_fault(entry).is_none());
    let named = sound.into_iter().any(|entry| entry.destination_named_port.is_some());
    if named && rule.peers.iter().any(Peer::has_no_named_ports) {
        return Some(("A11", "a named port beside peers that have none".into()));
    }
    if action == Action::Allow {
        return None;
    }
    rule.peers
        .iter()
        .find_map(|peer| peer.fault().or_else(|| peer.network_fault()))
        .or_else(|| protocols.iter().find_map(protocol_fault))
}

impl Peer<'_> {
    /// A8, A13: exactly one kind, and one that can be read.
    fn fault(&self) -> Option<(&'static str, String)> {
        let Self { namespaces, pods, nodes, networks, domain_names } = self;
        let given = [namespaces.is_some(), pods.is_some(), nodes.is_some(), networks.is_some()];
        let given = given.into_iter().filter(|given| *given).count();
        // A12: domain names are not followed here.
        if *domain_names {
            return Some(("A12", "domain names are not supported".into()));
        }
        match given {
            0 => return Some(("A13", "no known kind of peer".into())),
            1 => {}
            _ => return Some(("A8", "more than one kind of peer".into())),
        }
        let pods = pods.iter().flat_map(|pods| [&pods.namespace_selector, &pods.pod_selector]);
        let selectors = namespaces.iter().chain(nodes).copied().chain(pods);
        let unreadable = selectors.map(|s| label_selector::read(s, &|_| None)).find_map(
            |reading| match reading {
                Reading::Broken(why) => Some(("C16", why)),
                Reading::Matched | Reading::Failed(_) => None,
            },
        );
        unreadable.or_else(|| match networks {
            Some([]) => Some(("A9", "no networks".into())),
            Some(networks) if networks.len() > MAX_ENTRIES => {
                Some(("A9", format!("more than {MAX_ENTRIES} networks")))
            }
            _ => None,
        })
    }

    /// A9: a network that cannot be read. In an Accept it matches nothing, and the others stay.
    fn network_fault(&self) -> Option<(&'static str, String)> {
        let unreadable = self.networks?.iter().find(|text| Cidr::parse(text).is_none())?;
        Some(("A9", format!("{unreadable:?} is not a CIDR")))
    }

    /// Whether it is one that can be read and is not about pods.
    fn has_no_named_ports(&self) -> bool {
        let networks = self.networks.unwrap_or_default();
        let addresses =
            self.nodes.is_some() || networks.iter().any(|text| Cidr::parse(text).is_some());
        addresses && self.fault().is_none()
    }
}

/// A8, A13: exactly one of tcp, udp, sctp and destinationNamedPort, and one that can be read.
fn protocol_fault(entry: &ClusterNetworkPolicyProtocol) -> Option<(&'static str, String)> {
    let ClusterNetworkPolicyProtocol { tcp, udp, sctp, destination_named_port } = entry;
    let transports = [tcp, udp, sctp].map(Option::as_ref);
    let given = transports.iter().flatten().count() + destination_named_port.iter().count();
    match given {
        0 => return Some(("A13", "no known protocol".into())),
        1 => {}
        _ => return Some(("A8", "more than one protocol".into())),
    }
    if let Some(name) = destination_named_port {
        return (!is_port_name(name)).then(|| ("A11", format!("{name:?} is no port's name")));
    }
    let port = transports.into_iter().flatten().find_map(|t| t.destination_port.as_ref())?;
    port_range(port).is_none().then(|| ("A8", "not a port or range".into()))
}

/// A8: a number, or a range with start < end, within 1–65535.
fn port_range(port: &ClusterNetworkPolicyPort) -> Option<(u16, u16)> {
    let number = |n: i32| u16::try_from(n).ok().filter(|n| *n > 0);
    match (port.number, &port.range) {
        (Some(n), None) => number(n).map(|n| (n, n)),
        (None, Some(range)) => {
            let (start, end) = (number(range.start)?, number(range.end)?);
            (start < end).then_some((start, end))
        }
        _ => None,
    }
}

struct Question<'a> {
    asked: &'a Asked<'a>,
    /// How to take what cannot be read whole.
    doubt: Doubt,
}

impl Question<'_> {
    fn peer(&self, peer: &Peer<'_>, end: OtherEnd<'_>) -> Answer {
        if let Some((number, why)) = peer.fault() {
            return (number, false, format!("broken: {why}"));
        }
        let world = self.asked.world;
        if let Some(networks) = peer.networks {
            return network(networks, end);
        }
        if let Some(nodes) = peer.nodes {
            return node(world, nodes, end, self.doubt);
        }
        // A5, C32: pods with a network of their own, and nothing else, in known namespaces (K37).
        let Some(pod) = end.pod.filter(|pod| world.knows(pod)) else {
            return ("A5", false, format!("{} is not the address of a known pod", end.addr));
        };
        let reading = match (peer.namespaces, peer.pods) {
            (Some(namespaces), _) => namespace_matches(world, namespaces, pod),
            (None, Some(pods)) => pod_matches(world, pods, pod),
            (None, None) => Reading::Failed("no kind of peer".into()),
        };
        match reading {
            Reading::Matched => {
                let (namespace, name) = (namespace_of(&pod.metadata), name_of(&pod.metadata));
                ("A8", true, format!("pod {namespace}/{name} is selected"))
            }
            Reading::Failed(why) | Reading::Broken(why) => ("A8", false, why),
        }
    }

    fn protocol(&self, wanted: &ClusterNetworkPolicyProtocol, destination: Option<&Pod>) -> Answer {
        if let Some((number, why)) = protocol_fault(wanted) {
            return (number, false, format!("broken: {why}"));
        }
        let protocol = self.asked.packet.protocol();
        let port = self.asked.packet.ports().map(|(_, destination)| destination);
        if let Some(name) = &wanted.destination_named_port {
            // A11: whatever the container port's protocol.
            let (Some(pod), Some(port)) = (destination, port) else {
                return ("A11", false, format!("there is no pod's port {name:?}"));
            };
            let numbers = named_ports(pod, name, protocol);
            let matched = numbers.contains(&i32::from(port));
            return ("A11", matched, format!("{protocol} port {name:?} is {numbers:?}"));
        }
        let candidates = [
            (Protocol::TCP, &wanted.tcp),
            (Protocol::UDP, &wanted.udp),
            (Protocol::SCTP, &wanted.sctp),
        ];
        let given = candidates.into_iter().find_map(|(p, t)| t.as_ref().map(|t| (p, t)));
        let Some((wanted, transport)) = given else { return ("A8", false, "no protocol".into()) };
        if protocol != wanted {
            return ("A8", false, format!("the protocol is {protocol}, not {wanted}"));
        }
        // A8: without destinationPort all ports.
        match transport.destination_port.as_ref().map(port_range) {
            None => ("A8", true, format!("any {wanted} port")),
            Some(range) => {
                let inside = |(first, last)| port.is_some_and(|p| (first..=last).contains(&p));
                ("A8", range.is_some_and(inside), format!("{range:?} is wanted, it is {port:?}"))
            }
        }
    }
}

/// A9: any address in them, pods and nodes included.
fn network(networks: &[String], end: OtherEnd<'_>) -> Answer {
    let mut read = networks.iter().filter_map(|text| Cidr::parse(text));
    match read.find(|net| net.contains(end.addr)) {
        Some(net) => ("A9", true, format!("{} is inside {net}", end.addr)),
        None => ("A9", false, format!("{} is inside none of the networks", end.addr)),
    }
}

/// A10: nodes that match, at any of their addresses.
fn node(world: &World, selector: &LabelSelector, end: OtherEnd<'_>, doubt: Doubt) -> Answer {
    let holding = world.nodes.iter().filter(|node| {
        let name = name_of(&node.metadata);
        // A13: of a node with an address that cannot be read nobody knows which are its others.
        let perhaps = doubt == Doubt::HoldsAll && has_unreadable_address(node);
        perhaps || world.is_address_of_node(name, end.addr)
    });
    for node in holding {
        if let Reading::Matched =
            label_selector::read(selector, &|key| label_of(&node.metadata, key))
        {
            return ("A10", true, format!("{} is of node {}", end.addr, name_of(&node.metadata)));
        }
    }
    ("A10", false, format!("{} is of no node that matches", end.addr))
}
