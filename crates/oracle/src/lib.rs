//! The object-level reference evaluator.
//!
//! # How it reads
//! [`judge`] answers one question: what becomes of this packet, given these API objects? It builds
//! no index, no cache and no intermediate form. Every question scans the lists of the [`World`]
//! and reads the policy semantics §1 rule by rule; each clause names its rule number (K1, K2 …) in
//! a comment and in the [`trace`]. Slow is right: this is what the compiler and every backend are
//! compared with, so it shares nothing with them but the packet and verdict types, and defaulting,
//! labels, selectors and CIDRs are read here a second time, by other means.
//!
//! # How a flow is judged
//! ```text
//! origin pod ── egress hop ──> (its node, the fabric, the other node) ── ingress hop ──> pod
//! ```
//! A hop exists where a pod sends (origin) or receives (owner of the destination address). Within
//! a hop the order is: neighbour discovery (K34) or own node (K30), is the source the pod's own
//! (C41), connection state (C9), is the endpoint known (K37), then policy (K1 to K24). A hop behind
//! a denial is still judged, so that an explanation names everything that stands in the way.
//!
//! [`judge_packet`] answers the same question for a packet of a connection that began while the
//! objects were others (K33); what becomes of such connections is an option that each call names.
//!
//! # Broken objects
//! What the API server would refuse may still be met in a folder or in old stored data. It is read
//! fail closed: a broken peer, port or rule matches nothing while its policy keeps isolating; a
//! policy whose subject cannot be read isolates its whole namespace and admits nobody; policy types
//! that cannot be read mean both.

mod cidr;
mod judge;
mod peer;
mod policy;
mod port;
mod selector;
pub mod trace;
mod tracked;
mod world;

pub use judge::{Hop, Outcome, judge};
pub use trace::{Miss, Place, Step, nearest_miss};
pub use tracked::{ExistingConnections, judge_packet};
pub use world::World;
