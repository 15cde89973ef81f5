//! What takes all nodes of a cluster together.
//!
//! ```text
//!  API server ── watches, trimmed ──> leader ──┬─ enforcement: Enforced of policies, tiers, sets
//!                                              ├─ reclaim: address blocks of nodes that are gone
//!                                              └─ installation: objects applied, repaired, removed
//! ```
//! [`metrics`] has how long changes took. One of the operator's pods leads ([`lease`]); the others hold
//! nothing. What leads owns its state in one task ([`leader`]) and knows of each object only what it
//! needs. Nothing on a node depends on it: without an operator policy is enforced, pods start, and
//! statuses grow old.

pub mod cli;
pub mod enforcement;
pub mod installation;
pub mod leader;
pub mod lease;
pub mod metrics;
pub mod objects;
pub mod options;
pub mod reclaim;
pub mod status;
pub mod watched;
