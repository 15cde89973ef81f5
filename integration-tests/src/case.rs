//! Case directories: objects, packets with the verdicts expected of them, and golden files.

pub mod flow;
mod packets;

pub use packets::{Expectation, read_packets, write};
