//! How many packets each decision was taken about, as a backend counts them.
//!
//! Only first packets of flows are counted, and those that are dropped: packets of known flows pass
//! before policy. A counter begins at 0 when the kernel objects around it are written, so a policy
//! that changes may begin anew; a decision that stands in several places is the sum.

use std::sync::Arc;

use brindle_model::verdict::DecisionId;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// One for each decision, or for several whose rules are joined; sorted.
    pub hits: Vec<Hit>,
    /// Chains that were not as expected: they were just being changed, and are left out.
    pub left_out: usize,
}

/// Packets about which a decision was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Who decided; one of several if their rules are joined.
    pub decisions: Arc<[DecisionId]>,
    /// How many packets.
    pub packets: u64,
    /// Their length with the IP header, bytes.
    pub bytes: u64,
}
