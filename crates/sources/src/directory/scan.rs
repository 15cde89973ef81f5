//! Reading folders and files.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::store::Store;

/// Largest file that is read, in bytes.
const MAX_FILE_SIZE: u64 = 64 << 20;

/// Whether a file of this name holds objects.
pub(super) fn is_object_file(name: &Path) -> bool {
    let hidden = name.file_name().is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
    !hidden && name.extension().is_some_and(|e| e == "yaml" || e == "yml")
}

/// Entries of one folder that count, as paths relative to `root`.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Folders to descend into.
    pub folders: Vec<PathBuf>,
    /// Files to read.
    pub files: Vec<PathBuf>,
}

/// Lists one folder.
///
/// # Errors
/// It cannot be read; it may be gone.
pub(super) fn list(root: &Path, folder: &Path) -> io::Result<Entries> {
    let mut entries = Entries::default();
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                entries.folders.push(path);
            }
        } else if is_object_file(&path) {
            entries.files.push(path);
        }
    }
    entries.folders.sort_unstable();
    entries.files.sort_unstable();
    Ok(entries)
}

/// Visits every object file in and below `folder`.
pub(super) fn walk(root: &Path, folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        match list(root, &folder) {
            Ok(entries) => {
                entries.files.iter().for_each(|path| visit(path));
                open.extend(entries.folders);
            }
            Err(error) => tracing::debug!(folder = %folder.display(), %error, "cannot be listed"),
        }
    }
}

/// Brings what `store` knows of a file up to date.
pub(super) fn load(root: &Path, path: &Path, store: &mut Store) {
    if !load_present(root, path, store) {
        store.remove(path);
    }
}

/// The same of a file that is there. Returns whether it is.
pub(super) fn load_present(root: &Path, path: &Path, store: &mut Store) -> bool {
    match read(&root.join(path)) {
        Ok(bytes) => store.put(path, &bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
        Err(error) => store.fail(path, &error),
    }
    true
}

/// Reads a file, if it is one.
///
/// # Errors
/// It is gone, not a regular file, too large, or unreadable.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Without O_NONBLOCK the open of a named pipe would wait for a writer.
    let flags = OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(io::Error::other(format!("larger than {MAX_FILE_SIZE} bytes")));
    }
    Ok(bytes)
}
