//! BGP sans-IO: codec, session FSM, RIBs, export queues.

pub mod attribute;
pub mod capability;
pub mod decode;
pub mod encode;
pub mod family;
pub mod fsm;
pub mod message;
pub mod negotiated;
pub mod speaker;
pub mod timer;
