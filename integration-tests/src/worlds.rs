//! Generated worlds, and what compares the two evaluators on them (policy-semantics §7).
//!
//! ```text
//! seed ── generate ──> World ── yaml ──> text ── sources ──> updates ── compiler ──> rulesets
//!                        │                                                              │
//!                        ├── choose flows ── judge (O1) ──> verdict <── compare ── evaluate (O2)
//!                        └── shrink, on a mismatch ──> case directory
//! ```
//! A world is a value and a pure function of its seed; so are the flows that are chosen for it. Small
//! alphabets make coincidences happen: the same labels in several namespaces, one port name with
//! several numbers, prefixes nested around the pods.

mod addresses;
mod choose;
mod cluster;
pub mod compare;
pub mod compiled;
pub mod edit;
mod expressions;
mod generate;
mod ground;
mod hosts;
pub mod mistakes;
mod objects;
mod policies;
pub mod random;
pub mod reach;
mod selectors;
pub mod shrink;
mod tiered;
pub mod transform;
pub mod yaml;

pub use choose::choose;
pub use generate::{Kinds, generate, sound};
