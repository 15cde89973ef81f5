//! The status folder: how it stands with each object, in a small file of its own.
//!
//! ```text
//! status/
//!   NetworkPolicy/shop/allow-web.yaml     accepted or not, problems, which nodes enforce it
//!   IPPool/pods.yaml
//!   files/shop/policies.yaml              documents of that file that are broken, ignored, double
//! ```
//! The agents of all nodes share one folder. What concerns the object is the same for all of them,
//! so whoever comes first writes it; below `nodes` each has its own entry. A file is replaced whole,
//! by rename, under an advisory lock on `.lock`.
//!
//! Nothing here is on the way of a packet or an update: callers leave a note, and one thread
//! writes. While it writes, notes for the same object replace each other.

mod file;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::{io, thread};

use brindle_model::Name;
use brindle_model::ruleset::Generation;

pub use file::{DocumentStatus, FileStatus, NodeStatus, ObjectStatus};

use crate::event::Changes;
use crate::object::ObjectKey;
use writer::{Notes, Writer};

/// What a node has to say of objects is told topic by topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// What the dataplane takes.
    Capacity,
    /// The node's interfaces.
    Interfaces,
    /// The node's BGP sessions.
    Sessions,
    /// What the node's agent takes when it starts again.
    Settings,
}

/// Keeps one node's part of a status folder. Dropping it writes what is noted and ends the thread.
#[derive(Debug)]
pub struct StatusWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    notes: Mutex<Notes>,
    noted: Condvar,
}

/// A status folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It lies in the source folder, so that every status would be taken for an object.
    #[error("the status folder {} lies inside the source folder {}", status.display(), root.display())]
    InsideSource {
        /// The status folder.
        status: PathBuf,
        /// The source folder.
        root: PathBuf,
    },
    /// It cannot be created or written.
    #[error("cannot use the status folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start the status thread")]
    Thread(#[source] io::Error),
}

impl StatusWriter {
    /// Prepares the status folder `path`, creating it if need be, for the objects of the folder
    /// `root` and the part of the node `node`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, root: &Path, node: &Name) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(failed)?;
        let status = path.canonicalize().map_err(failed)?;
        if root.canonicalize().is_ok_and(|root| status.starts_with(root)) {
            return Err(OpenError::InsideSource { status, root: root.to_owned() });
        }
        let mut writer = Writer::open(status, node.clone()).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new()
            .name("status".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || {
                    while let Some(notes) = shared.next() {
                        writer.write(notes);
                    }
                }
            })
            .map_err(OpenError::Thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Notes what a source has told, and that the inputs among it are in the ruleset of
    /// `generation` and later ones.
    pub fn report(&self, changes: &Changes, generation: Generation) {
        self.note(|notes| notes.report(changes, generation));
    }

    /// Notes that this node enforces the ruleset of `generation`, and so all earlier ones.
    pub fn enforced(&self, generation: Generation) {
        self.note(|notes| notes.enforced(generation));
    }

    /// Notes what is to say of objects on this node on a topic, in place of what was said before.
    pub fn warn(&self, topic: Topic, warnings: BTreeMap<ObjectKey, Vec<String>>) {
        self.note(|notes| notes.warn(topic, warnings));
    }

    /// Notes that every object has been reported: what the folder holds of others is left over
    /// from objects that are gone.
    pub fn in_sync(&self) {
        self.note(Notes::in_sync);
    }

    fn note(&self, take: impl FnOnce(&mut Notes)) {
        take(&mut self.shared.lock());
        self.shared.noted.notify_one();
    }
}

impl Drop for StatusWriter {
    fn drop(&mut self) {
        self.note(Notes::end);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the status thread has panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        // Notes are replaced whole, so a panic elsewhere leaves none half-made.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for notes and takes them; `None` at the end.
    fn next(&self) -> Option<Notes> {
        let notes = self.lock();
        let waited = self.noted.wait_while(notes, |notes| notes.is_idle());
        let mut notes = waited.unwrap_or_else(PoisonError::into_inner);
        notes.take()
    }
}
