//! One agent a node: a lock in the run directory, which the kernel drops with the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

/// How long a lock may still be held after its holder was killed: a program that it was just
/// starting has its files until it becomes that program.
const LAST_GASP: Duration = Duration::from_millis(500);
/// Pause between two tries.
const AGAIN: Duration = Duration::from_millis(5);

/// Held as long as the agent runs.
#[derive(Debug)]
pub struct NodeLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

/// The lock is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file cannot be made or opened.
    #[error("could not open the lock file {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent has it.
    #[error(
        "another agent (process {holder}) runs on this node: it holds {}; stop it first, or give \
         this one another --run-dir and network namespace",
        path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it.
        holder: String,
    },
}

impl NodeLock {
    /// Takes the lock in `run_dir`, which is made if it is not there.
    ///
    /// # Errors
    /// Another agent holds it, or the file cannot be made.
    pub fn take(run_dir: &Path) -> Result<Self, LockError> {
        let path = run_dir.join("agent.lock");
        let open = || {
            fs::create_dir_all(run_dir)?;
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)
        };
        let file = open().map_err(|source| LockError::Open { path: path.clone(), source })?;
        match lock(file) {
            Ok(mut lock) => {
                let written = lock
                    .set_len(0)
                    .and_then(|()| lock.rewind())
                    .and_then(|()| write!(lock, "{}", std::process::id()));
                written.map_err(|source| LockError::Open { path, source })?;
                Ok(Self(lock))
            }
            Err(mut file) => {
                let mut holder = String::new();
                // The number only helps the reader of the message.
                let _ = file.read_to_string(&mut holder);
                Err(LockError::Held { path, holder })
            }
        }
    }
}

/// Returns the file if somebody else has the lock, and keeps it.
fn lock(mut file: File) -> Result<Flock<File>, File> {
    let end = Instant::now() + LAST_GASP;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((refused, _)) if Instant::now() >= end => return Err(refused),
            Err((refused, _)) => file = refused,
        }
        std::thread::sleep(AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_the_first_unharmed() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let first = NodeLock::take(&run).unwrap();
        for _ in 0..2 {
            let error = NodeLock::take(&run).unwrap_err().to_string();
            assert!(error.contains(&std::process::id().to_string()), "{error}");
        }
        drop(first);
        NodeLock::take(&run).unwrap();
    }
}
