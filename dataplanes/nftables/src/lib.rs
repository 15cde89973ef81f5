//! The nftables backend: lower, commit, read back.
//!
//! ```text
//! RulesetDelta ─ stage ─> desired ─ lower ─> layout ─ plan ─> Program ─ encode ─> netlink batch
//!                                                                │
//!                                                              Display: nft syntax
//! kernel ─ dump ─ decode ─> Snapshot ─ compare with layout ─> Changes ─> Program
//! ```
//! [`lower`](lower/index.html) tells what the table looks like and why; [`Program`] is one
//! transaction; [`Nftables`] is the [`Backend`](brindle_dataplane_core::Backend).

mod backend;
mod desired;
mod expr;
mod hits;
mod layout;
mod lower;
mod netlink;
mod plan;
mod program;
mod rule;
mod table;
mod text;

#[cfg(test)]
#[path = "../tests/kernel/generate.rs"]
mod generate;
#[cfg(test)]
mod tests;

pub use backend::{Nftables, NftablesError, OpenError};
pub use hits::Counters;
pub use netlink::{Snapshot, SocketError, decode};
pub use program::{Command, Program};
pub use table::{TABLE, TABLE_COMMENT};

use brindle_model::ruleset::{Ruleset, RulesetDelta};

/// The transaction that loads a ruleset into a kernel that has nothing of ours. Pure.
pub fn lower(ruleset: &Ruleset) -> Program {
    let mut desired = desired::Desired::new(lower::Recording::default());
    desired.stage(&RulesetDelta::between(&Ruleset::default(), ruleset));
    desired.fresh()
}

/// The transaction that changes a table that was loaded from `old` into that of `new`. Pure.
pub fn lower_change(old: &Ruleset, new: &Ruleset) -> Program {
    let mut desired = desired::Desired::new(lower::Recording::default());
    desired.stage(&RulesetDelta::between(&Ruleset::default(), old));
    desired.fresh();
    let known = desired.settle(None);
    desired.stage(&RulesetDelta::between(old, new));
    desired.update(&known)
}

/// The messages that carry out a transaction, as they are sent to a kernel whose tables have never
/// changed. Pure.
pub fn batch(program: &Program) -> Vec<u8> {
    netlink::encode(program, 0, 1).bytes
}
