//! Case directories: objects, packets with the verdicts expected of them, and golden files.

pub mod expand;
pub mod flow;
pub mod golden;
mod packets;

pub use packets::{Expectation, read_packets, write};
