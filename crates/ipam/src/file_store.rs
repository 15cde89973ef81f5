//! A [`Store`] in a directory, for the folder source: one node, or several on one machine.
//!
//! One file a record, replaced by rename, so a reader never sees half of one. All operations hold
//! `flock` on `.lock`; the kernel drops it with the process. Revisions count up in `.revision`,
//! which is on disk before the record that uses the number.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::{Record, Revision, Store, StoreError, WriteError};

/// Records in a directory.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
}

/// A record's file.
#[derive(Serialize, Deserialize)]
struct Content {
    revision: Revision,
    value: serde_json::Value,
}

impl FileStore {
    /// Opens the store, making the directory if there is none.
    ///
    /// # Errors
    /// The directory cannot be made or used.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let directory = directory.into();
        let made = fs::create_dir_all(&directory).and_then(|()| sync_directory(&directory));
        made.map_err(|e| StoreError::new(format!("cannot open store {}", directory.display()), e))?;
        Ok(Self { directory })
    }

    fn exclusive<T>(
        &self,
        operation: &str,
        key: &str,
        body: impl FnOnce(&Path) -> Result<T, Failure>,
    ) -> Result<T, WriteError> {
        let run = || {
            let path = self.path(key)?;
            let lock = self.lock_file()?;
            lock.lock()?;
            body(&path)
        };
        run().map_err(|failure| match failure {
            Failure::Conflict => WriteError::Conflict,
            Failure::Io(e) => WriteError::Store(self.error(operation, key, e)),
        })
    }

    fn error(&self, operation: &str, key: &str, source: io::Error) -> StoreError {
        let place = self.directory.join(key);
        StoreError::new(format!("cannot {operation} record {}", place.display()), source)
    }

    fn path(&self, key: &str) -> io::Result<PathBuf> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        if key.is_empty() || key.starts_with('.') || !key.chars().all(allowed) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a record key"));
        }
        Ok(self.directory.join(format!("{key}.json")))
    }

    fn lock_file(&self) -> io::Result<File> {
        let path = self.directory.join(".lock");
        File::options().read(true).write(true).create(true).truncate(false).open(path)
    }

    fn next_revision(&self) -> io::Result<Revision> {
        let last: u64 = match fs::read_to_string(self.directory.join(".revision")) {
            Ok(text) => text.trim().parse().map_err(io::Error::other)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(e),
        };
        self.replace(".revision", (last + 1).to_string().as_bytes())?;
        Ok(Revision((last + 1).to_string()))
    }

    fn write(&self, path: &Path, value: &serde_json::Value) -> io::Result<Revision> {
        let revision = self.next_revision()?;
        let content = Content { revision: revision.clone(), value: value.clone() };
        let name = path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
        self.replace(&name, &serde_json::to_vec(&content)?)?;
        Ok(revision)
    }

    /// Puts a whole file in place; after a crash either the old or the new one is there.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.directory.join(".new");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.directory.join(name))?;
        sync_directory(&self.directory)
    }
}

impl Store for FileStore {
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let read = || {
            let content = read(&self.path(key)?)?;
            Ok(content.map(|c| Record { key: key.into(), revision: c.revision, value: c.value }))
        };
        read().map_err(|e| self.error("read", key, e))
    }

    fn list(&self) -> Result<Vec<Record>, StoreError> {
        let list = || {
            let lock = self.lock_file()?;
            lock.lock_shared()?;
            let mut records = Vec::new();
            for entry in fs::read_dir(&self.directory)? {
                let path = entry?.path();
                let Some(key) = record_key(&path) else { continue };
                let Some(Content { revision, value }) = read(&path)? else { continue };
                records.push(Record { key, revision, value });
            }
            records.sort_by(|a, b| a.key.cmp(&b.key));
            Ok(records)
        };
        list().map_err(|e| self.error("list", "", e))
    }

    fn create(&self, key: &str, value: &serde_json::Value) -> Result<Revision, WriteError> {
        self.exclusive("create", key, |path| {
            if path.try_exists()? {
                return Err(Failure::Conflict);
            }
            Ok(self.write(path, value)?)
        })
    }

    fn update(
        &self,
        key: &str,
        revision: &Revision,
        value: &serde_json::Value,
    ) -> Result<Revision, WriteError> {
        self.exclusive("update", key, |path| {
            expect_revision(path, revision)?;
            Ok(self.write(path, value)?)
        })
    }

    fn delete(&self, key: &str, revision: &Revision) -> Result<(), WriteError> {
        self.exclusive("delete", key, |path| {
            expect_revision(path, revision)?;
            fs::remove_file(path)?;
            Ok(sync_directory(&self.directory)?)
        })
    }
}

enum Failure {
    Conflict,
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn expect_revision(path: &Path, revision: &Revision) -> Result<(), Failure> {
    match read(path)? {
        Some(content) if content.revision == *revision => Ok(()),
        _ => Err(Failure::Conflict),
    }
}

fn read(path: &Path) -> io::Result<Option<Content>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| io::Error::other(format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The key of a record's file; other files are not records.
fn record_key(path: &Path) -> Option<String> {
    let key = path.file_name()?.to_str()?.strip_suffix(".json")?;
    (!key.starts_with('.')).then(|| key.to_owned())
}

pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_write_needs_the_current_revision() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path().join("blocks")).unwrap();
        let first = store.create("a", &json!(1)).unwrap();
        assert!(matches!(store.create("a", &json!(2)), Err(WriteError::Conflict)));
        let second = store.update("a", &first, &json!(3)).unwrap();
        assert!(matches!(store.update("a", &first, &json!(4)), Err(WriteError::Conflict)));
        assert!(matches!(store.delete("a", &first), Err(WriteError::Conflict)));
        assert_eq!(store.get("a").unwrap().unwrap().value, json!(3));
        store.delete("a", &second).unwrap();
        assert_eq!(store.get("a").unwrap(), None);
        assert!(matches!(store.delete("a", &second), Err(WriteError::Conflict)));
    }

    #[test]
    fn a_record_made_anew_has_another_revision() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        let first = store.create("a", &json!(1)).unwrap();
        store.delete("a", &first).unwrap();
        let again = FileStore::open(directory.path()).unwrap().create("a", &json!(1)).unwrap();
        assert_ne!(first, again);
        assert!(matches!(store.delete("a", &first), Err(WriteError::Conflict)));
    }

    #[test]
    fn a_list_is_sorted_and_holds_records_only() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        for key in ["b", "a-1", "c.d"] {
            store.create(key, &json!(key)).unwrap();
        }
        fs::write(directory.path().join(".new"), "half").unwrap();
        let keys: Vec<String> = store.list().unwrap().into_iter().map(|r| r.key).collect();
        assert_eq!(keys, ["a-1", "b", "c.d"]);
    }

    #[test]
    fn keys_that_leave_the_directory_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        for key in ["", "../a", ".lock", "a/b", "A"] {
            assert!(store.create(key, &json!(1)).is_err(), "{key:?}");
            assert!(store.get(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn racing_creates_have_one_winner() {
        let directory = tempfile::tempdir().unwrap();
        let wins: usize = std::thread::scope(|scope| {
            let race = |_| {
                scope.spawn(|| {
                    let store = FileStore::open(directory.path()).unwrap();
                    (0..20).filter(|i| store.create(&format!("k{i}"), &json!(i)).is_ok()).count()
                })
            };
            let threads: Vec<_> = (0..4).map(race).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(wins, 20);
    }
}
