//! The driver: one thread that owns one kernel table.
//!
//! ```text
//!  inputs ──bounded──> [ stage … stage ] ──> commit ──> Applied { generation }
//!                        drain the queue        │ error
//!                                               v
//!                               pause (doubling, bounded) ──> resync ──> commit
//!  slow timer ─────────────────────────────────────────────^
//!  news of nf_tables, or a glance now and then ── disturbed? ┘
//! ```
//! At the start the driver reads back what an earlier agent left, and then waits: **the first
//! input must be the complete ruleset**, so that what is missing from it may be removed (mark and
//! sweep). Until it arrives the kernel is not touched. When every sender is gone the queue is
//! drained, committed, and the thread ends; the kernel keeps its state.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use brindle_model::ruleset::Generation;
use tracing::{debug, info, warn};

use crate::applied::{Applied, DriverState};
use crate::backend::{Backend, Commit, DataplaneInput, Disturbance, Drift, Watch};
use crate::nfnetlink::TablesMonitor;

/// One owner of one kernel table: what the driver drives. Every [`Backend`] is one.
pub trait Table: Send {
    /// What it takes in.
    type Input: Send;
    /// Why a kernel operation failed.
    type Error: Error + Send + Sync + 'static;

    /// Its name in logs, metrics and status.
    fn name(&self) -> &'static str;

    /// Takes an input into the desired state, without kernel I/O. Returns the generation that it
    /// completes, if it completes one.
    fn stage(&mut self, input: &Self::Input) -> Option<Generation>;

    /// As [`Backend::resync`].
    ///
    /// # Errors
    /// The kernel could not be read.
    fn resync(&mut self) -> Result<Drift, Self::Error>;

    /// As [`Backend::commit`].
    ///
    /// # Errors
    /// The kernel refused something that a generation needs.
    fn commit(&mut self) -> Result<Commit, Self::Error>;

    /// As [`Backend::watch`].
    fn watch(&self) -> Watch {
        Watch::ReadBack
    }

    /// As [`Backend::disturbance`].
    fn disturbance(&mut self) -> Disturbance {
        Disturbance::Perhaps
    }

    /// Whether something that no generation waits for is still to be tried again.
    fn wants_retry(&self) -> bool {
        false
    }
}

impl<B: Backend> Table for B {
    type Input = DataplaneInput;
    type Error = B::Error;

    fn name(&self) -> &'static str {
        Backend::name(self)
    }

    fn stage(&mut self, input: &DataplaneInput) -> Option<Generation> {
        match input {
            DataplaneInput::Batch(batch) => {
                Backend::stage(self, &batch.ruleset);
                Some(batch.generation)
            }
            DataplaneInput::StopRevoked(stop) => {
                self.stop_revoked(*stop);
                None
            }
        }
    }

    fn resync(&mut self) -> Result<Drift, B::Error> {
        Backend::resync(self)
    }

    fn commit(&mut self) -> Result<Commit, B::Error> {
        Backend::commit(self)
    }

    fn watch(&self) -> Watch {
        Backend::watch(self)
    }

    fn disturbance(&mut self) -> Disturbance {
        Backend::disturbance(self)
    }
}

/// The driver's clockwork.
#[derive(Clone, Copy, Debug)]
pub struct DriverConfig {
    /// How many inputs may wait before a sender blocks.
    pub queue: usize,
    /// Pause between read-backs that look for drift.
    pub resync_interval: Duration,
    /// First pause after a failure; doubles up to `backoff_max`.
    pub backoff_min: Duration,
    /// Longest pause after failures.
    pub backoff_max: Duration,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            queue: 64,
            resync_interval: Duration::from_secs(60),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(10),
        }
    }
}

/// Stack of a driver's thread, bytes: lowering recurses nowhere, and a node has several drivers.
const STACK: usize = 256 * 1024;

enum Message<T: Table> {
    Input(T::Input),
    Inspect(Box<dyn FnOnce(&T) + Send>),
    Resync,
    /// Look at the flag.
    Disturbed,
}

/// Sends to a driver; the last one dropped ends it.
pub struct DriverSender<T: Table>(Arc<SyncSender<Message<T>>>);

impl<T: Table> Clone for DriverSender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The driver's thread is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the driver has stopped")]
pub struct Stopped;

impl<T: Table> DriverSender<T> {
    /// Hands over an input; blocks while the queue is full.
    ///
    /// # Errors
    /// The driver has stopped.
    pub fn send(&self, input: T::Input) -> Result<(), Stopped> {
        self.0.send(Message::Input(input)).map_err(|_| Stopped)
    }

    /// Asks for a read-back soon. Does nothing if the queue is full: what fills it is followed by
    /// a commit, and drift is found at the latest by the slow timer.
    ///
    /// # Errors
    /// The driver has stopped.
    pub fn resync(&self) -> Result<(), Stopped> {
        match self.0.try_send(Message::Resync) {
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(Stopped),
        }
    }

    /// Runs `look` on the driver's thread and returns its answer. What was sent before has been
    /// staged by then, and committed unless the driver is failing.
    ///
    /// # Errors
    /// The driver has stopped.
    pub fn inspect<R: Send + 'static>(
        &self,
        look: impl FnOnce(&T) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (answer, wait) = sync_channel(1);
        let look = Box::new(move |table: &T| {
            // The asker may have gone away.
            let _ = answer.send(look(table));
        });
        self.0.send(Message::Inspect(look)).map_err(|_| Stopped)?;
        wait.recv().map_err(|_| Stopped)
    }
}

/// A running driver.
pub struct Driver {
    applied: Applied,
    thread: JoinHandle<()>,
}

impl Driver {
    /// Starts a thread that owns `table`.
    ///
    /// # Errors
    /// The thread could not be made, or what others do in the calling thread's network namespace
    /// cannot be watched as the table asks.
    pub fn spawn<T: Table + 'static>(
        table: T,
        config: DriverConfig,
    ) -> io::Result<(Self, DriverSender<T>)> {
        let applied = Applied::new(table.name());
        let (sender, receiver) = sync_channel(config.queue);
        let sender = Arc::new(sender);
        let disturbed = Arc::new(AtomicBool::new(false));
        let (monitor, glance) = match table.watch() {
            Watch::ReadBack => (None, None),
            Watch::Poll(pause) => (None, Some(pause)),
            Watch::Told(concern) => {
                let (flag, wake) = (Arc::clone(&disturbed), Arc::downgrade(&sender));
                let told = move || {
                    // The flag is not lost when the queue is full, and what fills it wakes as well.
                    flag.store(true, Ordering::Release);
                    let _ = wake.upgrade().map(|sender| sender.try_send(Message::Disturbed));
                };
                (Some(TablesMonitor::spawn(concern, told)?), None)
            }
        };
        let worker = Worker {
            disturbed,
            _monitor: monitor,
            glance,
            repairing: false,
            next_resync: Instant::now(),
            backoff: config.backoff_min,
            staged: None,
            failed: false,
            applied: applied.clone(),
            table,
            config,
        };
        let thread = std::thread::Builder::new()
            .name(applied.status().table.to_owned())
            .stack_size(STACK)
            .spawn(move || worker.run(&receiver))?;
        Ok((Self { applied, thread }, DriverSender(sender)))
    }

    /// Its progress.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Waits for the thread to end, which it does when every sender is gone. Returns whether it
    /// ended without a panic.
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

struct Worker<T: Table> {
    table: T,
    config: DriverConfig,
    applied: Applied,
    /// Highest generation that was staged; `None` until the first complete ruleset.
    staged: Option<Generation>,
    next_resync: Instant,
    /// The monitor has heard something of concern.
    disturbed: Arc<AtomicBool>,
    _monitor: Option<TablesMonitor>,
    /// Pause between glances that look for such changes.
    glance: Option<Duration>,
    /// Something differed, and no commit has gone through since.
    repairing: bool,
    backoff: Duration,
    /// The last read-back or commit failed: the next commit must follow a read-back.
    failed: bool,
}

impl<T: Table> Worker<T> {
    fn run(mut self, receiver: &Receiver<Message<T>>) {
        let stopped = StoppedGuard(self.applied.clone());
        self.resync();
        loop {
            let first = match receiver.recv_timeout(self.pause()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let glance = first.is_none() && self.glance.is_some();
            let timed_out = first.is_none() && Instant::now() >= self.next_resync;
            let mut staged = false;
            let mut resync = timed_out;
            let mut looks = Vec::new();
            // Everything that queued up during the last commit goes into the next one; the bound
            // keeps a stream of inputs from putting the commit off for ever.
            let queued = std::iter::from_fn(|| receiver.try_recv().ok()).take(self.config.queue);
            for message in first.into_iter().chain(queued) {
                match message {
                    Message::Input(input) => {
                        self.staged = self.staged.max(self.table.stage(&input));
                        staged = true;
                    }
                    Message::Inspect(look) => looks.push(look),
                    Message::Resync => resync = true,
                    Message::Disturbed => {}
                }
            }
            // After a failure the pause is kept, whatever arrives meanwhile.
            if !self.failed || timed_out {
                resync |= self.look(glance);
                if resync {
                    self.resync();
                }
                if (staged || resync) && self.staged.is_some() && !self.failed {
                    self.commit();
                } else if self.repairing && !self.failed {
                    self.repaired();
                }
            }
            looks.into_iter().for_each(|look| look(&self.table));
        }
        if self.failed {
            self.resync();
            if !self.failed && self.staged.is_some() {
                self.commit();
            }
        }
        drop(stopped);
    }

    /// How long nothing is to be done.
    fn pause(&self) -> Duration {
        let slow = self.next_resync.saturating_duration_since(Instant::now());
        match self.glance {
            Some(glance) if self.staged.is_some() && !self.failed => glance.min(slow),
            _ => slow,
        }
    }

    /// Whether others have left signs that ask for a read-back.
    fn look(&mut self, glance: bool) -> bool {
        let told = self.disturbed.swap(false, Ordering::AcqRel);
        // Before the first commit nothing of ours is expected to be there.
        if !(told || glance) || self.applied.generation().is_none() {
            return false;
        }
        let disturbance = self.table.disturbance();
        // What a commit has repaired already is still to be said.
        self.repairing |= told && disturbance != Disturbance::None;
        disturbance == Disturbance::Perhaps
    }

    fn resync(&mut self) {
        match self.table.resync() {
            Ok(drift) => {
                let first = self.applied.generation().is_none();
                // Before the first commit everything differs, and after a failure it must.
                if drift.differing > 0 && !first && !self.failed {
                    warn!(table = self.table.name(), differing = drift.differing, "drift found");
                    let drifted = drift.differing as u64;
                    self.repairing = true;
                    self.applied.update(|status| status.drifted += drifted);
                }
                self.failed = false;
                self.next_resync = Instant::now() + self.config.resync_interval;
                self.applied.update(|status| status.resyncs += 1);
            }
            Err(error) => self.fail("read-back", &error),
        }
    }

    fn commit(&mut self) {
        match self.table.commit() {
            Ok(commit) => {
                debug!(
                    table = self.table.name(),
                    generation = self.staged.map(|g| g.0),
                    writes = commit.writes,
                    "committed"
                );
                self.recovered();
                let applied = self.staged;
                self.applied.update(|status| {
                    status.state = DriverState::Running;
                    status.applied = applied;
                    status.commits += 1;
                    status.writes += commit.writes as u64;
                    status.last_error = None;
                });
                if self.repairing {
                    self.repaired();
                }
            }
            Err(error) => self.fail("commit", &error),
        }
    }

    /// What others did is undone; what they let in meanwhile may still be there.
    fn repaired(&mut self) {
        self.repairing = false;
        self.applied.update(|status| status.repairs += 1);
    }

    /// Sets the clock after a commit that went through.
    fn recovered(&mut self) {
        if self.applied.status().state == DriverState::Failing {
            info!(table = self.table.name(), "recovered");
        }
        if self.table.wants_retry() {
            self.next_resync = self.next_resync.min(Instant::now() + self.backoff);
            self.backoff = (self.backoff * 2).min(self.config.backoff_max);
        } else {
            self.backoff = self.config.backoff_min;
        }
    }

    fn fail(&mut self, operation: &'static str, error: &T::Error) {
        let text = chain(error);
        warn!(table = self.table.name(), operation, error = text, pause = ?self.backoff, "failed");
        self.failed = true;
        self.next_resync = Instant::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(self.config.backoff_max);
        self.applied.update(|status| {
            status.state = DriverState::Failing;
            status.failures += 1;
            status.last_error = Some(text);
        });
    }
}

/// Says so when the thread ends, by a panic too.
struct StoppedGuard(Applied);

impl Drop for StoppedGuard {
    fn drop(&mut self) {
        self.0.update(|status| status.state = DriverState::Stopped);
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "driver/tests.rs"]
mod tests;
