//! `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy (A1–A13, C32, C33).
//!
//! An entry that cannot be read, or that a newer version of the API has, makes its rule fail closed
//! (A13): under `Accept` the entry matches nothing, under any other action the rule denies
//! everything in its direction.

use brindle_api::{
    ClusterNetworkPolicyEgressPeer, ClusterNetworkPolicyIngressPeer, ClusterNetworkPolicyPort,
    ClusterNetworkPolicyPortRange, ClusterNetworkPolicyProtocol, ClusterNetworkPolicySpec,
    ClusterNetworkPolicySubject, NamespacedPod,
};
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::{
    ADMIN_TIER, Action, BASELINE_TIER, Criteria, Order, Peer, Policy, Port, PortSpec, Rule,
};
use brindle_model::ruleset::Stage;
use brindle_model::selector::Selector;
use brindle_model::verdict::Direction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::labels::{Scope, selector};
use super::{cidr, port};
use crate::intern::Interner;
use crate::problem::Problems;
use crate::validate::is_port_name;

/// Most entries of a list of rules, peers, protocols, networks (the API's `maxItems`).
const MAX_ENTRIES: usize = 25;
/// Highest priority.
const MAX_PRIORITY: u32 = 1000;

/// Converts a policy; `None` if nobody knows where it stands or whom it governs.
pub(super) fn policy(
    spec: &ClusterNetworkPolicySpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Policy> {
    let mut reader = Reader { names, problems };
    let tier = reader.tier(&spec.tier);
    let order = reader.order(spec.priority);
    let subject = reader.subject(&spec.subject);
    let ingress = spec.ingress.iter().map(|r| Written {
        action: &r.action,
        peers: &r.from,
        protocols: r.protocols.as_deref(),
        name: r.name.as_deref(),
    });
    let ingress = reader.rules(Direction::Ingress, ingress.collect(), Reader::ingress_peer);
    let egress = spec.egress.iter().map(|r| Written {
        action: &r.action,
        peers: &r.to,
        protocols: r.protocols.as_deref(),
        name: r.name.as_deref(),
    });
    let egress = reader.rules(Direction::Egress, egress.collect(), Reader::egress_peer);
    let (tier, order) = (tier?.into(), order?);
    let subject = names.share_selector(subject?);
    Some(Policy { tier, order, subject, stage: Stage::Normal, ingress, egress })
}

/// A rule of either direction.
struct Written<'a, P> {
    action: &'a str,
    peers: &'a [P],
    protocols: Option<&'a [ClusterNetworkPolicyProtocol]>,
    name: Option<&'a str>,
}

struct Reader<'a> {
    names: &'a mut Interner,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn tier(&mut self, written: &str) -> Option<&'static str> {
        match written {
            "Admin" => Some(ADMIN_TIER),
            "Baseline" => Some(BASELINE_TIER),
            _ => {
                let message = format!("`{written}` is not one of Admin, Baseline");
                self.problems.error("spec.tier", message);
                None
            }
        }
    }

    fn order(&mut self, priority: i32) -> Option<Order> {
        let order = u32::try_from(priority).ok().filter(|p| *p <= MAX_PRIORITY);
        if order.is_none() {
            let message = format!("{priority} is not a priority: 0 to {MAX_PRIORITY} are");
            self.problems.error("spec.priority", message);
        }
        order.map(Order::from)
    }

    fn subject(&mut self, written: &ClusterNetworkPolicySubject) -> Option<Selector> {
        match written {
            ClusterNetworkPolicySubject { namespaces: Some(namespaces), pods: None } => {
                self.selector(namespaces, Scope::Namespace, "spec.subject.namespaces")
            }
            ClusterNetworkPolicySubject { namespaces: None, pods: Some(pods) } => {
                self.pods(pods, "spec.subject.pods")
            }
            _ => {
                self.problems.error("spec.subject", "must be one of namespaces, pods");
                None
            }
        }
    }

    /// The rules of a direction; one without rules is not governed (A4).
    fn rules<P>(
        &mut self,
        direction: Direction,
        written: Vec<Written<'_, P>>,
        peer: fn(&mut Self, &P, &str) -> Option<Vec<Peer>>,
    ) -> Option<Vec<Rule>> {
        let at = format!("spec.{direction}");
        if written.len() > MAX_ENTRIES {
            let message = format!(
                "{} rules, {MAX_ENTRIES} are the most: denies everything instead",
                written.len()
            );
            self.problems.error(at, message);
            return Some(vec![Rule::deny_all(0)]);
        }
        let rules = (0..).zip(&written);
        let rules = rules.filter_map(|(i, rule)| self.rule(i, rule, direction, &at, peer));
        let rules: Vec<_> = rules.collect();
        (!written.is_empty()).then_some(rules)
    }

    fn rule<P>(
        &mut self,
        index: u32,
        written: &Written<'_, P>,
        direction: Direction,
        at: &str,
        peer: fn(&mut Self, &P, &str) -> Option<Vec<Peer>>,
    ) -> Option<Rule> {
        let at = format!("{at}[{index}]");
        let before = self.problems.errors();
        let action = match written.action {
            "Accept" => Some(Action::Allow),
            "Deny" => Some(Action::Deny),
            "Pass" => Some(Action::Pass),
            other => {
                let message = format!("`{other}` is not one of Accept, Deny, Pass");
                self.problems.error(format!("{at}.action"), message);
                None
            }
        };
        if written.name.is_some_and(|name| name.chars().count() > 100) {
            self.problems.warning(format!("{at}.name"), "is longer than 100 characters");
        }
        let peers_field = match direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        let peers = self.list(written.peers, &format!("{at}.{peers_field}"), peer);
        let protocols = written.protocols.map(|protocols| {
            self.list(protocols, &format!("{at}.protocols"), |reader, protocol, at| {
                reader.protocol(protocol, at).map(|port| vec![port])
            })
        });
        let named = protocols.iter().flatten().any(|p| matches!(p.port, PortSpec::Named(_)));
        let without_names = peers.iter().any(|peer| !matches!(peer, Peer::Pods(_)));
        let whole = !(named && without_names);
        if !whole {
            let message = "names a container port beside peers that have none";
            self.problems.error(format!("{at}.protocols"), message);
        }
        let readable = self.problems.errors() == before;
        match action {
            Some(Action::Allow) if !whole => None,
            Some(action) if readable || action == Action::Allow => {
                let (peers, ports) = (Some(peers.into()), protocols.map(Into::into));
                let criteria = Criteria::Lists { peers, ports };
                Some(Rule { index, action, criteria })
            }
            _ => {
                self.problems.consequence(at, "cannot be read, so it denies everything");
                Some(Rule::deny_all(index))
            }
        }
    }

    /// The good entries of a list, which must have some (A8).
    fn list<W, T>(
        &mut self,
        written: &[W],
        at: &str,
        mut read: impl FnMut(&mut Self, &W, &str) -> Option<Vec<T>>,
    ) -> Vec<T> {
        if written.is_empty() {
            self.problems.error(at, "needs at least one entry");
        }
        if written.len() > MAX_ENTRIES {
            let message = format!("{} entries, {MAX_ENTRIES} are the most", written.len());
            self.problems.error(at, message);
            return Vec::new();
        }
        let entries = written.iter().enumerate();
        entries
            .filter_map(|(i, entry)| read(self, entry, &format!("{at}[{i}]")))
            .flatten()
            .collect()
    }

    fn ingress_peer(
        &mut self,
        written: &ClusterNetworkPolicyIngressPeer,
        at: &str,
    ) -> Option<Vec<Peer>> {
        let ClusterNetworkPolicyIngressPeer { namespaces, pods } = written.clone();
        self.egress_peer(
            &ClusterNetworkPolicyEgressPeer {
                namespaces,
                pods,
                ..ClusterNetworkPolicyEgressPeer::default()
            },
            at,
        )
    }

    /// A peer; several if it lists networks (A8–A10).
    fn egress_peer(
        &mut self,
        written: &ClusterNetworkPolicyEgressPeer,
        at: &str,
    ) -> Option<Vec<Peer>> {
        let ClusterNetworkPolicyEgressPeer { namespaces, pods, nodes, networks, domain_names } =
            written;
        let given = [
            namespaces.is_some(),
            pods.is_some(),
            nodes.is_some(),
            networks.is_some(),
            domain_names.is_some(),
        ];
        match given.into_iter().filter(|given| *given).count() {
            0 => {
                self.problems.error(at, "names no peer that this version knows");
                return None;
            }
            1 => {}
            _ => {
                self.problems.error(at, "names more than one kind of peer");
                return None;
            }
        }
        if let Some(namespaces) = namespaces {
            let at = format!("{at}.namespaces");
            let selector = self.selector(namespaces, Scope::Namespace, &at)?;
            return Some(vec![Peer::Pods(selector)]);
        }
        if let Some(pods) = pods {
            return Some(vec![Peer::Pods(self.pods(pods, &format!("{at}.pods"))?)]);
        }
        if let Some(nodes) = nodes {
            let selector = self.selector(nodes, Scope::Node, &format!("{at}.nodes"))?;
            return Some(vec![Peer::Nodes(selector)]);
        }
        if let Some(networks) = networks {
            return Some(self.list(networks, &format!("{at}.networks"), |reader, text, at| {
                let cidr = cidr::masked(text, at, reader.problems)?;
                Some(vec![Peer::IpBlock { cidr, except: Vec::new() }])
            }));
        }
        self.problems.error(format!("{at}.domainNames"), "domain names are not supported");
        None
    }

    /// Pods by the labels of their namespace and their own (A5).
    fn pods(&mut self, written: &NamespacedPod, at: &str) -> Option<Selector> {
        let at_namespaces = format!("{at}.namespaceSelector");
        let namespaces =
            self.selector(&written.namespace_selector, Scope::Namespace, &at_namespaces);
        let pods = self.selector(&written.pod_selector, Scope::Pod, &format!("{at}.podSelector"));
        Some(Selector::and([namespaces?, pods?]))
    }

    fn protocol(&mut self, written: &ClusterNetworkPolicyProtocol, at: &str) -> Option<Port> {
        let ClusterNetworkPolicyProtocol { tcp, udp, sctp, destination_named_port } = written;
        let transports = [
            ("tcp", Protocol::TCP, tcp),
            ("udp", Protocol::UDP, udp),
            ("sctp", Protocol::SCTP, sctp),
        ];
        let mut given = transports.into_iter().filter_map(|(field, protocol, transport)| {
            Some((field, protocol, transport.as_ref()?))
        });
        match (given.next(), given.next(), destination_named_port) {
            (Some((field, protocol, transport)), None, None) => {
                let port = match &transport.destination_port {
                    Some(port) => {
                        let at = format!("{at}.{field}.destinationPort");
                        PortSpec::Range(self.port(port, &at)?)
                    }
                    None => PortSpec::Any,
                };
                Some(Port { protocol: Some(protocol), port })
            }
            (None, None, Some(name)) if is_port_name(name) => {
                Some(Port { protocol: None, port: PortSpec::Named(self.names.intern(name)) })
            }
            (None, None, Some(name)) => {
                let message = format!("`{name}` is not a valid port name");
                self.problems.error(format!("{at}.destinationNamedPort"), message);
                None
            }
            (None, None, None) => {
                self.problems.error(at, "names no protocol that this version knows");
                None
            }
            _ => {
                self.problems.error(at, "names more than one protocol");
                None
            }
        }
    }

    fn port(&mut self, written: &ClusterNetworkPolicyPort, at: &str) -> Option<PortRange> {
        match written {
            ClusterNetworkPolicyPort { number: Some(number), range: None } => {
                port::number(*number, &format!("{at}.number"), self.problems).map(PortRange::single)
            }
            ClusterNetworkPolicyPort { number: None, range: Some(range) } => {
                let ClusterNetworkPolicyPortRange { start, end } = *range;
                let first = port::number(start, &format!("{at}.range.start"), self.problems);
                let last = port::number(end, &format!("{at}.range.end"), self.problems);
                let (first, last) = (first?, last?);
                if first >= last {
                    let message = format!("{last} is not above {first}");
                    self.problems.error(format!("{at}.range.end"), message);
                    return None;
                }
                Some(PortRange { first, last })
            }
            _ => {
                self.problems.error(at, "must be one of number, range");
                None
            }
        }
    }

    fn selector(&mut self, written: &LabelSelector, scope: Scope, at: &str) -> Option<Selector> {
        selector(written, scope, at, self.names, self.problems)
    }
}
