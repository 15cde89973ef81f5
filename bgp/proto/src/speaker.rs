//! The whole speaker without I/O.

pub mod command;
pub mod event;
pub mod status;

pub use command::{Command, Config, Identity, NextHops, PeerConfig, PeerName};
pub use event::Event;
pub use status::SpeakerStatus;
