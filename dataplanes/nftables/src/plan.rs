//! From a difference to a transaction: the order in which the kernel accepts it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::ruleset::Ruleset;

use crate::layout::Layout;
use crate::netlink::{
    ChainDump, RawElement, RawKey, RuleDump, SetDump, Snapshot, hook_number, key_of, raw_keys,
    set_numbers,
};
use crate::program::{Command, Program};
use crate::rule::Rule;
use crate::table::{Chain, Element, SetSpec, TABLE_COMMENT};

/// What differs between the kernel and what is desired.
#[derive(Default)]
pub struct Changes {
    /// The table must be removed first.
    pub delete_table: bool,
    /// The table is not there (any more): everything is added.
    pub add_table: bool,
    /// Sets to make; all their elements are added.
    pub add_sets: BTreeSet<Name>,
    /// Sets to remove, and whether they are maps.
    pub delete_sets: BTreeMap<Name, bool>,
    /// Chains to make; all their rules are added.
    pub add_chains: BTreeSet<Name>,
    /// Chains whose rules are replaced.
    pub refill_chains: BTreeSet<Name>,
    /// Chains to remove.
    pub delete_chains: BTreeSet<Name>,
    /// Elements of sets that stay.
    pub elements: BTreeMap<Name, ElementChanges>,
}

/// Elements that come and go in one set.
#[derive(Default)]
pub struct ElementChanges {
    /// All present elements go first.
    pub flush: bool,
    /// These go.
    pub delete: Vec<Element>,
    /// These come.
    pub add: Vec<Element>,
}

impl ElementChanges {
    fn is_empty(&self) -> bool {
        !self.flush && self.delete.is_empty() && self.add.is_empty()
    }
}

/// Everything, for a kernel that has nothing of ours.
pub fn fresh(layout: &Layout) -> Changes {
    Changes {
        add_table: true,
        add_sets: layout.sets.keys().cloned().collect(),
        add_chains: layout.chains.keys().cloned().collect(),
        ..Changes::default()
    }
}

/// Compares the desired table with the kernel's. What only a new object can repair (another kind
/// of set, another hook, flags of the table) is repaired by making the whole table anew, in the
/// same transaction.
pub fn compare(layout: &Layout, ruleset: &Ruleset, kernel: &Snapshot) -> Changes {
    let Some((flags, comment)) = &kernel.table else { return fresh(layout) };
    let foreign_set = |(name, (set, _)): (&Name, &(crate::lower::SetUse, usize))| {
        kernel.sets.get(name).is_some_and(|dump| !same_set(&set.spec, dump))
    };
    let foreign_chain = |(name, chain): (&Name, &Arc<Chain>)| {
        kernel.chains.get(name).is_some_and(|dump| !same_hook(chain, dump))
    };
    if *flags != 0
        || comment != TABLE_COMMENT
        || layout.sets.iter().any(foreign_set)
        || layout.chains.iter().any(foreign_chain)
    {
        return Changes { delete_table: true, ..fresh(layout) };
    }
    let mut changes = Changes::default();
    for (name, chain) in &layout.chains {
        match kernel.chains.get(name) {
            None => drop(changes.add_chains.insert(name.clone())),
            Some(dump) if !same_rules(chain, dump) => {
                changes.refill_chains.insert(name.clone());
            }
            Some(_) => {}
        }
    }
    let unwanted = kernel.chains.keys().filter(|name| !layout.chains.contains_key(*name));
    changes.delete_chains.extend(unwanted.cloned());
    for (name, (set, _)) in &layout.sets {
        let Some(dump) = kernel.sets.get(name) else {
            changes.add_sets.insert(name.clone());
            continue;
        };
        let elements = compare_elements(&set.spec, layout.elements(ruleset, name), dump);
        if !elements.is_empty() {
            changes.elements.insert(name.clone(), elements);
        }
    }
    for (name, dump) in &kernel.sets {
        if !layout.sets.contains_key(name) {
            changes.delete_sets.insert(name.clone(), dump.numbers.data_type.is_some());
        }
    }
    changes
}

fn same_set(spec: &SetSpec, dump: &SetDump) -> bool {
    set_numbers(spec) == dump.numbers && spec.comment == dump.comment
}

fn same_hook(chain: &Chain, dump: &ChainDump) -> bool {
    const ACCEPT: u32 = libc::NF_ACCEPT.cast_unsigned();
    let hook = chain.hook.map(|h| (hook_number(h.point), h.priority, "filter".to_owned(), ACCEPT));
    hook == dump.hook && chain.comment == dump.comment
}

fn same_rules(chain: &Chain, dump: &ChainDump) -> bool {
    chain.rules.len() == dump.rules.len()
        && chain.rules.iter().zip(&dump.rules).all(|(rule, dump)| same_rule(rule, dump))
}

/// Whether a rule is as it was written.
pub fn same_rule(rule: &Rule, dump: &RuleDump) -> bool {
    rule.comment == dump.comment && dump.exprs.as_ref() == Some(&rule.exprs())
}

/// Compares elements by their raw keys. An interval set, or one with an element that cannot be
/// spelled, is emptied and filled anew; other sets get what differs.
fn compare_elements(spec: &SetSpec, desired: Vec<Element>, dump: &SetDump) -> ElementChanges {
    let refill = |add| ElementChanges { flush: true, delete: Vec::new(), add };
    let Some(present) = &dump.elements else { return refill(desired) };
    let mut wanted: BTreeMap<RawKey, Option<Element>> = BTreeMap::new();
    for element in &desired {
        let (start, end) = raw_keys(&element.key);
        wanted.extend(end.map(|end| (end, None)));
        wanted.insert(start, Some(element.clone()));
    }
    let mut changes = ElementChanges::default();
    for RawElement { key, verdict } in present {
        let same = wanted.get(key).is_some_and(|w| {
            w.as_ref().and_then(|element| element.verdict.as_ref()) == verdict.as_ref()
        });
        if same {
            wanted.remove(key);
            continue;
        }
        match key_of(spec, key) {
            Some(key) => changes.delete.push(Element::of(key)),
            None => return refill(desired),
        }
    }
    if spec.interval && !wanted.is_empty() {
        return refill(desired);
    }
    changes.add = wanted.into_values().flatten().collect();
    changes
}

impl Changes {
    /// The transaction.
    ///
    /// What is referred to comes before what refers to it, and leaves after it: sets and empty
    /// chains, elements, rules; then old sets, whose elements may jump to old chains; old chains.
    pub fn program(&self, layout: &Layout, ruleset: &Ruleset) -> Program {
        let mut commands = Vec::new();
        if self.delete_table {
            commands.push(Command::DeleteTable);
        }
        if self.add_table {
            commands.push(Command::AddTable);
        }
        self.add_objects(layout, &mut commands);
        self.fill_sets(layout, ruleset, &mut commands);
        let emptied = self.refill_chains.union(&self.delete_chains);
        commands.extend(emptied.map(|name| Command::FlushChain { name: name.clone() }));
        for name in self.add_chains.union(&self.refill_chains) {
            let Some(chain) = layout.chains.get(name) else { continue };
            let rule =
                |rule: &_| Command::AddRule { chain: name.clone(), rule: Clone::clone(rule) };
            commands.extend(chain.rules.iter().map(rule));
        }
        for (name, map) in &self.delete_sets {
            // Kernels before 6.4 release the chains that elements jump to only if they are
            // removed one by one.
            if *map {
                commands.push(Command::FlushSet { name: name.clone(), map: *map });
            }
            commands.push(Command::DeleteSet { name: name.clone(), map: *map });
        }
        let gone = self.delete_chains.iter();
        commands.extend(gone.map(|name| Command::DeleteChain { name: name.clone() }));
        Program { commands }
    }

    fn add_objects(&self, layout: &Layout, commands: &mut Vec<Command>) {
        for name in &self.add_sets {
            if let Some((set, _)) = layout.sets.get(name) {
                let spec = Arc::clone(&set.spec);
                commands.push(Command::AddSet { name: name.clone(), spec });
            }
        }
        for name in &self.add_chains {
            if let Some(chain) = layout.chains.get(name) {
                commands.push(Command::AddChain {
                    name: name.clone(),
                    hook: chain.hook,
                    comment: chain.comment.clone(),
                });
            }
        }
    }

    fn fill_sets(&self, layout: &Layout, ruleset: &Ruleset, commands: &mut Vec<Command>) {
        for name in &self.add_sets {
            let Some((set, _)) = layout.sets.get(name) else { continue };
            let (set, spec) = (name.clone(), Arc::clone(&set.spec));
            let elements = layout.elements(ruleset, name);
            if !elements.is_empty() {
                commands.push(Command::AddElements { set, spec, elements });
            }
        }
        for (name, changes) in &self.elements {
            let Some((set, _)) = layout.sets.get(name) else { continue };
            let (set, spec) = (name.clone(), &set.spec);
            if changes.flush {
                commands.push(Command::FlushSet { name: set.clone(), map: spec.verdicts });
            }
            // First what goes: an interval may come where the ends of another were.
            if !changes.delete.is_empty() {
                commands.push(Command::DeleteElements {
                    set: set.clone(),
                    spec: Arc::clone(spec),
                    elements: changes.delete.clone(),
                });
            }
            if !changes.add.is_empty() {
                commands.push(Command::AddElements {
                    set,
                    spec: Arc::clone(spec),
                    elements: changes.add.clone(),
                });
            }
        }
    }
}
