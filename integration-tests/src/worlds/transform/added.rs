//! More objects, which change nothing or only in one way.

use brindle_api::{
    ClusterNetworkPolicy, ClusterNetworkPolicyIngressPeer, ClusterNetworkPolicyIngressRule,
    ClusterNetworkPolicySpec, ClusterNetworkPolicySubject, GlobalNetworkPolicy,
    GlobalNetworkPolicySpec, NetworkPolicy as TieredPolicy, NetworkPolicySpec as TieredSpec,
    PolicyRule, StagedGlobalNetworkPolicy, StagedGlobalNetworkPolicySpec,
    StagedKubernetesNetworkPolicy, StagedKubernetesNetworkPolicySpec, StagedNetworkPolicy,
    StagedNetworkPolicySpec, Tier, TierSpec,
};
use brindle_oracle::World;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::worlds::generate::NAMESPACES;
use crate::worlds::random::Random;

/// With policies of every kind that would close everything, but select nobody.
pub fn with_idle_policies(world: &World) -> World {
    let mut world = world.clone();
    let types = || Some(["Ingress", "Egress"].map(str::to_owned).into());
    let nobody = || {
        let labels = [("app".to_owned(), "nobody".to_owned())].into();
        LabelSelector { match_labels: Some(labels), match_expressions: None }
    };
    let kubernetes = || NetworkPolicySpec {
        pod_selector: Some(nobody()),
        policy_types: types(),
        ..NetworkPolicySpec::default()
    };
    let deny = || vec![PolicyRule { action: "Deny".to_owned(), ..PolicyRule::default() }];
    for namespace in NAMESPACES {
        let metadata = || metadata("idle", Some(namespace));
        world
            .network_policies
            .push(NetworkPolicy { metadata: metadata(), spec: Some(kubernetes()) });
        let spec = TieredSpec {
            tier: Some("idle".to_owned()),
            selector: Some("app == 'nobody'".to_owned()),
            types: types(),
            ingress: deny(),
            egress: deny(),
            ..TieredSpec::default()
        };
        world.tiered_policies.push(TieredPolicy { metadata: metadata(), spec });
    }
    let spec = GlobalNetworkPolicySpec {
        order: Some(0.0),
        selector: Some("!all()".to_owned()),
        types: types(),
        ingress: deny(),
        egress: deny(),
        ..GlobalNetworkPolicySpec::default()
    };
    let idle = GlobalNetworkPolicy { metadata: metadata("idle", None), spec };
    world.global_network_policies.push(idle);
    let all =
        ClusterNetworkPolicyIngressPeer { namespaces: Some(LabelSelector::default()), pods: None };
    let spec = ClusterNetworkPolicySpec {
        tier: "Admin".to_owned(),
        priority: 0,
        subject: ClusterNetworkPolicySubject { namespaces: Some(nobody()), pods: None },
        ingress: vec![ClusterNetworkPolicyIngressRule {
            action: "Deny".to_owned(),
            from: vec![all],
            ..ClusterNetworkPolicyIngressRule::default()
        }],
        egress: Vec::new(),
    };
    let idle = ClusterNetworkPolicy { metadata: metadata("idle", None), spec };
    world.cluster_network_policies.push(idle);
    world
}

/// With a staged copy of every policy of a kind that can be staged.
pub fn with_staged_copies(world: &World) -> World {
    let mut world = world.clone();
    let copied = |metadata: &ObjectMeta| ObjectMeta {
        name: metadata.name.as_ref().map(|name| format!("{name}-copy")),
        ..metadata.clone()
    };
    for policy in world.network_policies.clone() {
        let spec = policy.spec.unwrap_or_default();
        let spec = StagedKubernetesNetworkPolicySpec {
            staged_action: None,
            pod_selector: spec.pod_selector,
            policy_types: spec.policy_types,
            ingress: spec.ingress,
            egress: spec.egress,
        };
        let metadata = copied(&policy.metadata);
        let copy = StagedKubernetesNetworkPolicy { metadata, spec };
        world.staged_kubernetes_network_policies.push(copy);
    }
    for policy in &world.tiered_policies {
        let spec = StagedNetworkPolicySpec { staged_action: None, policy: policy.spec.clone() };
        let copy = StagedNetworkPolicy { metadata: copied(&policy.metadata), spec };
        world.staged_network_policies.push(copy);
    }
    for policy in &world.global_network_policies {
        let policy_spec = policy.spec.clone();
        let spec = StagedGlobalNetworkPolicySpec { staged_action: None, policy: policy_spec };
        let copy = StagedGlobalNetworkPolicy { metadata: copied(&policy.metadata), spec };
        world.staged_global_network_policies.push(copy);
    }
    world
}

/// With a tier whose end is Pass, and in it policies that govern everybody and pass everything.
pub fn with_passing_tier(world: &World, random: &mut Random) -> World {
    let mut world = world.clone();
    let order = *random.pick(&[None, Some(-1.0), Some(1.0), Some(1001.0), Some(2_000_000.0)]);
    let spec = TierSpec { order, default_action: Some("Pass".to_owned()) };
    world.tiers.push(Tier { metadata: metadata("passing", None), spec });
    let pass = |port: i32| PolicyRule {
        action: "Pass".to_owned(),
        protocol: Some(IntOrString::String("TCP".to_owned())),
        destination: brindle_api::EntityRule {
            ports: vec![IntOrString::Int(port)],
            ..brindle_api::EntityRule::default()
        },
        ..PolicyRule::default()
    };
    let all = PolicyRule { action: "Pass".to_owned(), ..PolicyRule::default() };
    for (name, rules) in [("some", vec![pass(80), pass(81)]), ("all", vec![all])] {
        let spec = GlobalNetworkPolicySpec {
            tier: Some("passing".to_owned()),
            order: Some(random.below(3) as f64),
            ingress: rules.clone(),
            egress: rules,
            ..GlobalNetworkPolicySpec::default()
        };
        let policy = GlobalNetworkPolicy { metadata: metadata(name, None), spec };
        world.global_network_policies.push(policy);
    }
    world
}

/// With the rules of another policy appended to each Kubernetes NetworkPolicy that governs by
/// explicit types, so that nothing else changes.
pub fn with_more_rules(world: &World, random: &mut Random) -> World {
    let mut more = world.clone();
    for spec in more.network_policies.iter_mut().filter_map(|policy| policy.spec.as_mut()) {
        let donor = random.pick(&world.network_policies).spec.clone().unwrap_or_default();
        if spec.policy_types.as_ref().is_some_and(|types| !types.is_empty()) {
            spec.ingress.get_or_insert_default().extend(donor.ingress.unwrap_or_default());
            spec.egress.get_or_insert_default().extend(donor.egress.unwrap_or_default());
        }
    }
    more
}

/// Without policies of any other kind than Kubernetes NetworkPolicy.
pub fn kubernetes_alone(world: &World) -> World {
    World {
        tiered_policies: Vec::new(),
        global_network_policies: Vec::new(),
        staged_network_policies: Vec::new(),
        staged_global_network_policies: Vec::new(),
        staged_kubernetes_network_policies: Vec::new(),
        cluster_network_policies: Vec::new(),
        ..world.clone()
    }
}

/// The world with other policies, with its own and those, beside each other; equal names apart.
pub fn joined(world: &World, others: &[NetworkPolicy]) -> [World; 2] {
    let mut others = others.to_vec();
    for name in others.iter_mut().filter_map(|policy| policy.metadata.name.as_mut()) {
        name.push_str("-other");
    }
    let mut other = world.clone();
    other.network_policies = others.clone();
    let mut both = world.clone();
    both.network_policies.extend(others);
    [other, both]
}
