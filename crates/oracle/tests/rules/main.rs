//! One table per rule of the policy semantics that has a verdict. K36 is about time, K40 about what
//! cannot be written.

mod cluster;
mod criteria;
mod ends;
mod hops;
mod hosts;
mod isolation;
mod lifecycle;
mod peers;
mod ports;
mod table;
mod tiers;
mod trace;
