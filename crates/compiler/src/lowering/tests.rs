use std::collections::BTreeSet;

use brindle_model::NamespacedName;
use brindle_model::net::{Family, IcmpMatch, PortRange, Protocol};
use brindle_model::policy::{
    Action, DEFAULT_TIER, End, EndPort, Ends, NETWORK_POLICY_ORDER, Peer, Port, PortSpec,
};
use brindle_model::ruleset::Stage;
use brindle_model::ruleset::{PortMatch, Side};
use brindle_model::selector::Selector;

use super::*;

mod doubts;
mod ends;
mod lists;

const TCP: Protocol = Protocol::TCP;

fn id() -> PolicyId {
    PolicyId::network_policy(&NamespacedName::new("shop", "p"))
}

fn app(value: &str) -> Selector {
    Selector::equals("app", value)
}

/// The lowered form of one rule of a policy that governs `app == "subject"`.
fn lowered(direction: Direction, action: Action, criteria: Criteria) -> Lowered {
    let lowered = lowered_in(&World::default(), direction, action, criteria);
    assert!(lowered.rules.rules(direction).iter().all(|r| r.action == action));
    lowered
}

/// The same, in a world.
fn lowered_in(world: &World, direction: Direction, action: Action, criteria: Criteria) -> Lowered {
    let rules = Some(vec![brindle_model::policy::Rule { index: 3, action, criteria }]);
    let (ingress, egress) = match direction {
        Direction::Ingress => (rules, None),
        Direction::Egress => (None, rules),
    };
    let policy = Policy {
        tier: DEFAULT_TIER.into(),
        order: NETWORK_POLICY_ORDER,
        subject: app("subject").into(),
        stage: Stage::Normal,
        ingress,
        egress,
    };
    let lowered = lower(&id(), &policy, world);
    let decision = DecisionId::Rule { policy: id(), direction, index: 3 };
    let rules = lowered.rules.rules(direction);
    assert!(rules.iter().all(|r| r.decision == decision));
    let defined: BTreeSet<_> = lowered.sets.keys().copied().collect();
    assert_eq!(lowered.rules.sets(), defined, "every set that is named is defined, and no other");
    lowered
}

/// One line a rule: what it asks of the packet, and each side that has criteria as
/// `side(sets; ports)`, negated ones with a `!`.
fn text(lowered: &Lowered) -> Vec<String> {
    let set = |id: &SetId| lowered.sets[id].to_string();
    let port = |port: &PortMatch| match port {
        PortMatch::Range(range) => range.to_string(),
        PortMatch::Named(id) => set(id),
    };
    let side = |name, side: &Side| {
        let not_sets = side.not_sets.iter().map(|id| format!("!{}", set(id)));
        let sets: Vec<_> = side.sets.iter().map(set).chain(not_sets).collect();
        let not_ports = side.not_ports.iter().map(|p| format!("!{}", port(p)));
        let ports: Vec<_> = side.ports.iter().map(port).chain(not_ports).collect();
        match sets.is_empty() && ports.is_empty() {
            true => String::new(),
            false => format!(" {name}({}; {})", sets.join(" & "), ports.join(", ")),
        }
    };
    let rules = lowered.rules.ingress.iter().chain(&lowered.rules.egress);
    rules
        .map(|rule| {
            let m = &rule.matches;
            let family = m.family.map_or(String::new(), |family| format!("{family:?} "));
            let protocol = m.protocol.map_or("any".to_owned(), |p| p.to_string());
            let not_protocol = m.not_protocol.map_or(String::new(), |p| format!(" !{p}"));
            let icmp = |icmp: Option<IcmpMatch>, sign| {
                icmp.map_or(String::new(), |i| format!(" {sign}type {}", i.icmp_type))
            };
            let (icmp, not_icmp) = (icmp(m.icmp, ""), icmp(m.not_icmp, "!"));
            let (from, to) = (side("from", &m.source), side("to", &m.destination));
            format!("{family}{protocol}{not_protocol}{icmp}{not_icmp}{from}{to}")
        })
        .collect()
}
