//! Random small rulesets with every criterion, and packets that hit them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use brindle_model::cluster::EndpointId;
use brindle_model::net::{Family, IcmpMatch, PortRange, Protocol};
use brindle_model::ruleset::Stage;
use brindle_model::ruleset::{
    Action, Endpoint, Match, Member, PolicyRules, PortMatch, Program, Rule, Rules, Ruleset, Set,
    SetDef, SetId, Side, TierEnd, TierStep,
};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, PolicyKind, Verdict};
use brindle_model::{List, Name, NamespacedName};
use ipnet::IpNet;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// The interfaces of the two pods.
pub const INTERFACES: [&str; 2] = ["brda", "brdb"];
/// Ports that rules name.
pub const PORTS: [u16; 4] = [1, 80, 81, 443];

/// Addresses of a pod: three a family.
pub fn addresses(pod: usize) -> Vec<IpAddr> {
    let pod = u8::try_from(pod).expect("few pods");
    let v4 = (1..4).map(|i| Ipv4Addr::new(10, 0, pod, i).into());
    let v6 = (1..4).map(|i| Ipv6Addr::new(0xfd00, 0, 0, pod.into(), 0, 0, 0, i).into());
    v4.chain(v6).collect()
}

fn address() -> impl Strategy<Value = IpAddr> {
    select([addresses(0), addresses(1)].concat())
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(vec![
        Protocol::TCP,
        Protocol::UDP,
        Protocol::SCTP,
        Protocol::ICMP,
        Protocol::ICMPV6,
        Protocol(47),
    ])
}

fn prefixes() -> impl Strategy<Value = SetDef> {
    vec((address(), select(vec![0u8, 8, 22, 24, 30, 31, 32])), 0..6).prop_map(|nets| {
        let net = |(addr, len): (IpAddr, u8)| {
            let len = if addr.is_ipv6() && len > 0 { len + 96 } else { len };
            IpNet::new(addr, len).expect("the length fits").trunc()
        };
        SetDef::Cidrs(IpNet::aggregate(&nets.into_iter().map(net).collect()))
    })
}

/// Definitions are few, so that members of one set change from ruleset to ruleset.
fn set() -> impl Strategy<Value = Set> {
    let pods = (0..3usize, btree_set(address(), 0..6)).prop_map(|(which, members)| Set {
        def: SetDef::Selector(Selector::equals("set", format!("{which} \"quoted\""))),
        members: members.into_iter().map(Member::Addr).collect(),
    });
    let tuple = (address(), protocol(), select(PORTS.to_vec()));
    let service = |ports| SetDef::Service { service: NamespacedName::new("ns", "web"), ports };
    let port_sets = prop_oneof![
        2 => protocol().prop_map(|protocol| {
            SetDef::NamedPort { name: "web".into(), protocol, selector: Selector::All }
        }),
        1 => Just(service(true)),
    ];
    let ports = (port_sets, btree_set(tuple, 0..6)).prop_map(|(def, members)| Set {
        def,
        members: members.into_iter().map(|(a, p, port)| Member::Port(a, p, port)).collect(),
    });
    let hosts = select(vec![SetDef::Nodes(Selector::All), service(false)]);
    let hosts = (hosts, btree_set(address(), 0..6)).prop_map(|(def, members)| Set {
        def,
        members: members.into_iter().map(Member::Addr).collect(),
    });
    let nets = |def: &SetDef| -> BTreeSet<Member> {
        let SetDef::Cidrs(nets) = def else { unreachable!("prefixes are Cidrs") };
        nets.iter().copied().map(Member::Net).collect()
    };
    let cidrs = prefixes().prop_map(move |def| Set { members: nets(&def), def });
    let network_sets = (0..2usize, prefixes()).prop_map(move |(which, cover)| Set {
        def: SetDef::NetworkSets(Selector::equals("set", which.to_string())),
        members: nets(&cover),
    });
    prop_oneof![2 => pods, 1 => hosts, 1 => ports, 2 => cidrs, 2 => network_sets]
}

/// A set to be chosen among the ruleset's.
type Choice = Index;

fn port_range() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        3 => select(PORTS.to_vec()).prop_map(PortRange::single),
        1 => Just(PortRange { first: 80, last: 100 }),
        1 => Just(PortRange { first: 0, last: u16::MAX }),
        1 => (0..u16::MAX).prop_map(|first| PortRange { first, last: u16::MAX }),
    ]
}

fn port() -> impl Strategy<Value = Result<PortRange, Choice>> {
    prop_oneof![4 => port_range().prop_map(Ok), 1 => any::<Choice>().prop_map(Err)]
}

fn rarely<S: Strategy + 'static>(strategy: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    proptest::option::weighted(0.2, strategy)
}

#[derive(Clone, Debug, Default)]
struct SideChoice {
    sets: Vec<Choice>,
    not_sets: Vec<Choice>,
    ports: Vec<Result<PortRange, Choice>>,
    not_ports: Vec<Result<PortRange, Choice>>,
}

fn none_or(most: usize) -> impl Strategy<Value = usize> {
    prop_oneof![5 => Just(0usize), 2 => Just(1), 1 => 1..most]
}

fn side() -> impl Strategy<Value = SideChoice> {
    let few = prop_oneof![6 => Just(0usize), 3 => Just(1), 1 => Just(2)];
    let choices = few.prop_flat_map(|n| vec(any::<Choice>(), n));
    let ports = none_or(6).prop_flat_map(|n| vec(port(), n));
    let negated = rarely(negated_side());
    (choices, ports, negated).prop_map(|(sets, ports, negated)| {
        let negated = negated.unwrap_or_default();
        SideChoice { sets, ports, ..negated }
    })
}

/// Only negated criteria.
fn negated_side() -> impl Strategy<Value = SideChoice> {
    let not_sets = none_or(3).prop_flat_map(|n| vec(any::<Choice>(), n));
    let not_ports = none_or(6).prop_flat_map(|n| vec(port(), n));
    (not_sets, not_ports).prop_map(|(not_sets, not_ports)| SideChoice {
        not_sets,
        not_ports,
        ..SideChoice::default()
    })
}

#[derive(Clone, Debug)]
struct RuleChoice {
    criteria: Criteria,
    action: Action,
    /// Another piece of the user's rule before it.
    piece: bool,
}

type Criteria = (
    Option<Family>,
    Option<Protocol>,
    Option<Protocol>,
    Option<IcmpMatch>,
    Option<IcmpMatch>,
    SideChoice,
    SideChoice,
);

fn icmp() -> impl Strategy<Value = IcmpMatch> {
    let code = proptest::option::of(0..2u8);
    (select(vec![8u8, 128, 3]), code).prop_map(|(icmp_type, code)| IcmpMatch { icmp_type, code })
}

fn rule() -> impl Strategy<Value = RuleChoice> {
    let mixed = (
        rarely(select(Family::ALL.to_vec())),
        proptest::option::weighted(0.6, protocol()),
        rarely(protocol()),
        rarely(icmp()),
        rarely(icmp()),
        side(),
        side(),
    );
    let negated = (
        Just(None),
        Just(None),
        proptest::option::of(protocol()),
        Just(None),
        proptest::option::of(icmp()),
        negated_side(),
        negated_side(),
    );
    let action = prop_oneof![
        4 => Just(Action::Allow),
        2 => Just(Action::Deny),
        1 => Just(Action::Pass),
        1 => Just(Action::Log),
    ];
    let piece = prop::bool::weighted(0.25);
    let criteria = prop_oneof![4 => mixed, 1 => negated];
    (criteria, action, piece).prop_map(|(criteria, action, piece)| RuleChoice {
        criteria,
        action,
        piece,
    })
}

fn lower_side(side: &SideChoice, sets: &BTreeMap<SetId, Set>) -> Side {
    let ids: Vec<SetId> = sets.keys().copied().collect();
    let pick = |choices: &[Choice]| -> List<SetId> {
        if ids.is_empty() {
            return List::new();
        }
        choices.iter().map(|choice| *choice.get(&ids)).collect()
    };
    let ports = |ports: &[Result<PortRange, Choice>]| {
        let port = |port: &Result<PortRange, Choice>| match port {
            Ok(range) => Some(PortMatch::Range(*range)),
            Err(choice) if !ids.is_empty() => Some(PortMatch::Named(*choice.get(&ids))),
            Err(_) => None,
        };
        ports.iter().filter_map(port).collect()
    };
    Side {
        sets: pick(&side.sets),
        not_sets: pick(&side.not_sets),
        ports: ports(&side.ports),
        not_ports: ports(&side.not_ports),
    }
}

/// How many policies there are, the same number in each of the tiers.
const POLICIES: usize = 12;
const TIERS: usize = 4;

fn policy_id(at: usize) -> PolicyId {
    let named = |kind, namespace: Option<&str>, name: &str| PolicyId {
        name: name.into(),
        namespace: namespace.map(Name::from),
        kind,
    };
    match at {
        // Equal names, in several tiers.
        0 => named(PolicyKind::KubernetesNetworkPolicy, Some("ns"), "web"),
        1 => named(PolicyKind::NetworkPolicy, Some("ns"), "web"),
        2 => named(PolicyKind::StagedKubernetesNetworkPolicy, Some("ns"), "web"),
        3 => named(PolicyKind::StagedNetworkPolicy, Some("ns"), "web"),
        4 => named(PolicyKind::GlobalNetworkPolicy, None, "web"),
        5 => named(PolicyKind::StagedGlobalNetworkPolicy, None, "web"),
        // One that does not fit into the name of a chain.
        6 => named(PolicyKind::NetworkPolicy, Some("ns"), &"x".repeat(253)),
        7 => named(PolicyKind::ClusterNetworkPolicy, None, "web"),
        8 => named(PolicyKind::ClusterNetworkPolicy, None, "db"),
        9 => named(PolicyKind::NetworkPolicy, Some("ns"), "db"),
        10 => named(PolicyKind::NetworkPolicy, Some("db"), "db"),
        _ => named(PolicyKind::GlobalNetworkPolicy, None, "db"),
    }
}

fn rules(
    choices: &[RuleChoice],
    sets: &BTreeMap<SetId, Set>,
    policy: &PolicyId,
    direction: Direction,
) -> Vec<Rule> {
    let mut user: Option<(u32, Action)> = None;
    let lower = |RuleChoice { criteria, action, piece }: &RuleChoice| {
        let (family, protocol, not_protocol, icmp, not_icmp, source, destination) = criteria;
        let (index, action) = match user {
            None => (0, *action),
            Some((index, action)) if *piece => (index, action),
            Some((index, _)) => (index + 1, *action),
        };
        user = Some((index, action));
        Rule {
            decision: DecisionId::Rule { policy: policy.clone(), direction, index },
            matches: Match {
                family: *family,
                protocol: *protocol,
                not_protocol: *not_protocol,
                icmp: *icmp,
                not_icmp: *not_icmp,
                source: lower_side(source, sets),
                destination: lower_side(destination, sets),
            },
            action,
        }
    };
    choices.iter().map(lower).collect()
}

/// Rules of one port each, so many that they are joined.
fn many() -> impl Strategy<Value = Vec<RuleChoice>> {
    let ports = vec![1u16, 2, 3, 4, 5, 6, 7, 8, 80, 81, 443];
    let one = (any::<Choice>(), select(ports), any::<bool>());
    let action = prop_oneof![5 => Just(Action::Allow), 1 => Just(Action::Deny)];
    // Pieces of few rules, or many rules.
    let pieces = select(vec![0.0, 0.9, 1.0]);
    (vec((one, any::<prop::sample::Index>()), 10..40), action, pieces).prop_map(
        |(all, action, pieces)| {
            let one = |((set, port, from), piece): ((Choice, u16, bool), Index)| {
                let mut peer = SideChoice::default();
                peer.sets.push(set);
                let (mut source, mut destination) = Default::default();
                *(if from { &mut source } else { &mut destination }) = peer;
                destination.ports = vec![Ok(PortRange::single(port))];
                let criteria = (None, Some(Protocol::TCP), None, None, None, source, destination);
                let piece = (piece.index(10) as f64) < pieces * 10.0;
                RuleChoice { criteria, action, piece }
            };
            all.into_iter().map(one).collect()
        },
    )
}

fn rule_list() -> impl Strategy<Value = Vec<RuleChoice>> {
    prop_oneof![4 => vec(rule(), 0..5), 1 => many()]
}

/// Policies that govern an endpoint, and which tiers drop at their end.
pub type Tiers = (BTreeSet<usize>, Vec<bool>);

pub fn tiers() -> impl Strategy<Value = Tiers> {
    (btree_set(0..POLICIES, 0..9), vec(prop::bool::weighted(0.3), TIERS))
}

pub fn program(direction: Direction, tiers: &Tiers, allow: bool) -> Program {
    let (policies, ends) = tiers;
    let step = |(tier, drop): (usize, &bool)| {
        let mine = policies.iter().filter(|at| *at % TIERS == tier);
        let policies: Vec<_> = mine.copied().map(policy_id).collect();
        let end = match policies.iter().all(|id| id.kind.is_staged()) {
            false if *drop => TierEnd::Drop,
            _ => TierEnd::NextTier,
        };
        let tier = format!("tier-{tier}").into();
        (!policies.is_empty()).then_some(TierStep { tier, policies, end })
    };
    let steps = ends.iter().enumerate().filter_map(step);
    let verdict = if allow { Verdict::Allow } else { Verdict::Deny };
    let end = (verdict, DecisionId::Profile { name: "kns.test".into() });
    Program { stage: Stage::Normal, direction, steps: steps.collect(), end }
}

/// A ruleset of two pods.
pub fn ruleset() -> impl Strategy<Value = Ruleset> {
    let policies = vec((rule_list(), rule_list()), POLICIES);
    let programs = vec((tiers(), tiers(), prop::bool::weighted(0.7)), 2);
    (vec(set(), 0..8), policies, programs, vec(prop::bool::weighted(0.95), 2)).prop_map(
        |(sets, policies, programs, present)| {
            let sets: BTreeMap<_, _> = sets.into_iter().map(|set| (set.def.id(), set)).collect();
            let mut ruleset = Ruleset { sets, ..Ruleset::default() };
            for (at, (ingress, egress)) in policies.iter().enumerate() {
                let id = policy_id(at);
                let body = PolicyRules {
                    ingress: rules(ingress, &ruleset.sets, &id, Direction::Ingress).into(),
                    egress: rules(egress, &ruleset.sets, &id, Direction::Egress).into(),
                };
                ruleset.policies.insert(id, Arc::new(body));
            }
            for (pod, (ingress, egress, allow)) in programs.iter().enumerate() {
                let ingress = program(Direction::Ingress, ingress, *allow);
                let egress = program(Direction::Egress, egress, *allow);
                let endpoint = Endpoint {
                    host_interface: INTERFACES[pod].into(),
                    addresses: addresses(pod),
                    ingress: ingress.id(),
                    egress: egress.id(),
                };
                for program in [ingress, egress] {
                    ruleset.programs.insert(program.id(), Arc::new(program));
                }
                if present[pod] {
                    ruleset.endpoints.insert(endpoint_id(pod), Arc::new(endpoint));
                }
            }
            ruleset
        },
    )
}

/// The id of a pod's endpoint.
pub fn endpoint_id(pod: usize) -> EndpointId {
    EndpointId {
        pod: NamespacedName::new("ns", format!("pod-{pod}")),
        container_id: Name::from("container"),
        interface: Name::from("eth0"),
    }
}

/// A fixed ruleset: two pods under one policy of three rules, with a set of pods, a set of
/// prefixes, and a set of ports.
pub fn one_set() -> Ruleset {
    let mut ruleset = Ruleset::default();
    let pods = SetDef::Selector(Selector::equals("app", "web"));
    let nets = SetDef::Cidrs(vec![
        "10.0.0.0/30".parse().expect("a prefix"),
        "10.0.9.0/24".parse().expect("a prefix"),
        "fd00:0:0:9::/64".parse().expect("a prefix"),
    ]);
    let [pods, nets] = [(pods, addresses(1).into_iter().map(Member::Addr).collect()), {
        let SetDef::Cidrs(all) = &nets else { unreachable!("just made") };
        let members = all.iter().copied().map(Member::Net).collect();
        (nets, members)
    }]
    .map(|(def, members)| {
        let id = def.id();
        ruleset.sets.insert(id, Set { def, members });
        id
    });
    let id = PolicyId::network_policy(&NamespacedName::new("ns", "one"));
    let rules = |direction| -> Rules {
        let port = |ports: &[u16]| {
            let one = |port: &u16| PortMatch::Range(PortRange::single(*port));
            ports.iter().map(one).collect()
        };
        let list = [(pods, port(&[80])), (nets, port(&[1, 3, 5, 7]))];
        let indexed = (0..).zip(list);
        let rule = |(index, (set, ports)): (u32, (SetId, List<PortMatch>))| Rule {
            decision: DecisionId::Rule { policy: id.clone(), direction, index },
            matches: Match {
                protocol: Some(Protocol::TCP),
                source: Side { sets: [set].into(), ..Side::default() },
                destination: Side { ports, ..Side::default() },
                ..Match::default()
            },
            action: Action::Allow,
        };
        indexed.map(rule).collect()
    };
    let body = PolicyRules { ingress: rules(Direction::Ingress), egress: rules(Direction::Egress) };
    ruleset.policies.insert(id.clone(), Arc::new(body));
    let [ingress, egress] = [Direction::Ingress, Direction::Egress].map(|direction| {
        let policies = vec![id.clone()];
        let step = TierStep { tier: "default".into(), policies, end: TierEnd::Drop };
        let end = (Verdict::Deny, DecisionId::Profile { name: "kns.ns".into() });
        let program = Program { stage: Stage::Normal, direction, steps: vec![step].into(), end };
        let id = program.id();
        ruleset.programs.insert(id, Arc::new(program));
        id
    });
    for (pod, interface) in INTERFACES.into_iter().enumerate() {
        let addresses = addresses(pod);
        let endpoint = Endpoint { host_interface: interface.into(), addresses, ingress, egress };
        ruleset.endpoints.insert(endpoint_id(pod), Arc::new(endpoint));
    }
    ruleset
}
