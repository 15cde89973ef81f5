//! DEL and GC: the way back.

use std::collections::BTreeSet;
use std::time::Instant;

use brindle_cni::error::{CniError, ErrorCode};
use brindle_cni::protocol::GcRequest;
use brindle_ipam::{Handle, Store};
use brindle_model::Name;

use super::ports::{Pipeline, PodNetwork};
use super::record::Change;
use super::request::handle_of;
use super::{AttachmentRecord, CniServer, host_interface, try_again};

impl<S: Store, N: PodNetwork, P: Pipeline> CniServer<S, N, P> {
    /// Removes an interface. What is gone already, be it the pod, its namespace, the link or our
    /// own record, is no failure.
    pub(super) fn del(&self, handle: &Handle) -> Result<(), CniError> {
        match self.attachments.read(|all| all.get(handle).cloned()) {
            Some(record) => self.remove(&record),
            None => {
                self.detach(&host_interface(handle))?;
                self.release(handle)
            }
        }
    }

    /// Removes all attachments of a network that are not in the list.
    pub(super) fn gc(&self, request: &GcRequest, deadline: Instant) -> Result<(), CniError> {
        let valid: BTreeSet<Handle> = request.valid.iter().map(handle_of).collect();
        let of_network = |record: &AttachmentRecord| *record.network == *request.network;
        let mut failed = Vec::new();
        for record in self.attachments().into_iter().filter(of_network) {
            let handle = record.handle();
            if valid.contains(&handle) {
                continue;
            }
            let result = match self.busy.occupy(&handle, deadline) {
                Some(_occupied) => self.del(&handle),
                None => Err(try_again("another request for it is in progress")),
            };
            if let Err(error) = result {
                failed.push(format!("{}: {error}", record.endpoint));
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        let mut error = try_again(format!("{} attachments could not be removed", failed.len()));
        error.details = failed.join("; ");
        Err(error)
    }

    /// Takes back everything that ADD made, in the order that a crash cannot make dangerous: no
    /// link, no endpoint, no address, no record. An address is free only now, and whoever gets it
    /// next is enforced after this endpoint is gone, because the pipeline keeps the order (K39).
    pub(super) fn remove(&self, record: &AttachmentRecord) -> Result<(), CniError> {
        let handle = record.handle();
        self.detach(&record.attachment.host_interface)?;
        self.pipeline.submit(vec![record.removed()]).map_err(|e| try_again(e.to_string()))?;
        self.release(&handle)?;
        self.attachments.append(Change::Remove(handle)).map_err(|e| {
            let message = format!("cannot record the removal of {}", record.endpoint);
            CniError::caused(ErrorCode::Io, message, &e)
        })
    }

    fn detach(&self, host_interface: &Name) -> Result<(), CniError> {
        self.network.detach(host_interface).map_err(|e| {
            CniError::caused(ErrorCode::Network, format!("cannot remove {host_interface}"), &e)
        })
    }

    fn release(&self, handle: &Handle) -> Result<(), CniError> {
        let released = self.ipam.release(handle);
        released.map(drop).map_err(|e| {
            let message = format!("cannot release the addresses of {handle}");
            CniError::caused(ErrorCode::TryAgainLater, message, &e)
        })
    }
}
