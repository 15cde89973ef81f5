//! Brindle's own API types, group `brindle.io`, version `v1alpha1`, as users write them.
//!
//! The types hold what was written, checked for shape only: an unknown field of a `spec` is an
//! error (an option is never accepted and ignored), a missing one has its documented default.
//! Whether an address parses or two pools overlap is decided where objects become inputs, in
//! `brindle-sources`. Field names follow Calico's v3 API where the meaning is the same.

mod bgp_configuration;
mod bgp_peer;
mod duration;
mod ip_pool;
mod resource;

pub use bgp_configuration::{BgpConfiguration, BgpConfigurationSpec};
pub use bgp_peer::{BgpPeer, BgpPeerSpec, DEFAULT_BGP_PORT};
pub use duration::{Duration, DurationError};
pub use ip_pool::{DEFAULT_BLOCK_SIZE_V4, DEFAULT_BLOCK_SIZE_V6, IpPool, IpPoolSpec};

/// The API group of every kind here.
pub const GROUP: &str = "brindle.io";
/// The API version of every kind here.
pub const VERSION: &str = "v1alpha1";
/// Group and version as an object's `apiVersion` spells them.
pub const API_VERSION: &str = "brindle.io/v1alpha1";
