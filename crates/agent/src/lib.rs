//! The node daemon: composition and tasks, no business logic.
//!
//! [`tasks`] has the picture. The rest is one file a joint: [`northbound`] (the source), [`host_links`]
//! (the node's own interfaces), [`pipeline`] (the compile thread and the barrier), [`backend`]
//! (which dataplane), [`connections`] (those that were admitted before), [`bgp`] (the bridge to the
//! speaker), [`links`], [`cni_server`] and [`cni_install`] (pods), [`blocks`] (where nodes agree on
//! addresses), [`enforcement`] (what this node tells the API server that it enforces),
//! [`packet_log`] (denied packets), [`admin`] (HTTP), and what a start must know: [`config`],
//! [`settings`] (and the objects that change them), [`log`], [`lock`], [`restart`]. [`node_programs`] is what this binary is under other names.

pub mod admin;
pub mod backend;
pub mod bgp;
pub mod bgp_status;
pub mod blocks;
pub mod capacity;
pub mod cli;
pub mod cni_install;
pub mod cni_server;
pub mod config;
pub mod connections;
pub mod enforcement;
pub mod heap;
pub mod host_links;
pub mod links;
pub mod lock;
pub mod log;
pub mod node_programs;
pub mod northbound;
pub mod packet_log;
pub mod pipeline;
pub mod probe;
pub mod restart;
pub mod settings;
pub mod tasks;
pub mod uninstall;
