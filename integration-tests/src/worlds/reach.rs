//! Rules of the policy semantics that the oracle does not name in its trace: by what it shows that a
//! world reaches them, or which test does, where worlds of policies and packets cannot.

use brindle_model::NamespacedName;
use brindle_model::packet::{Flow, Origin, Transport};
use brindle_model::verdict::{DecisionId, Direction, PolicyId, PolicyKind, Verdict};
use brindle_oracle::{Outcome, Place, World};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;

/// Whether the outcome of a flow depends on a rule.
pub type Reaches = fn(&World, &Flow, &Outcome) -> bool;

/// Rules that are recognised by their outcome.
pub const BY_OUTCOME: &[(&str, Reaches)] = &[
    // One side stops what the other admits.
    ("K3", |_, _, outcome| {
        let verdict = |direction| outcome.hops.iter().find(|h| h.direction == direction);
        let [ingress, egress] = Direction::ALL.map(verdict);
        ingress.zip(egress).is_some_and(|(a, b)| a.verdict != b.verdict)
    }),
    ("K4", |world, _, outcome| {
        let mut deciding = deciders(outcome).filter_map(|id| network_policy(world, id));
        deciding.any(|p| p.spec.as_ref().is_some_and(|spec| spec.pod_selector.is_none()))
    }),
    // A rule without peers and ports admits everything.
    ("K7", |world, _, outcome| {
        let mut deciding = deciders(outcome).filter_map(|id| network_policy(world, id));
        deciding.any(|policy| {
            let rules = policy.spec.iter().flat_map(|spec| spec.ingress.iter().flatten());
            rules.into_iter().any(|rule| rule.from.is_none() && rule.ports.is_none())
        })
    }),
    ("K12", |world, flow, outcome| {
        let bare = |id: &NamespacedName| {
            let mut namespaces = world.namespaces.iter();
            let named = namespaces.find(|n| n.metadata.name.as_deref() == Some(&*id.namespace));
            named.is_some_and(|n| n.metadata.labels.is_none())
        };
        matches!(&flow.origin, Origin::Pod(id) if bare(id)) && notes(outcome, "K10", true)
    }),
    ("K22", |world, flow, outcome| {
        let twice = |pod: &Pod| {
            let containers = pod.spec.iter().flat_map(|s| &s.containers);
            let ports = containers.filter_map(|c| c.ports.as_ref());
            let names: Vec<_> = ports.flatten().filter_map(|p| p.name.as_ref()).collect();
            (1..names.len()).any(|i| names[..i].contains(&names[i]))
        };
        let mut destinations = at(world, flow.packet.destination);
        destinations.any(twice) && notes(outcome, "K20", true)
    }),
    ("K23", |_, flow, outcome| {
        let sctp = matches!(flow.packet.transport, Transport::Sctp { .. });
        sctp && ["K17", "K18", "K19"].iter().any(|rule| notes(outcome, rule, true))
    }),
    ("K27", |world, flow, _| {
        let host = |pod: &Pod| pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
        let origin = matches!(&flow.origin, Origin::Pod(id) if pod(world, id).is_some_and(host));
        origin || at(world, flow.packet.destination).any(host)
    }),
    ("K28", |world, flow, outcome| {
        let Origin::Pod(id) = &flow.origin else { return false };
        let own = at(world, flow.packet.destination).any(|pod| is(pod, id));
        own && outcome.delivered && outcome.hops.is_empty()
    }),
    ("K35", |_, flow, outcome| flow.packet.source.is_ipv6() && notes(outcome, "K10", true)),
    ("K38", |world, flow, _| {
        let finished = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let origin =
            matches!(&flow.origin, Origin::Pod(id) if pod(world, id).is_some_and(finished));
        origin || at(world, flow.packet.destination).any(finished)
    }),
    // An address that more than one pod lists: the finished one has lost it.
    ("K39", |world, flow, outcome| {
        at(world, flow.packet.destination).count() > 1 && !outcome.hops.is_empty()
    }),
    ("C12", |_, _, outcome| words(outcome, "projectcalico.org/")),
    ("C13", |_, _, outcome| notes(outcome, "C27", true)),
    // A Kubernetes NetworkPolicy among others of its tier.
    ("C30", |world, _, outcome| {
        let others = !world.tiered_policies.is_empty() || !world.global_network_policies.is_empty();
        others && deciders(outcome).any(|id| id.kind == PolicyKind::KubernetesNetworkPolicy)
    }),
    ("C31", |_, _, outcome| words(outcome, "broken: ")),
    ("C32", |_, _, outcome| {
        deciders(outcome).any(|id| id.kind == PolicyKind::ClusterNetworkPolicy)
    }),
    // Baseline is asked behind the default tier.
    ("A1", |world, _, outcome| {
        deciders(outcome).any(|id| {
            let mut policies = world.cluster_network_policies.iter();
            id.kind == PolicyKind::ClusterNetworkPolicy
                && policies.any(|p| {
                    p.metadata.name.as_deref() == Some(&*id.name) && p.spec.tier == "Baseline"
                })
        })
    }),
    // The tier of NetworkPolicies is final, and Baseline not asked.
    ("A3", |world, _, outcome| {
        let baseline = world.cluster_network_policies.iter().any(|p| p.spec.tier == "Baseline");
        let end = DecisionId::TierEnd { tier: "default".into() };
        baseline && outcome.hops.iter().any(|hop| hop.decision == end)
    }),
    ("A7", |_, _, outcome| notes(outcome, "K31", true) || notes(outcome, "K32", true)),
    // A tier of one's own before that of administrators.
    ("A17", |world, _, outcome| {
        let early = |tier: &str| {
            let mut tiers = world.tiers.iter();
            tiers.any(|t| {
                t.metadata.name.as_deref() == Some(tier) && t.spec.order.is_some_and(|o| o < 1e3)
            })
        };
        let denied = |hop: &brindle_oracle::Hop| match &hop.decision {
            DecisionId::TierEnd { tier } => early(tier),
            _ => false,
        };
        !world.cluster_network_policies.is_empty()
            && outcome.hops.iter().any(|hop| hop.verdict == Verdict::Deny && denied(hop))
    }),
];

/// Rules that no world of policies and packets reaches, and what holds them instead.
pub const ELSEWHERE: &[(&str, &str)] = &[
    ("K9", "compiler/tests/walk: edits and deletions equal a fresh compile"),
    ("K15", "cases/cidr: a packet is judged by the addresses that the hook sees"),
    ("K25", "packets are judged behind DNAT: model/src/packet.rs says so of every packet"),
    ("K26", "packets are judged before SNAT of this node, likewise"),
    ("K29", "oracle/tests/rules, ctl/tests/services: flows are stated behind DNAT, and K28 there"),
    ("K33", "tests/tracked: a tracked connection under other policy"),
    ("K36", "agent/tests/enforce: ADD returns when the pod is closed"),
    ("K40", "what NetworkPolicy cannot say, no world says"),
    ("C2", "cases/ties"),
    ("C8", "sources/tests/suite: 1,025 rules, 257 nets, 51 ports, 21 accounts"),
    ("C14", "model/tests/selector: literals that look like functions"),
    ("C15", "tests/metamorphic: canonical selectors"),
    ("C17", "sources/tests/suite: label selectors onto effective labels"),
    ("C29", "tests/mistakes: an empty set matches everybody, nothing is outside it"),
    ("A6", "cases/ties"),
    ("A14", "as K28 and K29"),
    ("A15", "as K33"),
    ("A16", "as K25"),
    ("A18", "about another project"),
    ("A19", "about what a conformance suite asks for"),
];

/// Every rule number of §1 to §3.
pub fn numbers() -> impl Iterator<Item = String> {
    let of = |letter: char, last: u32| (1..=last).map(move |number| format!("{letter}{number}"));
    of('K', 40).chain(of('C', 41)).chain(of('A', 19))
}

fn deciders(outcome: &Outcome) -> impl Iterator<Item = &PolicyId> {
    outcome.hops.iter().filter_map(|hop| match &hop.decision {
        DecisionId::Rule { policy, .. } => Some(policy),
        _ => None,
    })
}

fn network_policy<'a>(world: &'a World, id: &PolicyId) -> Option<&'a NetworkPolicy> {
    let same = |policy: &&NetworkPolicy| {
        let metadata = &policy.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        metadata.name.as_deref() == Some(&*id.name) && id.namespace.as_deref() == Some(namespace)
    };
    let kubernetes = id.kind == PolicyKind::KubernetesNetworkPolicy;
    world.network_policies.iter().filter(|_| kubernetes).find(same)
}

fn notes(outcome: &Outcome, rule: &str, matched: bool) -> bool {
    let mut steps = outcome.hops.iter().flat_map(|hop| &hop.trace);
    steps.any(|step| step.rule == rule && step.matched == matched)
}

fn words(outcome: &Outcome, text: &str) -> bool {
    let mut steps = outcome.hops.iter().flat_map(|hop| &hop.trace);
    steps.any(|step| !matches!(step.place, Place::Hop) && step.words.contains(text))
}

fn is(pod: &Pod, id: &NamespacedName) -> bool {
    let metadata = &pod.metadata;
    metadata.namespace.as_deref().unwrap_or("default") == &*id.namespace
        && metadata.name.as_deref() == Some(&*id.name)
}

fn pod<'a>(world: &'a World, id: &NamespacedName) -> Option<&'a Pod> {
    world.pods.iter().find(|pod| is(pod, id))
}

/// The pods whose status lists an address, whoever owns it.
fn at(world: &World, addr: std::net::IpAddr) -> impl Iterator<Item = &Pod> {
    world.pods.iter().filter(move |pod| {
        let ips = pod.status.iter().flat_map(|s| s.pod_ips.iter().flatten());
        ips.into_iter().any(|ip| ip.ip.parse() == Ok(addr))
    })
}
