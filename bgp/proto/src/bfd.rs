//! Bidirectional forwarding detection over one hop or several, asynchronous mode (RFC 5880, 5881,
//! 5883): tells within a second that a neighbour no longer forwards, which a hold timer needs minutes
//! for.
//!
//! ```text
//!   octets ─► Packet::decode ─► Session ─► poll_transmit  octets to send
//!                                  │   └─► poll_timeout   when to come back
//!                                  └─────► Change         Up, Down and why
//! ```
//! As everywhere here: no socket, no clock. Whoever holds the sessions checks the TTL that a packet
//! came with (RFC 5881 §5).

mod packet;
mod session;

pub use packet::{Diagnostic, InvalidPacket, PACKET_LEN, Packet, State};
pub use session::{Change, Config, InvalidConfig, Session};

/// UDP port of control packets (RFC 5881 §4).
pub const BFD_PORT: u16 = 3784;

/// The same for neighbours that are several hops away (RFC 5883 §5).
pub const BFD_MULTIHOP_PORT: u16 = 4784;
