//! The CNI types (specification 1.1.0), the protocol between plugin and agent, and the plugin.
//!
//! ```text
//! runtime ──exec, environment, stdin──> brindle-cni ──unix socket, one request──> brindle-agent
//!         <──result or error, stdout──             <──one reply────────────────
//! ```
//! The plugin is small on purpose: it checks what the runtime says, opens the network namespace,
//! hands both to the agent, and words the answer in the version of the specification that the
//! runtime asked for. It makes no link, holds no state, and knows no Kubernetes API. While the
//! agent is down no pod starts on the node, and the runtime is told to try again (code 11).

pub mod config;
pub mod environment;
pub mod error;
pub mod plugin;
pub mod protocol;
pub mod result;
pub mod version;
mod wire;

pub use wire::{ReadError, WriteError, read_reply, read_request, write_reply, write_request};
