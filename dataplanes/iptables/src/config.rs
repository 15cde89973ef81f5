//! What the backend is told.

use std::fmt;
use std::str::FromStr;

/// Where the jump to our chains stands in each built-in chain that has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jump {
    /// Before every other rule: no other program's ACCEPT goes past policy.
    #[default]
    Insert,
    /// Where it is, or behind what is there when it is made. An ACCEPT before it opens what policy
    /// closes.
    Append,
}

/// Which of the kernel's two ways to hold iptables rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// Rules live in nf_tables.
    Nft,
    /// Rules live in ip_tables.
    Legacy,
}

impl Variant {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Nft, Self::Legacy];
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        })
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Insert => "insert",
            Self::Append => "append",
        })
    }
}

/// A word that is neither `insert` nor `append`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place for a jump; write insert or append")]
pub struct ParseJumpError(String);

impl FromStr for Jump {
    type Err = ParseJumpError;

    fn from_str(text: &str) -> Result<Self, ParseJumpError> {
        [Self::Insert, Self::Append]
            .into_iter()
            .find(|jump| jump.to_string() == text)
            .ok_or_else(|| ParseJumpError(text.to_owned()))
    }
}
