//! The backend against the running kernel. Needs root; everything happens in network namespaces of
//! its own, which end with the test.

mod covers;
mod faults;
mod generate;
mod hosts;
mod limits;
mod load;
mod namespace;
mod node;
mod packets;
mod stages;
mod told;
mod walk;
mod wire;
