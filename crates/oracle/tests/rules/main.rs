//! One table per rule of the policy semantics that has a verdict: K1–K35, K37–K39, and C9 and C41
//! as far as they stand before Kubernetes policy. K36 is about time, K40 about what cannot be
//! written.

mod hops;
mod isolation;
mod lifecycle;
mod peers;
mod ports;
mod table;
mod trace;
