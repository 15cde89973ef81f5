//! Policies of every kind in the order in which they are asked (C2, C30, C32).

use std::borrow::Cow;
use std::cmp::Ordering;

use brindle_api::{
    ClusterNetworkPolicySpec, GlobalNetworkPolicySpec, NetworkPolicySpec, PolicyRule,
};
use brindle_model::policy::{ADMIN_TIER, BASELINE_TIER, DEFAULT_TIER};
use brindle_model::verdict::{PolicyId, PolicyKind};
use k8s_openapi::api::networking::v1::NetworkPolicySpec as KubernetesSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::subject::Subject;
use crate::tier::Tier;
use crate::trace::{Action, Trace};
use crate::walk::Asked;
use crate::world::{World, name_of, namespace_of};
use crate::{cluster_network_policy, network_policy, policy_rule};

/// C30: the order of every Kubernetes NetworkPolicy in tier `default`.
const KUBERNETES_ORDER: f64 = 1000.0;

/// A policy of any kind, at its place.
pub(crate) struct Policy<'a> {
    pub(crate) id: PolicyId,
    pub(crate) tier: Tier<'a>,
    /// Last if none is given.
    order: f64,
    spec: Spec<'a>,
}

enum Spec<'a> {
    Kubernetes(Option<Cow<'a, KubernetesSpec>>),
    Namespaced(&'a NetworkPolicySpec),
    Global(&'a GlobalNetworkPolicySpec),
    Cluster(&'a ClusterNetworkPolicySpec),
}

/// Most rules of one direction of a NetworkPolicy or GlobalNetworkPolicy (C8), and of a
/// ClusterNetworkPolicy (§3).
const MAX_RULES: usize = 1024;
const MAX_CLUSTER_RULES: usize = 25;

/// The rules of a policy, in the direction that is asked about.
pub(crate) enum Rules<'a> {
    Kubernetes(Vec<network_policy::Rule<'a>>),
    Ends(&'a [PolicyRule]),
    Cluster(Vec<cluster_network_policy::Rule<'a>>),
    /// More than there may be. Which of them count nobody knows: together they deny everything.
    TooMany,
}

/// Every policy, in the order of the walk: by tier, order, name, namespace and kind.
pub(crate) fn in_order(world: &World) -> Vec<Policy<'_>> {
    let mut policies: Vec<_> = kubernetes(world)
        .chain(namespaced(world))
        .chain(global(world))
        .chain(cluster(world))
        .collect();
    policies.sort_by(|a, b| {
        // C2: a tie of orders, two of none included, by the tuple; A6: of priorities likewise.
        a.tier
            .compare(&b.tier)
            .then(a.order.partial_cmp(&b.order).unwrap_or(Ordering::Equal))
            .then_with(|| tuple(&a.id).cmp(&tuple(&b.id)))
    });
    policies
}

fn tuple(id: &PolicyId) -> (&str, &str, &str) {
    let kind = match id.kind {
        PolicyKind::ClusterNetworkPolicy => "ClusterNetworkPolicy",
        PolicyKind::GlobalNetworkPolicy => "GlobalNetworkPolicy",
        PolicyKind::KubernetesNetworkPolicy => "KubernetesNetworkPolicy",
        PolicyKind::NetworkPolicy => "NetworkPolicy",
        PolicyKind::StagedGlobalNetworkPolicy => "StagedGlobalNetworkPolicy",
        PolicyKind::StagedKubernetesNetworkPolicy => "StagedKubernetesNetworkPolicy",
        PolicyKind::StagedNetworkPolicy => "StagedNetworkPolicy",
    };
    (&id.name, id.namespace.as_deref().unwrap_or_default(), kind)
}

fn id(metadata: &ObjectMeta, kind: PolicyKind, namespaced: bool) -> PolicyId {
    let namespace = namespaced.then(|| namespace_of(metadata).into());
    PolicyId { name: name_of(metadata).into(), namespace, kind }
}

/// C30: tier default, order 1000.
fn kubernetes(world: &World) -> impl Iterator<Item = Policy<'_>> {
    let enforced = world.network_policies.iter().map(|object| {
        let id = id(&object.metadata, PolicyKind::KubernetesNetworkPolicy, true);
        (id, object.spec.as_ref().map(Cow::Borrowed))
    });
    let staged = world.staged_kubernetes_network_policies.iter();
    let staged = staged.filter(|object| is_set(object.spec.staged_action.as_deref()));
    let staged = staged.map(|object| {
        let id = id(&object.metadata, PolicyKind::StagedKubernetesNetworkPolicy, true);
        (id, Some(Cow::Owned(object.spec.kubernetes())))
    });
    let tier = Tier::named(world, DEFAULT_TIER);
    enforced.chain(staged).map(move |(id, spec)| Policy {
        id,
        tier,
        order: KUBERNETES_ORDER,
        spec: Spec::Kubernetes(spec),
    })
}

fn namespaced(world: &World) -> impl Iterator<Item = Policy<'_>> {
    let enforced = world.tiered_policies.iter();
    let enforced = enforced
        .map(|object| (id(&object.metadata, PolicyKind::NetworkPolicy, true), &object.spec));
    let staged = world.staged_network_policies.iter();
    let staged = staged.filter(|object| is_set(object.spec.staged_action.as_deref()));
    let staged = staged.map(|object| {
        let id = id(&object.metadata, PolicyKind::StagedNetworkPolicy, true);
        (id, &object.spec.policy)
    });
    enforced.chain(staged).map(|(id, spec)| Policy {
        id,
        tier: Tier::named(world, spec.tier.as_deref().unwrap_or(DEFAULT_TIER)),
        order: spec.order.unwrap_or(f64::INFINITY),
        spec: Spec::Namespaced(spec),
    })
}

fn global(world: &World) -> impl Iterator<Item = Policy<'_>> {
    let enforced = world.global_network_policies.iter();
    let enforced = enforced
        .map(|object| (id(&object.metadata, PolicyKind::GlobalNetworkPolicy, false), &object.spec));
    let staged = world.staged_global_network_policies.iter();
    let staged = staged.filter(|object| is_set(object.spec.staged_action.as_deref()));
    let staged = staged.map(|object| {
        let id = id(&object.metadata, PolicyKind::StagedGlobalNetworkPolicy, false);
        (id, &object.spec.policy)
    });
    enforced.chain(staged).map(|(id, spec)| Policy {
        id,
        tier: Tier::named(world, spec.tier.as_deref().unwrap_or(DEFAULT_TIER)),
        order: spec.order.unwrap_or(f64::INFINITY),
        spec: Spec::Global(spec),
    })
}

/// A1, C32: tier kube-admin or kube-baseline, order = priority.
fn cluster(world: &World) -> impl Iterator<Item = Policy<'_>> {
    world.cluster_network_policies.iter().map(|object| {
        // C33: one of an unknown tier governs nothing, wherever it stands.
        let tier = if object.spec.tier == "Baseline" { BASELINE_TIER } else { ADMIN_TIER };
        Policy {
            id: id(&object.metadata, PolicyKind::ClusterNetworkPolicy, false),
            tier: Tier::named(world, tier),
            order: f64::from(object.spec.priority),
            spec: Spec::Cluster(&object.spec),
        }
    })
}

/// C7: Set is the default. Nothing is judged of a policy that would be gone, is to be ignored, or
/// asks for what is not known.
fn is_set(staged_action: Option<&str>) -> bool {
    matches!(staged_action, None | Some("Set"))
}

impl Policy<'_> {
    /// C7: whether it is judged only for reporting.
    pub(crate) fn is_staged(&self) -> bool {
        matches!(
            self.id.kind,
            PolicyKind::StagedGlobalNetworkPolicy
                | PolicyKind::StagedKubernetesNetworkPolicy
                | PolicyKind::StagedNetworkPolicy
        )
    }

    /// The rules with which it governs the subject and direction; `None` if it does not.
    pub(crate) fn governing(&self, asked: &Asked<'_>, trace: &mut Trace) -> Option<Rules<'_>> {
        match &self.spec {
            Spec::Kubernetes(spec) => {
                network_policy::governing(spec.as_deref(), asked, &self.id, trace)
                    .map(Rules::Kubernetes)
            }
            Spec::Namespaced(spec) => Subject::namespaced(spec, &self.id)
                .governing(asked, &self.id, trace)
                .map(Rules::ends),
            Spec::Global(spec) => {
                Subject::global(spec).governing(asked, &self.id, trace).map(Rules::ends)
            }
            Spec::Cluster(spec) => {
                let rules = cluster_network_policy::governing(spec, asked, &self.id, trace)?;
                let few = rules.len() <= MAX_CLUSTER_RULES;
                Some(if few { Rules::Cluster(rules) } else { Rules::TooMany })
            }
        }
    }
}

impl<'a> Rules<'a> {
    fn ends(rules: &'a [PolicyRule]) -> Self {
        if rules.len() > MAX_RULES { Self::TooMany } else { Self::Ends(rules) }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Kubernetes(rules) => rules.len(),
            Self::Ends(rules) => rules.len(),
            Self::Cluster(rules) => rules.len(),
            Self::TooMany => 1,
        }
    }

    /// What the rule at this place says of the packet: what happens to it, or nothing.
    pub(crate) fn ask(
        &self,
        at: usize,
        asked: &Asked<'_>,
        policy: &PolicyId,
        trace: &mut Trace,
    ) -> Option<Action> {
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        match self {
            Self::Kubernetes(rules) => network_policy::ask(&rules[at], asked, policy, index, trace),
            Self::Ends(rules) => policy_rule::ask(&rules[at], asked, policy, index, trace),
            Self::Cluster(rules) => {
                cluster_network_policy::ask(&rules[at], asked, policy, index, trace)
            }
            Self::TooMany => {
                let fault = ("C8", "more rules than there may be".to_owned());
                policy_rule::broken(Action::Deny, fault, policy, index, trace)
            }
        }
    }
}
