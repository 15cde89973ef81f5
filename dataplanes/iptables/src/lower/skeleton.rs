//! What does not depend on the ruleset.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::cluster::HOST_INTERFACE_PREFIX;
use brindle_model::net::{Family, Protocol};
use brindle_model::verdict::DecisionId;

use super::Lowered;
use super::hosts::{self, Stages};
use super::record::{Recording, drop_name, plain};
use crate::rule::{Chain, Criterion, Lookup, Rule, Side, Target};
use crate::set;
use crate::table::Table;

/// What admitted and known packets of pods pass.
const FORWARD: &str = "BRINDLE-FORWARD";
const INPUT: &str = "BRINDLE-INPUT";
const NEIGHBOUR_DISCOVERY: &str = "BRINDLE-ND";
/// Where the tree of interfaces begins that packets come in on.
pub const EGRESS: &str = "BRINDLE-EGRESS";
/// Where the tree of interfaces begins that packets go out on.
pub const TO_PODS: &str = "BRINDLE-TO-PODS";

/// The built-in chains that jump to ours, and to which, where those are there.
pub const HOOKS: [Hook; 6] = [
    Hook { table: Table::Filter, built_in: "FORWARD", ours: FORWARD },
    Hook { table: Table::Filter, built_in: "INPUT", ours: INPUT },
    Hook { table: Table::Filter, built_in: "OUTPUT", ours: hosts::OUTPUT },
    Hook { table: Table::Raw, built_in: "PREROUTING", ours: hosts::RAW_IN },
    Hook { table: Table::Raw, built_in: "OUTPUT", ours: hosts::RAW_OUT },
    Hook { table: Table::Mangle, built_in: "PREROUTING", ours: hosts::PRE_DNAT },
];

/// Where a chain of ours is jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The table.
    pub table: Table,
    /// The built-in chain.
    pub built_in: &'static str,
    /// Ours.
    pub ours: &'static str,
}

/// ICMPv6 types of neighbour discovery and MLD, not 134: a pod must not advertise itself as a
/// router (K34).
const DISCOVERY: [u8; 6] = [130, 131, 132, 133, 135, 136];

/// The fixed chains. `stop_revoked` adds the rules that drop packets of connections whose mark says
/// that they are revoked, which stand before all others that could accept them; `hosts` leads to the
/// chains of the node's own interfaces, where there are such.
pub fn skeleton(
    family: Family,
    recording: Recording,
    stop_revoked: bool,
    hosts: Stages,
) -> Lowered {
    let mut chains = BTreeMap::new();
    let mut chain = |name: &str, rules| chains.insert(name.into(), Arc::new(Chain { rules }));
    chain(FORWARD, forward(family, stop_revoked, hosts));
    chain(INPUT, input(family, stop_revoked, hosts));
    if family == Family::V6 {
        chain(NEIGHBOUR_DISCOVERY, neighbour_discovery());
    }
    let pods = hosts.drop_pods.then_some(DecisionId::EndpointToHost);
    let revoked = stop_revoked.then_some(DecisionId::Revoked);
    for decision in [DecisionId::Spoof].into_iter().chain(revoked).chain(pods) {
        let (name, chain) = recording.drop_chain(&decision);
        chains.insert(name, chain);
    }
    let (name, own) = set::own_sources(family);
    Lowered { chains, sets: BTreeMap::from([(name, own)]) }
}

/// Whether the saved rules of a family show that revoked connections are stopped.
pub fn stops_revoked<'a>(mut rules: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let name = drop_name(&DecisionId::Revoked);
    rules.any(|(chain, rule)| chain == FORWARD && rule.ends_with(&*name))
}

pub fn pod(input: bool, equal: bool) -> Criterion {
    Criterion::Interface { input, equal, name: format!("{HOST_INTERFACE_PREFIX}+").into() }
}

fn own_source(family: Family, equal: bool) -> Criterion {
    let (set, _) = set::own_sources(family);
    Criterion::Set { set, lookup: Lookup::OwnSource, equal }
}

fn rule(criteria: Vec<Criterion>, target: Target) -> Rule {
    plain(criteria, target, "")
}

fn to(chain: &str) -> Target {
    Target::Goto(chain.into())
}

fn drop(criteria: Vec<Criterion>, decision: &DecisionId) -> Rule {
    plain(criteria, Target::Goto(drop_name(decision)), &decision.to_string())
}

/// Only what a pod sends or is sent: on other packets the bit may mean something else.
fn drop_revoked(input: bool) -> Rule {
    // The comment comes before the target, so the line ends in the chain's name.
    drop(vec![pod(input, true), Criterion::Revoked], &DecisionId::Revoked)
}

fn forward(family: Family, stop_revoked: bool, hosts: Stages) -> Vec<Rule> {
    let mut rules = Vec::new();
    if stop_revoked {
        rules.extend([true, false].map(drop_revoked));
    }
    let known = vec![pod(true, true), Criterion::Known, own_source(family, true)];
    rules.push(rule(known, Target::Accept));
    let from_elsewhere = vec![pod(true, false), pod(false, true), Criterion::Known];
    rules.push(rule(from_elsewhere, Target::Accept));
    if hosts.forward_in || hosts.forward_out {
        let through = vec![pod(true, false), pod(false, false), Criterion::Known];
        rules.push(rule(through, Target::Return));
    }
    if hosts.forward_in {
        rules.push(rule(vec![pod(true, false)], Target::Jump(hosts::FORWARD_IN.into())));
    }
    rules.push(drop(vec![pod(true, true), own_source(family, false)], &DecisionId::Spoof));
    rules.push(rule(vec![pod(true, true)], Target::Jump(EGRESS.into())));
    rules.push(rule(vec![pod(false, true)], to(TO_PODS)));
    if hosts.forward_out {
        rules.push(rule(Vec::new(), Target::Jump(hosts::FORWARD_OUT.into())));
    }
    rules.push(rule(vec![pod(true, true)], Target::Accept));
    rules
}

fn input(family: Family, stop_revoked: bool, hosts: Stages) -> Vec<Rule> {
    let elsewhere = if hosts.normal { to(hosts::INPUT) } else { Target::Return };
    let mut rules = vec![rule(vec![pod(true, false)], elsewhere)];
    rules.extend(stop_revoked.then(|| drop_revoked(true)));
    rules.push(rule(vec![Criterion::Known, own_source(family, true)], Target::Return));
    if family == Family::V6 {
        rules.extend(DISCOVERY.map(|icmp_type| {
            let protocol = Criterion::Protocol { equal: true, protocol: Protocol::ICMPV6 };
            let kind = Criterion::Icmp { family, equal: true, icmp_type, code: None };
            rule(vec![protocol, kind], to(NEIGHBOUR_DISCOVERY))
        }));
    }
    rules.push(drop(vec![own_source(family, false)], &DecisionId::Spoof));
    if hosts.drop_pods {
        rules.push(rule(Vec::new(), Target::Jump(EGRESS.into())));
        rules.push(drop(Vec::new(), &DecisionId::EndpointToHost));
    } else {
        rules.push(rule(Vec::new(), to(EGRESS)));
    }
    rules
}

/// It speaks from link-local addresses, from the pod's own, and, before an address is confirmed,
/// from none (RFC 4861, RFC 4862 §5.4).
fn neighbour_discovery() -> Vec<Rule> {
    let prefix = |text: &str| {
        let net = text.parse().expect("a prefix");
        Criterion::Prefix { side: Side::Source, equal: true, net }
    };
    let decision = DecisionId::NeighbourDiscovery.to_string();
    let accept = |source| plain(vec![source], Target::Accept, &decision);
    let sources = [prefix("fe80::/10"), prefix("::/128"), own_source(Family::V6, true)];
    let mut rules = sources.map(accept).to_vec();
    rules.push(drop(Vec::new(), &DecisionId::Spoof));
    rules
}
