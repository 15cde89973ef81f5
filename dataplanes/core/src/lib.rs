//! What every dataplane shares: the [`Backend`] contract, the driver loop, the delta tracker, and
//! links, routes and neighbours over rtnetlink.

mod backend;

pub use backend::{Backend, Commit, Drift};
