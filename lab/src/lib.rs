//! The lab: a fabric in network namespaces on one machine, made of the real parts.
//!
//! ```text
//!                 tor  BIRD 2, AS 64512
//!       10.1.1.1 ╱        ╲ 10.1.2.1          fd01:1::/64, fd01:2::/64
//!               ╱          ╲
//!   n1 10.1.1.2             n2 10.1.2.2       brindle-agent, AS 64601, 64602
//!    ├ pod  ├ pod            ├ pod  ├ pod     made by brindle-cni, as a runtime does
//! ```
//! It plays the kubelet: it calls the CNI plugin and writes the pod's status into the folder that
//! both agents read. Everything it makes carries the lab's name as prefix and goes when the
//! [`fabric::Fabric`] is dropped, unless it is told to stay.

pub mod agent;
pub mod bird;
pub mod conversation;
pub mod fabric;
pub mod knocks;
pub mod latency;
pub mod netns;
pub mod objects;
pub mod openings;
pub mod pod;
pub mod ports;
pub mod probe;
pub mod process;
pub mod traffic;
