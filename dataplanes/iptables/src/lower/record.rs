//! How packets that are denied or logged become known.
//!
//! ```text
//! BRINDLE-d-<hash>   limit 5/second  NFLOG "deny tier/default"
//!                    DROP
//! BRINDLE-l-<hash>   (counts)
//!                    limit 10/second NFLOG "log np.brindle/ns/web/egress/3"
//! ```
//! A limit is a criterion: where it does not hold, the rest of its rule is skipped. So it may not
//! stand in the rule that drops or counts. A chain that needs one of these brings it along; equal
//! chains of several owners are one.

use std::sync::Arc;

use brindle_dataplane_core::nflog::{Event, GROUP, LOGS_PER_SECOND};
use brindle_model::Name;
use brindle_model::verdict::DecisionId;

use super::chain_name;
use crate::rule::{Chain, Criterion, MAX_LOG_PREFIX, Rule, Target, comment};

/// The most that `-m limit` takes.
const MAX_RATE: u32 = 10_000;

/// What is told of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Denied packets told of, a second and decision; the others are only counted.
    pub drops_per_second: u32,
}

/// The name of the chain that drops for a decision.
pub fn drop_name(decision: &DecisionId) -> Name {
    chain_name('d', &format!("{decision:?}"))
}

impl Recording {
    /// The chain that drops for a decision.
    pub fn drop_chain(self, decision: &DecisionId) -> (Name, Arc<Chain>) {
        let mut rules = Vec::new();
        if self.drops_per_second > 0 {
            rules.push(tell(Event::Deny, decision, self.drops_per_second));
        }
        rules.push(decided(Vec::new(), Target::Drop, decision));
        (drop_name(decision), Arc::new(Chain { rules }))
    }
}

/// The chain that logs for a Log rule, and comes back.
pub fn log_chain(decision: &DecisionId) -> (Name, Arc<Chain>) {
    let count = decided(Vec::new(), Target::Count, decision);
    let rules = vec![count, tell(Event::Log, decision, LOGS_PER_SECOND)];
    (chain_name('l', &format!("{decision:?}")), Arc::new(Chain { rules }))
}

fn tell(event: Event, decision: &DecisionId, per_second: u32) -> Rule {
    let prefix = event.prefix_within(decision, MAX_LOG_PREFIX).into();
    let limit = Criterion::Limit(per_second.min(MAX_RATE));
    plain(vec![limit], Target::Log { group: GROUP, prefix }, "")
}

/// A rule that decides nothing itself.
pub fn plain(criteria: Vec<Criterion>, target: Target, text: &str) -> Rule {
    Rule { criteria, target, comment: comment(text), decisions: [].into() }
}

/// A rule whose counter is a decision's.
pub fn decided(criteria: Vec<Criterion>, target: Target, decision: &DecisionId) -> Rule {
    let rule = plain(criteria, target, &decision.to_string());
    Rule { decisions: [decision.clone()].into(), ..rule }
}
