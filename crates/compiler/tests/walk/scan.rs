//! The same answer by scanning all inputs for every question: no index, no count, no history.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use brindle_model::NamespacedName;
use brindle_model::cluster::Pod;
use brindle_model::labels::{EffectiveLabels, Parent};
use brindle_model::policy::Tier;
use brindle_model::ruleset::{Member, Program, Ruleset, SetDef, TierEnd, TierStep};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use crate::universe::Inputs;

/// Holds a compiled ruleset against the inputs.
pub fn check(inputs: &Inputs, ruleset: &Ruleset) -> TestCaseResult {
    let mut named = BTreeSet::new();
    let mut programs = BTreeMap::new();
    prop_assert!(ruleset.endpoints.keys().eq(inputs.endpoints.keys()));
    for (id, endpoint) in &ruleset.endpoints {
        let attachment = &inputs.endpoints[id];
        prop_assert_eq!(&endpoint.host_interface, &attachment.host_interface);
        prop_assert_eq!(&endpoint.addresses, &attachment.addresses);
        for direction in Direction::ALL {
            let program = program(inputs, &id.pod, direction);
            prop_assert_eq!(endpoint.program(direction), program.id());
            named.extend(program.steps.iter().flat_map(|step| step.policies.clone()));
            programs.insert(program.id(), program);
        }
    }
    prop_assert!(ruleset.programs.values().map(|p| &**p).eq(programs.values()));
    prop_assert!(ruleset.policies.keys().eq(&named));
    for set in ruleset.sets.values() {
        prop_assert_eq!(&set.members, &members(inputs, &set.def), "{}", set.def);
    }
    Ok(())
}

/// A namespace that is known, as a parent of what is in it.
fn parent<'a>(inputs: &'a Inputs, name: &'a str) -> Option<Parent<'a>> {
    let labels = &inputs.namespaces.get(name)?.labels;
    Some(Parent { name, labels: Some(labels) })
}

fn labels<'a>(
    inputs: &'a Inputs,
    name: &'a NamespacedName,
) -> Option<(&'a Pod, EffectiveLabels<'a>)> {
    let pod = inputs.pods.get(name)?;
    let service_account = pod.service_account.as_ref().map(|account| {
        let id = NamespacedName { namespace: name.namespace.clone(), name: account.clone() };
        let labels = inputs.service_accounts.get(&id).map(|account| &account.labels);
        Parent { name: account, labels }
    });
    let namespace = Some(parent(inputs, &name.namespace)?);
    Some((pod, EffectiveLabels { own: &pod.labels, namespace, service_account, is_pod: true }))
}

fn tier(inputs: &Inputs, name: &str) -> Option<Tier> {
    let built_in = Tier::BUILT_IN.iter().find(|(built_in, _)| *built_in == name);
    inputs.tiers.get(name).map(|tier| **tier).or(built_in.map(|(_, tier)| *tier))
}

fn program(inputs: &Inputs, pod: &NamespacedName, direction: Direction) -> Program {
    let Some((_, labels)) = labels(inputs, pod) else { return Program::closed(direction) };
    let governs = inputs
        .policies
        .iter()
        .filter(|(_, policy)| policy.subject.matches(&labels) && policy.rules(direction).is_some());
    let governing: Vec<_> = governs.collect();
    let names: BTreeSet<_> = governing.iter().map(|(_, policy)| &policy.tier).collect();
    let (mut existing, missing): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| tier(inputs, name).is_some());
    existing.sort_by_key(|name| (tier(inputs, name).unwrap().order, (*name).clone()));
    let steps = existing.into_iter().chain(missing).map(|name| {
        let mut policies: Vec<PolicyId> = governing
            .iter()
            .filter(|(_, policy)| policy.tier == *name)
            .map(|(id, _)| (*id).clone())
            .collect();
        policies.sort_by_key(|id| (inputs.policies[id].order, id.clone()));
        let end = match policies.iter().all(|id| id.kind.is_staged()) {
            true => TierEnd::NextTier,
            false => tier(inputs, name).map_or(TierEnd::Drop, |tier| tier.end),
        };
        TierStep { tier: name.clone(), policies, end }
    });
    let profile = DecisionId::Profile { name: format!("kns.{}", pod.namespace).into() };
    Program { direction, steps: steps.collect(), end: (Verdict::Allow, profile) }
}

fn members(inputs: &Inputs, def: &SetDef) -> BTreeSet<Member> {
    match def {
        SetDef::Cidrs(nets) => nets.iter().copied().map(Member::Net).collect(),
        SetDef::NetworkSets(selector) => {
            let nets: Vec<IpNet> = network_set_nets(inputs, selector);
            IpNet::aggregate(&nets).into_iter().map(Member::Net).collect()
        }
        SetDef::Nodes(selector) => {
            let nodes = inputs.nodes.values().filter(|node| selector.matches(&node.labels));
            nodes.flat_map(|node| &node.all_addresses).copied().map(Member::Addr).collect()
        }
        SetDef::Service { service, ports } => {
            let slices = inputs.slices.iter().filter(|(id, slice)| {
                id.namespace == service.namespace && slice.service == service.name
            });
            let mut members = BTreeSet::new();
            for (_, slice) in slices {
                for addr in &slice.addresses {
                    match ports {
                        true => members.extend(
                            slice.ports.iter().map(|(p, port)| Member::Port(*addr, *p, *port)),
                        ),
                        false => {
                            members.insert(Member::Addr(*addr));
                        }
                    }
                }
            }
            members
        }
        SetDef::Selector(selector) | SetDef::NamedPort { selector, .. } => {
            pod_members(inputs, def, selector)
        }
    }
}

fn network_set_nets(inputs: &Inputs, selector: &Selector) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for (id, set) in &inputs.network_sets {
        let namespace = match &id.namespace {
            Some(name) => match parent(inputs, name) {
                Some(parent) => Some(parent),
                None => continue,
            },
            None => None,
        };
        let own = &set.labels;
        let labels = EffectiveLabels { own, namespace, service_account: None, is_pod: false };
        if selector.matches(&labels) {
            nets.extend(&set.nets);
        }
    }
    nets
}

fn pod_members(inputs: &Inputs, def: &SetDef, selector: &Selector) -> BTreeSet<Member> {
    let mut members = BTreeSet::new();
    for name in inputs.pods.keys() {
        let Some((pod, labels)) = labels(inputs, name) else { continue };
        if !selector.matches(&labels) {
            continue;
        }
        for addr in owned(inputs, name) {
            match def {
                SetDef::NamedPort { name, protocol, .. } => {
                    let ports =
                        pod.ports.iter().filter(|p| p.name == *name && p.protocol == *protocol);
                    members.extend(ports.map(|p| Member::Port(addr, p.protocol, p.port)));
                }
                _ => {
                    members.insert(Member::Addr(addr));
                }
            }
        }
    }
    members
}

/// Addresses of a pod: those of its attachments, and those of its status that no attachment holds.
fn owned(inputs: &Inputs, name: &NamespacedName) -> BTreeSet<IpAddr> {
    let attached = |addr: &IpAddr| inputs.endpoints.values().any(|a| a.addresses.contains(addr));
    let own = inputs.endpoints.iter().filter(|(id, _)| id.pod == *name);
    let own = own.flat_map(|(_, attachment)| attachment.addresses.iter().copied());
    let status = inputs.pods[name].addresses.iter().copied().filter(|addr| !attached(addr));
    own.chain(status).collect()
}
