//! What the backend is told.

use std::fmt;

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
