//! From inputs to enforced kernel state: one bounded queue, one thread that owns the compiler, and
//! the drivers behind it.
//!
//! ```text
//!  submit ─┐                       ┌──> dataplane driver ──┐
//!  submit ─┼──bounded──> compile ──┼──> route table driver ┼──> Applied ──> wait_enforced
//!  submit ─┘              thread   ├──> bgp bridge         │
//!                           │      └──> connections        │
//!                           └── Progress { ticket, generation }
//! ```
//! The thread takes everything that is queued, applies it, and flushes once. What arrives while the
//! drivers are busy piles up as dirty marks in the compiler, not as batches.
//!
//! Nothing is flushed, and so nothing touched, before every [`Origin`] has told all it knew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use brindle_compiler::{Compiler, ProgramLoad};
use brindle_dataplane_core::{
    Applied, DataplaneInput, DriverSender, RouteInput, RouteTable, WaitError as DriverWaitError,
};
use brindle_model::Name;
use brindle_model::cluster::Update;
use brindle_model::ruleset::{Batch, Generation, RulesetDelta, WARNING_SHARE};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::backend::AnyBackend;
use crate::cni_server::ports::{self, Stopped, Ticket, WaitError};
use crate::connections::Changes;

/// Submissions that may wait.
const QUEUE: usize = 256;
/// Stack of the compile thread, bytes.
const STACK: usize = 512 * 1024;

/// Who must have told all it knew at the start before anything is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The folder or API server.
    Source,
    /// The record of pods on this node, and of its address blocks.
    Attachments,
}

/// Before the first submission.
const NOTHING: Ticket = Ticket(0);

const ORIGINS: [Origin; 2] = [Origin::Source, Origin::Attachments];

/// What to do when a submission has been compiled into a generation.
type Then = Box<dyn FnOnce(Generation) + Send>;

enum Message {
    Updates(Ticket, Vec<Update>, Option<Then>),
    Complete(Origin),
    Inspect(Box<dyn FnOnce(&Compiler) + Send>),
    Follow(Follower),
    Watch(Watcher),
}

/// What objects ask for in vain on this node, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Of host endpoints: interfaces that are not there.
    pub hosts: BTreeMap<Name, String>,
    /// Of BGP neighbours: sessions that cannot be.
    pub peers: BTreeMap<Name, String>,
}

/// Told of these whenever they change.
pub type Follower = Box<dyn FnMut(Remarks) + Send>;

/// Hears of the programs that are near a limit of the backend, or above it, whenever they change.
type Watcher = Box<dyn FnMut(&[ProgramLoad]) + Send>;

/// Where flushed batches go.
pub struct Outputs {
    /// The backend's driver.
    pub dataplane: DriverSender<AnyBackend>,
    /// The route table's driver.
    pub routes: DriverSender<RouteTable>,
    /// The bridge to the BGP speaker.
    pub bgp: mpsc::Sender<Arc<Batch>>,
    /// The judge of connections that were admitted before.
    pub connections: Changes,
}

/// How far the compile thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    /// Every submission up to this one is in `generation`.
    ticket: Ticket,
    /// The last flush; `None` before in-sync.
    generation: Option<Generation>,
    stopped: bool,
}

struct Shared {
    progress: Mutex<Progress>,
    changed: Condvar,
    /// Numbers submissions; held while one is queued, so that numbers are in queue order.
    next: Mutex<u64>,
    tables: [Applied; 2],
}

/// The way in, for sources, the CNI server and the admin API.
#[derive(Clone)]
pub struct Pipeline {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl Pipeline {
    /// Starts the compile thread. It ends, and with it the drivers and the bridge, when every
    /// `Pipeline` is gone and the queue is drained.
    ///
    /// # Errors
    /// The thread could not be made.
    pub fn spawn(
        compiler: Compiler,
        outputs: Outputs,
        tables: [Applied; 2],
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (sender, receiver) = sync_channel(QUEUE);
        let shared = Arc::new(Shared {
            progress: Mutex::new(Progress { ticket: NOTHING, generation: None, stopped: false }),
            changed: Condvar::new(),
            next: Mutex::new(0),
            tables,
        });
        let worker = Worker {
            compiler,
            outputs,
            shared: shared.clone(),
            follower: None,
            remarks: Remarks::default(),
            missing: ORIGINS.into_iter().collect(),
            thens: Vec::new(),
            loads: Vec::new(),
            watcher: None,
        };
        let thread = std::thread::Builder::new()
            .name("compile".to_owned())
            .stack_size(STACK)
            .spawn(move || worker.run(&receiver))?;
        Ok((Self { sender, shared }, thread))
    }

    /// As [`ports::Pipeline::submit`]; `then` runs on the compile thread with the generation that
    /// holds the updates.
    ///
    /// # Errors
    /// The agent is shutting down.
    pub fn submit_then(
        &self,
        updates: Vec<Update>,
        then: impl FnOnce(Generation) + Send + 'static,
    ) -> Result<Ticket, Stopped> {
        self.queue(updates, Some(Box::new(then)))
    }

    fn queue(&self, updates: Vec<Update>, then: Option<Then>) -> Result<Ticket, Stopped> {
        let mut next = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = Ticket(*next + 1);
        self.sender.send(Message::Updates(ticket, updates, then)).map_err(|_| Stopped)?;
        *next = ticket.0;
        Ok(ticket)
    }

    /// Says that this origin has told all it knew at the start. Saying it again does nothing.
    ///
    /// # Errors
    /// The agent is shutting down.
    pub fn complete(&self, origin: Origin) -> Result<(), Stopped> {
        self.sender.send(Message::Complete(origin)).map_err(|_| Stopped)
    }

    /// Tells `follower` on the compile thread; of several the last is told.
    ///
    /// # Errors
    /// The agent is shutting down.
    pub fn follow(&self, follower: Follower) -> Result<(), Stopped> {
        self.sender.send(Message::Follow(follower)).map_err(|_| Stopped)
    }

    /// Runs `look` on the compile thread after everything submitted before has been compiled.
    ///
    /// # Errors
    /// The agent is shutting down.
    pub fn inspect<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Compiler) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (answer, wait) = sync_channel(1);
        let look = Box::new(move |compiler: &Compiler| {
            // The asker may have gone away.
            let _ = answer.send(look(compiler));
        });
        self.sender.send(Message::Inspect(look)).map_err(|_| Stopped)?;
        wait.recv().map_err(|_| Stopped)
    }

    /// Tells `watch` of the programs that are near a limit of the backend, or above it: now, and
    /// whenever they change. It runs on the compile thread, in place of an earlier one.
    ///
    /// # Errors
    /// The agent is shutting down.
    pub fn watch_loads(
        &self,
        watch: impl FnMut(&[ProgramLoad]) + Send + 'static,
    ) -> Result<(), Stopped> {
        self.sender.send(Message::Watch(Box::new(watch))).map_err(|_| Stopped)
    }

    /// The last flush; `None` before in-sync.
    pub fn generation(&self) -> Option<Generation> {
        self.shared.lock().generation
    }

    /// The generation that every table holds.
    pub fn applied(&self) -> Option<Generation> {
        let [dataplane, routes] = &self.shared.tables;
        dataplane.generation().zip(routes.generation()).map(|(a, b)| a.min(b))
    }

    /// Waits until `ticket` is compiled; returns the generation it is in.
    fn wait_compiled(&self, ticket: Ticket, deadline: Instant) -> Result<Generation, WaitError> {
        let mut progress = self.shared.lock();
        loop {
            match progress.generation {
                Some(generation) if progress.ticket >= ticket => return Ok(generation),
                _ if progress.stopped => return Err(WaitError::Stopped),
                _ => {}
            }
            let left = left(deadline).ok_or(WaitError::TimedOut)?;
            let woken = self.shared.changed.wait_timeout(progress, left);
            (progress, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl ports::Pipeline for Pipeline {
    fn in_sync(&self) -> bool {
        self.applied().is_some()
    }

    fn submit(&self, updates: Vec<Update>) -> Result<Ticket, Stopped> {
        self.queue(updates, None)
    }

    fn wait_enforced(&self, ticket: Ticket, deadline: Instant) -> Result<(), WaitError> {
        let generation = self.wait_compiled(ticket, deadline)?;
        for table in &self.shared.tables {
            let left = left(deadline).unwrap_or_default();
            table.wait(generation, left).map_err(|error| match error {
                DriverWaitError::Deadline { .. } => {
                    debug!(error = %error, "not enforced in time");
                    WaitError::TimedOut
                }
                DriverWaitError::Stopped { .. } => WaitError::Stopped,
            })?;
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

struct Worker {
    compiler: Compiler,
    outputs: Outputs,
    shared: Arc<Shared>,
    follower: Option<Follower>,
    /// What the follower was told last.
    remarks: Remarks,
    missing: BTreeSet<Origin>,
    thens: Vec<Then>,
    /// The programs that were last told of.
    loads: Vec<ProgramLoad>,
    watcher: Option<Watcher>,
}

impl Worker {
    fn run(mut self, receiver: &Receiver<Message>) {
        let stopped = StoppedGuard(self.shared.clone());
        let mut ticket = NOTHING;
        while let Ok(first) = receiver.recv() {
            let mut looks = Vec::new();
            let queued = std::iter::from_fn(|| receiver.try_recv().ok()).take(QUEUE);
            for message in std::iter::once(first).chain(queued) {
                match message {
                    Message::Updates(number, updates, then) => {
                        self.thens.extend(then);
                        updates.into_iter().for_each(|update| self.compiler.apply(update));
                        ticket = number;
                    }
                    Message::Complete(origin) => {
                        self.missing.remove(&origin);
                    }
                    Message::Inspect(look) => looks.push(look),
                    Message::Follow(follower) => {
                        self.follower = Some(follower);
                        self.remarks = Remarks::default();
                    }
                    Message::Watch(watcher) => {
                        self.watcher.insert(watcher)(&self.loads);
                    }
                }
            }
            if self.missing.is_empty() && !self.flush(ticket) {
                break;
            }
            looks.into_iter().for_each(|look| look(&self.compiler));
        }
        drop(stopped);
    }

    /// Flushes if there is anything to flush. False when the agent comes down around it.
    fn flush(&mut self, ticket: Ticket) -> bool {
        let first = self.shared.lock().generation.is_none();
        if first || self.compiler.has_pending() {
            let start = Instant::now();
            let batch = Arc::new(self.compiler.flush());
            debug!(generation = batch.generation.0, took = ?start.elapsed(), "compiled");
            if first {
                info!(generation = batch.generation.0, "every source is in sync");
            }
            let outputs = &self.outputs;
            let sent = outputs.dataplane.send(DataplaneInput::Batch(batch.clone())).is_ok()
                && outputs.routes.send(RouteInput::Batch(batch.clone())).is_ok()
                && outputs.bgp.blocking_send(batch.clone()).is_ok();
            if !sent {
                return false;
            }
            let ruleset = self.compiler.ruleset();
            self.outputs.connections.flushed(batch.generation, ruleset, &batch.ruleset);
            self.tell_loads(&batch.ruleset);
        }
        let remarks =
            Remarks { hosts: self.compiler.host_remarks(), peers: self.compiler.peer_remarks() };
        if let Some(follower) = &mut self.follower
            && remarks != self.remarks
        {
            self.remarks.clone_from(&remarks);
            follower(remarks);
        }
        let generation = self.compiler.generation();
        self.thens.drain(..).for_each(|then| then(generation));
        self.shared.publish(|progress| {
            progress.ticket = ticket;
            progress.generation = Some(generation);
        });
        true
    }
}

impl Worker {
    fn tell_loads(&mut self, changes: &RulesetDelta) {
        if !self.compiler.changes_loads(changes, WARNING_SHARE) {
            return;
        }
        let loads = self.compiler.loads(WARNING_SHARE);
        if loads == self.loads {
            return;
        }
        for ProgramLoad { endpoints, direction, load, limits, lost, .. } in &loads {
            let (endpoints, lost) = (endpoints.len(), lost.len());
            let used = load.beyond(WARNING_SHARE, *limits);
            warn!(endpoints, %direction, used, lost, "a program is near the dataplane's limits");
        }
        if let Some(watcher) = &mut self.watcher {
            watcher(&loads);
        }
        self.loads = loads;
    }
}

/// Says so when the thread ends, by a panic too.
struct StoppedGuard(Arc<Shared>);

impl Drop for StoppedGuard {
    fn drop(&mut self) {
        self.0.publish(|progress| progress.stopped = true);
    }
}

fn left(deadline: Instant) -> Option<Duration> {
    Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
}
