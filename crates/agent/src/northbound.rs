//! What the folder tells, on its way to the compiler, the CNI server and the status folder.
//!
//! ```text
//!  folder ── Event::Changes ──> Pipeline (and, once compiled, StatusWriter)
//!                          └──> the CNI server: pools, pods of this node
//!         ── Event::InSync ───> Pipeline::complete(Origin::Source)
//!         ── Event::Barrier ──> whoever asked for it
//! ```

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use brindle_model::cluster::Update;
use brindle_sources::directory::{Changes, Control, DirectorySource, Event, OpenError, RunError};
use brindle_sources::status::StatusWriter;

use crate::cni_server::ports::{Pipeline as _, Stopped, Ticket, WaitError};
use crate::pipeline::{Origin, Pipeline};

/// Stack of the source's thread, bytes: YAML nests, and the parser recurses to a fixed depth.
const STACK: usize = 2 * 1024 * 1024;

/// Looks at updates after they were submitted.
pub type Observer = Box<dyn FnMut(&[Update]) + Send>;

/// The running source.
pub struct Northbound {
    control: Control,
    thread: JoinHandle<()>,
}

/// Asks the source for barriers.
#[derive(Clone)]
pub struct Barriers {
    control: Arc<Control>,
    waiting: Waiting,
    pipeline: Pipeline,
}

/// Who waits for a barrier, first come first served.
type Waiting = Arc<Mutex<VecDeque<SyncSender<Ticket>>>>;

/// What was written to the source did not get enforced in time.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The source gave no answer.
    #[error("the source did not answer in time; is its folder still there?")]
    Source,
    /// The kernel did not follow.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// The source could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be followed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No thread or descriptor is left.
    #[error("could not start the source's thread")]
    Thread(#[from] io::Error),
}

/// Starts following a folder; `ended` hears of the end.
///
/// # Errors
/// The folder cannot be followed, or the thread not be made.
pub fn start(
    folder: &Path,
    pipeline: &Pipeline,
    status: Option<Arc<StatusWriter>>,
    observer: Observer,
    ended: impl FnOnce(Result<(), RunError>) + Send + 'static,
) -> Result<(Northbound, Barriers), StartError> {
    let source = DirectorySource::open(folder)?;
    let waiting = Waiting::default();
    let barriers = Barriers {
        control: Arc::new(source.control()?),
        waiting: waiting.clone(),
        pipeline: pipeline.clone(),
    };
    let control = source.control()?;
    let mut intake = Intake { pipeline: pipeline.clone(), status, observer, waiting };
    let thread = std::thread::Builder::new().name("source".to_owned()).stack_size(STACK).spawn(
        move || {
            ended(source.run(|event| match intake.take(event) {
                Ok(()) => ControlFlow::Continue(()),
                Err(Stopped) => ControlFlow::Break(()),
            }));
        },
    )?;
    Ok((Northbound { control, thread }, barriers))
}

struct Intake {
    pipeline: Pipeline,
    status: Option<Arc<StatusWriter>>,
    observer: Observer,
    waiting: Waiting,
}

impl Intake {
    fn take(&mut self, event: Event) -> Result<(), Stopped> {
        match event {
            Event::Changes(changes) => self.changes(changes),
            Event::InSync => {
                let status = self.status.clone();
                self.pipeline.submit_then(Vec::new(), move |_| {
                    if let Some(status) = status {
                        status.in_sync();
                    }
                })?;
                self.pipeline.complete(Origin::Source)
            }
            Event::Barrier => {
                let ticket = self.pipeline.submit(Vec::new())?;
                let first = lock(&self.waiting).pop_front();
                // The asker may have given up.
                first.map(|asker| asker.send(ticket));
                Ok(())
            }
        }
    }

    fn changes(&mut self, mut changes: Changes) -> Result<(), Stopped> {
        let updates = std::mem::take(&mut changes.updates);
        let seen = updates.clone();
        let status = self.status.clone();
        self.pipeline.submit_then(updates, move |generation| {
            if let Some(status) = status {
                status.report(&changes, generation);
            }
        })?;
        (self.observer)(&seen);
        Ok(())
    }
}

impl Northbound {
    /// Ends the source and waits for its thread.
    pub fn stop(self) {
        self.control.stop();
        if self.thread.join().is_err() {
            tracing::error!("the source's thread panicked");
        }
    }
}

impl Barriers {
    /// Waits until every change made to the folder before this call is enforced.
    ///
    /// # Errors
    /// The deadline passed, or the agent is shutting down.
    pub fn sync(&self, deadline: Instant) -> Result<(), SyncError> {
        let (answer, wait) = sync_channel(1);
        {
            // The lock keeps askers in the order of their barriers.
            let mut waiting = lock(&self.waiting);
            self.control.barrier().map_err(|_| SyncError::Source)?;
            waiting.push_back(answer);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let ticket = wait.recv_timeout(left).map_err(|_| SyncError::Source)?;
        Ok(self.pipeline.wait_enforced(ticket, deadline)?)
    }
}

fn lock(
    waiting: &Mutex<VecDeque<SyncSender<Ticket>>>,
) -> std::sync::MutexGuard<'_, VecDeque<SyncSender<Ticket>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
