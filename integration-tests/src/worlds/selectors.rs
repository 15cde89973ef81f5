//! Labels and selectors over them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::random::Random;

/// One begins with another and ends with a third, so that all ways to compare texts differ.
const VALUES: [&str; 4] = ["a", "b", "ab", ""];
/// Keys of pod labels. Those behind the third are legal keys that mean something to an engine that
/// keeps its own labels, and those of namespaces, beside pod labels.
const POD_KEYS: [&str; 7] = [
    "app",
    "role",
    "env",
    "pcns.team",
    "projectcalico.org/namespace",
    "projectcalico.org/orchestrator",
    "projectcalico.org/serviceaccount",
];
const NAMESPACE_KEYS: [&str; 4] = ["team", "env", "kubernetes.io/metadata.name", "pcns.team"];
const ACCOUNT_KEYS: [&str; 2] = ["team", "pcns.team"];
const NODE_KEYS: [&str; 2] = ["zone", "env"];
const NAMES: [&str; 3] = ["x", "y", "z"];

/// Whose labels are meant.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Pod,
    Namespace,
    ServiceAccount,
    NetworkSet,
    Node,
}

impl Of {
    pub(super) fn key(self, random: &mut Random) -> &'static str {
        let (keys, common) = match self {
            Self::Pod => (&POD_KEYS[..], 3),
            Self::Namespace => (&NAMESPACE_KEYS[..], 3),
            Self::ServiceAccount => (&ACCOUNT_KEYS[..], 1),
            Self::NetworkSet => (&POD_KEYS[..], 3),
            Self::Node => (&NODE_KEYS[..], 2),
        };
        let known = if random.once_in(30) { keys.len() } else { common };
        keys[random.below(known)]
    }
}

pub(super) fn value(random: &mut Random, key: &str) -> &'static str {
    let values: &[&str] = match key {
        "kubernetes.io/metadata.name" | "projectcalico.org/namespace" => &NAMES,
        "projectcalico.org/orchestrator" => &["k8s", "vm", ""],
        "projectcalico.org/serviceaccount" => &["default", "s", "t"],
        _ => &VALUES,
    };
    values[random.below(values.len())]
}

/// Labels of an object; `None` is an object without any.
pub(super) fn labels(random: &mut Random, of: Of) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for _ in 0..random.below(4) {
        let key = of.key(random);
        // The API server owns the namespace's name; here a user may have written another one.
        labels.insert(key.to_owned(), value(random, key).to_owned());
    }
    (!labels.is_empty()).then_some(labels)
}

/// A selector, empty ones included; broken once in fifty times.
pub(super) fn selector(random: &mut Random, of: Of) -> LabelSelector {
    let mut selector = LabelSelector::default();
    if random.once_in(5) {
        return selector;
    }
    if random.once_in(2) {
        let key = of.key(random);
        let labels = BTreeMap::from([(key.to_owned(), value(random, key).to_owned())]);
        selector.match_labels = Some(labels);
    }
    if random.once_in(2) {
        selector.match_expressions = Some(random.list(1, 2, |random| requirement(random, of)));
    }
    if random.flaw(50) {
        let broken = broken_requirement(random, of);
        selector.match_expressions.get_or_insert_default().push(broken);
    }
    selector
}

fn requirement(random: &mut Random, of: Of) -> LabelSelectorRequirement {
    let key = of.key(random);
    let operator = *random.pick(&["In", "In", "NotIn", "NotIn", "Exists", "DoesNotExist"]);
    let values =
        operator.ends_with("In").then(|| random.list(1, 2, |random| value(random, key).to_owned()));
    LabelSelectorRequirement { key: key.to_owned(), operator: operator.to_owned(), values }
}

fn broken_requirement(random: &mut Random, of: Of) -> LabelSelectorRequirement {
    let mut requirement = requirement(random, of);
    match random.below(5) {
        0 => requirement.operator = "Near".to_owned(),
        1 => requirement.key = "no key".to_owned(),
        2 => {
            requirement.operator = random.pick(&["In", "NotIn"]).to_string();
            requirement.values = None;
        }
        3 => {
            requirement.operator = random.pick(&["Exists", "DoesNotExist"]).to_string();
            requirement.values = Some(vec!["a".to_owned()]);
        }
        _ => {
            requirement.operator = random.pick(&["In", "NotIn"]).to_string();
            requirement.values = Some(vec!["no value".to_owned()]);
        }
    }
    requirement
}
