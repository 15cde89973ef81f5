//! A folder of YAML as the source of objects.
//!
//! Every `*.yaml` and `*.yml` file counts, in nested folders too; names that begin with a dot do
//! not, nor do folders behind symbolic links. A file is a stream of documents. A link to a file is
//! read when the link appears, not when the file behind it changes.
//!
//! # When a file is read
//!
//! inotify says when; there is no polling. A file is read when its writer closes it or when it is
//! renamed into place, never while it is being written, so an editor's half-written file is not
//! seen. A file that vanishes is held on to for 20 ms, because many programs remove the old file
//! before they write the new one, and a policy must not be gone in between; for a second if it was
//! renamed beside itself to a name that does not count, as editors do with their backup copies. If
//! the kernel's event queue overflows, everything is read again.
//!
//! # What counts
//!
//! - A document that is not YAML, or does not say which object it is, is left out, and what the
//!   file's earlier version held and the readable documents do not stays in force, as with an API
//!   server that refuses an update. An absence in a file that cannot be read whole proves nothing.
//! - If two documents define the same object, the one whose file sorts first counts (in one file,
//!   the first); both are named in the object's problems. That is so even if the first is broken.
//! - Objects are reported when their validated value changes, not when the text does.
//!
//! The split: `store` knows objects and no I/O, `scan` reads folders and files, `watch` knows
//! inotify.

mod scan;
mod store;
mod watch;

use std::path::{Path, PathBuf};
use std::{fs, io};

pub use store::Store;
pub use watch::{Control, ControlError, DirectorySource, OpenError, RunError};

use crate::document::{self, Content};
use crate::snapshot::{Reader, Snapshot};

/// Reads a folder once, without watching it: its objects, and what [`DirectorySource`] would tell of
/// it. Files that vanish meanwhile are left out.
///
/// # Errors
/// The folder itself cannot be read.
pub fn read_once(root: &Path) -> io::Result<Snapshot> {
    fs::read_dir(root)?;
    let mut store = Store::default();
    scan::walk(root, Path::new(""), &mut |path| scan::load(root, path, &mut store));
    let mut reader = Reader::default();
    for path in files(root)? {
        // A file that cannot be read has no objects here; the store says why.
        let Ok(bytes) = scan::read(&root.join(path)) else { continue };
        for document in document::parse(std::str::from_utf8(&bytes).unwrap_or_default()) {
            if let Content::Object { key, decoded } = document.content {
                reader.take(key, decoded);
            }
        }
    }
    Ok(reader.finish(store.flush()))
}

/// The files of a folder that count, in the order in which they do.
fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(root)?;
    let mut files = Vec::new();
    scan::walk(root, Path::new(""), &mut |path| files.push(path.to_owned()));
    files.sort_unstable();
    Ok(files)
}
