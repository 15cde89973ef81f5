//! The object-level reference evaluator.
//!
//! # How it reads
//! [`judge`] answers one question: what becomes of this packet, given these API objects? It builds
//! no index, no cache and no intermediate form. Every question scans the lists of the [`World`]
//! and reads the policy semantics §1 to §3 rule by rule; each clause names its rule number (K1, C1,
//! A1 …) in a comment and in the [`trace`]. Slow is right: this is what the compiler and every backend are
//! compared with, so it shares nothing with them but the packet and verdict types, and defaulting,
//! labels, selectors and CIDRs are read here a second time, by other means.
//!
//! # How a flow is judged
//! ```text
//! origin pod ── egress hop ──> (its node, the fabric, the other node) ── ingress hop ──> pod
//!                                  └── host endpoints of both nodes ──┘
//! ```
//! A hop exists where a pod sends (origin) or receives (owner of the destination address). Within
//! a hop the order is: neighbour discovery (K34) or own node (K30), is the source the pod's own
//! (C41), connection state (C9), is the endpoint known (K37), then the policies of all kinds in one
//! walk: tier by tier, and the profile at its end (§2.1). A hop behind
//! a denial is still judged, so that an explanation names everything that stands in the way. The
//! stages of host endpoints are hops of their own ([`HostHop`]).
//!
//! [`judge_packet`] answers the same question for a packet of a connection that began while the
//! objects were others (K33); what becomes of such connections is an option that each call names.
//!
//! # Broken objects
//! What the API server would refuse may still be met in a folder or in old stored data. It is read
//! fail closed: what is broken in an Allow or Log matches nothing, what is broken in a Deny or Pass
//! denies everything in its direction (A13), and types that cannot be read mean both directions. A
//! Kubernetes NetworkPolicy whose subject cannot be read isolates its whole namespace and admits
//! nobody; a policy of another kind, which may allow as well as deny, is not applied (C16, C33).

mod cidr;
mod cluster_network_policy;
mod end;
mod endpoint;
mod host;
mod judge;
mod label_selector;
mod lists;
mod member;
mod names;
mod network_policy;
mod peer;
mod policy;
mod policy_rule;
mod port;
mod protocol;
mod selector;
mod subject;
mod tier;
pub mod trace;
mod tracked;
mod validity;
mod walk;
mod world;

pub use host::{FailsafePort, FailsafePorts, HostHop};
pub use judge::{Hop, Outcome, judge, judge_behind_service};
pub use trace::{Action, Miss, Place, Step, nearest_miss};
pub use tracked::{ExistingConnections, judge_packet};
pub use world::World;
