//! What the source tells, on its way to the compiler, the CNI server and the status.
//!
//! ```text
//!  source ── Event::Changes ──> Pipeline (and, once compiled, StatusWriter)
//!                          └──> the CNI server: pools, pods of this node
//!         ── Event::InSync ───> Pipeline::complete(Origin::Source)
//!         ── Event::Barrier ──> whoever asked for it
//! ```

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use brindle_model::cluster::Update;
use brindle_sources::directory::{self, DirectorySource, RunError};
use brindle_sources::event::{Changes, Event};
use brindle_sources::kubernetes::{self, KubernetesSource};
use brindle_sources::status::StatusWriter;

use crate::cni_server::ports::{Pipeline as _, Stopped, Ticket, WaitError};
use crate::enforcement::Reporter;
use crate::pipeline::{Origin, Pipeline};

/// Stack of the source's thread, bytes: YAML nests, and the parser recurses to a fixed depth.
const STACK: usize = 2 * 1024 * 1024;

/// What an observer sees.
pub enum Seen<'a> {
    /// Updates, after they were submitted.
    Updates(&'a [Update]),
    /// Everything that there is has been seen; nothing of it is enforced yet.
    InSync,
}

/// Looks on.
pub type Observer = Box<dyn FnMut(Seen<'_>) + Send>;

/// A source that is ready to run.
pub enum Source {
    /// A folder.
    Directory(DirectorySource),
    /// An API server.
    Kubernetes(KubernetesSource),
}

enum Control {
    Directory(directory::Control),
    Kubernetes(kubernetes::Control),
}

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
    /// The source cannot say what it has been told.
    #[error(
        "an API server does not tell when a watch has caught up; wait for the objects' own status"
    )]
    NoBarrier,
    /// The kernel did not follow.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// Starts following a source; `ended` hears of the end.
///
/// # Errors
/// No thread or descriptor is left.
pub fn start(
    source: Source,
    pipeline: &Pipeline,
    status: Status,
    observer: Observer,
    ended: impl FnOnce(Result<(), RunError>) + Send + 'static,
) -> io::Result<(Northbound, Barriers)> {
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
            let take = |event| match intake.take(event) {
                Ok(()) => ControlFlow::Continue(()),
                Err(Stopped) => ControlFlow::Break(()),
            };
            ended(match source {
                Source::Directory(folder) => folder.run(take),
                Source::Kubernetes(server) => {
                    server.run(take);
                    Ok(())
                }
            });
        },
    )?;
    Ok((Northbound { control, thread }, barriers))
}

impl Source {
    fn control(&self) -> io::Result<Control> {
        match self {
            Self::Directory(folder) => folder.control().map(Control::Directory),
            Self::Kubernetes(server) => Ok(Control::Kubernetes(server.control())),
        }
    }
}

/// Who hears of what was compiled, and of what is enforced.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Beside a folder.
    pub files: Option<Arc<StatusWriter>>,
    /// With an API server.
    pub reporter: Option<Reporter>,
}

struct Intake {
    pipeline: Pipeline,
    status: Status,
    observer: Observer,
    waiting: Waiting,
}

impl Intake {
    fn take(&mut self, event: Event) -> Result<(), Stopped> {
        match event {
            Event::Changes(changes) => self.changes(changes),
            Event::InSync => {
                (self.observer)(Seen::InSync);
                let status = self.status.files.clone();
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
            if let Some(files) = status.files {
                files.report(&changes, generation);
            }
            if let Some(reporter) = status.reporter {
                reporter.compiled(generation, changes.reached);
            }
        })?;
        (self.observer)(Seen::Updates(&seen));
        Ok(())
    }
}

impl Northbound {
    /// Ends the source and waits for its thread.
    pub fn stop(self) {
        match &self.control {
            Control::Directory(folder) => folder.stop(),
            Control::Kubernetes(server) => server.stop(),
        }
        if self.thread.join().is_err() {
            tracing::error!("the source's thread panicked");
        }
    }
}

impl Barriers {
    /// Waits until every change made to the folder before this call is enforced.
    ///
    /// # Errors
    /// The deadline passed, the agent is shutting down, or the source is an API server.
    pub fn sync(&self, deadline: Instant) -> Result<(), SyncError> {
        let Control::Directory(folder) = &*self.control else { return Err(SyncError::NoBarrier) };
        let (answer, wait) = sync_channel(1);
        {
            // The lock keeps askers in the order of their barriers.
            let mut waiting = lock(&self.waiting);
            folder.barrier().map_err(|_| SyncError::Source)?;
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
