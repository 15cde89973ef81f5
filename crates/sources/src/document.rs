//! One document of a YAML stream: which object it is, and the object.

use brindle_model::Name;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::decode::{Decoded, decode};
use crate::object::{Kind, ObjectKey};
use crate::validate::{is_dns_label, is_dns_subdomain};
use crate::yaml::{self, Section};

/// A document of a YAML stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Position in the stream, from 1.
    pub number: u32,
    /// Line of the stream on which it begins, from 1.
    pub line: u32,
    /// Identity of its text.
    pub revision: Revision,
    /// What it holds.
    pub content: Content,
}

/// What a [`Document`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// An object of a kind that Brindle reads; it may still be broken.
    Object {
        /// Which object.
        key: ObjectKey,
        /// The object as far as it could be decoded.
        decoded: Decoded,
    },
    /// An object of another kind.
    OtherKind {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
        /// Its name, if it has one.
        name: Option<String>,
    },
    /// Not YAML, or nothing that says which object it is. The reason is given.
    Unreadable(String),
}

/// Which version of an object was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// The first 64 bits of the SHA-256 of a document's text, written as 16 hexadecimal digits.
    Text(u64),
    /// An API server's `metadata.generation`; 0 of a kind that has none.
    Generation(i64),
}

impl Revision {
    /// The identity of this text.
    pub fn of(text: &[u8]) -> Self {
        let digest = Sha256::digest(text);
        let first = digest[..8].try_into().expect("a SHA-256 digest has 32 bytes");
        Self::Text(u64::from_be_bytes(first))
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(hash) => write!(f, "{hash:016x}"),
            Self::Generation(generation) => generation.fmt(f),
        }
    }
}

/// Reads every document of a YAML stream. Never fails as a whole: what is wrong with a document is
/// in the document. Bounded in time and memory by a small multiple of the stream's length.
pub fn parse(stream: &str) -> Vec<Document> {
    yaml::sections(stream).map(read).collect()
}

fn read(section: Section<'_>) -> Document {
    Document {
        number: section.number,
        line: section.line,
        revision: Revision::of(section.text.trim().as_bytes()),
        content: yaml::parse(section).and_then(identify).unwrap_or_else(Content::Unreadable),
    }
}

/// Finds out which object a document is, and decodes it.
///
/// # Errors
/// It does not say which object it is.
fn identify(value: Value) -> Result<Content, String> {
    let field = |name: &str| match value.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{name} is not a string")),
        None => Err(format!("not a Kubernetes object: {name} is missing")),
    };
    let (api_version, kind_name) = (field("apiVersion")?, field("kind")?);
    let Some(kind) = Kind::of(&api_version, &kind_name) else {
        let name = metadata(&value, "name").ok().flatten();
        return Ok(Content::OtherKind { api_version, kind: kind_name, name });
    };
    let key = key(kind, &value)?;
    let decoded = decode(&key, value);
    Ok(Content::Object { key, decoded })
}

/// Which object of a kind this is.
///
/// # Errors
/// It does not say, or not in the form of a name.
pub(crate) fn key(kind: Kind, object: &Value) -> Result<ObjectKey, String> {
    let meta = |name| metadata(object, name).map_err(|error| format!("{kind}: {error}"));
    let name = meta("name")?.ok_or_else(|| format!("{kind}: metadata.name is missing"))?;
    let well_formed = if kind == Kind::Namespace { is_dns_label } else { is_dns_subdomain };
    if !well_formed(&name) {
        return Err(format!("{kind}: metadata.name `{name}` is not a valid name"));
    }
    let namespace = if kind.is_namespaced() {
        let namespace = meta("namespace")?.unwrap_or_else(|| "default".into());
        if !is_dns_label(&namespace) {
            return Err(format!(
                "{kind} {name}: metadata.namespace `{namespace}` is not a valid name"
            ));
        }
        Some(Name::from(namespace))
    } else {
        None
    };
    Ok(ObjectKey { kind, namespace, name: name.into() })
}

/// A text of an object's metadata, if it is there.
///
/// # Errors
/// It is there, and no text.
fn metadata(object: &Value, name: &str) -> Result<Option<String>, String> {
    match object.get("metadata").and_then(|m| m.get(name)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("metadata.{name} is not a string")),
    }
}
