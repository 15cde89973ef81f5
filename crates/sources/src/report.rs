//! What a source has to say about the objects and files it read: the raw material of status.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::document::Revision;
use crate::object::ObjectKey;
use crate::problem::{Problem, accepted};

/// Where a document stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, relative to the source folder.
    pub file: Arc<Path>,
    /// Its position in the file, from 1.
    pub document: u32,
    /// The line on which it begins, from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (document {}, line {})", self.file.display(), self.document, self.line)
    }
}

/// How it stands with an object that has a status ([`crate::object::Kind::has_status`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReport {
    /// The document that counts; `None` for an object of an API server.
    pub place: Option<Place>,
    /// Identity of what counts.
    pub revision: Revision,
    /// Whether an input came of it. A broken NetworkPolicy has effect too: it closes.
    pub has_effect: bool,
    /// Everything that is wrong with it, duplicates in other documents included.
    pub problems: Vec<Problem>,
}

impl ObjectReport {
    /// Whether the object has effect as it was written.
    pub fn is_accepted(&self) -> bool {
        accepted(&self.problems)
    }
}

/// What is worth a look in one file; there is none for a file without fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileReport {
    /// Why the file could not be read, if it could not; its objects are as they were.
    pub error: Option<String>,
    /// Documents that are not what they should be, by position.
    pub documents: Vec<DocumentReport>,
    /// Objects of an earlier version of the file. They stay because a document that cannot be read
    /// may be theirs.
    pub kept: Vec<ObjectKey>,
}

/// One document of a [`FileReport`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentReport {
    /// Position in the file, from 1.
    pub document: u32,
    /// The line on which it begins, from 1.
    pub line: u32,
    /// The object, as far as it is known.
    pub object: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why.
    pub problems: Vec<Problem>,
}

/// What became of a document.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It counts, perhaps with warnings.
    Accepted,
    /// It is broken.
    Rejected,
    /// Its kind is not one that Brindle reads.
    Ignored,
    /// Another document defines the same object and counts.
    Duplicate,
    /// It is not YAML, or does not say which object it is.
    Unreadable,
}
