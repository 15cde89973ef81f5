//! Namespaces, nodes and pods of a world (§7.2).

use std::net::IpAddr;

use brindle_oracle::World;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Namespace, Node, NodeAddress, NodeStatus, Pod, PodIP, PodSpec,
    PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::random::Random;
use super::selectors::{Of, labels};
use super::{addresses, cluster, hosts, objects, policies, tiered};

pub(super) const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PODS: [&str; 3] = ["a", "b", "c"];
pub(super) const NODES: [&str; 2] = ["n1", "n2"];
/// Ports that rules and containers share.
pub(super) const PORTS: [i32; 5] = [79, 80, 81, 8080, 65535];
/// Port names that rules and containers share.
pub(super) const PORT_NAMES: [&str; 3] = ["web", "dns", "alt"];

/// Which kinds of policy a world has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// Kubernetes NetworkPolicies alone.
    Kubernetes,
    /// Tiers, NetworkPolicies and GlobalNetworkPolicies, staged ones too; in half of the worlds host
    /// endpoints.
    Tiered,
    /// ClusterNetworkPolicies around Kubernetes NetworkPolicies.
    Cluster,
    /// All of them.
    All,
}

impl Kinds {
    /// Those of the world of a seed: half of the worlds have Kubernetes NetworkPolicies alone, a
    /// quarter tiered policies, an eighth each of the rest (§7.2).
    pub fn of(seed: u64) -> Self {
        match seed % 8 {
            0..4 => Self::Kubernetes,
            4 | 5 => Self::Tiered,
            6 => Self::Cluster,
            _ => Self::All,
        }
    }
}

/// The world of a seed.
pub fn generate(seed: u64) -> World {
    world(&mut Random::new(seed), Kinds::of(seed))
}

/// The world of a seed, without anything that an API server would refuse.
pub fn sound(seed: u64) -> World {
    world(&mut Random::without_flaws(seed), Kinds::of(seed))
}

fn world(random: &mut Random, kinds: Kinds) -> World {
    let mut world = World {
        namespaces: NAMESPACES.iter().map(|name| namespace(random, name)).collect(),
        nodes: (1..=2).map(node).collect(),
        ..World::default()
    };
    for (i, namespace) in (0..).zip(NAMESPACES) {
        for (j, name) in (1..).zip(PODS) {
            world.pods.push(pod(random, namespace, name, i, j));
        }
    }
    if random.once_in(2) {
        reuse_address(random, &mut world.pods);
    }
    // A pod may be heard of before its namespace.
    if random.once_in(20) {
        let gone = random.below(world.namespaces.len());
        world.namespaces.remove(gone);
    }
    if kinds != Kinds::Tiered || random.once_in(2) {
        world.network_policies = policies::generate(random);
    }
    if matches!(kinds, Kinds::Tiered | Kinds::All) {
        objects::generate(random, &mut world);
        tiered::generate(random, &mut world);
    }
    if matches!(kinds, Kinds::Cluster | Kinds::All) {
        cluster::generate(random, &mut world);
    }
    if matches!(kinds, Kinds::Tiered | Kinds::All) && random.once_in(2) {
        hosts::generate(random, &mut world);
    }
    world
}

fn namespace(random: &mut Random, name: &str) -> Namespace {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: labels(random, Of::Namespace),
        ..ObjectMeta::default()
    };
    Namespace { metadata, ..Namespace::default() }
}

fn node(number: u8) -> Node {
    let address = |v6| NodeAddress {
        address: addresses::of_node(v6, number).to_string(),
        type_: "InternalIP".to_owned(),
    };
    Node {
        metadata: ObjectMeta {
            name: Some(NODES[usize::from(number) - 1].to_owned()),
            ..ObjectMeta::default()
        },
        status: Some(NodeStatus {
            addresses: Some(vec![address(false), address(true)]),
            ..NodeStatus::default()
        }),
        ..Node::default()
    }
}

fn pod(random: &mut Random, namespace: &str, name: &str, i: u8, j: u8) -> Pod {
    let host_network = random.once_in(9);
    let number = 1 + random.below(2) as u8;
    let phase = *random.pick(&[
        None,
        Some("Running"),
        Some("Running"),
        Some("Running"),
        Some("Running"),
        Some("Pending"),
        Some("Succeeded"),
        Some("Failed"),
        Some("Unknown"),
    ]);
    let own: Vec<IpAddr> = match random.below(8) {
        0 => vec![addresses::of_pod(false, i, j)],
        1 => vec![addresses::of_pod(true, i, j)],
        _ => [false, true].map(|v6| addresses::of_pod(v6, i, j)).into(),
    };
    let own = match () {
        () if host_network => [false, true].map(|v6| addresses::of_node(v6, number)).into(),
        () if phase == Some("Pending") && random.once_in(2) => Vec::new(),
        () => own,
    };
    let sidecars = random.once_in(3).then(|| vec![container(random, "proxy", Some("Always"))]);
    let mut containers = vec![container(random, "main", None)];
    if random.once_in(2) {
        containers.push(container(random, "side", None));
    }
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: labels(random, Of::Pod),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            node_name: Some(NODES[usize::from(number) - 1].to_owned()),
            host_network: host_network.then_some(true),
            containers,
            init_containers: sidecars,
            ..PodSpec::default()
        }),
        status: Some(PodStatus {
            phase: phase.map(str::to_owned),
            pod_ip: own.first().map(ToString::to_string),
            pod_ips: (!own.is_empty())
                .then(|| own.iter().map(|a| PodIP { ip: a.to_string() }).collect()),
            ..PodStatus::default()
        }),
    }
}

fn container(random: &mut Random, name: &str, restart_policy: Option<&str>) -> Container {
    Container {
        name: name.to_owned(),
        restart_policy: restart_policy.map(str::to_owned),
        ports: random.once_in(4).then(Vec::new).or_else(|| Some(random.list(1, 3, port))),
        ..Container::default()
    }
}

fn port(random: &mut Random) -> ContainerPort {
    ContainerPort {
        name: (!random.once_in(5)).then(|| random.pick(&PORT_NAMES).to_string()),
        container_port: *random.pick(&PORTS),
        protocol: random.pick(&[None, Some("TCP"), Some("UDP"), Some("SCTP")]).map(str::to_owned),
        ..ContainerPort::default()
    }
}

/// Gives a finished pod the address of a live one: the address was handed on (K38, K39).
fn reuse_address(random: &mut Random, pods: &mut [Pod]) {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
    let host = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.host_network) == Some(true);
    let finished = |pod: &Pod| matches!(phase(pod).as_str(), "Succeeded" | "Failed");
    let live: Vec<_> = pods.iter().filter(|p| !finished(p) && !host(p)).cloned().collect();
    let Some(old) = pods.iter_mut().find(|p| finished(p) && !host(p)) else { return };
    if let (Some(status), false) = (&mut old.status, live.is_empty()) {
        let successor = random.pick(&live).status.clone().unwrap_or_default();
        status.pod_ip = successor.pod_ip;
        status.pod_ips = successor.pod_ips;
    }
}
