//! The agent's side of the CNI plugin.
//!
//! ```text
//!              ┌ pods ─── wait until the compiler knows the pod
//! plugin ──ADD─┤ ipam ─── addresses                (on disk)
//!              │ record ─ the attachment           (on disk)
//!              │ submit ─ the endpoint ──────────> compile ─> dataplane
//!              │ attach ─ the pair, host side down             │
//!              │ wait <────────── enforced ────────────────────┘
//!              └ enable ─ host side up ─> answer
//! ```
//! The endpoint's policy is compiled while the kernel makes the link, and the link is closed until
//! it is enforced: it is down, and the dataplane drops what comes from an interface that it does
//! not know (K36, K37).
//!
//! # What a crash leaves
//!
//! The ledger of addresses and the record of attachments are journals; links are in the kernel.
//! Each step of ADD is written down before the next one, DEL goes the same way back, so what may
//! be left is: a lease without a record, a record without a link, a link without a record. At
//! start [`CniServer::restore`] removes all three kinds, before anything else is touched. A plugin
//! that got no answer has told its runtime to try again, and the runtime's DEL removes what is
//! complete but was never acknowledged.
//!
//! # Concurrency
//!
//! A thread a connection, bounded. Requests for the same container interface exclude each other;
//! no lock is held by one request while another could use it during netlink, disk or a wait.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brindle_cni::error::{CniError, ErrorCode};
use brindle_ipam::{Handle, Ipam, Journal, Store};
use brindle_model::Name;
use brindle_model::cluster::{HOST_INTERFACE_PREFIX, Pod, Update};
use ipnet::IpNet;

use self::busy::Busy;
use self::pods::LocalPods;
use self::ports::{Pipeline, PodNetwork, Stopped};
use self::record::Attachments;

mod add;
mod busy;
mod listener;
mod pods;
pub mod ports;
mod record;
mod remove;
mod request;
mod restore;

pub use listener::{ListenError, Listener};
pub use record::AttachmentRecord;
pub use restore::{RestoreError, Restored};

/// Where the server lies and what it puts up with.
#[derive(Clone, Debug)]
pub struct CniConfig {
    /// This node.
    pub node: Name,
    /// The record of attachments.
    pub journal: PathBuf,
    /// The unix socket.
    pub socket: PathBuf,
    /// Requests at work at once; one more is told to try again.
    pub max_requests: usize,
    /// Pause between two looks for idle address blocks.
    pub idle_block_interval: Duration,
}

impl CniConfig {
    /// The usual bounds: 64 requests, a minute between looks for idle blocks.
    pub fn new(
        node: impl Into<Name>,
        journal: impl Into<PathBuf>,
        socket: impl Into<PathBuf>,
    ) -> Self {
        Self {
            node: node.into(),
            journal: journal.into(),
            socket: socket.into(),
            max_requests: 64,
            idle_block_interval: Duration::from_secs(60),
        }
    }
}

/// Serves the CNI plugin of one node.
pub struct CniServer<S, N, P> {
    config: CniConfig,
    ipam: Arc<Ipam<S>>,
    network: N,
    pipeline: P,
    attachments: Journal<Attachments>,
    pods: LocalPods,
    busy: Busy,
    /// Blocks that the compiler has been told of.
    announced: Mutex<BTreeSet<IpNet>>,
}

impl<S: Store, N: PodNetwork, P: Pipeline> CniServer<S, N, P> {
    /// Takes what the server must know of the inputs: pools, and pods of this node. Called with
    /// every batch of updates, **after** it was submitted to the pipeline, so that an endpoint is
    /// never compiled before its pod.
    pub fn observe(&self, updates: &[Update]) {
        for update in updates {
            match update {
                Update::IpPool(name, pool) => {
                    self.ipam.set_pool(name.clone(), pool.as_deref().cloned());
                }
                Update::Pod(name, pod) => {
                    let is_here = |pod: &&Pod| pod.node.as_ref() == Some(&self.config.node);
                    self.pods.set(name, pod.as_deref().filter(is_here));
                }
                _ => {}
            }
        }
    }

    /// What is attached to this node.
    pub fn attachments(&self) -> Vec<AttachmentRecord> {
        self.attachments.read(|all| all.values().cloned().collect())
    }

    /// The node's address management.
    pub fn ipam(&self) -> &Arc<Ipam<S>> {
        &self.ipam
    }

    /// Gives back idle address blocks.
    pub(crate) fn release_idle_blocks(&self) {
        if let Err(error) = self.ipam.release_idle_blocks() {
            tracing::warn!(error = chain(&error), "cannot give back idle address blocks");
        }
        if let Err(error) = self.announce_blocks() {
            tracing::debug!(%error, "blocks not announced");
        }
    }

    /// Tells the compiler which blocks came and went.
    fn announce_blocks(&self) -> Result<(), Stopped> {
        let mut announced = self.announced.lock().unwrap_or_else(|e| e.into_inner());
        let blocks = self.ipam.blocks();
        let gone = announced.difference(&blocks).map(|block| Update::Block(*block, None));
        let new = blocks.difference(&announced).map(|block| Update::Block(*block, Some(())));
        let updates: Vec<Update> = gone.chain(new).collect();
        if !updates.is_empty() {
            self.pipeline.submit(updates)?;
            *announced = blocks;
        }
        Ok(())
    }
}

/// The host side's name: it follows from the handle, so that a repeated or interrupted ADD meets
/// its own leftovers. 48 bits of FNV-1a; ADD refuses a name that another attachment has.
fn host_interface(handle: &Handle) -> Name {
    let bytes = handle.container_id.bytes().chain([0]).chain(handle.interface.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{HOST_INTERFACE_PREFIX}{:012x}", (hash ^ (hash >> 48)) & 0xffff_ffff_ffff).into()
}

fn try_again(message: impl Into<String>) -> CniError {
    CniError::new(ErrorCode::TryAgainLater, message)
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests;
