//! Connections that were admitted, judged again when policy changes (K33).
//!
//! ```text
//!  compile thread ──generation──> [slot of one] ──> connections thread
//!        ^                                            │ waits until the dataplane has it
//!        │  the first packets, some hundred at a time │ reads the kernel's table
//!        └────────────────inspect─────────────────────┤
//!                                                     ├── marks ──────────> kernel
//!                                                     └── StopRevoked ────> dataplane driver
//! ```
//! The kernel's table is read **after** the commit, so that every entry that is not in what was read
//! began under the new rules. A packet that was on its way through the old ones at that moment has
//! no entry yet: a second pass, [`CONFIRM`] later, finds it. The slow timer finds the rest: marks
//! that somebody else changed, and entries that have ended. What others opened for a moment is looked
//! for when the dataplane has undone it.
//!
//! Judging borrows the compiler's ruleset for a moment at a time; a copy would hold every member of
//! every set once more.

mod pass;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use brindle_dataplane_core::conntrack;
use brindle_dataplane_core::{Applied, DriverSender, WaitError};
use brindle_model::admin::ConnectionsStatus;
use brindle_model::ruleset::{Generation, Ruleset, RulesetDelta};
use brindle_model::settings::ExistingConnections;
use tracing::{debug, warn};

use crate::backend::AnyBackend;
use crate::pipeline::Pipeline;
use pass::{Pass, PassError, Worker};

/// When a pass that found something, or that a change asked for, is repeated.
const CONFIRM: Duration = Duration::from_millis(250);
/// The pause after a pass is as long as it was, within these bounds: a change that is enforced just
/// after the beginning of a long pass is still carried out within a second.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_millis(300);
/// Longest pause after failures.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How long the thread waits for the dataplane before it looks whether it is to end.
const SLICE: Duration = Duration::from_millis(200);
/// Stack of the thread, bytes.
const STACK: usize = 256 * 1024;

/// The slot in which the compile thread leaves word of a change. A newer change replaces an older.
#[derive(Clone)]
pub struct Changes(Arc<Shared>);

struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
}

struct Slot {
    existing: ExistingConnections,
    /// The first flush has been told of.
    begun: bool,
    wanted: Option<Generation>,
    stopped: bool,
    status: ConnectionsStatus,
}

/// What the thread does next.
enum Next {
    Pass(Option<Generation>),
    Stop,
}

impl Changes {
    /// An empty slot.
    pub fn new(existing: ExistingConnections) -> Self {
        let status =
            ConnectionsStatus { existing: existing.to_string(), ..ConnectionsStatus::default() };
        let slot = Slot { existing, begun: false, wanted: None, stopped: false, status };
        Self(Arc::new(Shared { slot: Mutex::new(slot), changed: Condvar::new() }))
    }

    /// Sets what becomes of connections that policy does not admit any more; those that there are
    /// feel it in the pass that follows.
    ///
    /// # Errors
    /// The kernel cannot do it; what was so far goes on.
    pub fn set(&self, existing: ExistingConnections) -> Result<(), SpawnError> {
        if existing == ExistingConnections::Reevaluate {
            conntrack::probe()?;
        }
        let mut slot = self.lock();
        slot.existing = existing;
        slot.status.existing = existing.to_string();
        if slot.begun {
            slot.wanted = slot.wanted.max(Some(Generation(0)));
            self.0.changed.notify_all();
        }
        Ok(())
    }

    /// Tells of a flush: its generation, its delta, and the ruleset that the delta led to. The
    /// first counts whatever it holds, since policy may have changed while no agent ran; later
    /// ones count if they may deny what was admitted, or admit what is stopped.
    pub fn flushed(&self, generation: Generation, ruleset: &Ruleset, delta: &RulesetDelta) {
        let mut slot = self.lock();
        let again = slot.existing == ExistingConnections::Reevaluate
            && (slot.status.revoked > 0 || ruleset.may_revoke(delta));
        if !std::mem::replace(&mut slot.begun, true) || again {
            slot.wanted = Some(generation);
            self.0.changed.notify_all();
        }
    }

    /// Tells that rules were not as they should be for a while, and are again: what began meanwhile
    /// may not be admitted.
    pub fn repaired(&self) {
        let mut slot = self.lock();
        if slot.existing == ExistingConnections::Reevaluate && slot.begun {
            slot.wanted = slot.wanted.max(Some(Generation(0)));
            self.0.changed.notify_all();
        }
    }

    /// What was done.
    pub fn status(&self) -> ConnectionsStatus {
        self.lock().status.clone()
    }

    fn existing(&self) -> ExistingConnections {
        self.lock().existing
    }

    fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Waits for a change or for `timer`, but not before `earliest`.
    fn next(&self, earliest: Instant, timer: Option<Instant>) -> Next {
        let mut slot = self.lock();
        loop {
            if slot.stopped {
                return Next::Stop;
            }
            let due = if slot.wanted.is_some() { Some(earliest) } else { timer };
            let left = due.map(|due| due.max(earliest).saturating_duration_since(Instant::now()));
            slot = match left {
                Some(Duration::ZERO) => return Next::Pass(slot.wanted.take()),
                Some(left) => {
                    let woken = self.0.changed.wait_timeout(slot, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.0.changed.wait(slot).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running thread.
pub struct Connections {
    changes: Changes,
    thread: JoinHandle<()>,
}

/// Connections cannot be judged again.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The kernel does not offer it.
    #[error("`--existing-connections keep` does without")]
    Conntrack(#[from] conntrack::ConntrackError),
    /// The thread could not be made.
    #[error("could not start the thread")]
    Thread(#[from] std::io::Error),
}

impl Connections {
    /// Starts the thread. `applied` is the progress of the dataplane's driver, `interval` the time
    /// between passes that nobody asked for.
    ///
    /// # Errors
    /// The kernel does not offer what is needed.
    pub fn spawn(
        changes: Changes,
        pipeline: Pipeline,
        backend: DriverSender<AnyBackend>,
        applied: Applied,
        interval: Duration,
    ) -> Result<Self, SpawnError> {
        if changes.existing() == ExistingConnections::Reevaluate {
            conntrack::probe()?;
        }
        let worker = Worker::new(changes.clone(), pipeline, backend);
        let clock = Clock { changes: changes.clone(), applied, interval, backoff: CONFIRM };
        let thread = std::thread::Builder::new()
            .name("connections".to_owned())
            .stack_size(STACK)
            .spawn(move || clock.run(worker))?;
        Ok(Self { changes, thread })
    }

    /// Tells the thread to end, in the middle of a pass if need be, and returns it.
    pub fn stop(self) -> JoinHandle<()> {
        self.changes.lock().stopped = true;
        self.changes.0.changed.notify_all();
        self.thread
    }
}

/// When passes are made.
struct Clock {
    changes: Changes,
    applied: Applied,
    interval: Duration,
    backoff: Duration,
}

impl Clock {
    fn run(mut self, mut worker: Worker) {
        let (mut earliest, mut timer) = (Instant::now(), None);
        loop {
            let wanted = match self.changes.next(earliest, timer) {
                Next::Pass(wanted) => wanted,
                Next::Stop => return,
            };
            match wanted.map_or(Ok(()), |generation| self.applied.wait(generation, SLICE)) {
                Ok(()) => {}
                Err(WaitError::Deadline { .. }) => {
                    // A newer change may have come in the meantime.
                    let mut slot = self.changes.lock();
                    slot.wanted = slot.wanted.max(wanted);
                    continue;
                }
                Err(WaitError::Stopped { .. }) => return,
            }
            let start = Instant::now();
            let result = worker.pass();
            let took = start.elapsed();
            let again = match self.note(result, took, wanted.is_some()) {
                Some(again) => again,
                None => return,
            };
            timer = Some(Instant::now() + again);
            earliest = Instant::now() + took.clamp(PAUSE_MIN, PAUSE_MAX);
        }
    }

    /// Writes a pass into the status. Returns when the next is due; `None` if there is none.
    fn note(
        &mut self,
        result: Result<Pass, PassError>,
        took: Duration,
        asked: bool,
    ) -> Option<Duration> {
        let mut slot = self.changes.lock();
        let existing = slot.existing;
        let status = &mut slot.status;
        match result {
            Ok(pass) => {
                debug!(pass.judged, pass.revoked, pass.changed, ?took, "connections judged again");
                self.backoff = CONFIRM;
                status.passes += 1;
                status.judged = pass.judged;
                status.revoked = pass.revoked;
                status.seconds = took.as_secs_f64();
                status.last_error = None;
                let confirm = asked || pass.changed > 0;
                match existing {
                    ExistingConnections::Keep => None,
                    ExistingConnections::Reevaluate if confirm => Some(CONFIRM),
                    ExistingConnections::Reevaluate => Some(self.interval),
                }
            }
            Err(PassError::Stopped) => None,
            Err(error) => {
                let text = format!("{:#}", anyhow::Error::new(error));
                warn!(error = %text, pause = ?self.backoff, "connections could not be judged again");
                status.failures += 1;
                status.last_error = Some(text);
                let pause = self.backoff;
                self.backoff = (pause * 2).min(BACKOFF_MAX);
                Some(pause)
            }
        }
    }
}
