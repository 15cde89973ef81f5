//! The record of what is attached to the node: the state of a journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_ipam::Handle;
use brindle_ipam::journal::State;
use brindle_model::Name;
use brindle_model::cluster::{Attachment, EndpointId, Update};
use serde::{Deserialize, Serialize};

/// One attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentRecord {
    /// The CNI network that it belongs to: GC asks by network.
    pub network: Name,
    /// Whose it is.
    pub endpoint: EndpointId,
    /// Host interface and addresses.
    pub attachment: Attachment,
}

impl AttachmentRecord {
    /// Who holds its addresses.
    pub fn handle(&self) -> Handle {
        let EndpointId { container_id, interface, .. } = &self.endpoint;
        Handle { container_id: container_id.clone(), interface: interface.clone() }
    }

    pub(super) fn added(&self) -> Update {
        Update::Endpoint(self.endpoint.clone(), Some(Arc::new(self.attachment.clone())))
    }

    pub(super) fn removed(&self) -> Update {
        Update::Endpoint(self.endpoint.clone(), None)
    }
}

/// All attachments of the node.
#[derive(Debug, Default)]
pub(super) struct Attachments(BTreeMap<Handle, AttachmentRecord>);

/// One change of the record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Change {
    /// New, or instead of the one with the same handle.
    Put(AttachmentRecord),
    /// Gone.
    Remove(Handle),
}

impl Attachments {
    pub(super) fn get(&self, handle: &Handle) -> Option<&AttachmentRecord> {
        self.0.get(handle)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &AttachmentRecord> {
        self.0.values()
    }
}

impl State for Attachments {
    const KIND: &'static str = "attachments";
    type Record = Change;

    fn apply(&mut self, change: Change) {
        match change {
            Change::Put(record) => self.0.insert(record.handle(), record),
            Change::Remove(handle) => self.0.remove(&handle),
        };
    }

    fn records(&self) -> Vec<Change> {
        self.0.values().cloned().map(Change::Put).collect()
    }
}
