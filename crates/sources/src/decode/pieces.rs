//! Reading an object piece by piece, so that one broken piece breaks itself only.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Decoded, typed};
use crate::object::{Object, ObjectKey};
use crate::problem::Problems;

/// The shape problems found so far, and the paths of what was replaced for them.
#[derive(Default)]
pub(super) struct Pieces {
    pub problems: Problems,
    pub replaced: BTreeSet<String>,
}

impl Pieces {
    /// The metadata of the object, as far as it can be read.
    pub fn metadata(&mut self, key: &ObjectKey, object: &Value) -> ObjectMeta {
        let written = object.get("metadata").and_then(|m| typed(m, "metadata", &mut self.problems));
        ObjectMeta {
            name: Some(key.name.to_string()),
            namespace: key.namespace.as_ref().map(ToString::to_string),
            ..written.unwrap_or_default()
        }
    }

    /// What became of the object.
    pub fn into_decoded(self, object: Option<Object>) -> Decoded {
        Decoded { object, problems: self.problems.into_vec(), replaced: self.replaced }
    }

    /// The entries of a list. What is not a list is taken for a list of one broken entry, because
    /// an empty list means "any" in most places.
    pub fn list<T>(
        &mut self,
        value: &Value,
        at: &str,
        mut read: impl FnMut(&mut Self, &Value, &str) -> T,
    ) -> Vec<T> {
        match value {
            Value::Array(entries) => entries
                .iter()
                .enumerate()
                .map(|(i, entry)| read(self, entry, &format!("{at}[{i}]")))
                .collect(),
            _ => {
                self.broken(at, "this is not a list");
                vec![read(&mut Self::default(), &Value::Null, at)]
            }
        }
    }

    /// Decodes a piece; `None` if it is of another shape or has an unknown field.
    pub fn piece<T: DeserializeOwned + Serialize>(&mut self, value: &Value, at: &str) -> Option<T> {
        let before = self.problems.errors();
        let piece = if value.is_null() {
            self.problems.error(at, "this is empty");
            None
        } else {
            typed(value, at, &mut self.problems)
        };
        if let Some(known) = piece.as_ref().and_then(|p: &T| serde_json::to_value(p).ok()) {
            unknown_fields(value, &known, at, &mut self.problems);
        }
        if self.problems.errors() == before {
            return piece;
        }
        self.replaced.insert(at.to_owned());
        None
    }

    /// Records that a piece is replaced.
    pub fn broken(&mut self, at: &str, message: &str) {
        self.problems.error(at, message);
        self.replaced.insert(at.to_owned());
    }
}

/// Reports the fields of `written` that are not in `known`, which is what a typed reader made of
/// it: the reader drops unknown fields silently.
fn unknown_fields(written: &Value, known: &Value, at: &str, problems: &mut Problems) {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => {
            for (name, value) in written.iter().filter(|(_, value)| !value.is_null()) {
                let at = format!("{at}.{name}");
                match known.get(name) {
                    Some(known) => unknown_fields(value, known, &at, problems),
                    None => problems.error(at, "unknown field"),
                }
            }
        }
        (Value::Array(written), Value::Array(known)) => {
            for (i, (value, known)) in written.iter().zip(known).enumerate() {
                unknown_fields(value, known, &format!("{at}[{i}]"), problems);
            }
        }
        _ => {}
    }
}
