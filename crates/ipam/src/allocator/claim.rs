//! Blocks come and go: the part of the allocator that speaks with the shared store.
//!
//! A block is claimed by creating its record: the store lets one node win. Records of another
//! length may overlap it though (the pool's block size was changed, and nodes learn that at
//! different times), so the claimer looks again after it has written, and backs out if it sees an
//! overlap. Of two such claimers the later one sees the earlier, or both see each other: never
//! none.

use brindle_model::net::Family;
use ipnet::IpNet;
use serde_json::json;

use super::{AssignError, Entry, IdleBlockError, Ipam};
use crate::block::{Block, BlockRecord};
use crate::store::{Revision, Store, StoreError, WriteError};

/// How often a claim starts again after another node was faster.
const CLAIM_ATTEMPTS: u32 = 16;

/// A block of any node, as the store has it.
pub(super) struct Claimed {
    record: BlockRecord,
    revision: Revision,
}

impl<S: Store> Ipam<S> {
    pub(super) fn records(&self) -> Result<Vec<Claimed>, StoreError> {
        let parse = |record| {
            let parsed = BlockRecord::parse(&record)?;
            Ok(Claimed { record: parsed, revision: record.revision })
        };
        self.store.list()?.into_iter().map(parse).collect()
    }

    /// Takes up blocks that the store says are ours and memory does not have: at start, and after
    /// a write whose answer was lost. One that overlaps another node's was never used, unless
    /// leases say so, and goes back.
    pub(super) fn adopt_own_blocks(&self, all: &[Claimed]) -> Result<(), StoreError> {
        for own in all.iter().filter(|claimed| *claimed.record.node == *self.node) {
            let cidr = own.record.cidr;
            let (known, used) = {
                let state = self.state();
                let mut held = state.leases.values().flat_map(|lease| &lease.addresses);
                (state.blocks.contains_key(&cidr), held.any(|addr| cidr.contains(addr)))
            };
            if known {
                continue;
            }
            if !used && overlaps_other(cidr, all) {
                self.delete(cidr, &own.revision)?;
            } else {
                self.state().insert_block(Block::new(cidr, own.revision.clone()));
            }
        }
        Ok(())
    }

    /// Makes room for one family, unless somebody else did while we waited.
    pub(super) fn claim_block(&self, family: Family) -> Result<(), AssignError> {
        let _claiming = self.claiming.lock();
        for attempt in 0..CLAIM_ATTEMPTS {
            if self.state().best_block(family).is_some() {
                return Ok(());
            }
            let all = self.records()?;
            self.adopt_own_blocks(&all)?;
            if self.state().best_block(family).is_some() {
                return Ok(());
            }
            self.try_claim(family, &all, attempt)?;
        }
        Err(AssignError::contended(family))
    }

    fn try_claim(&self, family: Family, all: &[Claimed], attempt: u32) -> Result<(), AssignError> {
        let taken: Vec<IpNet> = all.iter().map(|claimed| claimed.record.cidr).collect();
        let pools = self.state().pools.clone();
        let cidr = pools
            .free_block(family, &taken, self.skip(attempt))
            .ok_or_else(|| AssignError::exhausted(&self.node, family, &pools))?;
        let record = json!(BlockRecord { cidr, node: self.node.to_string() });
        let revision = match self.store.create(&BlockRecord::key(cidr), &record) {
            Ok(revision) => revision,
            Err(WriteError::Conflict) => return Ok(()),
            Err(WriteError::Store(e)) => return Err(e.into()),
        };
        if overlaps_other(cidr, &self.records()?) {
            self.delete(cidr, &revision)?;
            return Ok(());
        }
        tracing::info!(block = %cidr, "claimed");
        self.state().insert_block(Block::new(cidr, revision));
        Ok(())
    }

    /// How many free blocks to pass over: none at first, so that blocks are used from the bottom;
    /// after each lost race a choice of twice as many, different from node to node.
    fn skip(&self, attempt: u32) -> usize {
        let hash = self.node.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        (hash.rotate_right(attempt) % (1 << attempt)) as usize
    }

    /// Gives back blocks that were empty since the last call. One usable block of each family is
    /// kept. Called on a slow timer, so that a node whose pods come and go keeps its blocks, and
    /// an address rests for a while before another node may use it.
    ///
    /// # Errors
    /// Store or disk failed; the blocks stay this node's, and are found again when they are needed
    /// or at the next start.
    pub fn release_idle_blocks(&self) -> Result<Vec<IpNet>, IdleBlockError> {
        let _claiming = self.claiming.lock();
        let mut released = Vec::new();
        loop {
            let block = self.state().remove_idle_block();
            let Some(block) = block else { break };
            // Before the record: the order of releases is worth less than a record that stays.
            self.journal.append(Entry::Forget(block.cidr))?;
            self.delete(block.cidr, &block.revision)?;
            tracing::info!(block = %block.cidr, "gave back");
            released.push(block.cidr);
        }
        self.state().mark_idle_blocks();
        Ok(released)
    }

    /// Deletes the record of one of our blocks. If it has changed, it is not ours any more.
    fn delete(&self, cidr: IpNet, revision: &Revision) -> Result<(), StoreError> {
        match self.store.delete(&BlockRecord::key(cidr), revision) {
            Ok(()) | Err(WriteError::Conflict) => Ok(()),
            Err(WriteError::Store(e)) => Err(e),
        }
    }
}

impl super::State {
    fn remove_idle_block(&mut self) -> Option<Block> {
        let spare = |cidr: IpNet| {
            let family = Family::of_net(cidr);
            !self.pools.allow(cidr)
                || self.blocks.keys().any(|other| {
                    *other != cidr && Family::of_net(*other) == family && self.pools.allow(*other)
                })
        };
        // From the top, so that what stays lies together at the bottom.
        let mut idle = self.blocks.values().rev().filter(|b| b.idle && b.taken() == 0);
        let cidr = idle.find(|b| spare(b.cidr))?.cidr;
        self.blocks.remove(&cidr)
    }

    fn mark_idle_blocks(&mut self) {
        for block in self.blocks.values_mut() {
            block.idle = block.taken() == 0;
        }
    }
}

fn overlaps_other(cidr: IpNet, all: &[Claimed]) -> bool {
    let overlaps = |other: IpNet| other.contains(&cidr) || cidr.contains(&other);
    all.iter().any(|claimed| claimed.record.cidr != cidr && overlaps(claimed.record.cidr))
}
