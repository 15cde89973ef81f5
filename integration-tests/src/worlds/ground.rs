//! The ports and addresses at which the answers of a world may change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use brindle_api::{ClusterNetworkPolicyProtocol, EntityRule, PolicyRule};
use brindle_oracle::World;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{addresses, generate};

/// Boundary ports of every rule, and those that containers have.
pub(super) fn ports(world: &World) -> BTreeSet<u16> {
    let mut ports: BTreeSet<u16> = generate::PORTS.iter().flat_map(|p| around(*p, *p)).collect();
    for (_, entries) in kubernetes_rules(world) {
        ports.extend(entries.iter().flat_map(port_edges));
    }
    for end in ends(world) {
        ports.extend(end.ports.iter().chain(&end.not_ports).flat_map(entry_edges));
    }
    ports.extend(cluster_protocols(world).flat_map(protocol_edges));
    ports
}

/// Edges of every prefix that a policy or network set names.
pub(super) fn edges(world: &World) -> Vec<IpAddr> {
    let mut texts: Vec<&str> = Vec::new();
    for (peers, _) in kubernetes_rules(world) {
        for block in peers.iter().filter_map(|peer| peer.ip_block.as_ref()) {
            texts.push(&block.cidr);
            texts.extend(block.except.iter().flatten().map(String::as_str));
        }
    }
    let sets = world.network_sets.iter().map(|set| &set.spec.nets);
    let sets = sets.chain(world.global_network_sets.iter().map(|set| &set.spec.nets));
    texts.extend(sets.flatten().map(String::as_str));
    texts.extend(ends(world).flat_map(|e| e.nets.iter().chain(&e.not_nets)).map(String::as_str));
    let cluster = world.cluster_network_policies.iter().flat_map(|p| &p.spec.egress);
    let networks = cluster.flat_map(|r| &r.to).filter_map(|peer| peer.networks.as_ref());
    texts.extend(networks.flatten().map(String::as_str));
    let nets = texts.into_iter().filter_map(|text| text.parse::<IpNet>().ok());
    nets.flat_map(addresses::edges).collect()
}

/// Addresses that endpoint slices list, each with the protocols and ports that stand beside it.
pub(super) fn services(world: &World) -> BTreeMap<IpAddr, Vec<(&str, u16)>> {
    let mut services = BTreeMap::<_, Vec<_>>::new();
    for slice in &world.endpoint_slices {
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let number = port.port.and_then(|number| number.try_into().ok())?;
            Some((port.protocol.as_deref().unwrap_or("TCP"), number))
        });
        let ports: Vec<_> = ports.collect();
        let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        for address in addresses.filter_map(|text| text.parse().ok()) {
            services.entry(address).or_default().extend(&ports);
        }
    }
    services
}

/// Peers and ports of the rules of every Kubernetes NetworkPolicy, staged ones too.
fn kubernetes_rules(world: &World) -> Vec<(&[NetworkPolicyPeer], &[NetworkPolicyPort])> {
    let enforced = world.network_policies.iter().filter_map(|p| p.spec.as_ref());
    let enforced = enforced.map(|spec| (spec.ingress.as_deref(), spec.egress.as_deref()));
    let staged = world.staged_kubernetes_network_policies.iter();
    let staged = staged.map(|p| (p.spec.ingress.as_deref(), p.spec.egress.as_deref()));
    let both = enforced.chain(staged);
    both.flat_map(|(ingress, egress)| {
        let ingress = ingress.unwrap_or_default().iter();
        let ingress = ingress.map(|r: &NetworkPolicyIngressRule| (&r.from, &r.ports));
        let egress = egress.unwrap_or_default().iter();
        ingress.chain(egress.map(|r: &NetworkPolicyEgressRule| (&r.to, &r.ports)))
    })
    .map(|(peers, ports)| {
        (peers.as_deref().unwrap_or_default(), ports.as_deref().unwrap_or_default())
    })
    .collect()
}

/// Both ends of the rules of every tiered policy, staged ones too.
fn ends(world: &World) -> impl Iterator<Item = &EntityRule> {
    let namespaced = world.tiered_policies.iter().map(|p| &p.spec);
    let staged = world.staged_network_policies.iter().map(|p| &p.spec.policy);
    let namespaced = namespaced.chain(staged).map(|s| (&s.ingress, &s.egress));
    let global = world.global_network_policies.iter().map(|p| &p.spec);
    let staged = world.staged_global_network_policies.iter().map(|p| &p.spec.policy);
    let global = global.chain(staged).map(|s| (&s.ingress, &s.egress));
    let rules = namespaced.chain(global).flat_map(|(ingress, egress)| ingress.iter().chain(egress));
    rules.flat_map(|rule: &PolicyRule| [&rule.source, &rule.destination])
}

fn cluster_protocols(world: &World) -> impl Iterator<Item = &ClusterNetworkPolicyProtocol> {
    let specs = || world.cluster_network_policies.iter().map(|p| &p.spec);
    let ingress = specs().flat_map(|s| s.ingress.iter().map(|r| &r.protocols));
    let egress = specs().flat_map(|s| s.egress.iter().map(|r| &r.protocols));
    ingress.chain(egress).flatten().flatten()
}

fn around(first: i32, last: i32) -> impl Iterator<Item = u16> {
    [first - 1, first, last, last + 1].into_iter().filter_map(|p| u16::try_from(p).ok())
}

fn port_edges(port: &NetworkPolicyPort) -> Vec<u16> {
    match port.port {
        Some(IntOrString::Int(first)) => around(first, port.end_port.unwrap_or(first)).collect(),
        _ => Vec::new(),
    }
}

fn entry_edges(port: &IntOrString) -> Vec<u16> {
    match port {
        IntOrString::Int(number) => around(*number, *number).collect(),
        IntOrString::String(text) => {
            let range = text.split_once(':').and_then(|(first, last)| {
                Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?))
            });
            range.map_or_else(Vec::new, |(a, b)| around(a.into(), b.into()).collect())
        }
    }
}

fn protocol_edges(entry: &ClusterNetworkPolicyProtocol) -> Vec<u16> {
    let transports = [&entry.tcp, &entry.udp, &entry.sctp].into_iter().flatten();
    let ports = transports.filter_map(|t| t.destination_port.as_ref());
    ports
        .flat_map(|port| {
            let number = port.number.map(|n| (n, n));
            let range = port.range.as_ref().map(|r| (r.start, r.end));
            number.into_iter().chain(range).flat_map(|(first, last)| around(first, last))
        })
        .collect()
}
