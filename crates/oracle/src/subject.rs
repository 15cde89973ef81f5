//! Whom a NetworkPolicy or GlobalNetworkPolicy governs, and in which directions (C1, C10).

use std::borrow::Cow;

use brindle_api::{GlobalNetworkPolicySpec, NetworkPolicySpec, PolicyRule};
use brindle_model::verdict::{Direction, PolicyId};

use crate::label_selector::Reading;
use crate::member::Member;
use crate::names::is_dns_label;
use crate::selector;
use crate::trace::{Place, Trace};
use crate::walk::Asked;
use crate::world::{namespace_of, service_account_of};

/// The part of a spec that tells whom it governs.
pub(crate) struct Subject<'a> {
    /// Own namespace only: a NetworkPolicy.
    namespace: Option<&'a str>,
    tier: Option<&'a str>,
    selector: Option<&'a str>,
    namespace_selector: Option<&'a str>,
    service_account_selector: Option<&'a str>,
    types: Option<&'a [String]>,
    pub(crate) ingress: &'a [PolicyRule],
    pub(crate) egress: &'a [PolicyRule],
    /// The stages of host endpoints, none of which pods have (C37).
    host_only: bool,
}

impl<'a> Subject<'a> {
    /// Of a NetworkPolicy.
    pub(crate) fn namespaced(spec: &'a NetworkPolicySpec, id: &'a PolicyId) -> Self {
        Self {
            namespace: id.namespace.as_deref(),
            tier: spec.tier.as_deref(),
            selector: spec.selector.as_deref(),
            namespace_selector: None,
            service_account_selector: spec.service_account_selector.as_deref(),
            types: spec.types.as_deref(),
            ingress: &spec.ingress,
            egress: &spec.egress,
            host_only: false,
        }
    }

    /// Of a GlobalNetworkPolicy.
    pub(crate) fn global(spec: &'a GlobalNetworkPolicySpec) -> Self {
        Self {
            namespace: None,
            tier: spec.tier.as_deref(),
            selector: spec.selector.as_deref(),
            namespace_selector: spec.namespace_selector.as_deref(),
            service_account_selector: spec.service_account_selector.as_deref(),
            types: spec.types.as_deref(),
            ingress: &spec.ingress,
            egress: &spec.egress,
            host_only: spec.do_not_track || spec.pre_dnat || spec.apply_on_forward,
        }
    }

    /// The rules with which the policy governs the subject and direction; `None` if it does not.
    pub(crate) fn governing(
        &self,
        asked: &Asked<'_>,
        id: &PolicyId,
        trace: &mut Trace,
    ) -> Option<&'a [PolicyRule]> {
        let place = || Place::Policy(id.clone());
        // C10: a NetworkPolicy selects in its own namespace.
        let namespace = namespace_of(&asked.subject.metadata);
        if self.namespace.is_some_and(|own| own != namespace) {
            return None;
        }
        if let Some((rule, why)) = self.refused() {
            trace.note(rule, place(), false, format!("broken: {why}; not applied"));
            return None;
        }
        let (governs, words) = self.governed_direction(asked.direction);
        if !governs {
            trace.note("C1", place(), false, words);
            return None;
        }
        if let Some(why) = self.unmet(asked) {
            trace.note("C10", place(), false, why);
            return None;
        }
        trace.note("C10", place(), true, words);
        Some(match asked.direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        })
    }

    /// C3, C16, C37: why the policy is not applied at all.
    fn refused(&self) -> Option<(&'static str, String)> {
        let selectors =
            [self.selector, self.namespace_selector, self.service_account_selector].into_iter();
        if let Some(why) = selectors.flatten().find_map(selector::broken) {
            return Some(("C16", why));
        }
        // There are no host endpoints yet, and none of the three ever applies to pods.
        if self.host_only {
            return Some(("C37", "doNotTrack, preDNAT or applyOnForward".into()));
        }
        // C3: names without dots; there is no tier of such a name for it to stand in.
        let tier = self.tier.filter(|tier| !is_dns_label(tier));
        tier.map(|tier| ("C3", format!("{tier:?} is no tier's name")))
    }

    /// C1: the types, else those that have rules, else ingress.
    fn governed_direction(&self, direction: Direction) -> (bool, Cow<'static, str>) {
        let types = self.types.unwrap_or_default();
        if types.is_empty() {
            let governs = match direction {
                Direction::Ingress => !self.ingress.is_empty() || self.egress.is_empty(),
                Direction::Egress => !self.egress.is_empty(),
            };
            let words = if governs { "selects the pod" } else { "no types and no such rules" };
            return (governs, words.into());
        }
        // Fail closed: a type that cannot be read may have meant either direction.
        if let Some(unknown) = types.iter().find(|t| *t != "Ingress" && *t != "Egress") {
            let words = format!("selects the pod; broken: unknown type {unknown:?} means both");
            return (true, words.into());
        }
        let wanted = match direction {
            Direction::Ingress => "Ingress",
            Direction::Egress => "Egress",
        };
        match types.iter().any(|t| t == wanted) {
            true => (true, "selects the pod; its types name the direction".into()),
            false => (false, format!("its types do not name {wanted}").into()),
        }
    }

    /// C10: selector AND namespaceSelector AND serviceAccountSelector; the one that fails.
    fn unmet(&self, asked: &Asked<'_>) -> Option<String> {
        let Asked { world, subject, .. } = *asked;
        let (namespace, account) = (namespace_of(&subject.metadata), service_account_of(subject));
        failing("selector", self.selector, &|key| Member::Pod(subject).label(world, key))
            .or_else(|| {
                // C11: written without the prefix; pods have a namespace, so all() is true.
                failing("namespaceSelector", self.namespace_selector, &|key| {
                    world.namespace_label(namespace, key)
                })
            })
            .or_else(|| {
                failing("serviceAccountSelector", self.service_account_selector, &|key| {
                    world.service_account_label(namespace, account, key)
                })
            })
    }
}

/// The field whose selector does not match, and why.
fn failing<'l>(
    field: &str,
    text: Option<&str>,
    label: &dyn Fn(&str) -> Option<&'l str>,
) -> Option<String> {
    match selector::read(text?, true, label) {
        Reading::Matched => None,
        Reading::Failed(why) | Reading::Broken(why) => Some(format!("{field}: {why}")),
    }
}
