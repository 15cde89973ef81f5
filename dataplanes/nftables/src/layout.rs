//! The desired structure of the table: which chains and sets there are, and who needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::net::Family;
use brindle_model::ruleset::{Member, ProgramId, Ruleset};
use brindle_model::verdict::{Direction, PolicyId};

use crate::lower::{Lowered, SetUse, Source, dispatch_elements, element};
use crate::table::{Chain, Element, Key};

/// Who a chain belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// What is always there.
    Skeleton,
    /// What judges packets on the node's own interfaces.
    Hosts,
    /// A policy's direction.
    Policy(PolicyId, Direction),
    /// A program.
    Program(ProgramId),
}

/// Chains and sets of all owners. A set is there while an owner refers to it.
#[derive(Default)]
pub struct Layout {
    owners: BTreeMap<Owner, Lowered>,
    /// The chains, and how many owners have each: those of one name are equal.
    chain_owners: BTreeMap<Name, usize>,
    /// The chains.
    pub chains: BTreeMap<Name, Arc<Chain>>,
    /// The sets, and how many owners refer to each.
    pub sets: BTreeMap<Name, (SetUse, usize)>,
}

/// Names whose object may have changed.
#[derive(Default)]
pub struct Touched {
    /// Chains.
    pub chains: BTreeSet<Name>,
    /// Sets.
    pub sets: BTreeSet<Name>,
}

impl Layout {
    /// Gives an owner other chains; none removes it.
    pub fn replace(&mut self, owner: Owner, new: Lowered, touched: &mut Touched) {
        let old = self.owners.remove(&owner).unwrap_or_default();
        if old == new {
            if !new.chains.is_empty() {
                self.owners.insert(owner, new);
            }
            return;
        }
        for (name, set) in &new.sets {
            let entry = self.sets.entry(name.clone()).or_insert_with(|| (set.clone(), 0));
            entry.1 += 1;
            touched.sets.insert(name.clone());
        }
        for name in old.sets.keys() {
            touched.sets.insert(name.clone());
            if let Some((_, users)) = self.sets.get_mut(name) {
                *users -= 1;
                if *users == 0 {
                    self.sets.remove(name);
                }
            }
        }
        for (name, chain) in &new.chains {
            touched.chains.insert(name.clone());
            self.chains.insert(name.clone(), Arc::clone(chain));
            *self.chain_owners.entry(name.clone()).or_default() += 1;
        }
        for name in old.chains.keys() {
            touched.chains.insert(name.clone());
            if let Some(owners) = self.chain_owners.get_mut(name) {
                *owners -= 1;
                if *owners == 0 {
                    self.chain_owners.remove(name);
                    self.chains.remove(name);
                }
            }
        }
        if !new.chains.is_empty() {
            self.owners.insert(owner, new);
        }
    }

    /// All elements that a set must have.
    pub fn elements(&self, ruleset: &Ruleset, name: &Name) -> Vec<Element> {
        match self.sets.get(name).map(|(set, _)| &set.source) {
            None => Vec::new(),
            Some(Source::Fixed(elements)) => elements.to_vec(),
            Some(Source::Dispatch) => dispatch_of(dispatch_elements(ruleset), name),
            Some(Source::Members(id, family)) => {
                let members = ruleset.sets.get(id).map(|set| &set.members);
                let mine = |m: &&Member| m.family() == *family;
                members.into_iter().flatten().filter(mine).filter_map(element).collect()
            }
        }
    }

    /// The kernel sets that an abstract set's members of a family go to; there is at most one.
    pub fn is_member_set(&self, name: &Name, family: Family) -> bool {
        let source = self.sets.get(name).map(|(set, _)| &set.source);
        matches!(source, Some(Source::Members(_, f)) if *f == family)
    }
}

fn dispatch_of(all: BTreeMap<(Name, Key), Element>, name: &Name) -> Vec<Element> {
    all.into_iter().filter(|((set, _), _)| set == name).map(|(_, element)| element).collect()
}
