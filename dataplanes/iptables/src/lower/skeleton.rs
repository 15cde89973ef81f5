//! What does not depend on the ruleset.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::cluster::HOST_INTERFACE_PREFIX;
use brindle_model::net::{Family, Protocol};
use brindle_model::verdict::DecisionId;

use super::Lowered;
use super::record::{Recording, drop_name, plain};
use crate::rule::{Chain, Criterion, Lookup, Rule, Side, Target};
use crate::set;

/// What admitted and known packets of pods pass.
const FORWARD: &str = "BRINDLE-FORWARD";
const INPUT: &str = "BRINDLE-INPUT";
const NEIGHBOUR_DISCOVERY: &str = "BRINDLE-ND";
/// Where the tree of interfaces begins that packets come in on.
pub const EGRESS: &str = "BRINDLE-EGRESS";
/// Where the tree of interfaces begins that packets go out on.
pub const TO_PODS: &str = "BRINDLE-TO-PODS";

/// The built-in chains that jump to ours, and to which.
pub const HOOKS: [(&str, &str); 2] = [("FORWARD", FORWARD), ("INPUT", INPUT)];

/// ICMPv6 types of neighbour discovery and MLD, not 134: a pod must not advertise itself as a
/// router (K34).
const DISCOVERY: [u8; 6] = [130, 131, 132, 133, 135, 136];

/// The fixed chains. `stop_revoked` adds the rules that drop packets of connections whose mark says
/// that they are revoked, which stand before all others that could accept them.
pub fn skeleton(family: Family, recording: Recording, stop_revoked: bool) -> Lowered {
    let mut chains = BTreeMap::new();
    let mut chain = |name: &str, rules| chains.insert(name.into(), Arc::new(Chain { rules }));
    chain(FORWARD, forward(family, stop_revoked));
    chain(INPUT, input(family, stop_revoked));
    if family == Family::V6 {
        chain(NEIGHBOUR_DISCOVERY, neighbour_discovery());
    }
    for decision in
        [DecisionId::Spoof].into_iter().chain(stop_revoked.then_some(DecisionId::Revoked))
    {
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

fn pod(input: bool, equal: bool) -> Criterion {
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

fn forward(family: Family, stop_revoked: bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    if stop_revoked {
        rules.extend([true, false].map(drop_revoked));
    }
    let known = vec![pod(true, true), Criterion::Known, own_source(family, true)];
    rules.push(rule(known, Target::Accept));
    let from_elsewhere = vec![pod(true, false), pod(false, true), Criterion::Known];
    rules.push(rule(from_elsewhere, Target::Accept));
    rules.push(drop(vec![pod(true, true), own_source(family, false)], &DecisionId::Spoof));
    rules.push(rule(vec![pod(true, true)], Target::Jump(EGRESS.into())));
    rules.push(rule(vec![pod(false, true)], to(TO_PODS)));
    rules.push(rule(vec![pod(true, true)], Target::Accept));
    rules
}

fn input(family: Family, stop_revoked: bool) -> Vec<Rule> {
    let mut rules = vec![rule(vec![pod(true, false)], Target::Return)];
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
    rules.push(rule(Vec::new(), to(EGRESS)));
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
