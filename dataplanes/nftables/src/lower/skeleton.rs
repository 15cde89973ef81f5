//! What does not depend on the ruleset: base chains, dispatch maps, the sets of own addresses.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::net::{Family, Protocol};
use brindle_model::verdict::DecisionId;

use super::{Lowered, SetUse, Source};
use crate::rule::{Criterion, CtState, MapKey, Rule, Side, Target};
use crate::table::{Chain, Field, Hook, HookPoint, SetSpec, Verdict};

/// Map from a pod's interface to its egress program.
pub const EGRESS: &str = "egress";
/// Map from a pod's interface to its ingress program.
pub const INGRESS: &str = "ingress";
/// (interface, IPv4 address) that a pod may send from.
pub const OWN_SOURCES_V4: &str = "own-sources4";
/// (interface, IPv6 address) that a pod may send from.
pub const OWN_SOURCES_V6: &str = "own-sources6";
/// `raw`: before connection tracking, which is at -200.
const RAW: i32 = -300;
/// `filter`; `to-pods` runs right after `from-pods`.
const FILTER: i32 = 0;

/// The fixed chains and sets.
pub fn skeleton() -> Lowered {
    let chains = [
        ("antispoof", base(HookPoint::Prerouting, RAW, "source addresses of pods", antispoof())),
        ("from-pods", base(HookPoint::Forward, FILTER, "egress of pods", from_pods())),
        ("to-pods", base(HookPoint::Forward, FILTER + 1, "ingress of pods", to_pods())),
        ("pods-to-host", base(HookPoint::Input, FILTER, "pods to their node", pods_to_host())),
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
            let spec = Arc::new(SetSpec { key, interval: false, verdicts, comment });
            (name.into(), SetUse { spec, source: Source::Dispatch })
        })
        .collect();
    let chains = chains.into_iter().map(|(name, chain)| (name.into(), Arc::new(chain))).collect();
    Lowered { chains, sets }
}

fn base(point: HookPoint, priority: i32, comment: &str, rules: Vec<Rule>) -> Chain {
    Chain { hook: Some(Hook { point, priority }), comment: comment.to_owned(), rules }
}

fn rule(criteria: Vec<Criterion>, verdict: Verdict) -> Rule {
    Rule { criteria, counter: false, target: Target::Verdict(verdict), comment: String::new() }
}

fn drop_as(criteria: Vec<Criterion>, decision: &DecisionId) -> Rule {
    Rule {
        criteria,
        counter: true,
        target: Target::Verdict(Verdict::Drop),
        comment: decision.to_string(),
    }
}

fn named(mut rule: Rule, decision: &DecisionId) -> Rule {
    rule.comment = decision.to_string();
    rule
}

fn own_source(family: Family, set: &str) -> Rule {
    rule(vec![Criterion::OwnSource { family, set: set.into() }], Verdict::Accept)
}

/// The lookup stands first, so that a packet of a pod passes one rule.
fn antispoof() -> Vec<Rule> {
    let mut rules = vec![
        own_source(Family::V4, OWN_SOURCES_V4),
        own_source(Family::V6, OWN_SOURCES_V6),
        rule(vec![Criterion::PodInterface { input: true, equal: false }], Verdict::Accept),
    ];
    // Neighbour discovery and MLD speak from link-local addresses and, before an address is
    // confirmed, from none (RFC 4861, RFC 4862 §5.4, RFC 3810 §5.2.13). The kernel forwards neither.
    for source in ["fe80::/10", "::/128"] {
        let net = source.parse().expect("a literal prefix");
        let from = Criterion::Prefix { side: Side::Source, equal: true, net };
        rules.extend(neighbour_discovery(&[from]));
    }
    rules.push(drop_as(Vec::new(), &DecisionId::Spoof));
    rules
}

/// Types 130–133, 135 and 136, not 134: a pod must not advertise itself as a router (K34).
fn neighbour_discovery(criteria: &[Criterion]) -> Vec<Rule> {
    let accept = |first, last| {
        let mut criteria = vec![Criterion::Family(Family::V6)];
        criteria
            .extend_from_slice(&[Criterion::Protocol { equal: true, protocol: Protocol::ICMPV6 }]);
        criteria.push(Criterion::IcmpType { family: Family::V6, equal: true, first, last });
        criteria
    };
    [(130, 133), (135, 136)]
        .map(|(first, last)| {
            let mut all = accept(first, last);
            all.extend_from_slice(criteria);
            named(rule(all, Verdict::Accept), &DecisionId::NeighbourDiscovery)
        })
        .to_vec()
}

fn from_pods() -> Vec<Rule> {
    judge(true, EGRESS, Vec::new())
}

fn to_pods() -> Vec<Rule> {
    judge(false, INGRESS, Vec::new())
}

fn pods_to_host() -> Vec<Rule> {
    judge(true, EGRESS, neighbour_discovery(&[]))
}

fn judge(input: bool, map: &str, exempt: Vec<Rule>) -> Vec<Rule> {
    let established = rule(vec![Criterion::CtState(CtState::Accepted)], Verdict::Accept);
    let foreign = rule(vec![Criterion::PodInterface { input, equal: false }], Verdict::Accept);
    let invalid = drop_as(vec![Criterion::CtState(CtState::Invalid)], &DecisionId::Invalid);
    let key = if input { MapKey::InputInterface } else { MapKey::OutputInterface };
    let dispatch = Rule {
        criteria: Vec::new(),
        counter: false,
        target: Target::Map(key, map.into()),
        comment: String::new(),
    };
    let mut rules = vec![established, foreign];
    rules.extend(exempt);
    rules.extend([invalid, dispatch, drop_as(Vec::new(), &DecisionId::UnknownEndpoint)]);
    rules
}
