//! How many packets each decision was taken about, read from the counters of rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_dataplane_core::{Hit, Hits};
use brindle_model::Name;
use brindle_model::net::Family;
use brindle_model::verdict::DecisionId;

use crate::backend::IptablesError;
use crate::desired::families;
use crate::rule::Chain;
use crate::snapshot::saved_rule;
use crate::table::{PerTable, Table};
use crate::tools::Tools;

/// Which rules count for whom.
pub struct Counters {
    tools: Tools,
    chains: Chains,
}

/// The chains of each family's tables.
pub(crate) type Chains = [PerTable<BTreeMap<Name, Arc<Chain>>>; 2];

impl Counters {
    pub(crate) fn new(tools: Tools, chains: Chains) -> Self {
        Self { tools, chains }
    }

    /// Reads the counters; the backend goes on meanwhile. The calling thread must be in the
    /// backend's network namespace.
    ///
    /// # Errors
    /// The tables could not be read.
    pub fn read(&self) -> Result<Hits, IptablesError> {
        let mut sums: BTreeMap<&Arc<[DecisionId]>, [u64; 2]> = BTreeMap::new();
        let mut left_out = 0;
        for (at, family) in families() {
            for (table, chains) in self.chains[at].iter().filter(|(_, chains)| !chains.is_empty()) {
                left_out += self.read_table((family, table), chains, &mut sums)?;
            }
        }
        let hit = |(decisions, [packets, bytes]): (&Arc<[DecisionId]>, [u64; 2])| Hit {
            decisions: Arc::clone(decisions),
            packets,
            bytes,
        };
        Ok(Hits { hits: sums.into_iter().map(hit).collect(), left_out })
    }

    /// Adds up the counters of one table; returns how many chains were left out.
    fn read_table<'c>(
        &self,
        (family, table): (Family, Table),
        chains: &'c BTreeMap<Name, Arc<Chain>>,
        sums: &mut BTreeMap<&'c Arc<[DecisionId]>, [u64; 2]>,
    ) -> Result<usize, IptablesError> {
        let mut left_out = 0;
        let text = self.tools.save(family, table, true).map_err(IptablesError::Read)?;
        let mut counted: BTreeMap<&str, Vec<[u64; 2]>> = BTreeMap::new();
        for (counters, chain, _) in text.lines().filter_map(saved_rule) {
            counted.entry(chain).or_default().push(counters);
        }
        for (name, chain) in chains {
            let counted = counted.get(&**name).map_or(&[][..], Vec::as_slice);
            if counted.len() != chain.rules.len() {
                left_out += 1;
                continue;
            }
            for (rule, [packets, bytes]) in chain.rules.iter().zip(counted) {
                if !rule.decisions.is_empty() {
                    let sum = sums.entry(&rule.decisions).or_default();
                    sum[0] += packets;
                    sum[1] += bytes;
                }
            }
        }
        Ok(left_out)
    }
}
