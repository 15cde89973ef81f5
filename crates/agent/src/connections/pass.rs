//! One pass over the kernel's table of connections.

use std::sync::Arc;

use brindle_dataplane_core::conntrack::{
    self, ConntrackError, Dump, Entry, Locals, Marker, Which, refusal,
};
use brindle_dataplane_core::netlink::{Connection, NetlinkError};
use brindle_dataplane_core::{DataplaneInput, DriverSender};
use brindle_model::settings::ExistingConnections;
use tracing::{debug, info};

use super::Changes;
use crate::backend::AnyBackend;
use crate::cni_server::ports::Stopped;
use crate::pipeline::Pipeline;

/// First packets that are judged in one visit to the compile thread, which takes it some
/// milliseconds at most.
const VISIT: usize = 512;

/// Makes passes.
pub struct Worker {
    changes: Changes,
    pipeline: Pipeline,
    backend: DriverSender<AnyBackend>,
    /// What the backend was told last.
    stopping: Option<bool>,
}

/// What a pass came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// Connections that touch a pod of this node.
    pub judged: usize,
    /// Those of them that are stopped.
    pub revoked: usize,
    /// Those whose mark was set or cleared.
    pub changed: usize,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The agent comes down.
    #[error("the agent is shutting down")]
    Stopped,
    /// The node's addresses could not be read.
    #[error("cannot list the node's addresses")]
    Addresses(#[from] NetlinkError),
    /// Connection tracking failed.
    #[error(transparent)]
    Conntrack(#[from] ConntrackError),
}

impl From<Stopped> for PassError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<brindle_dataplane_core::Stopped> for PassError {
    fn from(_: brindle_dataplane_core::Stopped) -> Self {
        Self::Stopped
    }
}

impl Worker {
    /// One that has told nothing to the backend.
    pub fn new(changes: Changes, pipeline: Pipeline, backend: DriverSender<AnyBackend>) -> Self {
        Self { changes, pipeline, backend, stopping: None }
    }

    /// Makes one.
    ///
    /// # Errors
    /// It ended early; what was marked stays marked.
    pub fn pass(&mut self) -> Result<Pass, PassError> {
        let pass = match self.changes.existing() {
            ExistingConnections::Reevaluate => self.reevaluate()?,
            ExistingConnections::Keep => keep()?,
        };
        self.stop_revoked(pass.revoked > 0)?;
        Ok(pass)
    }

    fn reevaluate(&mut self) -> Result<Pass, PassError> {
        let mut pass = Pass::default();
        let node = Connection::open()?.own_addresses()?;
        let look =
            move |compiler: &brindle_compiler::Compiler| Locals::new(compiler.ruleset(), node);
        let locals = Arc::new(self.pipeline.inspect(look)?);
        if locals.is_empty() {
            return Ok(pass);
        }
        let mut marker = Marker::open()?;
        let mut dump = Dump::start(Which::All)?;
        let mut visit = Vec::new();
        while let Some(entries) = dump.next_entries()? {
            visit.extend(entries.into_iter().filter(|entry| locals.touches(entry)));
            if visit.len() >= VISIT {
                self.judge(&locals, &mut marker, std::mem::take(&mut visit), &mut pass)?;
            }
            if self.changes.stopped() {
                return Err(PassError::Stopped);
            }
        }
        self.judge(&locals, &mut marker, visit, &mut pass)?;
        Ok(pass)
    }

    fn judge(
        &mut self,
        locals: &Arc<Locals>,
        marker: &mut Marker,
        entries: Vec<Entry>,
        pass: &mut Pass,
    ) -> Result<(), PassError> {
        if entries.is_empty() {
            return Ok(());
        }
        pass.judged += entries.len();
        // What a connection announced was admitted with it, and goes with it.
        let first_packet = |entry: &Entry| {
            let master = entry.master.as_ref().map(|key| marker.get(key)).transpose()?.flatten();
            Ok::<_, ConntrackError>(master.as_ref().unwrap_or(entry).first_packet())
        };
        let packets = entries.iter().map(first_packet).collect::<Result<Vec<_>, _>>()?;
        let locals = locals.clone();
        let refusals = self.pipeline.inspect(move |compiler| {
            let judge = |packet| refusal(compiler.ruleset(), &locals, packet);
            packets.iter().map(judge).collect::<Vec<_>>()
        })?;
        let mut changes = Vec::new();
        for (entry, refusal) in entries.into_iter().zip(refusals) {
            pass.revoked += usize::from(refusal.is_some());
            if entry.is_revoked() != refusal.is_some() {
                let packet = entry.first_packet();
                match &refusal {
                    Some(by) => debug!(?packet, %by, "connection revoked"),
                    None => debug!(?packet, "connection admitted again"),
                }
                changes.push((entry.key, refusal.is_some()));
            }
        }
        pass.changed += marker.mark(&changes)?;
        if pass.revoked > 0 {
            // At once: what is found stops while the pass goes on.
            self.stop_revoked(true)?;
        }
        Ok(())
    }

    fn stop_revoked(&mut self, stop: bool) -> Result<(), PassError> {
        if self.stopping != Some(stop) {
            self.backend.send(DataplaneInput::StopRevoked(stop))?;
            self.stopping = Some(stop);
        }
        Ok(())
    }
}

/// Gives up what an agent that judged again has marked. A kernel that knows no marks has none.
fn keep() -> Result<Pass, PassError> {
    let changed = match conntrack::clear_revoked() {
        Err(ConntrackError::Unsupported(_)) => 0,
        other => other?,
    };
    if changed > 0 {
        info!(changed, "connections that were stopped go on");
    }
    Ok(Pass { changed, ..Pass::default() })
}
