//! What the kernel makes of rendered rules, worked out without one (policy-semantics §7.3, L1).
//!
//! ```text
//! ruleset ── backend lowers ──> what it sends ──> nf_tables, or ip_tables with ip_set ──> Walk
//!    └────────── evaluate ──────────────────────────────> answers <── compare (hops) ──────┘
//! ```
//! The interpreters read what is sent to the kernel, a netlink batch or the input of the `-restore`
//! tools, and know what the kernel does with each word of it. They know nothing of the backends:
//! neither why a rule is there, nor what its chain is for.

pub mod hops;
pub mod ip_set;
pub mod ip_tables;
pub mod nf_tables;
pub mod skb;

/// What became of a packet at a hook, and who said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Whether it ended there.
    pub dropped: bool,
    /// What was told over nfnetlink_log, in order.
    pub told: Vec<String>,
    /// Comments of the rules that matched, in order.
    pub comments: Vec<String>,
}

/// Where a packet is (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// It has come in.
    Prerouting,
    /// It is for this node.
    Input,
    /// It passes through.
    Forward,
    /// This node sends it.
    Output,
}
