//! The backend against the running kernel, both variants of iptables. Needs root; everything
//! happens in network namespaces of its own, which end with the test.

mod conformance;
mod faults;
mod hosts;
mod missing;
mod namespace;
mod neighbours;
mod packets;

// What is not about nftables among the tests of that backend: random rulesets, the node with its
// wires, interfaces of the node itself, what must be told and counted.
#[path = "../../../nftables/tests/kernel/generate.rs"]
mod generate;
#[path = "../../../nftables/tests/kernel/node.rs"]
mod node;
#[path = "../../../nftables/tests/kernel/stages.rs"]
mod stages;
#[path = "../../../nftables/tests/kernel/told.rs"]
mod told;
#[path = "../../../nftables/tests/kernel/wire.rs"]
mod wire;
