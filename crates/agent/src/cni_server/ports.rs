//! What the CNI server needs of the rest of the agent: a [`PodNetwork`] that makes links, and a
//! [`Pipeline`] that turns inputs into enforced kernel state.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use brindle_model::Name;
use brindle_model::cluster::Update;
use ipnet::IpNet;

/// Makes and removes pod links. Called from many threads at once: an implementation holds no lock
/// of its own over a netlink exchange.
pub trait PodNetwork: Send + Sync + 'static {
    /// Why a kernel operation failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Makes the veth pair with its addresses, routes and neighbours, the pod side complete and
    /// the host side **down**: no packet passes before [`Self::enable`]. A host interface of this
    /// name that an interrupted attempt left behind is replaced.
    ///
    /// # Errors
    /// The kernel refused; nothing of the pair is left.
    fn attach(&self, request: &AttachRequest<'_>) -> Result<Attached, Self::Error>;

    /// Sets the host side up and adds the host's routes to the pod's addresses. Called once the
    /// endpoint's policy is enforced (K37).
    ///
    /// # Errors
    /// The kernel refused, or the interface is gone.
    fn enable(&self, host_interface: &str, addresses: &[IpAddr]) -> Result<(), Self::Error>;

    /// Repairs the mark by which the dataplane knows a host interface that was made before this
    /// agent started. An absent interface is a success.
    ///
    /// # Errors
    /// The kernel refused.
    fn mark(&self, host_interface: &str) -> Result<(), Self::Error>;

    /// Removes the host interface, and with it its peer and routes. An absent one is a success.
    ///
    /// # Errors
    /// The kernel refused.
    fn detach(&self, host_interface: &str) -> Result<(), Self::Error>;

    /// Compares what the kernel holds with what [`Self::attach`] and [`Self::enable`] made: both
    /// links up, the pod's addresses, its default routes, the host's routes.
    ///
    /// # Errors
    /// The first thing that is missing, by name; or the kernel could not be read.
    fn check(&self, request: &AttachRequest<'_>) -> Result<(), Self::Error>;

    /// All interfaces of the host whose name begins with
    /// [`HOST_INTERFACE_PREFIX`](brindle_model::cluster::HOST_INTERFACE_PREFIX).
    ///
    /// # Errors
    /// The kernel could not be read.
    fn host_interfaces(&self) -> Result<BTreeSet<Name>, Self::Error>;
}

/// One pod interface to make.
#[derive(Clone, Copy, Debug)]
pub struct AttachRequest<'a> {
    /// The pod's network namespace. The plugin opened it, so the agent needs to see no path of
    /// the runtime's mount namespace.
    pub netns: BorrowedFd<'a>,
    /// Name inside the pod (`CNI_IFNAME`).
    pub interface: &'a str,
    /// Name on the host.
    pub host_interface: &'a str,
    /// The pod's addresses, at most one a family; each is a host prefix in the pod.
    pub addresses: &'a [IpAddr],
    /// MTU in bytes; the uplink's unless said.
    pub mtu: Option<u32>,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Hardware address of the host side, as `aa:bb:cc:dd:ee:ff`.
    pub host_mac: String,
    /// Hardware address of the pod side.
    pub pod_mac: String,
    /// MTU of both sides, bytes.
    pub mtu: u32,
    /// Routes inside the pod, in the order in which they were made.
    pub routes: Vec<PodRoute>,
}

/// A route inside a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodRoute {
    /// Destination.
    pub destination: IpNet,
    /// Next hop; `None` is on-link.
    pub gateway: Option<IpAddr>,
}

/// Turns inputs into enforced kernel state: the compile channel and the generation barrier.
pub trait Pipeline: Send + Sync + 'static {
    /// Whether every source has told all it knew at start, and the first complete ruleset is in
    /// the kernel.
    fn in_sync(&self) -> bool;

    /// Hands updates to the compiler. They are in order with all others of this caller.
    ///
    /// # Errors
    /// The agent is shutting down.
    fn submit(&self, updates: Vec<Update>) -> Result<Ticket, Stopped>;

    /// Waits until everything that `ticket` covers is enforced. It may cover nothing new: then it
    /// confirms that the kernel holds what was asked for before.
    ///
    /// # Errors
    /// The deadline passed, or the agent is shutting down.
    fn wait_enforced(&self, ticket: Ticket, deadline: Instant) -> Result<(), WaitError>;
}

/// A place in the compiler's queue: the number of the submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The agent is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is shutting down")]
pub struct Stopped;

/// Why a wait ended without enforcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed.
    #[error("the dataplane did not confirm the pod's policy in time; check the agent's log")]
    TimedOut,
    /// The agent is shutting down.
    #[error("the agent is shutting down")]
    Stopped,
}
