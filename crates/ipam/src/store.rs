//! The shared store: small JSON records under compare-and-swap.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A store of small JSON records that several nodes share.
///
/// Every write names the revision that it replaces, so a lost race shows as
/// [`WriteError::Conflict`] and never as a lost update. After a [`StoreError`] a write is in doubt:
/// it may have happened, and the caller must read before it concludes anything.
pub trait Store: Send + Sync {
    /// The record under `key`.
    ///
    /// # Errors
    /// The store could not be read.
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError>;

    /// All records by ascending key.
    ///
    /// # Errors
    /// The store could not be read.
    fn list(&self) -> Result<Vec<Record>, StoreError>;

    /// Writes a record that does not exist yet.
    ///
    /// # Errors
    /// It exists, or the store failed.
    fn create(&self, key: &str, value: &serde_json::Value) -> Result<Revision, WriteError>;

    /// Replaces a record that still has this revision.
    ///
    /// # Errors
    /// It is absent or has another revision, or the store failed.
    fn update(
        &self,
        key: &str,
        revision: &Revision,
        value: &serde_json::Value,
    ) -> Result<Revision, WriteError>;

    /// Removes a record that still has this revision.
    ///
    /// # Errors
    /// It is absent or has another revision, or the store failed.
    fn delete(&self, key: &str, revision: &Revision) -> Result<(), WriteError>;
}

/// A record as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its key: lower-case letters, digits, `-` and `.`.
    pub key: String,
    /// Its revision.
    pub revision: Revision,
    /// Its content.
    pub value: serde_json::Value,
}

/// Names one version of one record; opaque, never used again for another version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision(pub String);

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Somebody else wrote first.
    #[error("the record has changed")]
    Conflict,
    /// The store failed; the write is in doubt.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// The store could not be used.
#[derive(Debug)]
pub struct StoreError {
    message: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// An error that names the operation and its object.
    pub fn new(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { message: message.into(), source: source.into() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}
