//! The iptables backend: lower, restore, read back. For nodes whose kernel or distribution offers
//! nothing better; both variants of iptables, both families.
//!
//! ```text
//! RulesetDelta ─ stage ─> desired ─ lower ─> layout ─ plan ─> Script ─> ipset, iptables-restore
//! kernel ─ -save ─> Snapshot ─ compare with layout ─> Plan ─> Script
//! ```
//! [`lower`](lower/index.html) tells what the tables look like and why; [`Script`] is what the tools
//! are given; [`Iptables`] is the [`Backend`](brindle_dataplane_core::Backend).
//!
//! # Ownership
//! Chains of the tables `raw`, `mangle` and `filter` whose name begins with `BRINDLE-`, rules that
//! lead to them, and sets
//! whose name begins with `brindle`: these are made to look as desired, and nothing else is touched.

mod backend;
mod canon;
mod config;
mod desired;
mod detect;
mod disturbed;
mod hits;
mod layout;
mod lower;
mod plan;
mod probe;
mod repair;
mod rule;
mod set;
mod snapshot;
mod sockopt;
mod table;
mod tools;

pub use backend::{Iptables, IptablesError, OpenError, Options, uninstall};
pub use canon::CanonError;
pub use config::{Jump, Variant};
pub use detect::{DetectError, Detected, detect};
pub use hits::Counters;
pub use lower::CHAIN_PREFIX;
pub use plan::Script;
pub use probe::Missing;
pub use set::SET_PREFIX;
pub use table::Table;
pub use tools::ToolError;

use brindle_dataplane_core::nflog::DROPS_PER_SECOND;
use brindle_model::ruleset::{Ruleset, RulesetDelta};

/// What loads a ruleset into a kernel that has nothing of ours. Pure.
pub fn lower(ruleset: &Ruleset) -> Script {
    let recording = lower::Recording { drops_per_second: DROPS_PER_SECOND };
    let mut desired = desired::Desired::new(recording);
    desired.stage(&RulesetDelta::between(&Ruleset::default(), ruleset));
    let kernel = snapshot::Snapshot::default();
    let plan = desired.repair(&kernel, Jump::default(), |_, _, _| None);
    plan.map(|plan| plan.script()).unwrap_or_default()
}
