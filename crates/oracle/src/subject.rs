//! Whom a NetworkPolicy or GlobalNetworkPolicy governs, and in which directions (C1, C10).

use std::borrow::Cow;

use brindle_api::{GlobalNetworkPolicySpec, NetworkPolicySpec, PolicyRule};
use brindle_model::ruleset::Stage;
use brindle_model::verdict::{Direction, PolicyId};

use crate::label_selector::Reading;
use crate::names::is_dns_label;
use crate::selector;
use crate::trace::{Place, Trace};
use crate::walk::Asked;

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
    /// The flags that choose a stage, of a GlobalNetworkPolicy.
    flags: Flags,
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
            flags: Flags::default(),
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
            flags: Flags {
                do_not_track: spec.do_not_track,
                pre_dnat: spec.pre_dnat,
                apply_on_forward: spec.apply_on_forward,
            },
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
        if self.namespace.is_some_and(|own| asked.subject.namespace() != Some(own)) {
            return None;
        }
        if let Some((rule, why)) = self.refused() {
            trace.note(rule, place(), false, format!("broken: {why}; not applied"));
            return None;
        }
        // C37: a policy belongs to one stage, and no pod has another than the normal one.
        if !self.flags.stages().contains(&asked.stage) {
            let words = format!("it is not for the {} stage", asked.stage);
            trace.note("C37", place(), false, words);
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
        if let Some(why) = self.contradiction() {
            return Some(("C37", why.into()));
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
            let words = if governs { "selects it" } else { "no types and no such rules" };
            return (governs, words.into());
        }
        // Fail closed: a type that cannot be read may have meant either direction.
        if let Some(unknown) = types.iter().find(|t| *t != "Ingress" && *t != "Egress") {
            let words = format!("selects it; broken: unknown type {unknown:?} means both");
            return (true, words.into());
        }
        let wanted = match direction {
            Direction::Ingress => "Ingress",
            Direction::Egress => "Egress",
        };
        match types.iter().any(|t| t == wanted) {
            true => (true, "selects it; its types name the direction".into()),
            false => (false, format!("its types do not name {wanted}").into()),
        }
    }

    /// C10: selector AND namespaceSelector AND serviceAccountSelector; the one that fails.
    fn unmet(&self, asked: &Asked<'_>) -> Option<String> {
        let Asked { world, subject, .. } = *asked;
        let member = subject.member();
        let (namespace, account) = (member.namespace(), member.service_account());
        failing("selector", self.selector, true, &|key| member.label(world, key))
            .or_else(|| {
                // C11: written without the prefix. A host endpoint has neither namespace nor service
                // account, and nothing that is said of those holds of it, negations included.
                let of_namespace = |key: &str| world.namespace_label(namespace?, key);
                let text = self.namespace_selector;
                let lacks = text.is_some_and(|text| !text.trim().is_empty()) && namespace.is_none();
                lacks.then(|| "namespaceSelector: it has no namespace".to_owned()).or_else(|| {
                    failing("namespaceSelector", text, namespace.is_some(), &of_namespace)
                })
            })
            .or_else(|| {
                let of_account = |key: &str| world.service_account_label(namespace?, account?, key);
                let text = self.service_account_selector;
                let lacks = text.is_some_and(|text| !text.trim().is_empty()) && account.is_none();
                lacks
                    .then(|| "serviceAccountSelector: it has no service account".to_owned())
                    .or_else(|| {
                        failing("serviceAccountSelector", text, account.is_some(), &of_account)
                    })
            })
    }

    /// C37: what the flags imply of each other, and of the rules.
    fn contradiction(&self) -> Option<&'static str> {
        let Flags { do_not_track, pre_dnat, apply_on_forward } = self.flags;
        let egress = self.types.is_some_and(|types| types.iter().any(|name| name == "Egress"));
        match () {
            () if (do_not_track || pre_dnat) && !apply_on_forward => {
                Some("doNotTrack or preDNAT without applyOnForward")
            }
            () if do_not_track && pre_dnat => Some("both doNotTrack and preDNAT"),
            () if pre_dnat && !self.egress.is_empty() => Some("preDNAT with egress rules"),
            () if pre_dnat && egress => Some("preDNAT with type Egress"),
            () => None,
        }
    }
}

/// What chooses a stage (C37).
#[derive(Clone, Copy, Default)]
struct Flags {
    do_not_track: bool,
    pre_dnat: bool,
    apply_on_forward: bool,
}

impl Flags {
    /// The stages in which the policy is asked; the flags do not contradict each other.
    fn stages(self) -> &'static [Stage] {
        match self {
            Self { do_not_track: true, .. } => &[Stage::Untracked],
            Self { pre_dnat: true, .. } => &[Stage::PreDnat],
            Self { apply_on_forward: true, .. } => &[Stage::Forward, Stage::Normal],
            Self { .. } => &[Stage::Normal],
        }
    }
}

/// The field whose selector does not match, and why.
fn failing<'l>(
    field: &str,
    text: Option<&str>,
    all: bool,
    label: &dyn Fn(&str) -> Option<&'l str>,
) -> Option<String> {
    match selector::read(text?, all, label) {
        Reading::Matched => None,
        Reading::Failed(why) | Reading::Broken(why) => Some(format!("{field}: {why}")),
    }
}
