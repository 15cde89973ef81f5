//! One rule as several, and rules that come too late.

use brindle_api::{
    ClusterNetworkPolicyEgressRule, ClusterNetworkPolicyIngressRule, EntityRule, PolicyRule,
};
use brindle_oracle::World;
use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyIngressRule};

use super::{kubernetes, tiered};

/// Every rule as one rule for each combination of its alternatives: peers, ports, protocols, nets.
pub fn rules_split(world: &World) -> World {
    let mut world = world.clone();
    for policy in kubernetes(&mut world) {
        if let Some(rules) = policy.ingress {
            *rules = each(rules, |r| {
                let pairs = pairs(singles(r.from.as_ref()), singles(r.ports.as_ref()));
                pairs.map(|(from, ports)| NetworkPolicyIngressRule { from, ports }).collect()
            });
        }
        if let Some(rules) = policy.egress {
            *rules = each(rules, |r| {
                let pairs = pairs(singles(r.to.as_ref()), singles(r.ports.as_ref()));
                pairs.map(|(to, ports)| NetworkPolicyEgressRule { ports, to }).collect()
            });
        }
    }
    for policy in tiered(&mut world) {
        for rules in [policy.ingress, policy.egress] {
            *rules = each(rules, tiered_rule);
        }
    }
    for spec in world.cluster_network_policies.iter_mut().map(|p| &mut p.spec) {
        spec.ingress = each(&spec.ingress, |r| {
            let pairs = pairs(entries(&r.from), singles(r.protocols.as_ref()));
            let rule = |(from, protocols)| ClusterNetworkPolicyIngressRule {
                from,
                protocols,
                ..r.clone()
            };
            pairs.map(rule).collect()
        });
        spec.egress = each(&spec.egress, |r| {
            let pairs = pairs(entries(&r.to), singles(r.protocols.as_ref()));
            let rule =
                |(to, protocols)| ClusterNetworkPolicyEgressRule { to, protocols, ..r.clone() };
            pairs.map(rule).collect()
        });
    }
    world
}

fn each<T>(rules: &[T], split: impl Fn(&T) -> Vec<T>) -> Vec<T> {
    rules.iter().flat_map(split).collect()
}

fn pairs<A: Clone, B: Clone>(a: Vec<A>, b: Vec<B>) -> impl Iterator<Item = (A, B)> {
    a.into_iter().flat_map(move |a| b.clone().into_iter().map(move |b| (a.clone(), b)))
}

/// Each entry as a list of its own; a list that is missing or empty stays what it is.
fn singles<T: Clone>(list: Option<&Vec<T>>) -> Vec<Option<Vec<T>>> {
    match list {
        Some(list) if !list.is_empty() => list.iter().map(|t| Some(vec![t.clone()])).collect(),
        other => vec![other.cloned()],
    }
}

/// Likewise of a list that is always there.
fn entries<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    if list.is_empty() { vec![Vec::new()] } else { list.iter().map(|t| vec![t.clone()]).collect() }
}

fn tiered_rule(rule: &PolicyRule) -> Vec<PolicyRule> {
    let end = |end: &EntityRule| -> Vec<EntityRule> {
        pairs(entries(&end.nets), entries(&end.ports))
            .map(|(nets, ports)| EntityRule { nets, ports, ..end.clone() })
            .collect()
    };
    pairs(end(&rule.source), end(&rule.destination))
        .map(|(source, destination)| PolicyRule { source, destination, ..rule.clone() })
        .collect()
}

/// Every rule that allows followed by one that denies the same: nothing is left for it.
pub fn allows_denied_again(world: &World) -> World {
    let mut world = world.clone();
    for policy in tiered(&mut world) {
        for rules in [policy.ingress, policy.egress] {
            *rules = each(rules, |rule| {
                let denies = || PolicyRule { action: "Deny".to_owned(), ..rule.clone() };
                let again = (rule.action == "Allow").then(denies);
                [rule.clone()].into_iter().chain(again).collect()
            });
        }
    }
    for spec in world.cluster_network_policies.iter_mut().map(|p| &mut p.spec) {
        spec.ingress = each(&spec.ingress, |rule| {
            let mut again = rule.clone();
            again.action = "Deny".to_owned();
            [rule.clone()].into_iter().chain((rule.action == "Accept").then_some(again)).collect()
        });
        spec.egress = each(&spec.egress, |rule| {
            let mut again = rule.clone();
            again.action = "Deny".to_owned();
            [rule.clone()].into_iter().chain((rule.action == "Accept").then_some(again)).collect()
        });
    }
    world
}
