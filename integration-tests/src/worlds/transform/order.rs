//! Orders that mean nothing, and numbers of which only the order means something.

use brindle_oracle::World;

use super::{ends, kubernetes, tiered};
use crate::worlds::random::Random;

/// Every list whose order means nothing, shuffled: objects, peers, ports and nets, but not rules,
/// whose order decides or names decisions.
pub fn permuted(world: &World, random: &mut Random) -> World {
    let mut world = world.clone();
    random.shuffle(&mut world.namespaces);
    random.shuffle(&mut world.nodes);
    random.shuffle(&mut world.pods);
    random.shuffle(&mut world.service_accounts);
    random.shuffle(&mut world.endpoint_slices);
    random.shuffle(&mut world.network_policies);
    random.shuffle(&mut world.tiers);
    random.shuffle(&mut world.tiered_policies);
    random.shuffle(&mut world.global_network_policies);
    random.shuffle(&mut world.network_sets);
    random.shuffle(&mut world.global_network_sets);
    random.shuffle(&mut world.staged_network_policies);
    random.shuffle(&mut world.staged_global_network_policies);
    random.shuffle(&mut world.staged_kubernetes_network_policies);
    random.shuffle(&mut world.cluster_network_policies);
    random.shuffle(&mut world.host_endpoints);
    for endpoint in &mut world.host_endpoints {
        random.shuffle(&mut endpoint.spec.expected_ips);
        random.shuffle(&mut endpoint.spec.ports);
    }
    for policy in kubernetes(&mut world) {
        policy.peers().for_each(|peers| random.shuffle(peers));
    }
    for policy in kubernetes(&mut world) {
        policy.ports().for_each(|ports| random.shuffle(ports));
    }
    for end in ends(&mut world) {
        [&mut end.nets, &mut end.not_nets].into_iter().for_each(|nets| random.shuffle(nets));
        [&mut end.ports, &mut end.not_ports].into_iter().for_each(|ports| random.shuffle(ports));
        end.service_accounts.iter_mut().for_each(|accounts| random.shuffle(&mut accounts.names));
    }
    for spec in world.cluster_network_policies.iter_mut().map(|p| &mut p.spec) {
        for rule in &mut spec.ingress {
            random.shuffle(&mut rule.from);
            rule.protocols.iter_mut().for_each(|protocols| random.shuffle(protocols));
        }
        for rule in &mut spec.egress {
            random.shuffle(&mut rule.to);
            rule.protocols.iter_mut().for_each(|protocols| random.shuffle(protocols));
        }
    }
    for set in &mut world.network_sets {
        random.shuffle(&mut set.spec.nets);
    }
    for set in &mut world.global_network_sets {
        random.shuffle(&mut set.spec.nets);
    }
    for slice in &mut world.endpoint_slices {
        random.shuffle(&mut slice.endpoints);
        slice.ports.iter_mut().for_each(|ports| random.shuffle(ports));
    }
    world
}

/// The rules of every Kubernetes NetworkPolicy, shuffled: they only allow.
pub fn rules_permuted(world: &World, random: &mut Random) -> World {
    let mut world = world.clone();
    for policy in kubernetes(&mut world) {
        policy.ingress.iter_mut().for_each(|rules| random.shuffle(rules));
        policy.egress.iter_mut().for_each(|rules| random.shuffle(rules));
    }
    world
}

/// Other orders and priorities in the same order: of policies with regard to Kubernetes
/// NetworkPolicies at 1000, of tiers with regard to the built-in ones.
pub fn renumbered(world: &World) -> World {
    let mut world = world.clone();
    for order in tiered(&mut world).filter_map(|policy| policy.order.as_mut()) {
        *order = spread(*order, &[1000.0]);
    }
    let built_in =
        |name: Option<&str>| matches!(name, Some("default" | "kube-admin" | "kube-baseline"));
    for tier in &mut world.tiers {
        if !built_in(tier.metadata.name.as_deref()) {
            let order = tier.spec.order.as_mut();
            order.into_iter().for_each(|o| *o = spread(*o, &[1_000.0, 1_000_000.0, 10_000_000.0]));
        }
    }
    for policy in &mut world.cluster_network_policies {
        let priority = &mut policy.spec.priority;
        // Priorities are few: 0 and 1 lie beside each other, and so do 999 and 1000.
        *priority = match *priority {
            1 => 17,
            999 => 800,
            other => other,
        };
    }
    world
}

/// Another number between the same fixed ones.
fn spread(order: f64, fixed: &[f64]) -> f64 {
    if fixed.contains(&order) {
        return order;
    }
    let above = fixed.iter().copied().find(|at| order < *at);
    let below = fixed.iter().copied().rev().find(|at| *at < order);
    match (below, above) {
        (None, Some(above)) => above - 2.0 * (above - order),
        (Some(below), Some(above)) => below + (order - below) / (above - below) / 2.0,
        (Some(below), None) => below + 3.0 * (order - below),
        (None, None) => order,
    }
}
