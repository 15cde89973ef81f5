//! From one request to one outcome.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use brindle_cni::error::{CniError, ErrorCode};
use brindle_cni::protocol::{ContainerInterface, Envelope, Outcome, Request};
use brindle_ipam::{Handle, Store};

use super::ports::{Pipeline, PodNetwork};
use super::{CniServer, try_again};

/// Longest that a request may take, whatever patience the plugin claims.
const MAX_PATIENCE: Duration = Duration::from_secs(30);

impl<S: Store, N: PodNetwork, P: Pipeline> CniServer<S, N, P> {
    /// Does what a request asks.
    pub(crate) fn serve(&self, envelope: &Envelope, netns: Option<OwnedFd>) -> Outcome {
        let patience = Duration::from_millis(envelope.patience_ms.into()).min(MAX_PATIENCE);
        let deadline = Instant::now() + patience;
        let netns = netns.as_ref().map(AsFd::as_fd);
        let outcome = self.dispatch(&envelope.request, netns, deadline);
        outcome.unwrap_or_else(Outcome::Failed)
    }

    fn dispatch(
        &self,
        request: &Request,
        netns: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> Result<Outcome, CniError> {
        let target = match request {
            Request::Add(add) => &add.target,
            Request::Del(del) => &del.target,
            Request::Check(check) => &check.target,
            Request::Gc(gc) => return self.gc(gc, deadline).map(|()| Outcome::Done),
            Request::Status => return self.status().map(|()| Outcome::Done),
        };
        let handle = handle_of(target);
        let _occupied = self
            .busy
            .occupy(&handle, deadline)
            .ok_or_else(|| try_again(format!("another request for {handle} is in progress")))?;
        match request {
            Request::Add(add) => {
                self.add(add, &handle, expect_netns(netns)?, deadline).map(Outcome::Added)
            }
            Request::Check(check) => {
                self.check(check, &handle, expect_netns(netns)?, deadline).map(|()| Outcome::Done)
            }
            _ => self.del(&handle).map(|()| Outcome::Done),
        }
    }

    /// Whether ADD could be served.
    fn status(&self) -> Result<(), CniError> {
        let unavailable = |e: CniError| CniError { code: ErrorCode::NotAvailable, ..e };
        self.expect_in_sync().map_err(unavailable)?;
        self.ipam
            .check_pools()
            .map_err(|e| CniError::caused(ErrorCode::NotAvailable, "pods cannot get addresses", &e))
    }
}

pub(super) fn handle_of(target: &ContainerInterface) -> Handle {
    Handle {
        container_id: target.container_id.as_str().into(),
        interface: target.interface.as_str().into(),
    }
}

fn expect_netns(netns: Option<BorrowedFd<'_>>) -> Result<BorrowedFd<'_>, CniError> {
    let message = "the request came without the descriptor of the pod's network namespace";
    netns.ok_or_else(|| CniError::new(ErrorCode::Internal, message))
}
