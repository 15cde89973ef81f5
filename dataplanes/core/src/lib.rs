//! What every dataplane shares: the [`Backend`] contract, the driver loop, the delta tracker, and
//! links, routes and neighbours over rtnetlink.
//!
//! # Ownership
//! Kernel objects outlive the agent, so each kind carries a mark by which a restarted agent knows
//! it as ours; what does not carry it is never touched:
//!
//! | Object | Mark |
//! |---|---|
//! | host side of a pod's veth pair | name begins with [`HOST_INTERFACE_PREFIX`] |
//! | route | protocol number [`ROUTE_PROTOCOL`] in the main table |
//! | neighbour, per-interface setting | belongs to a link of ours, and goes with it |
//! | mark of a connection | the one bit [`REVOKED_MARK`], in entries that touch a pod of this node |
//! | mark of a packet | the one bit [`HOST_ACCEPTED_MARK`], on interfaces of host endpoints |
//! | a backend's tables, sets, chains | the backend says |
//!
//! The group of a pod's link ([`link_group`]) is no mark: it only makes the name quick to compare.
//!
//! [`link_group`]: brindle_model::cluster::link_group
//! [`HOST_INTERFACE_PREFIX`]: brindle_model::cluster::HOST_INTERFACE_PREFIX

mod applied;
mod backend;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod conntrack;
mod delta;
mod driver;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod hits;
pub mod netlink;
pub mod netns;
pub mod nflog;
pub mod nfnetlink;
mod pod_network;
mod route_table;
mod staged;
pub mod sysctl;
mod uplink;
mod watcher;

pub use applied::{Applied, DriverState, DriverStatus, Progress, WaitError};
pub use backend::{Backend, Commit, DataplaneInput, Disturbance, Drift, Watch};
pub use delta::{DeltaTracker, Pending};
pub use driver::{Driver, DriverConfig, DriverSender, Stopped, Table};
pub use hits::{Hit, Hits};
pub use pod_network::{Attached, Attachment, PodNetwork, PodNetworkError, PodRoute};
pub use route_table::{
    ROUTE_METRIC, ROUTE_PROTOCOL, RouteInput, RouteTable, RouteTableError, RouteTableStatus,
};
pub use staged::{Rules, Staged};
pub use uplink::{Uplink, UplinkError};

/// The bit of a connection's mark (`ct mark`) that says that policy does not admit the connection
/// any more (K33). The rest of the mark belongs to others: kube-proxy takes 0x4000 and 0x8000,
/// Calico 0xffff0000, the AWS VPC plugin 0x80.
pub const REVOKED_MARK: u32 = 0x2000;

/// The bit of a packet's mark that says that an early stage of the host endpoint it came in on has
/// admitted it, so that the later stages of that interface are skipped (C38). The rest belongs to
/// others, as above; Cilium takes 0x0f00 and the upper half. A packet bears it within this node
/// only.
pub const HOST_ACCEPTED_MARK: u32 = 0x1000;
