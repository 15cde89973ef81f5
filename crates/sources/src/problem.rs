//! What is wrong with an object, in the words that its status shows.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The field was read, though not as it was written (host bits masked, for example).
    Warning,
    /// The field, or what contains it, has no effect.
    Error,
}

/// Something wrong with one field of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// Path of the field, as in `spec.ingress[0].ports[1].endPort`; empty for the whole object.
    pub field: String,
    /// What is wrong, and where it helps, what is expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Most problems that are kept of one object: a status is read by people.
const MAX_KEPT: usize = 50;

/// A list of problems that is being filled. Beyond the first 50 they are only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    found: usize,
    errors: usize,
    /// Paths of pieces about which enough has been said.
    muted: BTreeSet<String>,
}

impl Problems {
    /// An empty list that keeps nothing about the pieces at these paths. It counts their errors.
    pub fn muting(muted: BTreeSet<String>) -> Self {
        Self { muted, ..Self::default() }
    }

    /// Records that a field, or what contains it, has no effect.
    pub fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.record(Severity::Error, field.into(), message.into());
    }

    /// Records what follows from errors about this piece, even if they were recorded elsewhere and
    /// the piece is muted.
    pub fn consequence(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors += 1;
        self.keep(Severity::Error, field.into(), message.into());
    }

    /// Records that a field was read, though not as it was written.
    pub fn warning(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.record(Severity::Warning, field.into(), message.into());
    }

    /// How many errors were recorded, so that a reader sees whether a piece added any.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Those that were kept, in the order in which they were found.
    pub fn into_vec(mut self) -> Vec<Problem> {
        if self.found > self.kept.len() {
            let more = self.found - self.kept.len();
            self.kept.push(Problem {
                severity: Severity::Error,
                field: String::new(),
                message: format!("{more} more problems"),
            });
        }
        self.kept
    }

    fn record(&mut self, severity: Severity, field: String, message: String) {
        self.errors += usize::from(severity == Severity::Error);
        if !self.is_muted(&field) {
            self.keep(severity, field, message);
        }
    }

    fn keep(&mut self, severity: Severity, field: String, message: String) {
        self.found += 1;
        if self.kept.len() < MAX_KEPT {
            self.kept.push(Problem { severity, field, message });
        }
    }

    /// Whether the field at this path is, or lies in, a muted piece.
    fn is_muted(&self, field: &str) -> bool {
        let ends = field.match_indices(['.', '[']).map(|(at, _)| at).chain([field.len()]);
        ends.into_iter().any(|end| self.muted.contains(&field[..end]))
    }
}

/// Whether an object with these problems counts as accepted: warnings do not hurt.
pub fn accepted(problems: &[Problem]) -> bool {
    problems.iter().all(|p| p.severity == Severity::Warning)
}
