//! BGP sans-IO: codec, session FSM, RIBs, export queues.

pub mod attribute;
pub mod bfd;
pub mod capability;
pub mod decision;
pub mod decode;
pub mod encode;
pub(crate) mod export;
pub mod family;
pub mod fsm;
pub mod message;
pub mod mrt;
pub mod negotiated;
mod peer;
pub mod policy;
pub mod rib;
mod roles;
pub mod session;
pub mod speaker;
pub mod timer;
