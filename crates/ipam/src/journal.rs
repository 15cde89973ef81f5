//! An append-only file that carries a small state, with group commit.
//!
//! ```text
//! append ─┐                     ┌─ write, fdatasync ─ apply ─┐
//! append ─┼─ pending ─ (leader) ┤  one line for all of them  ├─ every append returns
//! append ─┘                     └────────────────────────────┘
//! ```
//!
//! Whoever finds no write going on becomes the leader and writes all pending records as one line;
//! those who come meanwhile are the next line. So one caller alone pays one `fdatasync`, and
//! thirty at once pay about two.
//!
//! A line is a JSON array that ends in a line feed. A crash can damage only the last one, whose
//! callers were told nothing yet: it is cut off at the next start. Damage further up is not a
//! crash, and the journal is refused. When the file has grown to a multiple of its content it is
//! written anew and renamed into place.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::file_store::sync_directory;

/// A state that is the fold of its records.
pub trait State: Default + Send {
    /// Names the kind of journal in its first line, so that one is not read as another.
    const KIND: &'static str;
    /// One change.
    type Record: fmt::Debug + Serialize + DeserializeOwned + Send;
    /// Carries out a change. Total: a record that does not fit the state changes nothing.
    fn apply(&mut self, record: Self::Record);
    /// Records that lead from the empty state to this one.
    fn records(&self) -> Vec<Self::Record>;
}

/// A state on disk.
#[derive(Debug)]
pub struct Journal<S: State> {
    inner: Mutex<Inner<S>>,
    committed: Condvar,
    /// Held for the journal's life: one process has it.
    _lock: File,
}

#[derive(Debug)]
struct Inner<S: State> {
    state: S,
    pending: Vec<S::Record>,
    /// Number of the line that pending records will be in.
    filling: u64,
    /// All lines below are decided.
    decided: u64,
    /// Lines that failed, with the number of appends not told yet.
    failed: BTreeMap<u64, (Arc<io::Error>, usize)>,
    /// Taken by the leader while it writes.
    file: Option<JournalFile>,
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process; is a second agent running on this node?", .0.display())]
    InUse(PathBuf),
    /// It holds something else than records.
    #[error("{} line {line} is damaged; restore the file, or remove it once no pod runs on this node", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// It is another kind of journal, or a newer one.
    #[error("{} is no {expected} journal of version {VERSION}", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// The kind asked for.
        expected: &'static str,
    },
    /// The file system refused.
    #[error("cannot open journal {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A record could not be made durable. It may be read at the next start nevertheless.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot write the journal; check the disk of the state directory")]
pub struct AppendError(#[source] Arc<io::Error>);

const VERSION: u32 = 1;
/// Below this size, in bytes, a journal is never written anew.
const COMPACT_FLOOR: u64 = 256 * 1024;

#[derive(Serialize, serde::Deserialize, PartialEq)]
struct Header {
    journal: String,
    version: u32,
}

impl<S: State> Journal<S> {
    /// Opens or makes a journal, and takes it for this process.
    ///
    /// # Errors
    /// Another process has it, it is damaged, or the file system refused.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        let io_error = |source| OpenError::Io { path: path.clone(), source };
        let lock = take_lock(&path)?;
        let (state, lines) = match fs::read(&path) {
            Ok(bytes) => read_lines::<S>(&path, &bytes)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => (S::default(), 0),
            Err(e) => return Err(io_error(e)),
        };
        // Also cuts off a torn last line.
        let mut file = JournalFile::create(&path, S::KIND, &state.records()).map_err(io_error)?;
        file.sync_name().map_err(io_error)?;
        tracing::debug!(journal = %path.display(), lines, bytes = file.len, "opened");
        let inner = Inner {
            state,
            pending: Vec::new(),
            filling: 0,
            decided: 0,
            failed: BTreeMap::new(),
            file: Some(file),
        };
        Ok(Self { inner: Mutex::new(inner), committed: Condvar::new(), _lock: lock })
    }

    /// Reads the state as it is on disk.
    pub fn read<T>(&self, body: impl FnOnce(&S) -> T) -> T {
        body(&self.lock().state)
    }

    /// Makes a change durable and carries it out.
    ///
    /// # Errors
    /// The file system refused; the state is unchanged.
    pub fn append(&self, record: S::Record) -> Result<(), AppendError> {
        let mut inner = self.lock();
        inner.pending.push(record);
        let line = inner.filling;
        while inner.decided <= line {
            inner = match inner.file.take() {
                Some(file) => self.write_pending(inner, file),
                None => self.committed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
        inner.outcome(line)
    }

    /// Writes one line as the leader. The lock is not held while the disk works.
    fn write_pending<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner<S>>,
        mut file: JournalFile,
    ) -> MutexGuard<'a, Inner<S>> {
        let records = std::mem::take(&mut inner.pending);
        let line = inner.filling;
        inner.filling += 1;
        drop(inner);
        let written = file.append(&records);
        let mut inner = self.lock();
        match written {
            Ok(()) => records.into_iter().for_each(|record| inner.state.apply(record)),
            Err(e) => {
                inner.failed.insert(line, (Arc::new(e), records.len()));
            }
        }
        inner.decided = line + 1;
        self.committed.notify_all();
        if file.len > file.compact_at {
            let records = inner.state.records();
            drop(inner);
            file.rewrite(S::KIND, &records);
            inner = self.lock();
        }
        inner.file = Some(file);
        // One of those who came while the file was away must become the leader.
        self.committed.notify_all();
        inner
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another file in the place of the open one: a read-only one makes every append fail.
    #[cfg(test)]
    pub(crate) fn swap_file(&self, file: File) -> File {
        let mut inner = self.lock();
        let open = inner.file.as_mut().expect("no append is in progress");
        std::mem::replace(&mut open.file, file)
    }
}

impl<S: State> Inner<S> {
    fn outcome(&mut self, line: u64) -> Result<(), AppendError> {
        let Some((error, untold)) = self.failed.get_mut(&line) else { return Ok(()) };
        let error = Arc::clone(error);
        *untold -= 1;
        if *untold == 0 {
            self.failed.remove(&line);
        }
        Err(AppendError(error))
    }
}

/// The open file and how far it is good.
#[derive(Debug)]
struct JournalFile {
    path: PathBuf,
    file: File,
    /// Bytes that are written and synced.
    len: u64,
    /// Something after `len` may be left of a failed write.
    torn: bool,
    /// After a crash the path may still lead to the file before this one.
    name_unsynced: bool,
    compact_at: u64,
}

impl JournalFile {
    /// Writes a whole new file and renames it into place.
    fn create<R: Serialize>(path: &Path, kind: &str, records: &[R]) -> io::Result<Self> {
        let mut bytes = serde_json::to_vec(&Header { journal: kind.to_owned(), version: VERSION })?;
        bytes.push(b'\n');
        if !records.is_empty() {
            push_line(&mut bytes, records)?;
        }
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        let len = bytes.len() as u64;
        let compact_at = COMPACT_FLOOR.max(4 * len);
        let path = path.to_owned();
        Ok(Self { path, file, len, torn: false, name_unsynced: true, compact_at })
    }

    fn sync_name(&mut self) -> io::Result<()> {
        if self.name_unsynced {
            sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
            self.name_unsynced = false;
        }
        Ok(())
    }

    fn append<R: Serialize>(&mut self, records: &[R]) -> io::Result<()> {
        let mut bytes = Vec::new();
        push_line(&mut bytes, records)?;
        self.sync_name()?;
        if self.torn {
            self.file.set_len(self.len)?;
        }
        self.torn = true;
        self.file.write_all_at(&bytes, self.len)?;
        self.file.sync_data()?;
        self.torn = false;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Writes the journal anew. A failure costs nothing but space: the old file goes on.
    fn rewrite<R: Serialize>(&mut self, kind: &str, records: &[R]) {
        match Self::create(&self.path, kind, records) {
            Ok(new) => *self = new,
            Err(error) => {
                tracing::warn!(journal = %self.path.display(), %error, "cannot compact");
                self.compact_at = self.len.saturating_mul(2);
            }
        }
    }
}

fn push_line<R: Serialize>(bytes: &mut Vec<u8>, records: &[R]) -> io::Result<()> {
    serde_json::to_writer(&mut *bytes, records)?;
    bytes.push(b'\n');
    Ok(())
}

fn take_lock(path: &Path) -> Result<File, OpenError> {
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io_error)?;
    }
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let lock = options.open(path.with_extension("lock")).map_err(io_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(e)) => Err(io_error(e)),
    }
}

fn read_lines<S: State>(path: &Path, bytes: &[u8]) -> Result<(S, usize), OpenError> {
    let mut lines = bytes.split_inclusive(|b| *b == b'\n').enumerate().peekable();
    let wrong_kind = || OpenError::WrongKind { path: path.to_owned(), expected: S::KIND };
    let header: Header = match lines.next() {
        Some((_, line)) => serde_json::from_slice(line).map_err(|_| wrong_kind())?,
        None => return Err(wrong_kind()),
    };
    if header.journal != S::KIND || header.version != VERSION {
        return Err(wrong_kind());
    }
    let mut state = S::default();
    let mut count = 1;
    while let Some((number, line)) = lines.next() {
        let records = match serde_json::from_slice::<Vec<S::Record>>(line) {
            Ok(records) => records,
            Err(_) if lines.peek().is_none() => {
                tracing::warn!(journal = %path.display(), "cut off an unfinished last line");
                break;
            }
            Err(source) => {
                let path = path.to_owned();
                return Err(OpenError::Damaged { path, line: number + 1, source });
            }
        };
        records.into_iter().for_each(|record| state.apply(record));
        count += 1;
    }
    Ok((state, count))
}

#[cfg(test)]
mod tests;
