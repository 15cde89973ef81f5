//! ClusterNetworkPolicies of a world, sound and broken (§3).

use brindle_api::{
    ClusterNetworkPolicy, ClusterNetworkPolicyEgressPeer, ClusterNetworkPolicyEgressRule,
    ClusterNetworkPolicyIngressPeer, ClusterNetworkPolicyIngressRule, ClusterNetworkPolicyPort,
    ClusterNetworkPolicyPortRange, ClusterNetworkPolicyProtocol, ClusterNetworkPolicySpec,
    ClusterNetworkPolicySubject, ClusterNetworkPolicyTransport, NamespacedPod,
};
use brindle_oracle::World;
use k8s_openapi::api::core::v1::NodeAddress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::addresses;
use super::generate::{PORT_NAMES, PORTS};
use super::policies::{NAMES, spelled};
use super::random::Random;
use super::selectors::{Of, labels, selector};

/// Priorities, with ties (A6).
const PRIORITIES: [i32; 5] = [0, 1, 1, 999, 1000];

/// Fills in policies, and gives nodes labels to be found by (A10).
pub(super) fn generate(random: &mut Random, world: &mut World) {
    for node in &mut world.nodes {
        node.metadata.labels = labels(random, Of::Node);
        let listed = node.status.as_mut().and_then(|status| status.addresses.as_mut());
        if let Some(listed) = listed.filter(|_| random.flaw(12)) {
            let (address, type_) = ("nowhere".to_owned(), "ExternalIP".to_owned());
            listed.push(NodeAddress { address, type_ });
        }
    }
    for name in NAMES.into_iter().chain(["s"]) {
        if random.once_in(4) {
            continue;
        }
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let spec = spec(random);
        world.cluster_network_policies.push(ClusterNetworkPolicy { metadata, spec });
    }
}

fn spec(random: &mut Random) -> ClusterNetworkPolicySpec {
    let mut spec = ClusterNetworkPolicySpec {
        tier: random.pick(&["Admin", "Admin", "Baseline"]).to_string(),
        priority: *random.pick(&PRIORITIES),
        subject: subject(random),
        ingress: random.list(0, 3, |random| ClusterNetworkPolicyIngressRule {
            name: None,
            action: action(random),
            from: random.list(1, 3, ingress_peer),
            protocols: protocols(random),
        }),
        egress: random.list(0, 3, |random| ClusterNetworkPolicyEgressRule {
            name: None,
            action: action(random),
            to: random.list(1, 3, egress_peer),
            protocols: protocols(random),
        }),
    };
    // A11: a rule with a named port has peers that have named ports.
    for rule in &mut spec.egress {
        let protocols = rule.protocols.iter().flatten();
        let named = protocols.into_iter().any(|p| p.destination_named_port.is_some());
        if named && !random.flaw(6) {
            rule.to.retain(|peer| peer.networks.is_none() && peer.nodes.is_none());
            if rule.to.is_empty() {
                let namespaces = Some(selector(random, Of::Namespace));
                rule.to.push(ClusterNetworkPolicyEgressPeer { namespaces, ..Default::default() });
            }
        }
    }
    if random.flaw(12) {
        break_spec(random, &mut spec);
    }
    spec
}

fn subject(random: &mut Random) -> ClusterNetworkPolicySubject {
    if random.once_in(2) {
        let namespaces = Some(selector(random, Of::Namespace));
        return ClusterNetworkPolicySubject { namespaces, pods: None };
    }
    ClusterNetworkPolicySubject { namespaces: None, pods: Some(pods(random)) }
}

fn pods(random: &mut Random) -> NamespacedPod {
    NamespacedPod {
        namespace_selector: selector(random, Of::Namespace),
        pod_selector: selector(random, Of::Pod),
    }
}

fn action(random: &mut Random) -> String {
    if random.flaw(60) {
        return "Allow".to_owned();
    }
    random.pick(&["Accept", "Accept", "Deny", "Deny", "Pass"]).to_string()
}

fn ingress_peer(random: &mut Random) -> ClusterNetworkPolicyIngressPeer {
    if random.once_in(2) {
        let namespaces = Some(selector(random, Of::Namespace));
        return ClusterNetworkPolicyIngressPeer { namespaces, pods: None };
    }
    ClusterNetworkPolicyIngressPeer { namespaces: None, pods: Some(pods(random)) }
}

fn egress_peer(random: &mut Random) -> ClusterNetworkPolicyEgressPeer {
    let mut peer = ClusterNetworkPolicyEgressPeer::default();
    match random.below(8) {
        0..3 => {
            let ClusterNetworkPolicyIngressPeer { namespaces, pods } = ingress_peer(random);
            (peer.namespaces, peer.pods) = (namespaces, pods);
        }
        3..6 => {
            peer.networks = Some(random.list(1, 3, |random| {
                let net = addresses::prefix(random);
                spelled(random, net)
            }));
        }
        _ => peer.nodes = Some(selector(random, Of::Node)),
    }
    peer
}

fn protocols(random: &mut Random) -> Option<Vec<ClusterNetworkPolicyProtocol>> {
    (!random.once_in(3)).then(|| random.list(1, 3, protocol))
}

fn protocol(random: &mut Random) -> ClusterNetworkPolicyProtocol {
    let mut entry = ClusterNetworkPolicyProtocol::default();
    let number = *random.pick(&PORTS);
    let destination_port = match random.below(4) {
        0 => None,
        1 if number < 65535 => Some(ClusterNetworkPolicyPort {
            number: None,
            range: Some(ClusterNetworkPolicyPortRange { start: number, end: number + 1 }),
        }),
        _ => Some(ClusterNetworkPolicyPort { number: Some(number), range: None }),
    };
    let transport = Some(ClusterNetworkPolicyTransport { destination_port });
    match random.below(6) {
        0..3 => entry.tcp = transport,
        3 => entry.udp = transport,
        4 => entry.sctp = transport,
        _ => entry.destination_named_port = Some(random.pick(&PORT_NAMES).to_string()),
    }
    entry
}

fn break_spec(random: &mut Random, spec: &mut ClusterNetworkPolicySpec) {
    let port = |number, range: Option<(i32, i32)>| ClusterNetworkPolicyProtocol {
        tcp: Some(ClusterNetworkPolicyTransport {
            destination_port: Some(ClusterNetworkPolicyPort {
                number,
                range: range.map(|(start, end)| ClusterNetworkPolicyPortRange { start, end }),
            }),
        }),
        ..ClusterNetworkPolicyProtocol::default()
    };
    match random.below(5) {
        0 => spec.tier = "Edge".to_owned(),
        1 => spec.priority = *random.pick(&[-1, 1001]),
        2 if random.once_in(2) => spec.subject = ClusterNetworkPolicySubject::default(),
        2 => spec.subject.namespaces = Some(selector(random, Of::Namespace)),
        3 => {
            let Some(rule) = spec.ingress.first_mut() else { return };
            let entries = rule.protocols.get_or_insert_default();
            match random.below(10) {
                0 => rule.from.push(ClusterNetworkPolicyIngressPeer::default()),
                1 => rule.from.clear(),
                2 => entries.clear(),
                3 => entries.push(ClusterNetworkPolicyProtocol::default()),
                4 => entries.push(port(None, None)),
                5 => entries.push(port(Some(80), Some((80, 81)))),
                6 => entries.push(port(None, Some((81, 81)))),
                7 => entries.push(port(Some(0), None)),
                8 => entries.push(ClusterNetworkPolicyProtocol {
                    udp: Some(ClusterNetworkPolicyTransport::default()),
                    ..port(Some(80), None)
                }),
                _ => entries.push(ClusterNetworkPolicyProtocol {
                    destination_named_port: Some("No Port".to_owned()),
                    ..ClusterNetworkPolicyProtocol::default()
                }),
            }
        }
        _ => {
            let Some(rule) = spec.egress.first_mut() else { return };
            let peer = ClusterNetworkPolicyEgressPeer::default();
            rule.to.push(match random.below(5) {
                0 => peer,
                1 => ClusterNetworkPolicyEgressPeer {
                    domain_names: Some(vec!["shop.example".to_owned()]),
                    ..peer
                },
                2 => ClusterNetworkPolicyEgressPeer { networks: Some(Vec::new()), ..peer },
                3 => ClusterNetworkPolicyEgressPeer {
                    networks: Some(vec!["10.0.0.0/8".to_owned(), "10.0.0.0".to_owned()]),
                    ..peer
                },
                _ => ClusterNetworkPolicyEgressPeer {
                    nodes: Some(selector(random, Of::Node)),
                    namespaces: Some(selector(random, Of::Namespace)),
                    ..peer
                },
            });
        }
    }
}
