//! One agent a node: a lock in the run directory, which the kernel drops with the process, and with
//! the programs that it has started.
//!
//! A program that writes rules may outlive the agent that started it, and write later than the next
//! agent reads: it may wait for the lock of ip_tables. So programs have the lock's file open as well,
//! and the next agent begins when the last of them is gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tracing::info;

/// How long a lock may still be held while its holder dies.
const LAST_GASP: Duration = Duration::from_millis(500);
/// How long the program that a dead agent has started may take: one of iptables waits ten seconds for
/// another, and then does its work.
const LAST_PROGRAM: Duration = Duration::from_secs(15);
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
                let keep = FcntlArg::F_SETFD(FdFlag::empty());
                let written = fcntl(&*lock, keep)
                    .map_err(io::Error::from)
                    .and_then(|_| lock.set_len(0))
                    .and_then(|()| lock.rewind())
                    .and_then(|()| write!(lock, "{}", std::process::id()));
                written.map_err(|source| LockError::Open { path, source })?;
                Ok(Self(lock))
            }
            Err(mut file) => {
                let mut holder = String::new();
                // The number only helps the reader of the message.
                let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
                Err(LockError::Held { path, holder })
            }
        }
    }
}

/// Returns the file if somebody else has the lock, and keeps it.
fn lock(mut file: File) -> Result<Flock<File>, File> {
    let start = Instant::now();
    let mut told = false;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((refused, _)) => file = refused,
        }
        let waited = start.elapsed();
        if waited >= LAST_GASP {
            if waited >= LAST_PROGRAM || !holder_is_gone(&file) {
                return Err(file);
            }
            if !std::mem::replace(&mut told, true) {
                info!("waiting for a program that an agent started which was killed");
            }
        }
        std::thread::sleep(AGAIN);
    }
}

/// Whether the process that wrote its number into the file is no more.
fn holder_is_gone(mut file: &File) -> bool {
    let mut holder = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut holder));
    let process = read.ok().and_then(|_| holder.trim().parse().ok());
    process.is_some_and(|process| kill(Pid::from_raw(process), None) == Err(Errno::ESRCH))
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
