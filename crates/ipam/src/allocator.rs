//! The node's allocator: which address a handle gets, and which blocks the node has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use brindle_model::Name;
use brindle_model::cluster::IpPool;
use brindle_model::net::Family;
use ipnet::IpNet;

use crate::block::Block;
use crate::journal::{AppendError, Journal};
use crate::ledger::{Entry, Handle, Ledger};
use crate::pools::Pools;
use crate::store::{Store, StoreError};

mod claim;
mod errors;

pub use errors::{AssignError, IdleBlockError, OpenError, ReconcileError, ReleaseError};

/// Address management of one node. All methods may be called from many threads at once; requests
/// for different handles wait for each other only in the journal's group commit, and while a new
/// block is claimed.
#[derive(Debug)]
pub struct Ipam<S> {
    node: Name,
    store: S,
    journal: Journal<Ledger>,
    /// Held while blocks are claimed or given back: one at a time is enough, and a burst of
    /// requests shall not claim a block each. Taken before `state`.
    claiming: Mutex<()>,
    /// Never held over I/O.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pools: Pools,
    blocks: BTreeMap<IpNet, Block>,
    leases: BTreeMap<Handle, Lease>,
    /// Number of the last release.
    releases: u64,
}

#[derive(Debug)]
struct Lease {
    addresses: Vec<IpAddr>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Taken in memory; its journal line is being written.
    Assigning,
    /// On disk.
    Held,
    /// The line of its release is being written.
    Releasing,
}

/// A block of this node, for status.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BlockStatus {
    /// The block.
    pub cidr: IpNet,
    /// The pool that it lies in; `None` if that is gone.
    pub pool: Option<Name>,
    /// Addresses taken.
    pub taken: u128,
    /// Addresses in all.
    pub size: u128,
}

/// What a reconcile changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Handles that nothing living holds: released.
    pub released: Vec<Handle>,
    /// Living handles that the ledger did not know: entered.
    pub adopted: Vec<Handle>,
}

/// What a look for free addresses found.
enum Reservation {
    Held(Vec<IpAddr>),
    New(Vec<IpAddr>),
    NoRoom(Family),
}

impl<S: Store> Ipam<S> {
    /// Opens the node's ledger at `journal` and finds the node's blocks in the store.
    ///
    /// # Errors
    /// The ledger is in use, damaged or unreadable, or the store failed.
    pub fn open(
        node: impl Into<Name>,
        store: S,
        journal: impl Into<PathBuf>,
    ) -> Result<Self, OpenError> {
        let journal = Journal::<Ledger>::open(journal)?;
        let (held, released) = journal.read(|ledger| (ledger.held().clone(), ledger.released()));
        let hold = |(handle, addresses)| (handle, Lease { addresses, phase: Phase::Held });
        let state = State { leases: held.into_iter().map(hold).collect(), ..State::default() };
        let ipam = Self {
            node: node.into(),
            store,
            journal,
            claiming: Mutex::default(),
            state: Mutex::new(state),
        };
        ipam.adopt_own_blocks(&ipam.records()?)?;
        ipam.state().restore_releases(&released);
        ipam.warn_of_strays();
        Ok(ipam)
    }

    /// Adds, changes or removes a pool. Addresses in use stay what they are.
    pub fn set_pool(&self, name: Name, pool: Option<IpPool>) {
        self.state().pools.set(name, pool);
    }

    /// Gives a handle one address of each family that has a pool: all or none. A handle that holds
    /// addresses keeps them.
    ///
    /// # Errors
    /// No pool has room, the handle is being worked on by another call, or disk or store failed.
    /// Nothing is held then, except by a handle that held before.
    pub fn assign(&self, handle: &Handle) -> Result<Vec<IpAddr>, AssignError> {
        let addresses = loop {
            let reservation = self.state().reserve(handle)?;
            match reservation {
                Reservation::Held(addresses) => return Ok(addresses),
                Reservation::New(addresses) => break addresses,
                Reservation::NoRoom(family) => self.claim_block(family)?,
            }
        };
        let written = self.journal.append(Entry::Assign(handle.clone(), addresses.clone()));
        let mut state = self.state();
        match written {
            Ok(()) => {
                state.set_phase(handle, Phase::Held);
                Ok(addresses)
            }
            Err(e) => {
                state.give_back(handle);
                Err(e.into())
            }
        }
    }

    /// Takes a handle's addresses back and says which. A handle that holds none is a success.
    ///
    /// # Errors
    /// The handle is being worked on by another call, or the disk failed: it holds them still.
    pub fn release(&self, handle: &Handle) -> Result<Vec<IpAddr>, ReleaseError> {
        {
            let mut state = self.state();
            match state.leases.get_mut(handle) {
                None => return Ok(Vec::new()),
                Some(lease) if lease.phase == Phase::Held => lease.phase = Phase::Releasing,
                Some(_) => return Err(ReleaseError::Busy(handle.clone())),
            }
        }
        let written = self.journal.append(Entry::Release(handle.clone()));
        let mut state = self.state();
        if let Err(e) = written {
            state.set_phase(handle, Phase::Held);
            return Err(e.into());
        }
        Ok(state.give_back(handle))
    }

    /// Makes the ledger agree with what lives on the node: releases every other handle, and enters
    /// living ones that a lost ledger does not know. Called at start, before any assignment.
    ///
    /// # Errors
    /// Two living handles have one address, or the disk failed. Everything else is done.
    pub fn reconcile(
        &self,
        living: &BTreeMap<Handle, Vec<IpAddr>>,
    ) -> Result<Reconciled, ReconcileError> {
        let mut done = Reconciled::default();
        for handle in self.leases().into_keys().filter(|handle| !living.contains_key(handle)) {
            self.release(&handle)?;
            done.released.push(handle);
        }
        let mut conflict = Ok(());
        for (handle, addresses) in living {
            match self.adopt(handle, addresses) {
                Ok(true) => done.adopted.push(handle.clone()),
                Ok(false) => {}
                Err(e @ ReconcileError::Conflict { .. }) => conflict = Err(e),
                Err(e) => return Err(e),
            }
        }
        conflict.map(|()| done)
    }

    /// What every handle holds.
    pub fn leases(&self) -> BTreeMap<Handle, Vec<IpAddr>> {
        let state = self.state();
        state.leases.iter().map(|(h, lease)| (h.clone(), lease.addresses.clone())).collect()
    }

    /// The node's blocks.
    pub fn blocks(&self) -> BTreeSet<IpNet> {
        self.state().blocks.keys().copied().collect()
    }

    /// The node's blocks with their use.
    pub fn status(&self) -> Vec<BlockStatus> {
        let state = self.state();
        let status = |block: &Block| BlockStatus {
            cidr: block.cidr,
            pool: state.pools.pool_of(block.cidr).map(|(name, _)| name.clone()),
            taken: block.taken(),
            size: block.size(),
        };
        state.blocks.values().map(status).collect()
    }

    /// Whether the pools could give a pod its addresses, room aside.
    ///
    /// # Errors
    /// There is no pool, or all of a family are disabled.
    pub fn check_pools(&self) -> Result<(), AssignError> {
        self.state().required_families().map(|_| ())
    }

    fn adopt(&self, handle: &Handle, addresses: &[IpAddr]) -> Result<bool, ReconcileError> {
        {
            let mut state = self.state();
            if state.leases.get(handle).is_some_and(|lease| lease.addresses == addresses) {
                return Ok(false);
            }
            let other = state.leases.iter().find(|(other, lease)| {
                *other != handle && lease.addresses.iter().any(|addr| addresses.contains(addr))
            });
            if let Some((other, _)) = other {
                let (handle, other) = (handle.clone(), other.clone());
                return Err(ReconcileError::Conflict { handle, other });
            }
            state.give_back(handle);
            state.hold(handle.clone(), addresses.to_vec());
        }
        self.journal.append(Entry::Assign(handle.clone(), addresses.to_vec()))?;
        Ok(true)
    }

    /// Addresses in use outside the node's blocks were in a block that the store has lost, or gave
    /// to somebody else: they cannot be protected, so they are named.
    fn warn_of_strays(&self) {
        let state = self.state();
        for (handle, lease) in &state.leases {
            for addr in &lease.addresses {
                if !state.blocks.keys().any(|block| block.contains(addr)) {
                    tracing::warn!(%handle, %addr, "address in use outside this node's blocks");
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn required_families(&self) -> Result<BTreeSet<Family>, AssignError> {
        let families = self.pools.families();
        if families.is_empty() {
            return Err(AssignError::NoPool);
        }
        for family in &families {
            if self.pools.enabled(*family).next().is_none() {
                return Err(AssignError::disabled(*family, &self.pools));
            }
        }
        Ok(families)
    }

    fn reserve(&mut self, handle: &Handle) -> Result<Reservation, AssignError> {
        if let Some(lease) = self.leases.get(handle) {
            return match lease.phase {
                Phase::Held => Ok(Reservation::Held(lease.addresses.clone())),
                Phase::Assigning | Phase::Releasing => Err(AssignError::Busy(handle.clone())),
            };
        }
        let mut chosen = Vec::new();
        for family in self.required_families()? {
            match self.best_block(family) {
                Some(block) => chosen.push(block),
                None => return Ok(Reservation::NoRoom(family)),
            }
        }
        let take = |cidr| self.blocks.get_mut(&cidr).and_then(Block::take);
        let addresses: Vec<IpAddr> = chosen.into_iter().filter_map(take).collect();
        let lease = Lease { addresses: addresses.clone(), phase: Phase::Assigning };
        self.leases.insert(handle.clone(), lease);
        Ok(Reservation::New(addresses))
    }

    /// The block whose next address was free the longest.
    fn best_block(&self, family: Family) -> Option<IpNet> {
        let usable = self
            .blocks
            .values()
            .filter(|b| Family::of_net(b.cidr) == family && self.pools.allow(b.cidr));
        usable.filter_map(|b| Some((b.next_age()?, b.cidr))).min().map(|(_, cidr)| cidr)
    }

    fn set_phase(&mut self, handle: &Handle, phase: Phase) {
        if let Some(lease) = self.leases.get_mut(handle) {
            lease.phase = phase;
        }
    }

    fn hold(&mut self, handle: Handle, addresses: Vec<IpAddr>) {
        for addr in &addresses {
            for block in self.blocks.values_mut() {
                block.take_exactly(*addr);
            }
        }
        self.leases.insert(handle, Lease { addresses, phase: Phase::Held });
    }

    fn give_back(&mut self, handle: &Handle) -> Vec<IpAddr> {
        let Some(lease) = self.leases.remove(handle) else { return Vec::new() };
        for addr in &lease.addresses {
            self.releases += 1;
            for block in self.blocks.values_mut().filter(|b| b.cidr.contains(addr)) {
                block.put_back(*addr, self.releases);
            }
        }
        lease.addresses
    }

    /// Takes up a block, with what the leases already hold of it.
    fn insert_block(&mut self, mut block: Block) {
        for addr in self.leases.values().flat_map(|lease| &lease.addresses) {
            block.take_exactly(*addr);
        }
        self.blocks.insert(block.cidr, block);
    }

    fn restore_releases(&mut self, released: &[IpAddr]) {
        for addr in released {
            self.releases += 1;
            for block in self.blocks.values_mut() {
                if block.take_exactly(*addr) {
                    block.put_back(*addr, self.releases);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
