//! The same answer by scanning all inputs for every question: no index, no count, no history.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use brindle_model::NamespacedName;
use brindle_model::cluster::Pod;
use brindle_model::labels::{EffectiveLabels, Parent};
use brindle_model::ruleset::{Member, Program, Ruleset, SetDef, TierEnd, TierStep};
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};
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

fn labels<'a>(
    inputs: &'a Inputs,
    name: &'a NamespacedName,
) -> Option<(&'a Pod, EffectiveLabels<'a>)> {
    let pod = inputs.pods.get(name)?;
    let namespace = inputs.namespaces.get(&name.namespace)?;
    let labels = EffectiveLabels {
        own: &pod.labels,
        namespace: Some(Parent { name: &name.namespace, labels: Some(&namespace.labels) }),
        service_account: pod.service_account.as_deref().map(|name| Parent { name, labels: None }),
        is_pod: true,
    };
    Some((pod, labels))
}

fn program(inputs: &Inputs, pod: &NamespacedName, direction: Direction) -> Program {
    let Some((_, labels)) = labels(inputs, pod) else { return Program::closed(direction) };
    let governs = inputs
        .policies
        .iter()
        .filter(|(_, policy)| policy.subject.matches(&labels) && policy.rules(direction).is_some());
    let mut policies: Vec<PolicyId> = governs.map(|(id, _)| id.clone()).collect();
    policies.sort_by_key(|id| (inputs.policies[id].order, id.clone()));
    let steps = match policies.is_empty() {
        true => vec![],
        false => vec![TierStep { tier: "default".into(), policies, end: TierEnd::Drop }],
    };
    let profile = DecisionId::Profile { name: format!("kns.{}", pod.namespace).into() };
    Program { direction, steps, end: (Verdict::Allow, profile) }
}

fn members(inputs: &Inputs, def: &SetDef) -> BTreeSet<Member> {
    let mut members = BTreeSet::new();
    let (SetDef::Selector(selector) | SetDef::NamedPort { selector, .. }) = def else {
        let SetDef::Cidrs(nets) = def else { unreachable!("the pattern above took the others") };
        return nets.iter().copied().map(Member::Net).collect();
    };
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
