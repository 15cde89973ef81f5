//! The same answer by scanning all inputs for every question: no index, no count, no history.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::cluster::Pod;
use brindle_model::host::{HostEndpoint, HostInterfaces};
use brindle_model::labels::{EffectiveLabels, Parent};
use brindle_model::policy::{Policy, Tier};
use brindle_model::ruleset::{
    HostInterface, Member, Program, Ruleset, SetDef, Stage, TierEnd, TierStep,
};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, PolicyKind, Verdict};
use brindle_model::{Name, NamespacedName};
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use crate::universe::{Inputs, NODE};

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
    let hosts = hosts(inputs);
    let options = inputs.node_options.as_deref().cloned().unwrap_or_default();
    let mut policed: BTreeSet<&HostInterface> = hosts.keys().collect();
    if options.drops_pods {
        policed.insert(&HostInterface::Pods);
        let closed = Program {
            stage: Stage::Normal,
            direction: Direction::Ingress,
            steps: Vec::new().into(),
            end: (Verdict::Deny, DecisionId::EndpointToHost),
        };
        let stages = &ruleset.hosts[&HostInterface::Pods];
        let ran: Vec<_> = stages.programs.iter().map(|p| p.program).collect();
        prop_assert_eq!(ran, [closed.id()]);
        programs.insert(closed.id(), closed);
    }
    prop_assert!(ruleset.hosts.keys().eq(policed), "{:?}", hosts.keys());
    prop_assert!(ruleset.hosts.values().all(|stages| *stages.failsafes == options.failsafes));
    for (interface, (name, endpoint)) in hosts {
        let stages = &ruleset.hosts[&interface];
        prop_assert_eq!(&stages.endpoint, name);
        let expected = host_programs(inputs, endpoint);
        let ran: Vec<_> = stages.programs.iter().map(|p| p.program).collect();
        prop_assert_eq!(ran, expected.iter().map(Program::id).collect::<Vec<_>>());
        for program in expected {
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
    let profile = DecisionId::Profile { name: format!("kns.{}", pod.namespace).into() };
    program_of(inputs, &labels, Stage::Normal, direction, (Verdict::Allow, profile))
}

fn host_labels(endpoint: &HostEndpoint) -> EffectiveLabels<'_> {
    let own = &endpoint.labels;
    EffectiveLabels { own, namespace: None, service_account: None, is_pod: false }
}

/// Each policed interface, with the first by name of the host endpoints that mean it (C34).
fn hosts(inputs: &Inputs) -> BTreeMap<HostInterface, (&Name, &HostEndpoint)> {
    let mut hosts = BTreeMap::new();
    for (name, endpoint) in inputs.host_endpoints.iter().rev() {
        if *endpoint.node != *NODE {
            continue;
        }
        let mut means = |interface| hosts.insert(interface, (name, &**endpoint));
        match &endpoint.interfaces {
            HostInterfaces::All => drop(means(HostInterface::Others)),
            HostInterfaces::Named(name) => drop(means(HostInterface::Named(name.clone()))),
            HostInterfaces::ByAddress => {
                for name in ["eth0", "eth1"].map(Name::from) {
                    let link = inputs.host_links.get(&name);
                    let held = link.iter().flat_map(|link| &link.addresses);
                    if held.into_iter().any(|a| endpoint.expected_addresses.contains(a)) {
                        means(HostInterface::Named(name));
                    }
                }
            }
        }
    }
    hosts
}

/// The programs of a host endpoint, by stage and direction; but for the normal stage only those
/// that a policy is in (C37).
fn host_programs(inputs: &Inputs, endpoint: &HostEndpoint) -> Vec<Program> {
    let labels = host_labels(endpoint);
    let mut programs = Vec::new();
    for stage in [Stage::Untracked, Stage::PreDnat, Stage::Forward, Stage::Normal] {
        for direction in Direction::ALL {
            let end = match (stage, endpoint.profiles.first()) {
                (Stage::Normal, Some(name)) if &**name == "projectcalico-default-allow" => {
                    (Verdict::Allow, DecisionId::Profile { name: name.clone() })
                }
                (Stage::Normal, _) => (Verdict::Deny, DecisionId::NoProfile),
                _ => (Verdict::Allow, DecisionId::StageEnd),
            };
            let program = program_of(inputs, &labels, stage, direction, end);
            let there = match stage {
                Stage::Normal => true,
                Stage::Untracked if endpoint.interfaces == HostInterfaces::All => false,
                Stage::PreDnat if direction == Direction::Egress => false,
                _ => !program.steps.is_empty(),
            };
            programs.extend(there.then_some(program));
        }
    }
    programs
}

fn program_of(
    inputs: &Inputs,
    labels: &EffectiveLabels<'_>,
    stage: Stage,
    direction: Direction,
    end: (Verdict, DecisionId),
) -> Program {
    let global = [PolicyKind::GlobalNetworkPolicy, PolicyKind::StagedGlobalNetworkPolicy];
    let governs = |(id, policy): &(&PolicyId, &Arc<Policy>)| {
        (labels.is_pod || global.contains(&id.kind))
            && policy.is_asked_at(stage)
            && policy.subject.matches(labels)
            && policy.rules(direction).is_some()
    };
    let governing: Vec<_> = inputs.policies.iter().filter(governs).collect();
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
        // C39: the early stages never drop there.
        let early = matches!(stage, Stage::Untracked | Stage::PreDnat);
        let end = match early || policies.iter().all(|id| id.kind.is_staged()) {
            true => TierEnd::NextTier,
            false => tier(inputs, name).map_or(TierEnd::Drop, |tier| tier.end),
        };
        TierStep { tier: name.clone(), policies, end }
    });
    Program { stage, direction, steps: steps.collect(), end }
}

fn members(inputs: &Inputs, def: &SetDef) -> BTreeSet<Member> {
    match def {
        SetDef::Cidrs(nets) => nets.iter().copied().map(Member::Net).collect(),
        SetDef::NetworkSets(selector) => {
            let mut nets: Vec<IpNet> = network_set_nets(inputs, selector);
            // C34: by their addresses host endpoints are picked like global network sets.
            let hosts = inputs.host_endpoints.values();
            let hosts = hosts.filter(|endpoint| selector.matches(&host_labels(endpoint)));
            nets.extend(hosts.flat_map(|e| &e.expected_addresses).map(|a| IpNet::from(*a)));
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
            let mut members = pod_members(inputs, def, selector);
            members.extend(host_ports(inputs, def));
            members
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

fn host_ports(inputs: &Inputs, def: &SetDef) -> Vec<Member> {
    let SetDef::NamedPort { name, protocol, selector } = def else { return Vec::new() };
    let mut members = Vec::new();
    for endpoint in inputs.host_endpoints.values() {
        for port in &endpoint.ports {
            let meant = port.name == *name && port.protocol == *protocol;
            if meant && selector.matches(&host_labels(endpoint)) {
                let addresses = endpoint.expected_addresses.iter();
                members.extend(addresses.map(|a| Member::Port(*a, *protocol, port.port)));
            }
        }
    }
    members
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
