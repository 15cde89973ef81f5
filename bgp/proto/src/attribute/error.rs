//! What came of a malformed attribute (RFC 7606 §2).

use std::fmt;

use crate::family::Family;
use crate::message::NotificationCode;

/// One malformed attribute and its consequence. An error that resets the session is not here:
/// decoding returns that as the NOTIFICATION to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeError {
    /// Attribute type; 0 if the fault is not within one attribute.
    pub attribute: u8,
    /// What RFC 4271 §6.3 would have sent.
    pub code: NotificationCode,
    /// What was done instead.
    pub outcome: Outcome,
}

/// The consequence, weakest first; of several the strongest counts (RFC 7606 §3 h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The attribute is as if it had not been sent.
    AttributeDiscard,
    /// The routes of the message are as if withdrawn.
    TreatAsWithdraw,
    /// All routes of the family are gone and the rest of the session's are not read.
    DisableFamily(Family),
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::AttributeDiscard => "attribute discarded".to_owned(),
            Outcome::TreatAsWithdraw => "routes treated as withdrawn".to_owned(),
            Outcome::DisableFamily(family) => format!("{family} disabled"),
        };
        write!(f, "attribute {}: {}, {outcome}", self.attribute, self.code)
    }
}
