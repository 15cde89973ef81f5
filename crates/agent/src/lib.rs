//! The node daemon: composition and tasks.

pub mod cni_server;
