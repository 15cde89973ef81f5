//! Single packets, and how many there were: the answers of `/drops`, `/logged` and `/hits`.

use serde::{Deserialize, Serialize};

use crate::packet::Packet;
use crate::verdict::DecisionId;

/// Packets that the kernel told of. They are samples: it tells of a few a second and decision
/// ([`Hits`] counts all).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Packets {
    /// Why nothing is heard, if nothing is.
    pub problem: Option<String>,
    /// Packets a second that each decision tells of at most; 0 is none.
    pub per_second: u32,
    /// Packets that the kernel told of, that could not be delivered and of which nothing else is
    /// known; denied and logged ones together.
    pub lost: u64,
    /// How often more came than could be heard. What was lost then is in `lost` as soon as another
    /// packet comes.
    pub overruns: u64,
    /// The packets that are remembered, the oldest first.
    pub packets: Vec<PacketReport>,
}

/// A packet that the kernel told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketReport {
    /// Counts the packets heard of, from 1; a gap is what is no longer remembered.
    pub number: u64,
    /// Seconds since it was heard of.
    pub age_seconds: f64,
    /// Who decided; nothing if the kernel's short name of it stands for no policy any more.
    pub decision: Option<DecisionId>,
    /// The same in words.
    pub words: String,
    /// Where in the kernel: `forward` or `input`, or another hook's number.
    pub hook: String,
    /// The interface it came in on, by name; by number if that is gone.
    pub input: Option<String>,
    /// The interface it was to go out on.
    pub output: Option<String>,
    /// The pod behind the input interface.
    pub from_pod: Option<String>,
    /// The pod behind the output interface.
    pub to_pod: Option<String>,
    /// The packet; nothing if it begins with no IP header.
    pub packet: Option<Packet>,
}

/// How many packets each rule and default decided about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hits {
    /// One row a decision, or for several whose rules are joined in the kernel.
    pub decisions: Vec<DecisionHits>,
    /// Chains that were just being changed, and are left out.
    pub left_out: usize,
}

/// Packets about which a decision was taken, since its rules were last written: first packets of
/// flows, and all that are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionHits {
    /// Who decided; one of several if there are several.
    pub decisions: Vec<DecisionId>,
    /// The same in words.
    pub words: String,
    /// What was decided: `allow`, `deny`, `pass`, `log`, `staged allow`, …; empty if no ruleset has
    /// the decision any more.
    pub action: String,
    /// How many packets.
    pub packets: u64,
    /// Their length with the IP header, bytes.
    pub bytes: u64,
}
