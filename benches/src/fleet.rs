//! A node's policies of ordinary shapes: a thousand of ten rules, ten of them for each of a hundred
//! pods, and what a user would write of them by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use brindle_model::NamespacedName;
use brindle_model::cluster::EndpointId;
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::DEFAULT_TIER;
use brindle_model::ruleset::{
    Action, Endpoint, Match, Member, PolicyRules, PortMatch, Program, ProgramId, Rule, Ruleset,
    RulesetDelta, Set, SetDef, SetId, Side, Stage, TierEnd, TierStep,
};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};
use ipnet::IpNet;

/// Policies.
pub const POLICIES: u32 = 1_000;
/// Rules of each.
pub const RULES: u32 = 10;
/// Pods on the node.
pub const PODS: u32 = 100;
/// Members of the set that the first rule of each policy names.
pub const MEMBERS: u32 = 20_000;

/// The n-th address: of a pod of this node first, then of others.
pub fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

/// The set of all pods.
pub fn set() -> SetDef {
    SetDef::Selector(Selector::All)
}

/// The set of the n-th prefix.
fn nets(n: u32) -> SetDef {
    SetDef::Cidrs(vec![net(n)])
}

fn net(n: u32) -> IpNet {
    let net = format!("172.{}.{}.0/24", 16 + n / 256 % 16, n % 256);
    net.parse().expect("a prefix")
}

/// The n-th policy's name.
pub fn policy_id(n: u32) -> PolicyId {
    PolicyId::network_policy(&NamespacedName::new("bench", format!("policy-{n}")))
}

/// Rules that admit a prefix each to a port each; the last admits the pods of the set.
pub fn policy(n: u32, rules: u32) -> PolicyRules {
    let rule = |index: u32| {
        let set: SetId = if index == 0 { set().id() } else { nets(n * RULES + index).id() };
        let port = u16::try_from(1000 + (n + index) % 1000).unwrap_or(1000);
        let ports = [PortMatch::Range(PortRange::single(port))].into();
        let matches = Match {
            protocol: Some(Protocol::TCP),
            source: Side { sets: [set].into(), ..Side::default() },
            destination: Side { ports, ..Side::default() },
            ..Match::default()
        };
        let decision =
            DecisionId::Rule { policy: policy_id(n), direction: Direction::Ingress, index };
        Rule { decision, matches, action: Action::Allow }
    };
    PolicyRules { ingress: (0..rules).map(rule).collect(), ..PolicyRules::default() }
}

/// All of it.
pub fn ruleset() -> Ruleset {
    let mut ruleset = Ruleset::default();
    let members = (0..MEMBERS).map(|n| Member::Addr(address(n))).collect();
    ruleset.sets.insert(set().id(), Set { def: set(), members });
    for n in 0..=(POLICIES + 1) * RULES {
        let (def, members) = (nets(n), BTreeSet::from([Member::Net(net(n))]));
        ruleset.sets.insert(def.id(), Set { def, members });
    }
    for n in 0..POLICIES {
        ruleset.policies.insert(policy_id(n), Arc::new(policy(n, RULES)));
    }
    let egress = program(Direction::Egress, Vec::new());
    ruleset.programs.insert(egress.0, egress.1);
    for pod in 0..PODS {
        let each = POLICIES / PODS;
        let policies = (pod * each..(pod + 1) * each).map(policy_id).collect();
        let ingress = program(Direction::Ingress, policies);
        let endpoint = endpoint(pod, ingress.0, egress.0);
        ruleset.programs.insert(ingress.0, ingress.1);
        ruleset.endpoints.insert(endpoint.0, endpoint.1);
    }
    ruleset
}

/// What one more pod brings that has a policy and a program of its own.
pub fn newcomer(number: u32) -> RulesetDelta {
    let policy_number = POLICIES;
    let id = policy_id(policy_number + number);
    let (ingress, program) = program(Direction::Ingress, vec![id.clone()]);
    let (egress, _) = self::program(Direction::Egress, Vec::new());
    RulesetDelta {
        policies: BTreeMap::from([(id, Arc::new(policy(policy_number, RULES)))]),
        programs_added: BTreeMap::from([(ingress, program)]),
        endpoints: BTreeMap::from([endpoint(PODS + number, ingress, egress)]),
        ..RulesetDelta::default()
    }
}

/// A program of these policies; one of none admits everything.
fn program(direction: Direction, policies: Vec<PolicyId>) -> (ProgramId, Arc<Program>) {
    let end = if policies.is_empty() { Verdict::Allow } else { Verdict::Deny };
    let step = TierStep { tier: DEFAULT_TIER.into(), policies, end: TierEnd::Drop };
    let steps = if step.policies.is_empty() { Vec::new() } else { vec![step] };
    let end = (end, DecisionId::Profile { name: "kns.bench".into() });
    let program = Program { stage: Stage::Normal, direction, steps: steps.into(), end };
    (program.id(), Arc::new(program))
}

fn endpoint(pod: u32, ingress: ProgramId, egress: ProgramId) -> (EndpointId, Arc<Endpoint>) {
    let id = EndpointId {
        pod: NamespacedName::new("bench", format!("pod-{pod}")),
        container_id: "bench".into(),
        interface: "eth0".into(),
    };
    let host_interface = format!("brdbench{pod}").into();
    let endpoint = Endpoint { host_interface, addresses: vec![address(pod)], ingress, egress };
    (id, Arc::new(endpoint))
}

/// A rule as one writes it by hand, in one chain with all others.
pub struct ByHand {
    /// The pod that it protects.
    pub pod: IpAddr,
    /// Who may reach it.
    pub from: IpNet,
    /// On which TCP port.
    pub port: u16,
}

/// All policies as such rules.
pub fn by_hand(ruleset: &Ruleset) -> Vec<ByHand> {
    let mut rules = Vec::new();
    for n in 0..POLICIES {
        let pod = address(n / (POLICIES / PODS));
        for (index, rule) in (0..).zip(ruleset.policies[&policy_id(n)].ingress.iter()) {
            if let Some(PortMatch::Range(port)) = rule.matches.destination.ports.first() {
                let all = "10.0.0.0/8".parse().expect("a prefix");
                let from = if index == 0 { all } else { net(n * RULES + index) };
                rules.push(ByHand { pod, from, port: port.first });
            }
        }
    }
    rules
}
