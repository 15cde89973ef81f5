//! ADD and CHECK: the way to an interface, and the look whether it is still there.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use brindle_cni::error::{CniError, ErrorCode};
use brindle_cni::protocol::{AddRequest, Added, AddedRoute, CheckRequest};
use brindle_ipam::{AssignError, Handle, Store};
use brindle_model::NamespacedName;
use brindle_model::cluster::{Attachment, EndpointId, Uid, link_group};
use nix::sys::stat::fstat;

use super::ports::{AttachRequest, Attached, Pipeline, PodNetwork};
use super::record::Change;
use super::{AttachmentRecord, CniServer, host_interface, try_again};

/// What the steps after the wait for the pod need of a request's time.
const AFTER_POD: Duration = Duration::from_secs(1);

impl<S: Store, N: PodNetwork, P: Pipeline> CniServer<S, N, P> {
    /// Makes an interface; it is up, and its policy enforced, on return. On failure nothing of it
    /// is left.
    pub(super) fn add(
        &self,
        request: &AddRequest,
        handle: &Handle,
        netns: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<Added, CniError> {
        refuse_own_netns(netns)?;
        self.expect_in_sync()?;
        let pod = NamespacedName::new(&*request.pod.namespace, &*request.pod.name);
        let pod_deadline = deadline.checked_sub(AFTER_POD).unwrap_or(deadline);
        let uid = request.pod.uid.as_deref().and_then(Uid::parse);
        if !self.pods.wait(&pod, uid, pod_deadline) {
            return Err(try_again(format!(
                "pod {pod} is not known on node {}; check that the object exists, names this \
                 node and was accepted",
                self.config.node
            )));
        }
        self.remove_predecessor(handle, &pod)?;
        let addresses = self.assign(handle, &pod)?;
        let record = AttachmentRecord {
            network: request.network.as_str().into(),
            endpoint: EndpointId {
                pod,
                container_id: handle.container_id.clone(),
                interface: handle.interface.clone(),
            },
            attachment: Attachment { host_interface: host_interface(handle), addresses },
        };
        match self.attach(&record, netns, request.mtu, deadline) {
            Ok(attached) => Ok(answer(&record, attached)),
            Err(error) => {
                if let Err(undo) = self.remove(&record) {
                    let endpoint = &record.endpoint;
                    tracing::warn!(%endpoint, error = %undo, "cannot undo a failed ADD");
                }
                Err(error)
            }
        }
    }

    /// A runtime that asks again for another pod under the same handle has forgotten a DEL.
    fn remove_predecessor(&self, handle: &Handle, pod: &NamespacedName) -> Result<(), CniError> {
        let before = self.attachments.read(|all| all.get(handle).cloned());
        match before.filter(|record| record.endpoint.pod != *pod) {
            Some(record) => self.remove(&record),
            None => Ok(()),
        }
    }

    fn assign(&self, handle: &Handle, pod: &NamespacedName) -> Result<Vec<IpAddr>, CniError> {
        let assigned = self.ipam.assign(handle);
        // Also after a failure: a block may have been claimed before it.
        self.announce_blocks().map_err(|e| try_again(e.to_string()))?;
        assigned.map_err(|e| {
            let code = match e {
                AssignError::Busy(_) | AssignError::Contended { .. } => ErrorCode::TryAgainLater,
                _ => ErrorCode::Address,
            };
            CniError::caused(code, format!("no address for pod {pod}"), &e)
        })
    }

    fn attach(
        &self,
        record: &AttachmentRecord,
        netns: BorrowedFd<'_>,
        mtu: Option<u32>,
        deadline: Instant,
    ) -> Result<Attached, CniError> {
        let AttachmentRecord { endpoint, attachment, .. } = record;
        self.expect_free_name(record)?;
        self.attachments.append(Change::Put(record.clone())).map_err(|e| {
            CniError::caused(
                ErrorCode::Io,
                format!("cannot record the attachment of {endpoint}"),
                &e,
            )
        })?;
        let ticket =
            self.pipeline.submit(vec![record.added()]).map_err(|e| try_again(e.to_string()))?;
        let request = AttachRequest {
            netns,
            interface: &endpoint.interface,
            host_interface: &attachment.host_interface,
            addresses: &attachment.addresses,
            mtu,
        };
        let network = |e: N::Error| {
            let message =
                format!("cannot make interface {} of pod {}", endpoint.interface, endpoint.pod);
            CniError::caused(ErrorCode::Network, message, &e)
        };
        let attached = self.network.attach(&request).map_err(network)?;
        self.pipeline.wait_enforced(ticket, deadline).map_err(|e| try_again(e.to_string()))?;
        self.network.enable(&attachment.host_interface, &attachment.addresses).map_err(network)?;
        Ok(attached)
    }

    /// Names are hashes: two handles may share one, and then the second must not take the first
    /// one's link away. Two names may share a group, and then the dataplane would close both.
    fn expect_free_name(&self, record: &AttachmentRecord) -> Result<(), CniError> {
        let name = &record.attachment.host_interface;
        let handle = record.handle();
        let other = self.attachments.read(|all| {
            let mut others = all.values().filter(|r| r.handle() != handle);
            let group = link_group(name);
            others.find(|r| link_group(&r.attachment.host_interface) == group).cloned()
        });
        match other {
            None => Ok(()),
            Some(other) => Err(CniError::new(
                ErrorCode::Internal,
                format!(
                    "interface {name} would have the name or the group of {} of {}; delete the \
                     pod to get another",
                    other.attachment.host_interface, other.endpoint
                ),
            )),
        }
    }

    /// Compares an interface with what ADD made.
    pub(super) fn check(
        &self,
        request: &CheckRequest,
        handle: &Handle,
        netns: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<(), CniError> {
        self.expect_in_sync()?;
        let failed = |message: String| CniError::new(ErrorCode::CheckFailed, message);
        let record = self.attachments.read(|all| all.get(handle).cloned());
        let record = record.ok_or_else(|| {
            let message = format!("{handle} is not attached to this node");
            CniError::new(ErrorCode::UnknownContainer, message)
        })?;
        let AttachmentRecord { endpoint, attachment, .. } = &record;
        let missing = attachment.addresses.iter().find(|addr| !request.addresses.contains(addr));
        if let Some(addr) = missing {
            return Err(failed(format!("{endpoint} has address {addr}, which prevResult lacks")));
        }
        let wanted = AttachRequest {
            netns,
            interface: &endpoint.interface,
            host_interface: &attachment.host_interface,
            addresses: &attachment.addresses,
            mtu: None,
        };
        self.network.check(&wanted).map_err(|e| {
            CniError::caused(
                ErrorCode::CheckFailed,
                format!("{endpoint} is not as it was made"),
                &e,
            )
        })?;
        // The same value again changes nothing; that it is confirmed shows that the dataplane
        // follows.
        let ticket =
            self.pipeline.submit(vec![record.added()]).map_err(|e| try_again(e.to_string()))?;
        self.pipeline.wait_enforced(ticket, deadline).map_err(|e| failed(e.to_string()))
    }

    pub(super) fn expect_in_sync(&self) -> Result<(), CniError> {
        if self.pipeline.in_sync() {
            return Ok(());
        }
        Err(try_again(
            "the agent has not read all objects yet, so no policy is enforced; try again",
        ))
    }
}

/// A pair between the node and itself would bypass everything.
fn refuse_own_netns(netns: BorrowedFd<'_>) -> Result<(), CniError> {
    let io = |e: &dyn std::error::Error| {
        CniError::caused(ErrorCode::Io, "cannot compare network namespaces", e)
    };
    let own = std::fs::File::open("/proc/thread-self/ns/net").map_err(|e| io(&e))?;
    let (own, pod) = (fstat(own.as_fd()).map_err(|e| io(&e))?, fstat(netns).map_err(|e| io(&e))?);
    if (own.st_dev, own.st_ino) == (pod.st_dev, pod.st_ino) {
        let message = "CNI_NETNS is the node's own network namespace";
        return Err(CniError::new(ErrorCode::InvalidEnvironment, message));
    }
    Ok(())
}

fn answer(record: &AttachmentRecord, attached: Attached) -> Added {
    let routes = attached.routes.into_iter();
    Added {
        host_interface: record.attachment.host_interface.to_string(),
        host_mac: attached.host_mac,
        pod_mac: attached.pod_mac,
        mtu: attached.mtu,
        addresses: record.attachment.addresses.clone(),
        routes: routes
            .map(|r| AddedRoute { destination: r.destination, gateway: r.gateway })
            .collect(),
    }
}
