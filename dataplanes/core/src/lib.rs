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
//! | a backend's tables, sets, chains | the backend says |
//!
//! [`HOST_INTERFACE_PREFIX`]: brindle_model::cluster::HOST_INTERFACE_PREFIX

mod applied;
mod backend;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod delta;
mod driver;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
pub mod netlink;
pub mod netns;
pub mod nflog;
mod pod_network;
mod route_table;
pub mod sysctl;
mod uplink;

pub use applied::{Applied, DriverState, DriverStatus, Progress, WaitError};
pub use backend::{Backend, Commit, Drift};
pub use delta::{DeltaTracker, Pending};
pub use driver::{Driver, DriverConfig, DriverSender, Stopped, Table};
pub use pod_network::{Attached, Attachment, PodNetwork, PodNetworkError, PodRoute};
pub use route_table::{
    ROUTE_METRIC, ROUTE_PROTOCOL, RouteInput, RouteTable, RouteTableError, RouteTableStatus,
};
pub use uplink::{Uplink, UplinkError};
