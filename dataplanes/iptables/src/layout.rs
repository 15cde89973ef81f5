//! The desired structure of one family's tables: which chains and sets there are, and who needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::ruleset::ProgramId;
use brindle_model::verdict::{Direction, PolicyId};

use crate::lower::Lowered;
use crate::rule::Chain;
use crate::set::SetUse;
use crate::table::{PerTable, Table};

/// Who a chain belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// What is always there.
    Skeleton,
    /// The trees from interfaces to programs.
    Dispatch,
    /// A policy's direction.
    Policy(PolicyId, Direction),
    /// A program of pods.
    Program(ProgramId),
    /// What leads to programs of the node's interfaces in one table.
    Hosts(Table),
    /// A program of the node's interfaces.
    HostProgram(Table, ProgramId),
}

impl Owner {
    /// The table of its chains.
    fn table(&self) -> Table {
        match self {
            Self::Skeleton | Self::Dispatch | Self::Policy(..) | Self::Program(_) => Table::Filter,
            Self::Hosts(table) | Self::HostProgram(table, _) => *table,
        }
    }
}

/// Chains and sets of all owners. Each is there while an owner has it; those of one name are equal.
#[derive(Default)]
pub struct Layout {
    owners: BTreeMap<Owner, Lowered>,
    chains: PerTable<BTreeMap<Name, (Arc<Chain>, usize)>>,
    sets: BTreeMap<Name, (SetUse, usize)>,
    /// Names of chains and sets that may have changed since this was last emptied.
    pub touched: Touched,
}

/// Names whose object may have changed.
#[derive(Default)]
pub struct Touched {
    /// Chains.
    pub chains: BTreeSet<(Table, Name)>,
    /// Sets.
    pub sets: BTreeSet<Name>,
}

impl Layout {
    /// Gives an owner other chains; none removes it.
    pub fn replace(&mut self, owner: Owner, new: Lowered) {
        let table = owner.table();
        let chains = &mut self.chains[table];
        let old = self.owners.remove(&owner).unwrap_or_default();
        for (name, chain) in &new.chains {
            let entry = chains.entry(name.clone()).or_insert_with(|| (Arc::clone(chain), 0));
            entry.1 += 1;
            if entry.0 != *chain {
                entry.0 = Arc::clone(chain);
            }
            if old.chains.get(name) != Some(chain) {
                self.touched.chains.insert((table, name.clone()));
            }
        }
        for (name, set) in &new.sets {
            self.sets.entry(name.clone()).or_insert_with(|| (set.clone(), 0)).1 += 1;
            self.touched.sets.insert(name.clone());
        }
        for name in old.chains.keys() {
            release(chains, name);
            if !new.chains.contains_key(name) {
                self.touched.chains.insert((table, name.clone()));
            }
        }
        for name in old.sets.keys() {
            release(&mut self.sets, name);
            self.touched.sets.insert(name.clone());
        }
        if !new.chains.is_empty() {
            self.owners.insert(owner, new);
        }
    }

    /// How many rules an owner's chains have.
    pub fn rules_of(&self, owner: &Owner) -> usize {
        let chains = self.owners.get(owner).map(|lowered| &lowered.chains);
        chains.into_iter().flatten().map(|(_, chain)| chain.rules.len()).sum()
    }

    /// What an owner has.
    pub fn of(&self, owner: &Owner) -> Option<&Lowered> {
        self.owners.get(owner)
    }

    /// A chain of a table.
    pub fn chain(&self, table: Table, name: &str) -> Option<&Arc<Chain>> {
        self.chains[table].get(name).map(|(chain, _)| chain)
    }

    /// Every chain of a table.
    pub fn chains(&self, table: Table) -> impl Iterator<Item = (&Name, &Arc<Chain>)> {
        self.chains[table].iter().map(|(name, (chain, _))| (name, chain))
    }

    /// A set.
    pub fn set(&self, name: &str) -> Option<&SetUse> {
        self.sets.get(name).map(|(set, _)| set)
    }

    /// Every set.
    pub fn sets(&self) -> impl Iterator<Item = (&Name, &SetUse)> {
        self.sets.iter().map(|(name, (set, _))| (name, set))
    }
}

fn release<T>(all: &mut BTreeMap<Name, (T, usize)>, name: &Name) {
    if let Some((_, owners)) = all.get_mut(name) {
        *owners -= 1;
        if *owners == 0 {
            all.remove(name);
        }
    }
}
