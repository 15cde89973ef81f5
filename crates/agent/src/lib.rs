//! The node daemon: composition and tasks.
