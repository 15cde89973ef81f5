//! What does not depend on the ruleset: base chains, dispatch maps, the sets of own addresses.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use brindle_model::net::{Family, Protocol};
use brindle_model::verdict::DecisionId;
use ipnet::Ipv6Net;

use super::hosts::{self, Stages};
use super::walk::{decided, plain};
use super::{Lowered, SetUse, Source};
use crate::netlink::Snapshot;
use crate::rule::{Criterion, CtState, MapKey, Rule, Side, Target};
use crate::table::{Chain, Field, Hook, HookPoint, KnownState, SetSpec, Verdict};
use crate::text::address_field;

/// Map from the group of a pod's interface to its egress program.
pub const EGRESS: &str = "egress";
/// Map from the group of a pod's interface to its ingress program.
pub const INGRESS: &str = "ingress";
/// Interfaces, or addresses of one family, of all pods of a node: far more than a node has.
const MAX_ENDPOINTS: u32 = 4096;
/// The priority of both base chains: `filter`.
const FILTER: i32 = 0;
/// Chains of the skeleton.
const FORWARD: &str = "forward";
const FROM_PODS: &str = "from-pods";
const TO_PODS: &str = "to-pods";
const JUDGE_EGRESS: &str = "judge-egress";
const NEIGHBOUR_DISCOVERY: &str = "neighbour-discovery";

/// Set of (group of a pod's interface, address that it may send from).
pub fn own_sources(family: Family) -> &'static str {
    match family {
        Family::V4 => "own-sources4",
        Family::V6 => "own-sources6",
    }
}

/// Map of the same with the states of known flows, which are accepted.
pub fn known_flows(family: Family) -> &'static str {
    match family {
        Family::V4 => "known-flows4",
        Family::V6 => "known-flows6",
    }
}

/// The fixed chains and sets. `stop_revoked` adds the rules that drop packets of connections whose
/// mark says that they are revoked, which is before all others that could accept them; `hosts`
/// leads to the chains of the node's own interfaces, where there are such.
pub fn skeleton(stop_revoked: bool, hosts: Stages) -> Lowered {
    let chains = [
        (
            FORWARD,
            base(HookPoint::Forward, FILTER, "from and to pods", forward(stop_revoked, hosts)),
        ),
        (
            "input",
            base(HookPoint::Input, FILTER, "from pods to their node", input(stop_revoked, hosts)),
        ),
        (FROM_PODS, regular("what a pod sends", from_pods())),
        (NEIGHBOUR_DISCOVERY, regular("from whom a pod does so", neighbour_discovery_sources())),
        (
            JUDGE_EGRESS,
            regular("what a pod sends from its own address", judge(MapKey::InputGroup, EGRESS)),
        ),
        (TO_PODS, regular("what a pod is sent", judge(MapKey::OutputGroup, INGRESS))),
    ];
    let mut sets = BTreeMap::new();
    let mut set = |name: &str, key: Vec<Field>, verdicts, size, comment: &str| {
        let (size, comment) = (Some(size), comment.to_owned());
        let spec = Arc::new(SetSpec { key, interval: false, verdicts, size, comment });
        sets.insert(name.into(), SetUse { spec, source: Source::Dispatch });
    };
    let group = || vec![Field::Devgroup];
    set(EGRESS, group(), true, MAX_ENDPOINTS, "program that judges what a pod sends");
    set(INGRESS, group(), true, MAX_ENDPOINTS, "program that judges what a pod is sent");
    for family in Family::ALL {
        let source = vec![Field::Devgroup, address_field(family)];
        set(own_sources(family), source, false, MAX_ENDPOINTS, "addresses a pod may use");
        let flow = vec![Field::Devgroup, address_field(family), Field::CtState];
        let size = MAX_ENDPOINTS * KnownState::ALL.len() as u32;
        set(known_flows(family), flow, true, size, "what a pod may send in known flows");
    }
    let chains = chains.into_iter().map(|(name, chain)| (name.into(), Arc::new(chain))).collect();
    Lowered { chains, sets }
}

pub(super) fn base(point: HookPoint, priority: i32, comment: &str, rules: Vec<Rule>) -> Chain {
    let hook = Some(Hook { point, priority });
    Chain { hook, comment: comment.to_owned(), rules }
}

pub(super) fn regular(comment: &str, rules: Vec<Rule>) -> Chain {
    Chain { hook: None, comment: comment.to_owned(), rules }
}

pub(super) fn rule(criteria: Vec<Criterion>, verdict: Verdict) -> Rule {
    Rule { criteria, ..plain(verdict, "") }
}

pub(super) fn drop_as(criteria: Vec<Criterion>, decision: &DecisionId) -> Rule {
    Rule { criteria, ..decided(Verdict::Drop, decision.clone()) }
}

fn own_source(family: Family) -> Criterion {
    Criterion::OwnSource { family, set: own_sources(family).into() }
}

pub(super) fn pod(input: bool, equal: bool) -> Criterion {
    Criterion::PodInterface { input, equal }
}

fn dispatch(criteria: Vec<Criterion>, key: MapKey, map: &str) -> Rule {
    let target = Target::Map(key, map.into());
    Rule { criteria, counter: false, target, comment: String::new(), decisions: [].into() }
}

/// A pod's packet of a known flow, from its own address: the only rules that most packets meet.
fn known_flows_of_pods() -> [Rule; 2] {
    Family::ALL.map(|family| {
        let criteria = vec![Criterion::Family(family)];
        dispatch(criteria, MapKey::KnownFlow(family), known_flows(family))
    })
}

/// Only what a pod sends or is sent: on other packets the bit may mean something else.
fn drop_revoked(input: bool) -> Rule {
    drop_as(vec![pod(input, true), Criterion::Revoked], &DecisionId::Revoked)
}

/// Whether a read-back shows that revoked connections are stopped.
pub fn stops_revoked(kernel: &Snapshot) -> bool {
    let comment = DecisionId::Revoked.to_string();
    let forward = kernel.chains.get(FORWARD);
    forward.is_some_and(|chain| chain.rules.iter().any(|rule| rule.comment == comment))
}

fn forward(stop_revoked: bool, hosts: Stages) -> Vec<Rule> {
    let from_elsewhere = vec![pod(true, false), Criterion::CtState(CtState::Accepted)];
    let mut rules = Vec::new();
    if stop_revoked {
        rules.extend([true, false].map(drop_revoked));
    }
    rules.extend(known_flows_of_pods());
    rules.push(rule(from_elsewhere, Verdict::Accept));
    if hosts.forward_in {
        rules.push(rule(vec![pod(true, false)], Verdict::Jump(hosts::FORWARD_IN.into())));
    }
    rules.push(rule(vec![pod(true, true)], Verdict::Jump(FROM_PODS.into())));
    rules.push(rule(vec![pod(false, true)], Verdict::Goto(TO_PODS.into())));
    if hosts.forward_out {
        rules.push(rule(Vec::new(), Verdict::Goto(hosts::FORWARD_OUT.into())));
    }
    rules
}

fn input(stop_revoked: bool, hosts: Stages) -> Vec<Rule> {
    let elsewhere = if hosts.normal { Verdict::Goto(hosts::INPUT.into()) } else { Verdict::Accept };
    let mut rules = vec![rule(vec![pod(true, false)], elsewhere)];
    rules.extend(stop_revoked.then(|| drop_revoked(true)));
    rules.extend(known_flows_of_pods());
    rules.extend(neighbour_discovery());
    rules.push(rule(Vec::new(), Verdict::Jump(FROM_PODS.into())));
    rules.extend(hosts.drop_pods.then(|| drop_as(Vec::new(), &DecisionId::EndpointToHost)));
    rules
}

/// Types 130–133, 135 and 136, not 134: a pod must not advertise itself as a router (K34). They
/// are for the node alone.
fn neighbour_discovery() -> [Rule; 2] {
    [(130, 133), (135, 136)].map(|(first, last)| {
        let criteria = vec![
            Criterion::Family(Family::V6),
            Criterion::Protocol { equal: true, protocol: Protocol::ICMPV6 },
            Criterion::IcmpType { family: Family::V6, equal: true, first, last },
        ];
        rule(criteria, Verdict::Jump(NEIGHBOUR_DISCOVERY.into()))
    })
}

/// It speaks from link-local addresses, from the pod's own, and, before an address is confirmed,
/// from none (RFC 4861, RFC 4862 §5.4). Another source comes back, and is forged.
fn neighbour_discovery_sources() -> Vec<Rule> {
    let link_local = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
    let unspecified = Ipv6Net::from(Ipv6Addr::UNSPECIFIED);
    let prefix =
        |net: Ipv6Net| Criterion::Prefix { side: Side::Source, equal: true, net: net.into() };
    let sources = [prefix(link_local), prefix(unspecified), own_source(Family::V6)];
    let accept = |source| rule(vec![source], Verdict::Accept);
    let comment = DecisionId::NeighbourDiscovery.to_string();
    sources.map(accept).map(|rule| Rule { comment: comment.clone(), ..rule }).to_vec()
}

fn from_pods() -> Vec<Rule> {
    let own = |family| rule(vec![own_source(family)], Verdict::Goto(JUDGE_EGRESS.into()));
    let mut rules = Family::ALL.map(own).to_vec();
    rules.push(drop_as(Vec::new(), &DecisionId::Spoof));
    rules
}

fn judge(key: MapKey, map: &str) -> Vec<Rule> {
    vec![
        drop_as(vec![Criterion::CtState(CtState::Invalid)], &DecisionId::Invalid),
        dispatch(Vec::new(), key, map),
        drop_as(Vec::new(), &DecisionId::UnknownEndpoint),
    ]
}
