//! The start: what disk and kernel say of the time before, made to agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use brindle_ipam::journal::{AppendError, OpenError};
use brindle_ipam::{Ipam, Journal, ReconcileError, Store};
use brindle_model::cluster::Update;

use super::busy::Busy;
use super::pods::LocalPods;
use super::ports::{Pipeline, PodNetwork, Stopped};
use super::record::{Attachments, Change};
use super::{AttachmentRecord, CniConfig, CniServer};

/// What a restore found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Attachments that go on.
    pub live: usize,
    /// Records without a link: removed.
    pub dead: usize,
    /// Links without a record: removed.
    pub stray_links: usize,
    /// Addresses held by nothing: released. A count of handles.
    pub stray_leases: usize,
}

/// Why the server cannot take up its work.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError<E: std::error::Error + 'static> {
    /// The record cannot be read.
    #[error("cannot open the record of attachments")]
    Open(#[from] OpenError),
    /// The record cannot be written.
    #[error("cannot correct the record of attachments")]
    Append(#[from] AppendError),
    /// The kernel does not tell, or does not obey.
    #[error("cannot compare the record of attachments with the node's links")]
    Network(#[source] E),
    /// The ledger of addresses does not agree.
    #[error("cannot correct the ledger of addresses")]
    Ledger(#[from] ReconcileError),
    /// The agent goes down already.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl<S: Store, N: PodNetwork, P: Pipeline> CniServer<S, N, P> {
    /// Opens the record of attachments, removes what a crash or a reboot left over, and submits
    /// all attachments and blocks to the pipeline. When it returns, the pipeline knows all that
    /// this origin knows.
    ///
    /// # Errors
    /// Record or ledger cannot be used, or the kernel refused. What was removed stays removed;
    /// what is live is untouched.
    pub fn restore(
        config: CniConfig,
        ipam: Arc<Ipam<S>>,
        network: N,
        pipeline: P,
    ) -> Result<(Self, Restored), RestoreError<N::Error>> {
        let attachments = Journal::<Attachments>::open(&config.journal)?;
        let server = Self {
            config,
            ipam,
            network,
            pipeline,
            attachments,
            pods: LocalPods::default(),
            busy: Busy::default(),
            announced: Mutex::default(),
        };
        let restored = server.remove_leftovers()?;
        let updates: Vec<Update> =
            server.attachments().iter().map(AttachmentRecord::added).collect();
        server.pipeline.submit(updates)?;
        server.announce_blocks()?;
        tracing::info!(?restored, "attachments restored");
        Ok((server, restored))
    }

    fn remove_leftovers(&self) -> Result<Restored, RestoreError<N::Error>> {
        let links = self.network.host_interfaces().map_err(RestoreError::Network)?;
        let has_link =
            |record: &AttachmentRecord| links.contains(&record.attachment.host_interface);
        let (live, dead): (Vec<_>, Vec<_>) = self.attachments().into_iter().partition(has_link);
        let wanted: BTreeSet<_> = live.iter().map(|r| &r.attachment.host_interface).collect();
        let stray_links = links.iter().filter(|link| !wanted.contains(link));
        for link in stray_links.clone() {
            tracing::warn!(interface = %link, "removing an interface that no record names");
            self.network.detach(link).map_err(RestoreError::Network)?;
        }
        for link in &wanted {
            self.network.mark(link).map_err(RestoreError::Network)?;
        }
        let holders: BTreeMap<_, _> =
            live.iter().map(|r| (r.handle(), r.attachment.addresses.clone())).collect();
        let reconciled = self.ipam.reconcile(&holders)?;
        for record in &dead {
            tracing::info!(endpoint = %record.endpoint, "its interface is gone");
            self.attachments.append(Change::Remove(record.handle()))?;
        }
        Ok(Restored {
            live: live.len(),
            dead: dead.len(),
            stray_links: stray_links.count(),
            stray_leases: reconciled.released.len(),
        })
    }
}
