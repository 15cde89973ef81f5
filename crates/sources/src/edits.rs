//! Objects that somebody would write: read like those of a source, but one that would be refused
//! refuses all.

use std::collections::BTreeMap;

use brindle_model::cluster::Update;

use crate::convert::{convert, update};
use crate::document::{self, Content};
use crate::intern::Interner;
use crate::object::{Object, ObjectKey};
use crate::problem::accepted;

/// A stream of objects that cannot be taken. Each says where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// An object that no source reads.
    #[error("{place}: {kind} of {api_version} is no kind that decides anything")]
    OtherKind {
        /// Where.
        place: String,
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
    /// No object.
    #[error("{place}: {why}")]
    Unreadable {
        /// Where.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// An object that would have no effect.
    #[error("{place}: {key} would be refused: {problems}")]
    Refused {
        /// Where.
        place: String,
        /// Which object.
        key: ObjectKey,
        /// What is wrong.
        problems: String,
    },
}

/// The objects of a stream of YAML documents, each with its input. `name` is that of the stream, for
/// errors.
///
/// # Errors
/// A document is no object, or would be refused.
pub fn read(name: &str, stream: &str) -> Result<BTreeMap<ObjectKey, (Object, Update)>, EditError> {
    let mut names = Interner::default();
    let mut objects = BTreeMap::new();
    for document in document::parse(stream) {
        let place = format!("{name} document {} (line {})", document.number, document.line);
        let (key, decoded) = match document.content {
            Content::Object { key, decoded } => (key, decoded),
            Content::OtherKind { api_version, kind, .. } => {
                return Err(EditError::OtherKind { place, api_version, kind });
            }
            Content::Unreadable(why) => return Err(EditError::Unreadable { place, why }),
        };
        let conversion = convert(&key, &decoded, &mut names);
        let (true, Some(object)) = (accepted(&conversion.problems), decoded.object) else {
            let problems: Vec<_> = conversion.problems.iter().map(ToString::to_string).collect();
            return Err(EditError::Refused { place, key, problems: problems.join("; ") });
        };
        let Some(input) = update(&key, conversion.input) else {
            let (api_version, kind) = (key.kind.api_version().to_owned(), key.kind.to_string());
            return Err(EditError::OtherKind { place, api_version, kind });
        };
        objects.insert(key, (object, input));
    }
    Ok(objects)
}
