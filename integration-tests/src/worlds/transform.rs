//! Transformations of a world whose effect on every verdict is known without any expected value
//! (§7.1, metamorphic laws).

mod added;
mod mirror;
mod order;
mod rename;
mod spelling;
mod split;

use brindle_api::{EntityRule, PolicyRule};
use brindle_oracle::World;
use k8s_openapi::api::networking::v1::{
    NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

pub use added::{
    joined, kubernetes_alone, with_idle_policies, with_more_rules, with_passing_tier,
    with_staged_copies,
};
pub use mirror::{mirrored, mirrored_flow};
pub use order::{permuted, renumbered, rules_permuted};
pub use rename::{renamed, renamed_flow};
pub use spelling::selectors_rewritten;
pub use split::{allows_denied_again, rules_split};

fn metadata(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ObjectMeta::default()
    }
}

/// The rule lists of a Kubernetes NetworkPolicy, enforced or staged.
struct Kubernetes<'a> {
    pod_selector: &'a mut Option<LabelSelector>,
    ingress: &'a mut Option<Vec<NetworkPolicyIngressRule>>,
    egress: &'a mut Option<Vec<NetworkPolicyEgressRule>>,
}

fn kubernetes(world: &mut World) -> impl Iterator<Item = Kubernetes<'_>> {
    let enforced = world.network_policies.iter_mut().filter_map(|p| p.spec.as_mut());
    let enforced = enforced.map(|s| Kubernetes {
        pod_selector: &mut s.pod_selector,
        ingress: &mut s.ingress,
        egress: &mut s.egress,
    });
    let staged = world.staged_kubernetes_network_policies.iter_mut().map(|p| &mut p.spec);
    enforced.chain(staged.map(|s| Kubernetes {
        pod_selector: &mut s.pod_selector,
        ingress: &mut s.ingress,
        egress: &mut s.egress,
    }))
}

impl<'a> Kubernetes<'a> {
    fn peers(self) -> impl Iterator<Item = &'a mut Vec<NetworkPolicyPeer>> {
        let from = self.ingress.iter_mut().flatten().filter_map(|rule| rule.from.as_mut());
        from.chain(self.egress.iter_mut().flatten().filter_map(|rule| rule.to.as_mut()))
    }

    fn ports(self) -> impl Iterator<Item = &'a mut Vec<NetworkPolicyPort>> {
        let ingress = self.ingress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
        ingress.chain(self.egress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut()))
    }
}

/// What every tiered policy has, enforced or staged.
struct Tiered<'a> {
    order: &'a mut Option<f64>,
    selector: &'a mut Option<String>,
    service_account_selector: &'a mut Option<String>,
    /// Of a GlobalNetworkPolicy.
    namespace_selector: Option<&'a mut Option<String>>,
    ingress: &'a mut Vec<PolicyRule>,
    egress: &'a mut Vec<PolicyRule>,
}

fn tiered(world: &mut World) -> impl Iterator<Item = Tiered<'_>> {
    let namespaced = world.tiered_policies.iter_mut().map(|p| &mut p.spec);
    let staged = world.staged_network_policies.iter_mut().map(|p| &mut p.spec.policy);
    let namespaced = namespaced.chain(staged).map(|s| Tiered {
        order: &mut s.order,
        selector: &mut s.selector,
        service_account_selector: &mut s.service_account_selector,
        namespace_selector: None,
        ingress: &mut s.ingress,
        egress: &mut s.egress,
    });
    let global = world.global_network_policies.iter_mut().map(|p| &mut p.spec);
    let staged = world.staged_global_network_policies.iter_mut().map(|p| &mut p.spec.policy);
    namespaced.chain(global.chain(staged).map(|s| Tiered {
        order: &mut s.order,
        selector: &mut s.selector,
        service_account_selector: &mut s.service_account_selector,
        namespace_selector: Some(&mut s.namespace_selector),
        ingress: &mut s.ingress,
        egress: &mut s.egress,
    }))
}

/// Every rule of every tiered policy.
fn rules(world: &mut World) -> impl Iterator<Item = &mut PolicyRule> {
    tiered(world).flat_map(|policy| policy.ingress.iter_mut().chain(policy.egress.iter_mut()))
}

/// Both ends of each.
fn ends(world: &mut World) -> impl Iterator<Item = &mut EntityRule> {
    rules(world).flat_map(|rule| [&mut rule.source, &mut rule.destination])
}

/// Whose labels a label selector is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Pod,
    Namespace,
    Node,
}

/// Visits every label selector.
fn label_selectors(world: &mut World, visit: &mut impl FnMut(&mut LabelSelector, Of)) {
    for policy in kubernetes(world) {
        policy.pod_selector.iter_mut().for_each(|s| visit(s, Of::Pod));
        for peer in policy.peers().flatten() {
            peer.pod_selector.iter_mut().for_each(|s| visit(s, Of::Pod));
            peer.namespace_selector.iter_mut().for_each(|s| visit(s, Of::Namespace));
        }
    }
    for spec in world.cluster_network_policies.iter_mut().map(|p| &mut p.spec) {
        let ingress = spec.ingress.iter_mut().flat_map(|r| &mut r.from);
        let ingress = ingress.map(|peer| (&mut peer.namespaces, &mut peer.pods));
        let subject = (&mut spec.subject.namespaces, &mut spec.subject.pods);
        for (namespaces, pods) in ingress.chain([subject]) {
            namespaces.iter_mut().for_each(|s| visit(s, Of::Namespace));
            pods.iter_mut().for_each(|pods| {
                visit(&mut pods.namespace_selector, Of::Namespace);
                visit(&mut pods.pod_selector, Of::Pod);
            });
        }
        for peer in spec.egress.iter_mut().flat_map(|r| &mut r.to) {
            peer.namespaces.iter_mut().for_each(|s| visit(s, Of::Namespace));
            peer.nodes.iter_mut().for_each(|s| visit(s, Of::Node));
            peer.pods.iter_mut().for_each(|pods| {
                visit(&mut pods.namespace_selector, Of::Namespace);
                visit(&mut pods.pod_selector, Of::Pod);
            });
        }
    }
}

/// Visits every selector in the selector language.
fn expressions(world: &mut World, visit: &mut impl FnMut(&mut String)) {
    for policy in tiered(world) {
        let namespaces = policy.namespace_selector.into_iter().flatten();
        let own = policy.selector.iter_mut().chain(policy.service_account_selector);
        own.chain(namespaces).for_each(&mut *visit);
    }
    for end in ends(world) {
        let accounts = end.service_accounts.iter_mut().filter_map(|a| a.selector.as_mut());
        let own = end.selector.iter_mut().chain(&mut end.not_selector);
        own.chain(&mut end.namespace_selector).chain(accounts).for_each(&mut *visit);
    }
}
