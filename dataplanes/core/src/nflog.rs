//! Packets that the kernel tells of: denied ones, and those that a Log rule records
//! (`nfnetlink_log`).
//!
//! A backend's rules send them to [`GROUP`] with a [prefix](Event::prefix) that names the decision;
//! the [`Listener`] hears them. What the backend's rate limit holds back the kernel never tells, so
//! whoever shows packets says that they are samples; what it told and nobody could read any more is
//! counted ([`News::Lost`]).

mod decode;
mod listener;
mod packet;

use brindle_model::packet::Packet;
pub use brindle_model::settings::DROPS_PER_SECOND;
use brindle_model::verdict::{DecisionId, Label};

pub use decode::{Told, decode};
pub use listener::{ListenError, Listener, News};
pub use packet::packet;

/// The nfnetlink_log group that backends log to. A network namespace has one listener a group;
/// other programs use the low numbers.
pub const GROUP: u16 = 9898;

/// Packets a second that a Log rule tells of; the others are only counted.
pub const LOGS_PER_SECOND: u32 = 10;

/// What happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// It was dropped.
    Deny,
    /// A Log rule matched; the packet went on (C5).
    Log,
}

impl Event {
    const ALL: [Self; 2] = [Self::Deny, Self::Log];

    fn word(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Log => "log",
        }
    }

    /// The prefix of a packet about which a decision was taken: at most 127 bytes, in which nothing
    /// needs quoting.
    pub fn prefix(self, decision: &DecisionId) -> String {
        format!("{} {}", self.word(), decision.label())
    }

    /// The same within `max` bytes, for a place that holds less.
    pub fn prefix_within(self, decision: &DecisionId, max: usize) -> String {
        let word = self.word();
        format!("{word} {}", decision.label_within(max - word.len() - 1))
    }

    /// Reads a prefix. `None` if it is nobody's of ours.
    pub fn parse(prefix: &str) -> Option<(Self, Label)> {
        let (word, label) = prefix.split_once(' ')?;
        let event = Self::ALL.into_iter().find(|event| event.word() == word)?;
        Some((event, DecisionId::from_label(label)?))
    }
}

/// A packet that the kernel told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened to it.
    pub event: Event,
    /// Who decided.
    pub decision: Label,
    /// Number of the hook (`enum nf_inet_hooks`).
    pub hook: u8,
    /// Index of the interface that it came in on.
    pub input: Option<u32>,
    /// Index of the interface that it was to go out on.
    pub output: Option<u32>,
    /// The packet; `None` if its first bytes are no IP header.
    pub packet: Option<Packet>,
}
