//! What a status file holds.

use std::collections::BTreeMap;

use brindle_model::ruleset::Generation;
use serde::{Deserialize, Serialize};

use crate::object::ObjectKey;
use crate::problem::Problem;
use crate::report::{DocumentReport, FileReport, ObjectReport, Outcome, Place};

/// Status of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// The object's `apiVersion`.
    pub api_version: String,
    /// The object's `kind`.
    pub kind: String,
    /// The object's namespace, if its kind has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The object's name.
    pub name: String,
    /// The file that defines it, relative to the source folder.
    pub file: String,
    /// The document in that file, from 1.
    pub document: u32,
    /// The line on which it begins, from 1.
    pub line: u32,
    /// Identity of the document's text.
    pub revision: String,
    /// Whether it has effect as it was written.
    pub accepted: bool,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Which revision each node enforces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, NodeStatus>,
}

/// One node's part of an [`ObjectStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The revision that the node enforces.
    pub revision: String,
    /// The generation of the node's ruleset that brought it; counts from the agent's start.
    pub generation: Generation,
    /// What the node has to say: that the object names what is not there, or is near what the
    /// dataplane takes, or above it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Status of one file: see [`FileReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    /// The file, relative to the source folder.
    pub file: String,
    /// Why the file could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Documents that are not what they should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<DocumentStatus>,
    /// Objects that stay from an earlier version of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// One document of a [`FileStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentStatus {
    /// Position in the file, from 1.
    pub document: u32,
    /// The line on which it begins, from 1.
    pub line: u32,
    /// The object, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl ObjectStatus {
    /// The status of an object that no node enforces yet.
    pub(super) fn new(key: &ObjectKey, report: &ObjectReport, place: &Place) -> Self {
        Self {
            api_version: key.kind.api_version().into(),
            kind: key.kind.name().into(),
            namespace: key.namespace.as_deref().map(Into::into),
            name: key.name.to_string(),
            file: place.file.display().to_string(),
            document: place.document,
            line: place.line,
            revision: report.revision.to_string(),
            accepted: report.is_accepted(),
            problems: report.problems.clone(),
            nodes: BTreeMap::new(),
        }
    }
}

impl FileStatus {
    /// The status of a file.
    pub(super) fn new(file: &std::path::Path, report: &FileReport) -> Self {
        Self {
            file: file.display().to_string(),
            error: report.error.clone(),
            documents: report.documents.iter().map(DocumentStatus::new).collect(),
            kept: report.kept.iter().map(ToString::to_string).collect(),
        }
    }
}

impl DocumentStatus {
    fn new(report: &DocumentReport) -> Self {
        let DocumentReport { document, line, object, outcome, problems } = report.clone();
        Self { document, line, object, outcome, problems }
    }
}
