//! NetworkPolicy and GlobalNetworkPolicy of `brindle.io` (§2), enforced and staged.
//!
//! A policy whose place or subject cannot be read is not applied (C16). `types` that cannot be read
//! are both, and rules fail closed one by one (see [`super::policy_rule`]); so does a list of more
//! rules than may be (C8).

use brindle_api::{GlobalNetworkPolicySpec, NetworkPolicySpec, PolicyRule};
use brindle_model::labels::NAMESPACE_NAME_LABEL;
use brindle_model::policy::{DEFAULT_TIER, Order, Policy, Rule};
use brindle_model::ruleset::Stage;
use brindle_model::selector::{Scope, Selector};
use brindle_model::verdict::Direction;
use brindle_model::{Name, policy};

use super::policy_rule::Reader;
use crate::intern::Interner;
use crate::object::ObjectKey;
use crate::problem::Problems;
use crate::validate::is_dns_label;

/// Most rules of one direction (C8).
const MAX_RULES: usize = 1024;

/// Converts the spec of a NetworkPolicy: pods of its own namespace (C10).
pub(super) fn namespaced(
    key: &ObjectKey,
    spec: &NetworkPolicySpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Policy> {
    let own = names.intern(key.namespace.as_deref().unwrap_or_default());
    let in_namespace = Selector::equals(names.intern(NAMESPACE_NAME_LABEL), own.clone());
    let place = place(spec.tier.as_deref(), spec.order, names, problems);
    let subject = subject(
        in_namespace,
        &[
            (&spec.selector, Scope::Endpoint, "spec.selector"),
            (&spec.service_account_selector, Scope::ServiceAccount, "spec.serviceAccountSelector"),
        ],
        names,
        problems,
    );
    let rules = Directions::of(spec.types.as_deref(), &spec.ingress, &spec.egress);
    rules.policy(place, subject, Some(own), names, problems)
}

/// Converts the spec of a GlobalNetworkPolicy: everything that its selectors pick (C10).
pub(super) fn global(
    spec: &GlobalNetworkPolicySpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Policy> {
    let before = problems.errors();
    let place = place(spec.tier.as_deref(), spec.order, names, problems);
    let subject = subject(
        Selector::All,
        &[
            (&spec.selector, Scope::Endpoint, "spec.selector"),
            (&spec.namespace_selector, Scope::Namespace, "spec.namespaceSelector"),
            (&spec.service_account_selector, Scope::ServiceAccount, "spec.serviceAccountSelector"),
        ],
        names,
        problems,
    );
    let stage = stage(spec, problems);
    let readable = problems.errors() == before;
    let rules = Directions::of(spec.types.as_deref(), &spec.ingress, &spec.egress);
    let policy = rules.policy(place, subject, None, names, problems).filter(|_| readable)?;
    Some(Policy { stage, ..policy })
}

/// The tier, and the place in it (C2, C3).
fn place(
    tier: Option<&str>,
    order: Option<f64>,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<(Name, Order)> {
    let tier = tier.unwrap_or(DEFAULT_TIER);
    let named = is_dns_label(tier);
    if !named {
        problems.error("spec.tier", format!("`{tier}` is not a tier's name"));
    }
    let order = order.map_or(Some(Order::LAST), Order::new);
    if order.is_none() {
        problems.error("spec.order", "is not a finite number");
    }
    Some((names.intern(tier), order?)).filter(|_| named)
}

/// Joins the selectors of a subject to `all` (C10).
fn subject(
    all: Selector,
    written: &[(&Option<String>, Scope, &str)],
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Selector> {
    let given = written.iter().filter_map(|(text, scope, at)| Some((text.as_ref()?, *scope, *at)));
    let read = given.map(|(text, scope, at)| super::expression(text, scope, at, names, problems));
    let read: Vec<_> = read.collect();
    let read: Option<Vec<_>> = read.into_iter().collect();
    Some(Selector::and(read?.into_iter().chain([all])))
}

/// The one stage that the policy belongs to; flags that do not go together are refused (C37).
fn stage(spec: &GlobalNetworkPolicySpec, problems: &mut Problems) -> Stage {
    let on_the_way = [
        ("spec.doNotTrack", "doNotTrack", spec.do_not_track),
        ("spec.preDNAT", "preDNAT", spec.pre_dnat),
    ];
    for (at, name, _) in on_the_way.iter().filter(|(.., given)| *given) {
        if !spec.apply_on_forward {
            problems.error(*at, format!("{name} needs applyOnForward: true"));
        }
    }
    if spec.do_not_track && spec.pre_dnat {
        problems.error("spec.preDNAT", "doNotTrack and preDNAT exclude each other");
    }
    if spec.pre_dnat && !spec.egress.is_empty() {
        problems.error("spec.egress", "a policy before DNAT has ingress rules only");
    }
    if spec.pre_dnat && spec.types.iter().flatten().any(|name| name == "Egress") {
        problems.error("spec.types", "a policy before DNAT governs Ingress only");
    }
    match (spec.do_not_track, spec.pre_dnat, spec.apply_on_forward) {
        (true, ..) => Stage::Untracked,
        (_, true, _) => Stage::PreDnat,
        (.., true) => Stage::Forward,
        _ => Stage::Normal,
    }
}

/// The rules of both directions, and which of them are governed.
struct Directions<'a> {
    types: Option<&'a [String]>,
    ingress: &'a [PolicyRule],
    egress: &'a [PolicyRule],
}

impl<'a> Directions<'a> {
    fn of(
        types: Option<&'a [String]>,
        ingress: &'a [PolicyRule],
        egress: &'a [PolicyRule],
    ) -> Self {
        Self { types: types.filter(|types| !types.is_empty()), ingress, egress }
    }

    fn policy(
        &self,
        place: Option<(Name, Order)>,
        subject: Option<Selector>,
        namespace: Option<Name>,
        names: &mut Interner,
        problems: &mut Problems,
    ) -> Option<Policy> {
        let governed = self.governed(problems);
        let mut lists = [self.ingress, self.egress].into_iter().zip(governed);
        let [ingress, egress] = Direction::ALL.map(|direction| {
            let (written, governed) = lists.next()?;
            let mut reader = Reader { direction, namespace: namespace.as_ref(), names, problems };
            let rules = rules(written, &mut reader);
            governed.then_some(rules)
        });
        let (tier, order) = place?;
        let (subject, stage) = (names.share_selector(subject?), Stage::Normal);
        Some(Policy { tier, order, subject, stage, ingress, egress })
    }

    /// Whether ingress and egress are governed (C1); both if a type cannot be read.
    fn governed(&self, problems: &mut Problems) -> [bool; 2] {
        let Some(types) = self.types else {
            return [!self.ingress.is_empty() || self.egress.is_empty(), !self.egress.is_empty()];
        };
        let mut unreadable = false;
        for (i, written) in types.iter().enumerate() {
            if !matches!(written.as_str(), "Ingress" | "Egress") {
                let message = format!("`{written}` is not one of Ingress, Egress");
                problems.error(format!("spec.types[{i}]"), message);
                unreadable = true;
            }
        }
        let lists = [("Ingress", "ingress", self.ingress), ("Egress", "egress", self.egress)];
        lists.map(|(name, field, rules)| {
            let governed = unreadable || types.iter().any(|t| t == name);
            if !governed && !rules.is_empty() {
                let message = format!("has no effect: spec.types does not name {name}");
                problems.warning(format!("spec.{field}"), message);
            }
            governed
        })
    }
}

fn rules(written: &[PolicyRule], reader: &mut Reader<'_>) -> Vec<policy::Rule> {
    let at = format!("spec.{}", reader.direction);
    if written.len() > MAX_RULES {
        let message =
            format!("{} rules, {MAX_RULES} are the most: denies everything instead", written.len());
        reader.problems.error(at, message);
        return vec![Rule::deny_all(0)];
    }
    let written = (0..).zip(written);
    written.filter_map(|(i, rule)| reader.rule(i, rule, &format!("{at}[{i}]"))).collect()
}
