//! Selectors over effective labels.
//!
//! The tree covers the selector language (§2.3) and what Kubernetes label selectors translate to
//! (C17). `Display` is the canonical form (C15): equal text means equal set identity.

mod parse;
mod values;

use std::fmt;

pub use parse::{MAX_DEPTH, MAX_KEY_LENGTH, MAX_LENGTH, ParseError, Scope, is_global};
pub use values::Values;

use crate::Name;
use crate::labels::LabelLookup;

/// A predicate over labels.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Selector {
    /// Matches everything.
    All,
    /// Matches nothing: what is left of a selector that could not be read, in an Allow (C16, A13).
    None,
    /// The key is present, even with an empty value.
    Has(Name),
    /// The key is present and its value is listed.
    In(Name, Values),
    /// The key is present and its value contains the text; the empty text is in every value.
    Contains(Name, Name),
    /// The key is present and its value begins with the text.
    StartsWith(Name, Name),
    /// The key is present and its value ends with the text.
    EndsWith(Name, Name),
    /// The operand does not match: `Not(In…)` also matches where the key is absent (K11). Built by
    /// [`Selector::not`].
    Not(Box<Selector>),
    /// Every operand matches. At least two, none of them an `And` (see [`Selector::and`]).
    And(Vec<Selector>),
    /// Some operand matches. At least two, none of them an `Or` (see [`Selector::or`]).
    Or(Vec<Selector>),
}

impl Selector {
    /// The key has this value.
    pub fn equals(key: impl Into<Name>, value: impl Into<Name>) -> Self {
        Self::In(key.into(), Values::from(value.into()))
    }

    /// Negation in canonical shape: two of them are none.
    #[expect(clippy::should_implement_trait, reason = "named like its siblings `and` and `or`")]
    pub fn not(operand: Self) -> Self {
        match operand {
            Self::All => Self::None,
            Self::None => Self::All,
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Disjunction in canonical shape: flat, sorted, without duplicates and without `None`.
    pub fn or(operands: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for operand in operands {
            match operand {
                Self::None => {}
                Self::All => return Self::All,
                Self::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        joined(flat, Self::None, Self::Or)
    }

    /// Conjunction in canonical shape: flat, sorted, without duplicates and without `All`.
    pub fn and(operands: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for operand in operands {
            match operand {
                Self::All => {}
                Self::None => return Self::None,
                Self::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        joined(flat, Self::All, Self::And)
    }

    /// Whether these labels match.
    pub fn matches(&self, labels: &impl LabelLookup) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Has(key) => labels.lookup(key).is_some(),
            Self::In(key, values) => labels.lookup(key).is_some_and(|v| values.contains(v)),
            Self::Contains(key, text) => labels.lookup(key).is_some_and(|v| v.contains(&**text)),
            Self::StartsWith(key, text) => {
                labels.lookup(key).is_some_and(|v| v.starts_with(&**text))
            }
            Self::EndsWith(key, text) => labels.lookup(key).is_some_and(|v| v.ends_with(&**text)),
            Self::Not(inner) => !inner.matches(labels),
            Self::And(all) => all.iter().all(|s| s.matches(labels)),
            Self::Or(any) => any.iter().any(|s| s.matches(labels)),
        }
    }
}

/// Operands in canonical order, or what they are without an operator.
fn joined(
    mut operands: Vec<Selector>,
    none: Selector,
    join: fn(Vec<Selector>) -> Selector,
) -> Selector {
    operands.sort_unstable();
    operands.dedup();
    match operands.len() {
        0 => none,
        1 => operands.remove(0),
        _ => {
            operands.shrink_to_fit();
            join(operands)
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all()"),
            Self::None => f.write_str("!all()"),
            Self::Has(key) => write!(f, "has({key})"),
            Self::In(key, values) => match (values.len(), values.first()) {
                (1, Some(value)) => write!(f, "{key} == {}", Quoted(value)),
                _ => {
                    write!(f, "{key} in {{")?;
                    for (i, value) in values.iter().enumerate() {
                        write!(f, "{}{}", if i == 0 { "" } else { ", " }, Quoted(value))?;
                    }
                    f.write_str("}")
                }
            },
            Self::Contains(key, text) => write!(f, "{key} contains {}", Quoted(text)),
            Self::StartsWith(key, text) => write!(f, "{key} starts with {}", Quoted(text)),
            Self::EndsWith(key, text) => write!(f, "{key} ends with {}", Quoted(text)),
            Self::Not(inner) => write!(f, "!({inner})"),
            Self::And(all) => between(f, all, " && "),
            Self::Or(any) => between(f, any, " || "),
        }
    }
}

/// A literal in the quotes that it does not contain; the language has no escapes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('"') { '\'' } else { '"' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}

fn between(f: &mut fmt::Formatter<'_>, operands: &[Selector], operator: &str) -> fmt::Result {
    f.write_str("(")?;
    for (i, operand) in operands.iter().enumerate() {
        write!(f, "{}{operand}", if i == 0 { "" } else { operator })?;
    }
    f.write_str(")")
}
