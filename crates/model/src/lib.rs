//! The vocabulary of Brindle.
//!
//! Three groups of types, and nothing that does I/O:
//!
//! - **inputs** ([`cluster`], [`host`], [`policy`], [`selector`], [`labels`]): validated facts about the
//!   cluster, as the sources hand them to the compiler;
//! - **the abstract ruleset** ([`ruleset`]): what the compiler makes of them, free of any
//!   backend's idiom, with [`ruleset::evaluate`] as its meaning;
//! - **routing** ([`routing`]): what the BGP speaker and the kernel's route table must hold.
//!
//! [`settings`] are what an agent is told about itself.
//!
//! [`admin`] holds what an agent and `brindlectl` say to each other.
//!
//! [`packet`] and [`verdict`] are the only types that the compiler's world shares with the oracle.

pub mod admin;
pub mod cluster;
pub mod host;
pub mod labels;
pub mod net;
pub mod packet;
pub mod policy;
pub mod routing;
pub mod ruleset;
pub mod selector;
pub mod settings;
pub mod verdict;

use std::fmt;
use std::sync::Arc;

/// A Kubernetes object or label name, shared rather than copied.
pub type Name = Arc<str>;

/// A list of which a rule has many and most are empty: it is one word, and an empty one has no more,
/// where a `Vec` is three. Filled, it takes what a `Vec` does.
pub type List<T> = thin_vec::ThinVec<T>;

/// Namespace and name of an object, ordered by namespace first.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct NamespacedName {
    /// The object's namespace.
    pub namespace: Name,
    /// The object's name.
    pub name: Name,
}

impl NamespacedName {
    /// Joins a namespace and a name.
    pub fn new(namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
