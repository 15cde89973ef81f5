//! How many packets each decision was taken about, read from the counters of rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_dataplane_core::{Hit, Hits};
use brindle_model::Name;
use brindle_model::verdict::DecisionId;

use crate::backend::NftablesError;
use crate::netlink::{Counted, Socket};
use crate::plan::same_rule;
use crate::table::Chain;

/// Which rules of the table count for whom.
pub struct Counters {
    chains: BTreeMap<Name, Arc<Chain>>,
}

impl Counters {
    pub(crate) fn new(chains: BTreeMap<Name, Arc<Chain>>) -> Self {
        Self { chains }
    }

    /// Reads the counters, on a socket of its own: the backend goes on meanwhile. The calling thread
    /// must be in the backend's network namespace.
    ///
    /// # Errors
    /// The table could not be read.
    pub fn read(&self) -> Result<Hits, NftablesError> {
        let kernel = Socket::open().and_then(|mut socket| socket.rules());
        let kernel = kernel.map_err(NftablesError::Read)?;
        let mut sums: BTreeMap<Arc<[DecisionId]>, Counted> = BTreeMap::new();
        let mut left_out = 0;
        for (name, chain) in &self.chains {
            let dumped = kernel.chains.get(name).map_or(&[][..], |chain| &chain.rules);
            let pairs = chain.rules.iter().zip(dumped);
            let same = chain.rules.len() == dumped.len();
            if !same || !pairs.clone().all(|(rule, dump)| same_rule(rule, dump)) {
                left_out += 1;
                continue;
            }
            for (rule, dump) in pairs.filter(|(rule, _)| !rule.decisions.is_empty()) {
                let Some(counted) = dump.counted else { continue };
                let sum = sums.entry(Arc::clone(&rule.decisions)).or_default();
                sum.packets += counted.packets;
                sum.bytes += counted.bytes;
            }
        }
        let hit = |(decisions, Counted { packets, bytes })| Hit { decisions, packets, bytes };
        Ok(Hits { hits: sums.into_iter().map(hit).collect(), left_out })
    }
}
