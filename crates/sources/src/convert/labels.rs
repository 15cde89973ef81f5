//! Labels and label selectors.

use std::collections::BTreeMap;

use brindle_model::labels::{Labels, NAMESPACE_LABEL_PREFIX, SERVICE_ACCOUNT_LABEL_PREFIX};
use brindle_model::selector::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::intern::Interner;
use crate::problem::Problems;
use crate::validate::{is_label_key, is_label_value};

/// Prefixes of effective labels that nothing carries itself (C12).
const RESERVED_PREFIXES: [&str; 2] = [NAMESPACE_LABEL_PREFIX, SERVICE_ACCOUNT_LABEL_PREFIX];

/// Whose labels a selector is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The pod's own.
    Pod,
    /// Those of the pod's namespace.
    Namespace,
    /// Those of a node.
    Node,
}

/// The labels of an object; `None` if the API server would not have stored them.
pub(super) fn labels(
    written: Option<&BTreeMap<String, String>>,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Labels> {
    let before = problems.errors();
    let labels = as_written(written, names, problems);
    (problems.errors() == before).then_some(labels)
}

/// The labels of an object, those too that the API server would not have stored. What is picked by
/// its labels, and is not closed when it is gone, keeps them: a Deny may be about it.
pub(super) fn as_written(
    written: Option<&BTreeMap<String, String>>,
    names: &mut Interner,
    problems: &mut Problems,
) -> Labels {
    for (key, value) in written.into_iter().flatten() {
        if !is_label_key(key) {
            problems.error("metadata.labels", format!("`{key}` is not a valid label key"));
        }
        if !is_label_value(value) {
            problems.error(
                format!("metadata.labels.{key}"),
                format!("`{value}` is not a valid label value"),
            );
        }
    }
    let all = written.into_iter().flatten();
    let all = all.map(|(k, v)| (names.intern(k), names.intern(v))).collect();
    names.share(all)
}

/// The labels of a pod, without reserved ones; as [`labels`].
pub(super) fn unreserved(
    written: Option<&BTreeMap<String, String>>,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Labels> {
    let labels = labels(written, names, problems).map(without_reserved)?;
    Some(names.share(labels))
}

/// Leaves out reserved labels (C12).
pub(super) fn without_reserved(labels: Labels) -> Labels {
    if !labels.iter().any(|(key, _)| is_reserved(key)) {
        return labels;
    }
    let kept = labels.iter().filter(|(key, _)| !is_reserved(key));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Translates a label selector onto effective labels (K11, C17).
///
/// `None` if it cannot be read; `problems` says why.
pub(super) fn selector(
    written: &LabelSelector,
    scope: Scope,
    at: &str,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Selector> {
    let before = problems.errors();
    let mut all = Vec::new();
    for (key, value) in written.match_labels.iter().flatten() {
        let at = format!("{at}.matchLabels");
        check_key(key, &at, problems);
        check_value(value, &format!("{at}.{key}"), problems);
        all.push(requirement(key, scope, names, |key, names| {
            Selector::equals(key, names.intern(value))
        }));
    }
    for (i, expression) in written.match_expressions.iter().flatten().enumerate() {
        let at = format!("{at}.matchExpressions[{i}]");
        all.extend(self::expression(expression, scope, &at, names, problems));
    }
    (problems.errors() == before).then(|| Selector::and(all))
}

fn expression(
    written: &LabelSelectorRequirement,
    scope: Scope,
    at: &str,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Selector> {
    let LabelSelectorRequirement { key, operator, values } = written;
    let values = values.as_deref().unwrap_or_default();
    check_key(key, &format!("{at}.key"), problems);
    for (i, value) in values.iter().enumerate() {
        check_value(value, &format!("{at}.values[{i}]"), problems);
    }
    let wants_values = match operator.as_str() {
        "In" | "NotIn" => true,
        "Exists" | "DoesNotExist" => false,
        _ => {
            let message = format!("`{operator}` is not one of In, NotIn, Exists, DoesNotExist");
            problems.error(format!("{at}.operator"), message);
            return None;
        }
    };
    if wants_values == values.is_empty() {
        let message = if wants_values { "needs at least one value" } else { "takes no values" };
        problems.error(format!("{at}.values"), format!("{operator} {message}"));
        return None;
    }
    let positive = requirement(key, scope, names, |key, names| {
        if wants_values {
            Selector::In(key, values.iter().map(|v| names.intern(v)).collect())
        } else {
            Selector::Has(key)
        }
    });
    Some(if matches!(operator.as_str(), "NotIn" | "DoesNotExist") {
        match positive {
            Selector::None => Selector::All,
            positive => Selector::Not(Box::new(positive)),
        }
    } else {
        positive
    })
}

/// Builds a positive requirement on a key of `scope`. A pod never carries a reserved key, so a
/// requirement on one is never met; written through it would read the namespace's labels.
fn requirement(
    key: &str,
    scope: Scope,
    names: &mut Interner,
    build: impl FnOnce(brindle_model::Name, &mut Interner) -> Selector,
) -> Selector {
    let key = match scope {
        Scope::Pod if is_reserved(key) => return Selector::None,
        Scope::Pod | Scope::Node => names.intern(key),
        Scope::Namespace => names.intern(&format!("{NAMESPACE_LABEL_PREFIX}{key}")),
    };
    build(key, names)
}

fn is_reserved(key: &str) -> bool {
    RESERVED_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

fn check_key(key: &str, at: &str, problems: &mut Problems) {
    if !is_label_key(key) {
        problems.error(at, format!("`{key}` is not a valid label key"));
    }
}

fn check_value(value: &str, at: &str, problems: &mut Problems) {
    if !is_label_value(value) {
        problems.error(at, format!("`{value}` is not a valid label value"));
    }
}
