//! Work inside another network namespace: a thread of its own enters it, does the work and ends,
//! so that no thread of the agent is ever in the wrong one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::Builder;

use nix::sched::{CloneFlags, setns, unshare};

/// Stack of such a thread, bytes.
const STACK: usize = 128 * 1024;

/// Runs `work` inside the network namespace `netns`.
///
/// # Errors
/// No thread could be made, or the namespace could not be entered.
///
/// # Panics
/// When `work` does.
pub fn within<R: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> R + Send) -> io::Result<R> {
    on_thread(|| {
        setns(netns, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    })
}

/// A network namespace held by a descriptor: it lives until the last holder is gone, and needs no
/// name anywhere.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

impl Namespace {
    /// Makes a new one.
    ///
    /// # Errors
    /// Not permitted, or no thread could be made.
    pub fn create() -> io::Result<Self> {
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(Self(File::open("/proc/thread-self/ns/net")?.into()))
        })
    }

    /// Runs `work` inside.
    ///
    /// # Errors
    /// As [`within`].
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> io::Result<R> {
        within(self.as_fd(), work)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn on_thread<R: Send>(work: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
    std::thread::scope(|scope| {
        let thread = Builder::new().name("netns".to_owned()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
