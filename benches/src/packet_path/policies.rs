//! The policies on the path: both pods under them, in both directions. Of all their entries the last
//! admits the traffic.

use std::fmt::Write;
use std::sync::Arc;

use brindle_model::NamespacedName;
use brindle_model::cluster::EndpointId;
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::DEFAULT_TIER;
use brindle_model::ruleset::{
    Action, Endpoint, Match, Member, PolicyRules, PortMatch, Program, Rule, Ruleset, Set, SetDef,
    Side, Stage, TierEnd, TierStep,
};
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::traffic::PORT;
use crate::pods::{INTERFACES, addresses};

/// Entries of a policy that is large by itself, of each family, in each direction.
pub const ENTRIES: u32 = 10_000;
/// What is admitted.
const PROTOCOLS: [Protocol; 2] = [Protocol::TCP, Protocol::UDP];

/// One policy that admits [`ENTRIES`] prefixes and the other pod to one port.
pub fn of_prefixes() -> Ruleset {
    let mut ruleset = Ruleset::default();
    let id = policy_id(0);
    let mut rules = |direction, peer| {
        let mut nets: Vec<IpNet> = (0..ENTRIES).flat_map(|i| entry(i, 28, 124)).collect();
        nets.extend(addresses(peer).map(IpNet::from));
        let mut of = |to| rule(&mut ruleset, (&id, 0), direction, nets.clone(), to);
        PROTOCOLS.map(|protocol| of((protocol, PORT))).to_vec()
    };
    let rules = PolicyRules {
        ingress: rules(Direction::Ingress, 0).into(),
        egress: rules(Direction::Egress, 1).into(),
    };
    ruleset.policies.insert(id, Arc::new(rules));
    govern_both(ruleset)
}

/// So many policies, each of so many rules of one peer, IPv4 and IPv6, and one port.
pub fn of_rules(policies: u32, rules_each: u32) -> Ruleset {
    let mut ruleset = Ruleset::default();
    for policy in 0..policies {
        let id = policy_id(policy);
        let last = policy + 1 == policies;
        let mut rules = |direction: Direction, peer: usize| {
            let mut rules = Vec::new();
            let mut admit = |index, net: IpNet, to| {
                rules.push(rule(&mut ruleset, (&id, index), direction, vec![net], to));
            };
            for index in 0..rules_each {
                let number = policy * rules_each + index;
                let to = (Protocol::TCP, port(number));
                entry(number, 32, 128).into_iter().for_each(|net| admit(index, net, to));
            }
            for protocol in PROTOCOLS.into_iter().filter(|_| last) {
                let to = (protocol, PORT);
                addresses(peer).into_iter().for_each(|a| admit(rules_each, a.into(), to));
            }
            rules
        };
        let rules = PolicyRules {
            ingress: rules(Direction::Ingress, 0).into(),
            egress: rules(Direction::Egress, 1).into(),
        };
        ruleset.policies.insert(id, Arc::new(rules));
    }
    govern_both(ruleset)
}

/// The same rules as a chain for `nft -f`, both directions in one.
pub fn by_hand(rules: u32) -> String {
    let mut text = "table inet by_hand {\n chain forward {\n\
         type filter hook forward priority 0; policy drop;\n ct state established accept\n"
        .to_owned();
    let mut line = |net: IpNet, protocol: &str, port: u16| {
        let family = if net.addr().is_ipv4() { "ip" } else { "ip6" };
        writeln!(text, "{family} saddr {net} {protocol} dport {port} accept")
            .expect("a String takes everything");
    };
    for index in 0..rules {
        entry(index, 32, 128).into_iter().for_each(|net| line(net, "tcp", port(index)));
    }
    for protocol in ["tcp", "udp"] {
        addresses(0).into_iter().for_each(|peer| line(peer.into(), protocol, PORT));
    }
    text + "}\n}\n"
}

/// A prefix of each family; those of different entries have gaps between them.
fn entry(i: u32, v4: u8, v6: u8) -> [IpNet; 2] {
    let net4 = Ipv4Net::new_assert((0xac10_0000 + i * 32).into(), v4);
    let net6 = Ipv6Net::new_assert(((0xfd01u128 << 112) + u128::from(i) * 32).into(), v6);
    [IpNet::V4(net4), IpNet::V6(net6)]
}

fn port(index: u32) -> u16 {
    u16::try_from(1024 + index % 50_000).unwrap_or(PORT)
}

fn policy_id(number: u32) -> PolicyId {
    PolicyId::network_policy(&NamespacedName::new("bench", format!("policy-{number:05}")))
}

fn rule(
    ruleset: &mut Ruleset,
    (policy, index): (&PolicyId, u32),
    direction: Direction,
    nets: Vec<IpNet>,
    (protocol, port): (Protocol, u16),
) -> Rule {
    let def = SetDef::Cidrs(IpNet::aggregate(&nets));
    let SetDef::Cidrs(nets) = &def else { unreachable!("just made") };
    let members = nets.iter().copied().map(Member::Net).collect();
    let id = def.id();
    ruleset.sets.insert(id, Set { def, members });
    let peer = Side { sets: [id].into(), ..Side::default() };
    let ports = [PortMatch::Range(PortRange::single(port))].into();
    let (source, destination) = match direction {
        Direction::Ingress => (peer, Side { ports, ..Side::default() }),
        Direction::Egress => (Side::default(), Side { ports, ..peer }),
    };
    let matches = Match { protocol: Some(protocol), source, destination, ..Match::default() };
    let decision = DecisionId::Rule { policy: policy.clone(), direction, index };
    Rule { decision, matches, action: Action::Allow }
}

/// Both pods run all policies of the ruleset.
fn govern_both(mut ruleset: Ruleset) -> Ruleset {
    let [ingress, egress] = [Direction::Ingress, Direction::Egress].map(|direction| {
        let policies = ruleset.policies.keys().cloned().collect();
        let step = TierStep { tier: DEFAULT_TIER.into(), policies, end: TierEnd::Drop };
        let end = (Verdict::Deny, DecisionId::Profile { name: "kns.bench".into() });
        let program = Program { stage: Stage::Normal, direction, steps: vec![step].into(), end };
        let id = program.id();
        ruleset.programs.insert(id, Arc::new(program));
        id
    });
    for (pod, interface) in INTERFACES.into_iter().enumerate() {
        let id = EndpointId {
            pod: NamespacedName::new("bench", format!("pod-{pod}")),
            container_id: "bench".into(),
            interface: "eth0".into(),
        };
        let addresses = addresses(pod).to_vec();
        let endpoint = Endpoint { host_interface: interface.into(), addresses, ingress, egress };
        ruleset.endpoints.insert(id, Arc::new(endpoint));
    }
    ruleset
}
