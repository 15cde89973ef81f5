//! The agent's side of the CNI plugin: what it needs of the rest of the agent stands in
//! [`ports`].

pub mod ports;
