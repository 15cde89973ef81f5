//! LabelSelector, read as apimachinery reads it (K10–K12).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::names::is_dns_subdomain;

/// What a selector says about one object.
pub(crate) enum Reading {
    /// It matches.
    Matched,
    /// It does not; the criterion that failed.
    Failed(String),
    /// It cannot be read, whatever the labels; what is wrong with it.
    Broken(String),
}

/// Puts a selector to labels. Brokenness is found first, so that it does not depend on labels.
pub(crate) fn read<'a>(
    selector: &LabelSelector,
    label: &dyn Fn(&str) -> Option<&'a str>,
) -> Reading {
    let equalities = || selector.match_labels.iter().flatten();
    let requirements = || selector.match_expressions.iter().flatten();
    let broken = equalities()
        .find_map(|(key, value)| broken_key(key).or_else(|| broken_value(value)))
        .or_else(|| requirements().find_map(broken_requirement));
    if let Some(what) = broken {
        return Reading::Broken(what);
    }
    // K11: matchLabels AND all matchExpressions. An empty selector has no criterion to fail.
    for (key, value) in equalities() {
        if label(key) != Some(value) {
            return Reading::Failed(format!(
                "label {key} is {}, wanted {value:?}",
                shown(label(key))
            ));
        }
    }
    for requirement in requirements() {
        if !holds(requirement, label) {
            let LabelSelectorRequirement { key, operator, values } = requirement;
            let values = values.as_deref().unwrap_or_default();
            let wanted = if values.is_empty() { String::new() } else { format!(" {values:?}") };
            let found = shown(label(key));
            return Reading::Failed(format!("label {key} is {found}, wanted {operator}{wanted}"));
        }
    }
    Reading::Matched
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "absent".to_owned(), |v| format!("{v:?}"))
}

fn holds<'a>(
    requirement: &LabelSelectorRequirement,
    label: &dyn Fn(&str) -> Option<&'a str>,
) -> bool {
    let value = label(&requirement.key);
    let listed = |v: &str| requirement.values.iter().flatten().any(|listed| listed == v);
    match requirement.operator.as_str() {
        // K11: In and Exists need the key; a key with an empty value is present.
        "In" => value.is_some_and(listed),
        "Exists" => value.is_some(),
        // K11, K12: NotIn and DoesNotExist also match when the key is absent.
        "NotIn" => !value.is_some_and(listed),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

fn broken_requirement(requirement: &LabelSelectorRequirement) -> Option<String> {
    let LabelSelectorRequirement { key, operator, values } = requirement;
    let values = values.as_deref().unwrap_or_default();
    // K11: In and NotIn need at least one value, Exists and DoesNotExist none.
    match (operator.as_str(), values.is_empty()) {
        ("In" | "NotIn", true) => return Some(format!("{key} {operator} has no values")),
        ("Exists" | "DoesNotExist", false) => {
            return Some(format!("{key} {operator} has values"));
        }
        ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
        _ => return Some(format!("{key} has the unknown operator {operator:?}")),
    }
    broken_key(key).or_else(|| values.iter().find_map(|v| broken_value(v)))
}

/// A label key is a name, or a DNS subdomain, a slash and a name. A negative operator on a key that
/// no object can have would match everything, so it must not pass for absent.
fn broken_key(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let fine = is_name(name) && prefix.is_none_or(is_dns_subdomain);
    (!fine).then(|| format!("{key:?} is not a label key"))
}

fn broken_value(value: &str) -> Option<String> {
    (!value.is_empty() && !is_name(value)).then(|| format!("{value:?} is not a label value"))
}

/// At most 63 of `[A-Za-z0-9._-]`, alphanumeric at both ends.
fn is_name(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().copied().all(inner)
        && ends(bytes.first())
        && ends(bytes.last())
}
