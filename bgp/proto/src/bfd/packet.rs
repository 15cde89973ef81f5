//! The control packet (RFC 5880 §4.1).

use std::fmt;
use std::time::Duration;

/// Octets of a control packet without authentication.
pub const PACKET_LEN: usize = 24;

/// A control packet without authentication, which we neither send nor take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session went down last.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// The sender wants an answer with `final_` at once.
    pub poll: bool,
    /// The answer to a poll.
    pub final_: bool,
    /// The sender's BFD goes on while its control plane restarts (the C bit).
    pub control_plane_independent: bool,
    /// The sender wants to hear nothing but polls once both are up.
    pub demand: bool,
    /// After how many packets missed the session is down; not 0.
    pub detect_mult: u8,
    /// The sender's name of the session; not 0.
    pub my_discriminator: u32,
    /// The receiver's name of it; 0 while unknown.
    pub your_discriminator: u32,
    /// How often the sender would like to send at most.
    pub desired_min_tx: Duration,
    /// How often it can receive; zero for not at all.
    pub required_min_rx: Duration,
    /// How often it can receive echo packets; zero for not at all.
    pub required_min_echo_rx: Duration,
}

/// Session state; the order is that of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Held down by its operator.
    AdminDown,
    /// Nothing heard.
    #[default]
    Down,
    /// The neighbour is heard.
    Init,
    /// Both hear each other.
    Up,
}

/// Why a session is down; the order is that of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Diagnostic {
    /// Nothing to say.
    #[default]
    None,
    /// Nothing came for the detection time.
    ControlDetectionTimeExpired,
    /// The echo function failed.
    EchoFailed,
    /// The neighbour says that its session is down.
    NeighborSignaledDown,
    /// The forwarding plane was reset.
    ForwardingPlaneReset,
    /// The path is down.
    PathDown,
    /// A path joined to this one is down.
    ConcatenatedPathDown,
    /// Its operator took it down.
    AdministrativelyDown,
    /// A path joined to this one is down, seen from the other side.
    ReverseConcatenatedPathDown,
    /// A value that RFC 5880 leaves for later.
    Reserved(u8),
}

/// What must be discarded (RFC 5880 §6.8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPacket {
    /// Shorter than it says or than it must be.
    #[error("the length does not fit")]
    Length,
    /// Not version 1.
    #[error("version {0} is not 1")]
    Version(u8),
    /// Signed, and no key was agreed on.
    #[error("it is authenticated, and no key was agreed on")]
    Authenticated,
    /// A detection multiplier of 0.
    #[error("the detection multiplier is 0")]
    DetectMult,
    /// The bit that must be zero is not.
    #[error("the multipoint bit is set")]
    Multipoint,
    /// The sender does not say which session.
    #[error("the sender's discriminator is 0")]
    MyDiscriminator,
    /// Up or coming up with a session that it does not name.
    #[error("our discriminator is missing in state {0}")]
    YourDiscriminator(State),
}

impl Packet {
    /// Reads a packet, by the checks of RFC 5880 §6.8.6 that need no session.
    ///
    /// # Errors
    /// It is to be discarded.
    pub fn decode(octets: &[u8]) -> Result<Self, InvalidPacket> {
        let header: &[u8; PACKET_LEN] = octets.first_chunk().ok_or(InvalidPacket::Length)?;
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let version = header[0] >> 5;
        if version != 1 {
            return Err(InvalidPacket::Version(version));
        }
        let flag = |bit: u8| header[1] & bit != 0;
        let len = usize::from(header[3]);
        if len < PACKET_LEN || len > octets.len() {
            return Err(InvalidPacket::Length);
        }
        if header[2] == 0 {
            return Err(InvalidPacket::DetectMult);
        }
        if flag(0x01) {
            return Err(InvalidPacket::Multipoint);
        }
        if word(4) == 0 {
            return Err(InvalidPacket::MyDiscriminator);
        }
        let state = State::from_bits(header[1] >> 6);
        if word(8) == 0 && state > State::Down {
            return Err(InvalidPacket::YourDiscriminator(state));
        }
        if flag(0x04) {
            return Err(InvalidPacket::Authenticated);
        }
        let interval = |at| Duration::from_micros(word(at).into());
        Ok(Self {
            diagnostic: Diagnostic::from_bits(header[0] & 0x1f),
            state,
            poll: flag(0x20),
            final_: flag(0x10),
            control_plane_independent: flag(0x08),
            demand: flag(0x02),
            detect_mult: header[2],
            my_discriminator: word(4),
            your_discriminator: word(8),
            desired_min_tx: interval(12),
            required_min_rx: interval(16),
            required_min_echo_rx: interval(20),
        })
    }

    /// The octets of the packet; intervals beyond what the field holds (71 minutes) are cut.
    pub fn encode(&self) -> [u8; PACKET_LEN] {
        let mut octets = [0; PACKET_LEN];
        octets[0] = 1 << 5 | self.diagnostic.bits();
        octets[1] = self.state.bits() << 6
            | u8::from(self.poll) << 5
            | u8::from(self.final_) << 4
            | u8::from(self.control_plane_independent) << 3
            | u8::from(self.demand) << 1;
        octets[2] = self.detect_mult;
        octets[3] = 24;
        let micros = |interval: Duration| u32::try_from(interval.as_micros()).unwrap_or(u32::MAX);
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            micros(self.desired_min_tx),
            micros(self.required_min_rx),
            micros(self.required_min_echo_rx),
        ];
        for (field, word) in octets[4..].chunks_exact_mut(4).zip(words) {
            field.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }
}

impl State {
    fn from_bits(bits: u8) -> Self {
        [Self::AdminDown, Self::Down, Self::Init, Self::Up][usize::from(bits & 3)]
    }

    fn bits(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

impl Diagnostic {
    const NAMED: [Self; 9] = [
        Self::None,
        Self::ControlDetectionTimeExpired,
        Self::EchoFailed,
        Self::NeighborSignaledDown,
        Self::ForwardingPlaneReset,
        Self::PathDown,
        Self::ConcatenatedPathDown,
        Self::AdministrativelyDown,
        Self::ReverseConcatenatedPathDown,
    ];

    fn from_bits(bits: u8) -> Self {
        Self::NAMED.get(usize::from(bits)).copied().unwrap_or(Self::Reserved(bits))
    }

    fn bits(self) -> u8 {
        match self {
            Self::Reserved(bits) => bits & 0x1f,
            named => {
                let at = Self::NAMED.iter().position(|known| *known == named);
                u8::try_from(at.unwrap_or_default()).expect("nine of them")
            }
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no diagnostic"),
            Self::ControlDetectionTimeExpired => f.write_str("control detection time expired"),
            Self::EchoFailed => f.write_str("echo function failed"),
            Self::NeighborSignaledDown => f.write_str("neighbor signaled session down"),
            Self::ForwardingPlaneReset => f.write_str("forwarding plane reset"),
            Self::PathDown => f.write_str("path down"),
            Self::ConcatenatedPathDown => f.write_str("concatenated path down"),
            Self::AdministrativelyDown => f.write_str("administratively down"),
            Self::ReverseConcatenatedPathDown => f.write_str("reverse concatenated path down"),
            Self::Reserved(bits) => write!(f, "reserved diagnostic {bits}"),
        }
    }
}
