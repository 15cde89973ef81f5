//! Which generation is enforced: the barrier that CNI ADD, status and tests wait on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brindle_model::ruleset::Generation;
use tokio::sync::watch;

/// What a driver is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DriverState {
    /// The first complete ruleset has not arrived: the kernel is not touched.
    #[default]
    WaitingForSync,
    /// The last commit went through.
    Running,
    /// The last read-back or commit failed; it is tried again with growing pauses.
    Failing,
    /// The thread has ended; the kernel keeps what it has.
    Stopped,
}

/// A driver's account of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DriverStatus {
    /// The kernel table's owner, as [`crate::Table::name`] says.
    pub table: &'static str,
    /// What it is doing.
    pub state: DriverState,
    /// Every input up to this generation is in the kernel.
    pub applied: Option<Generation>,
    /// Commits that went through.
    pub commits: u64,
    /// Kernel objects that they created, changed or deleted.
    pub writes: u64,
    /// Read-backs that went through.
    pub resyncs: u64,
    /// Kernel objects that a read-back found different from what was committed.
    pub drifted: u64,
    /// How often what others did to it was undone.
    pub repairs: u64,
    /// Read-backs and commits that failed.
    pub failures: u64,
    /// Why the last one failed, cause by cause; kept until a commit goes through.
    pub last_error: Option<String>,
}

/// What tasks watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What the driver is doing.
    pub state: DriverState,
    /// Every input up to this generation is in the kernel.
    pub applied: Option<Generation>,
    /// How often what others did to it was undone.
    pub repairs: u64,
}

/// Why [`Applied::wait`] gave up.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed.
    #[error(
        "{table} had applied generation {applied:?} but not {wanted} after {waited:?}; last error: {}",
        last_error.as_deref().unwrap_or("none")
    )]
    Deadline {
        /// Which driver.
        table: &'static str,
        /// What was waited for.
        wanted: Generation,
        /// What it had reached.
        applied: Option<Generation>,
        /// For how long.
        waited: Duration,
        /// Its last error.
        last_error: Option<String>,
    },
    /// The driver stopped.
    #[error("{table} stopped before it applied generation {wanted}")]
    Stopped {
        /// Which driver.
        table: &'static str,
        /// What was waited for.
        wanted: Generation,
    },
}

/// The reading side of a driver's progress. Plain threads [`wait`](Self::wait) with a deadline,
/// tasks [`subscribe`](Self::subscribe).
#[derive(Clone, Debug)]
pub struct Applied(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    status: Mutex<DriverStatus>,
    changed: Condvar,
    watch: watch::Sender<Progress>,
}

impl Applied {
    pub(crate) fn new(table: &'static str) -> Self {
        let status = DriverStatus { table, ..DriverStatus::default() };
        Self(Arc::new(Shared {
            status: Mutex::new(status),
            changed: Condvar::new(),
            watch: watch::Sender::new(Progress::default()),
        }))
    }

    /// The driver's account of itself.
    pub fn status(&self) -> DriverStatus {
        self.lock().clone()
    }

    /// The generation that is enforced.
    pub fn generation(&self) -> Option<Generation> {
        self.lock().applied
    }

    /// Blocks until `generation` is enforced.
    ///
    /// # Errors
    /// After `timeout`, or when the driver has stopped.
    pub fn wait(&self, generation: Generation, timeout: Duration) -> Result<(), WaitError> {
        let deadline = Instant::now() + timeout;
        let mut status = self.lock();
        loop {
            if status.applied.is_some_and(|applied| applied >= generation) {
                return Ok(());
            }
            if status.state == DriverState::Stopped {
                return Err(WaitError::Stopped { table: status.table, wanted: generation });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WaitError::Deadline {
                    table: status.table,
                    wanted: generation,
                    applied: status.applied,
                    waited: timeout,
                    last_error: status.last_error.clone(),
                });
            }
            let woken = self.0.changed.wait_timeout(status, left);
            (status, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A watch of the driver's progress, for tasks.
    pub fn subscribe(&self) -> watch::Receiver<Progress> {
        self.0.watch.subscribe()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut DriverStatus)) {
        let mut status = self.lock();
        change(&mut status);
        let DriverStatus { state, applied, repairs, .. } = *status;
        let now = Progress { state, applied, repairs };
        drop(status);
        self.0.changed.notify_all();
        self.0.watch.send_if_modified(|seen| std::mem::replace(seen, now) != now);
    }

    /// A driver that panicked leaves a readable status behind: every field is valid by itself.
    fn lock(&self) -> MutexGuard<'_, DriverStatus> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
