//! Where inputs come from: API objects read, checked and converted.
//!
//! ```text
//! YAML text ── yaml, document, decode ──> Object ── convert ──> Input + problems
//!                                                                 │
//! folder ── directory (inotify) ──> which document counts ────────┴──> Changes ──> compiler
//!                                                                          └────> status folder
//! ```
//! [`document::parse`] and [`convert::convert`] are pure and take any input at all without a
//! panic: they are the decoders to fuzz, together as [`decode_stream`].

pub mod convert;
pub mod decode;
pub mod directory;
pub mod document;
pub mod edits;
pub mod event;
pub mod intern;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod object;
mod objects;
pub mod problem;
mod references;
pub mod relations;
pub mod report;
pub mod settings;
pub mod snapshot;
pub mod status;
pub mod validate;
mod yaml;

use convert::Conversion;
use document::Content;
use object::ObjectKey;

/// Everything between the bytes of a stream of YAML documents and the inputs that come of it, for
/// any bytes at all. Bounded in time and memory by a small multiple of their number.
pub fn decode_stream(bytes: &[u8]) -> Vec<(ObjectKey, Conversion)> {
    let mut names = intern::Interner::default();
    let documents = document::parse(&String::from_utf8_lossy(bytes)).into_iter();
    let objects = documents.filter_map(|document| match document.content {
        Content::Object { key, decoded } => Some((key, decoded)),
        _ => None,
    });
    objects
        .map(|(key, decoded)| {
            let conversion = convert::convert(&key, &decoded, &mut names);
            (key, conversion)
        })
        .collect()
}
