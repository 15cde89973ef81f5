//! The thread that writes status files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::ruleset::Generation;
use serde::Serialize;

use super::Topic;
use super::file::{FileStatus, NodeStatus, ObjectStatus};
use crate::document::Revision;
use crate::event::Changes;
use crate::object::{Kind, ObjectKey};
use crate::report::{FileReport, ObjectReport};

/// Folder of the statuses of files; no kind has this name.
const FILES: &str = "files";
/// Longest object name that is a file name as it stands: a file name has at most 255 bytes, and
/// there is an ending to come, and a prefix while it is being written.
const MAX_NAME: usize = 200;

/// What callers have said and the thread has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Notes {
    objects: BTreeMap<ObjectKey, (Option<Arc<ObjectReport>>, Generation)>,
    files: BTreeMap<Arc<Path>, Option<Arc<FileReport>>>,
    enforced: Option<Generation>,
    warnings: BTreeMap<Topic, BTreeMap<ObjectKey, Vec<String>>>,
    in_sync: bool,
    end: bool,
}

impl Notes {
    pub(super) fn report(&mut self, changes: &Changes, generation: Generation) {
        for (key, report) in &changes.objects {
            self.objects.insert(key.clone(), (report.clone(), generation));
        }
        self.files.extend(changes.files.iter().cloned());
    }

    pub(super) fn enforced(&mut self, generation: Generation) {
        self.enforced = self.enforced.max(Some(generation));
    }

    pub(super) fn warn(&mut self, topic: Topic, warnings: BTreeMap<ObjectKey, Vec<String>>) {
        self.warnings.insert(topic, warnings);
    }

    pub(super) fn in_sync(&mut self) {
        self.in_sync = true;
    }

    pub(super) fn end(&mut self) {
        self.end = true;
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.end && !self.has_work()
    }

    /// Takes the notes; `None` if there are none and no more will come.
    pub(super) fn take(&mut self) -> Option<Self> {
        let end = self.end;
        let notes = std::mem::take(self);
        self.end = end;
        notes.has_work().then_some(notes)
    }

    fn has_work(&self) -> bool {
        let Self { objects, files, enforced, warnings, in_sync, end: _ } = self;
        !objects.is_empty()
            || !files.is_empty()
            || enforced.is_some()
            || !warnings.is_empty()
            || *in_sync
    }
}

/// Owner of one node's part of a status folder.
#[derive(Debug)]
pub(super) struct Writer {
    root: PathBuf,
    node: Name,
    lock: File,
    objects: BTreeMap<ObjectKey, Object>,
    files: BTreeMap<Arc<Path>, Arc<FileReport>>,
    enforced: Option<Generation>,
    /// What this node has to say of objects.
    warnings: BTreeMap<Topic, BTreeMap<ObjectKey, Vec<String>>>,
    /// Objects by the generation that will bring them.
    awaited: BTreeMap<Generation, BTreeSet<ObjectKey>>,
}

#[derive(Debug)]
struct Object {
    report: Arc<ObjectReport>,
    generation: Generation,
}

impl Writer {
    /// Takes hold of the folder `root`.
    pub(super) fn open(root: PathBuf, node: Name) -> io::Result<Self> {
        let lock = File::options().create(true).append(true).open(root.join(".lock"))?;
        Ok(Self {
            root,
            node,
            lock,
            objects: BTreeMap::new(),
            files: BTreeMap::new(),
            enforced: None,
            warnings: BTreeMap::new(),
            awaited: BTreeMap::new(),
        })
    }

    /// Brings the folder up to date. What cannot be written is logged, and tried again when its
    /// object changes: a full disk must not stop a node.
    pub(super) fn write(&mut self, notes: Notes) {
        let mut stale = self.take_objects(notes.objects);
        self.enforced = self.enforced.max(notes.enforced);
        if let Some(enforced) = self.enforced {
            let later = self.awaited.split_off(&enforced.next());
            stale.extend(std::mem::replace(&mut self.awaited, later).into_values().flatten());
        }
        for (topic, warnings) in notes.warnings {
            let before = self.warnings.insert(topic, warnings).unwrap_or_default();
            let after = &self.warnings[&topic];
            let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
            stale.extend(changed.cloned());
        }
        if stale.is_empty() && notes.files.is_empty() && !notes.in_sync {
            return;
        }
        if let Err(error) = self.lock.lock() {
            tracing::warn!(%error, folder = %self.root.display(), "cannot lock the status folder");
            return;
        }
        for key in stale {
            self.attempt(&object_path(&key), |writer, path| writer.write_object(&key, path));
        }
        for (file, report) in notes.files {
            let path = Path::new(FILES).join(&file);
            self.attempt(&path, |writer, path| match &report {
                Some(report) => replace(path, &FileStatus::new(&file, report)),
                None => writer.remove(path),
            });
            match report {
                Some(report) => self.files.insert(file, report),
                None => self.files.remove(&file),
            };
        }
        if notes.in_sync {
            self.sweep();
        }
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, folder = %self.root.display(), "cannot unlock the status folder");
        }
    }

    /// Takes in reports; the keys are those whose files are out of date.
    fn take_objects(
        &mut self,
        reports: BTreeMap<ObjectKey, (Option<Arc<ObjectReport>>, Generation)>,
    ) -> BTreeSet<ObjectKey> {
        let mut stale = BTreeSet::new();
        for (key, (report, generation)) in reports {
            match report {
                Some(report) => {
                    if report.has_effect {
                        self.awaited.entry(generation).or_default().insert(key.clone());
                    }
                    self.objects.insert(key.clone(), Object { report, generation });
                }
                None => {
                    self.objects.remove(&key);
                }
            }
            stale.insert(key);
        }
        stale
    }

    fn attempt(&self, path: &Path, act: impl FnOnce(&Self, &Path) -> io::Result<()>) {
        let path = self.root.join(path);
        if let Err(error) = act(self, &path) {
            tracing::warn!(%error, path = %path.display(), "cannot write a status");
        }
    }

    fn write_object(&self, key: &ObjectKey, path: &Path) -> io::Result<()> {
        let Some(Object { report, generation }) = self.objects.get(key) else {
            return self.remove(path);
        };
        // An object of an API server has its status there.
        let Some(place) = &report.place else { return Ok(()) };
        let mut status = ObjectStatus::new(key, report, place);
        if report.has_effect {
            // What cannot be read was not written by an agent, and is replaced.
            let before = fs::read_to_string(path).ok();
            let before = before.and_then(|t| serde_saphyr::from_str::<ObjectStatus>(&t).ok());
            status.nodes = before.map(|before| before.nodes).unwrap_or_default();
            if self.enforced.is_some_and(|enforced| *generation <= enforced) {
                let (revision, generation) = (status.revision.clone(), *generation);
                let warnings = self.warnings.values().filter_map(|topic| topic.get(key));
                let warnings = warnings.flatten().cloned().collect();
                let status_here = NodeStatus { revision, generation, warnings };
                status.nodes.insert(self.node.to_string(), status_here);
            }
        }
        replace(path, &status)
    }

    /// Removes a status, and the folders that it leaves empty.
    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != self.root) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Removes statuses of objects and files that are not there.
    fn sweep(&self) {
        let objects = self.objects.keys().map(object_path);
        let files = self.files.keys().map(|file| Path::new(FILES).join(file));
        let wanted: BTreeSet<PathBuf> = objects.chain(files).collect();
        let kinds = Kind::ALL.into_iter().filter(|kind| kind.has_status());
        for top in kinds.map(|kind| kind.to_string()).chain([FILES.to_owned()]) {
            for path in files_below(&self.root, Path::new(&top)) {
                if !wanted.contains(&path) {
                    self.attempt(&path, Self::remove);
                }
            }
        }
    }
}

/// Where the status of an object stands, relative to the status folder.
fn object_path(key: &ObjectKey) -> PathBuf {
    let name = match key.name.split_at_checked(MAX_NAME) {
        Some((begin, rest)) if !rest.is_empty() => {
            format!("{begin}-{}", Revision::of(key.name.as_bytes()))
        }
        _ => key.name.to_string(),
    };
    let mut path = PathBuf::from(key.kind.to_string());
    path.extend(key.namespace.as_deref());
    path.join(format!("{name}.yaml"))
}

/// Replaces a file whole, unless it holds the same already.
fn replace(path: &Path, status: &impl Serialize) -> io::Result<()> {
    let text = serde_saphyr::to_string(status).map_err(io::Error::other)?;
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let draft = path.with_file_name(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
}

/// Every file below `folder`, relative to `root`.
fn files_below(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root.join(&folder)).into_iter().flatten().flatten() {
            let path = folder.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                _ => found.push(path),
            }
        }
    }
    found
}
