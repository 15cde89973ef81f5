//! What a folder's files say about objects, and which of it counts: state without I/O.
//!
//! The text of a file is not kept. A file leaves behind a hash, its keys and its remarks; an object
//! its claims, one for each document that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::document::{Content, Document, Revision, parse};
use crate::event::Changes;
use crate::object::ObjectKey;
use crate::objects::{Claim, Objects};
use crate::problem::{Problem, Severity, accepted};
use crate::report::{DocumentReport, FileReport, Outcome, Place};

/// The objects of a folder. See the module's essay.
#[derive(Debug, Default)]
pub struct Store {
    files: BTreeMap<Arc<Path>, File>,
    objects: Objects,
    touched_files: BTreeSet<Arc<Path>>,
}

#[derive(Debug, Default)]
struct File {
    /// Identity of the contents last read; `None` before the first time and after an error.
    revision: Option<Revision>,
    /// Objects with a claim in this file, sorted.
    keys: Box<[ObjectKey]>,
    /// Few files have any, and there may be many files.
    faults: Option<Box<Faults>>,
    published: Option<Arc<FileReport>>,
}

/// What is wrong with a file, beyond its objects.
#[derive(Debug, Default, PartialEq)]
struct Faults {
    /// Why it could not be read the last time.
    error: Option<String>,
    /// Documents that hold no object of ours.
    remarks: Vec<DocumentReport>,
    /// Objects that only an earlier version of the file had.
    kept: Vec<ObjectKey>,
}

impl Store {
    /// The file `path` now has these contents.
    pub fn put(&mut self, path: &Path, contents: &[u8]) {
        let revision = Revision::of(contents);
        let (path, file) = self
            .files
            .get_key_value(path)
            .map_or_else(|| (Arc::from(path), None), |(path, file)| (path.clone(), Some(file)));
        if file.is_some_and(|f| f.revision == Some(revision)) {
            return;
        }
        let text = match std::str::from_utf8(contents) {
            Ok(text) => text,
            Err(error) => return self.fail(&path, &io::Error::other(error)),
        };
        let mut keys = BTreeSet::new();
        let mut remarks = Vec::new();
        let mut claims = Vec::new();
        for document in parse(text) {
            match self.claim(&path, document) {
                Ok((key, claim)) => {
                    keys.insert(key.clone());
                    claims.push((key, claim));
                }
                Err(remark) => remarks.push(remark),
            }
        }
        let incomplete = remarks.iter().any(|r| r.outcome == Outcome::Unreadable);
        let before = self.files.remove(&path).unwrap_or_default();
        let (dropped, kept): (Vec<_>, Vec<_>) =
            before.keys.into_iter().partition(|key| keys.contains(key) || !incomplete);
        dropped.into_iter().for_each(|key| self.withdraw(&path, key));
        claims.into_iter().for_each(|(key, claim)| self.objects.claim(key, claim));
        keys.extend(kept.iter().cloned());
        let faults = Faults { error: None, remarks, kept };
        let file = File {
            revision: Some(revision),
            keys: keys.into_iter().collect(),
            faults: (faults != Faults::default()).then(|| Box::new(faults)),
            published: before.published,
        };
        self.files.insert(path.clone(), file);
        self.touched_files.insert(path);
    }

    /// The file `path` is gone.
    pub fn remove(&mut self, path: &Path) {
        let Some((path, file)) = self.files.remove_entry(path) else { return };
        file.keys.into_iter().for_each(|key| self.withdraw(&path, key));
        // An empty entry remains until the report of the file is withdrawn.
        self.files.insert(path.clone(), File { published: file.published, ..File::default() });
        self.touched_files.insert(path);
    }

    /// The file `path` cannot be read; its objects stay as they are.
    pub fn fail(&mut self, path: &Path, error: &io::Error) {
        let path: Arc<Path> = path.into();
        let file = self.files.entry(path.clone()).or_default();
        file.revision = None;
        file.faults.get_or_insert_default().error = Some(error.to_string());
        self.touched_files.insert(path);
    }

    /// The files that are known and lie in or below `folder`.
    pub fn files_below(&self, folder: &Path) -> Vec<Arc<Path>> {
        let from = self
            .files
            .range::<Path, _>((std::ops::Bound::Included(folder), std::ops::Bound::Unbounded));
        from.map(|(path, _)| path).take_while(|path| path.starts_with(folder)).cloned().collect()
    }

    /// Takes what has changed since the last time.
    pub fn flush(&mut self) -> Changes {
        let mut changes = Changes::default();
        self.objects.flush(&mut changes, |claims| {
            let places = claims.iter().filter_map(|claim| claim.place.as_ref());
            self.touched_files.extend(places.map(|place| place.file.clone()));
        });
        for path in std::mem::take(&mut self.touched_files) {
            self.report_file(path, &mut changes);
        }
        changes
    }

    /// What a document of `path` claims about an object, or what else is to say of it.
    fn claim(
        &mut self,
        path: &Arc<Path>,
        document: Document,
    ) -> Result<(ObjectKey, Claim), DocumentReport> {
        let Document { number, line, revision, content } = document;
        let remark = |object, outcome, problems| DocumentReport {
            document: number,
            line,
            object,
            outcome,
            problems,
        };
        match content {
            Content::Object { key, decoded } => {
                let place = Place { file: path.clone(), document: number, line };
                Ok(self.objects.convert(key, &decoded, Some(place), revision))
            }
            Content::OtherKind { api_version, kind, name } => {
                let object = format!("{api_version} {kind} {}", name.as_deref().unwrap_or("?"));
                Err(remark(Some(object), Outcome::Ignored, Vec::new()))
            }
            Content::Unreadable(message) => {
                let problem = Problem { severity: Severity::Error, field: String::new(), message };
                Err(remark(None, Outcome::Unreadable, vec![problem]))
            }
        }
    }

    fn withdraw(&mut self, path: &Path, key: ObjectKey) {
        let is_theirs = |claim: &Claim| claim.place.as_ref().is_some_and(|p| *p.file == *path);
        self.objects.withdraw(key, is_theirs);
    }

    fn report_file(&mut self, path: Arc<Path>, changes: &mut Changes) {
        let Some(file) = self.files.get(&path) else { return };
        let faults = file.faults.as_deref();
        let mut documents = faults.map_or_else(Vec::new, |faults| faults.remarks.clone());
        for key in &file.keys {
            let claims = self.objects.claims(key);
            let counts = claims.first().and_then(|claim| claim.place.as_ref());
            for (i, claim) in claims.iter().enumerate() {
                let Some(place) = claim.place.as_ref().filter(|p| p.file == path) else { continue };
                documents.extend(remark(key, claim, place, counts.filter(|_| i > 0)));
            }
        }
        documents.sort_unstable();
        let error = faults.and_then(|faults| faults.error.clone());
        let kept = faults.map_or_else(Vec::new, |faults| faults.kept.clone());
        let report = FileReport { error, documents, kept };
        let report = (report != FileReport::default()).then(|| Arc::new(report));
        let gone = file.revision.is_none() && file.faults.is_none();
        if report != file.published {
            changes.files.push((path.clone(), report.clone()));
        }
        if gone {
            self.files.remove(&path);
        } else if let Some(file) = self.files.get_mut(&path) {
            file.published = report;
        }
    }
}

/// What the report of a claim's file says about it, if anything. `counts` is where the claim is that
/// counts instead.
fn remark(
    key: &ObjectKey,
    claim: &Claim,
    place: &Place,
    counts: Option<&Place>,
) -> Option<DocumentReport> {
    let mut problems = claim.conversion.problems.clone();
    let outcome = if let Some(place) = counts {
        let message = format!("already defined in {place}, which counts");
        problems = vec![Problem { severity: Severity::Error, field: String::new(), message }];
        Outcome::Duplicate
    } else if key.kind.has_status() || problems.is_empty() {
        return None;
    } else if accepted(&problems) {
        Outcome::Accepted
    } else {
        Outcome::Rejected
    };
    let Place { document, line, .. } = *place;
    Some(DocumentReport { document, line, object: Some(key.to_string()), outcome, problems })
}
