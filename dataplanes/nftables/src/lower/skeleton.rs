//! What does not depend on the ruleset: base chains, dispatch maps, the sets of own addresses.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::net::{Family, Protocol};
use brindle_model::verdict::DecisionId;

use super::walk::{decided, plain};
use super::{Lowered, SetUse, Source};
use crate::rule::{Criterion, CtState, MapKey, Rule, Target};
use crate::table::{Chain, Field, Hook, HookPoint, SetSpec, Verdict};

/// Map from a pod's interface to its egress program.
pub const EGRESS: &str = "egress";
/// Map from a pod's interface to its ingress program.
pub const INGRESS: &str = "ingress";
/// (interface, IPv4 address) that a pod may send from.
pub const OWN_SOURCES_V4: &str = "own-sources4";
/// (interface, IPv6 address) that a pod may send from.
pub const OWN_SOURCES_V6: &str = "own-sources6";
/// Addresses of all pods of a node, of one family: far more than a node has.
const MAX_OWN_SOURCES: u32 = 4096;
/// The priority of both base chains: `filter`.
const FILTER: i32 = 0;
/// Chains of the skeleton.
const FROM_PODS: &str = "from-pods";
const TO_PODS: &str = "to-pods";
const JUDGE_EGRESS: &str = "judge-egress";

/// The fixed chains and sets.
pub fn skeleton() -> Lowered {
    let chains = [
        ("forward", base(HookPoint::Forward, "from and to pods", forward())),
        ("input", base(HookPoint::Input, "from pods to their node", input())),
        (FROM_PODS, regular("what a pod sends", from_pods())),
        (JUDGE_EGRESS, regular("what a pod sends from its own address", judge(EGRESS))),
        (TO_PODS, regular("what a pod is sent", judge(INGRESS))),
    ];
    let dispatch = |comment: &str| (vec![Field::Ifname], true, comment.to_owned());
    let own = |field| (vec![Field::Ifname, field], false, "addresses a pod may use".to_owned());
    let sets = [
        (EGRESS, dispatch("program that judges what a pod sends")),
        (INGRESS, dispatch("program that judges what a pod is sent")),
        (OWN_SOURCES_V4, own(Field::Ipv4Addr)),
        (OWN_SOURCES_V6, own(Field::Ipv6Addr)),
    ];
    let sets: BTreeMap<Name, SetUse> = sets
        .into_iter()
        .map(|(name, (key, verdicts, comment))| {
            let size = (!verdicts).then_some(MAX_OWN_SOURCES);
            let spec = Arc::new(SetSpec { key, interval: false, verdicts, size, comment });
            (name.into(), SetUse { spec, source: Source::Dispatch })
        })
        .collect();
    let chains = chains.into_iter().map(|(name, chain)| (name.into(), Arc::new(chain))).collect();
    Lowered { chains, sets }
}

fn base(point: HookPoint, comment: &str, rules: Vec<Rule>) -> Chain {
    let hook = Some(Hook { point, priority: FILTER });
    Chain { hook, comment: comment.to_owned(), rules }
}

fn regular(comment: &str, rules: Vec<Rule>) -> Chain {
    Chain { hook: None, comment: comment.to_owned(), rules }
}

fn rule(criteria: Vec<Criterion>, verdict: Verdict) -> Rule {
    Rule { criteria, ..plain(verdict, "") }
}

fn drop_as(criteria: Vec<Criterion>, decision: &DecisionId) -> Rule {
    Rule { criteria, ..decided(Verdict::Drop, decision.clone()) }
}

fn own_source(family: Family) -> Criterion {
    let set = match family {
        Family::V4 => OWN_SOURCES_V4,
        Family::V6 => OWN_SOURCES_V6,
    };
    Criterion::OwnSource { family, set: set.into() }
}

fn pod(input: bool, equal: bool) -> Criterion {
    Criterion::PodInterface { input, equal }
}

/// A pod's packet of a known flow, from its own address: the only rules that most packets meet.
fn established_from_pods() -> [Rule; 2] {
    Family::ALL.map(|family| {
        let known = vec![own_source(family), Criterion::CtState(CtState::Accepted)];
        rule(known, Verdict::Accept)
    })
}

fn forward() -> Vec<Rule> {
    let from_elsewhere = vec![pod(true, false), Criterion::CtState(CtState::Accepted)];
    let mut rules = established_from_pods().to_vec();
    rules.push(rule(from_elsewhere, Verdict::Accept));
    rules.push(rule(vec![pod(true, true)], Verdict::Jump(FROM_PODS.into())));
    rules.push(rule(vec![pod(false, true)], Verdict::Goto(TO_PODS.into())));
    rules
}

fn input() -> Vec<Rule> {
    let mut rules = vec![rule(vec![pod(true, false)], Verdict::Accept)];
    rules.extend(established_from_pods());
    rules.extend(neighbour_discovery());
    rules.push(rule(Vec::new(), Verdict::Jump(FROM_PODS.into())));
    rules
}

/// Types 130–133, 135 and 136, not 134: a pod must not advertise itself as a router (K34). They
/// speak from link-local addresses and, before an address is confirmed, from none (RFC 4861,
/// RFC 4862 §5.4), so they pass before the check of the source; they are for the node alone.
fn neighbour_discovery() -> [Rule; 2] {
    [(130, 133), (135, 136)].map(|(first, last)| {
        let criteria = vec![
            Criterion::Family(Family::V6),
            Criterion::Protocol { equal: true, protocol: Protocol::ICMPV6 },
            Criterion::IcmpType { family: Family::V6, equal: true, first, last },
        ];
        let accept = rule(criteria, Verdict::Accept);
        Rule { comment: DecisionId::NeighbourDiscovery.to_string(), ..accept }
    })
}

fn from_pods() -> Vec<Rule> {
    let own = |family| rule(vec![own_source(family)], Verdict::Goto(JUDGE_EGRESS.into()));
    let mut rules = Family::ALL.map(own).to_vec();
    rules.push(drop_as(Vec::new(), &DecisionId::Spoof));
    rules
}

fn judge(map: &str) -> Vec<Rule> {
    let key = if map == EGRESS { MapKey::InputInterface } else { MapKey::OutputInterface };
    let dispatch = Rule { target: Target::Map(key, map.into()), ..plain(Verdict::Return, "") };
    vec![
        drop_as(vec![Criterion::CtState(CtState::Invalid)], &DecisionId::Invalid),
        dispatch,
        drop_as(Vec::new(), &DecisionId::UnknownEndpoint),
    ]
}
