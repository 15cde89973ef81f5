//! What makes the kernel as desired from what was read of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::Jump;
use crate::desired::{Desired, families};
use crate::layout::Layout;
use crate::lower::{HOOKS, Hook};
use crate::plan::{Plan, SetPlan, TablePlan};
use crate::rule::Rule;
use crate::set::SetUse;
use crate::snapshot::{ForeignRule, SetDump, Snapshot, TableDump};
use crate::table::Table;

/// A set of ours is something that we do not make, and so cannot be changed to what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongSet {
    /// Its name.
    pub name: String,
}

impl Desired {
    /// The difference. `canonical` says how `-save` of a family prints a rule.
    ///
    /// # Errors
    /// A set of our name is of another kind.
    pub fn repair(
        &mut self,
        kernel: &Snapshot,
        jump: Jump,
        canonical: impl Fn(usize, Table, &Rule) -> Option<Arc<str>>,
    ) -> Result<Plan, WrongSet> {
        self.lower();
        let mut plan = Plan::default();
        for (at, _) in families() {
            let layout = &self.layouts()[at];
            for (table, dump) in kernel.tables[at].iter() {
                let plan = &mut plan.families[at].tables[table];
                chains(layout, table, dump, plan, &|rule| canonical(at, table, rule));
                let wanted = |hook: &Hook| layout.chain(table, hook.ours).is_some();
                plan.hooks = hooks(table, dump, jump, &wanted);
            }
        }
        let desired: Vec<_> = self.layouts().iter().flat_map(Layout::sets).collect();
        for (name, set) in &desired {
            match kernel.sets.get(*name) {
                None => drop(plan.sets.create.insert((*name).clone(), self.new_set(set))),
                Some(dump) if dump.spec != Some(set.spec) => {
                    return Err(WrongSet { name: name.to_string() });
                }
                Some(dump) => self.members(name, set, dump, &mut plan.sets),
            }
        }
        let wanted: BTreeSet<_> = desired.into_iter().map(|(name, _)| name.clone()).collect();
        let swept = kernel.sets.keys().filter(|name| !wanted.contains(*name));
        plan.sets.destroy = swept.cloned().collect();
        self.roles(&mut plan);
        let early = kernel.tables.each_ref().map(|tables| {
            tables.iter().any(|(table, dump)| table != Table::Filter && !dump.is_empty())
        });
        self.order(&mut plan, early);
        Ok(plan)
    }

    fn members(
        &self,
        name: &brindle_model::Name,
        set: &SetUse,
        dump: &SetDump,
        plan: &mut SetPlan,
    ) {
        let desired = self.elements(set);
        // What we would not write cannot be named for removal either: the set is made anew.
        if desired.len() > dump.capacity || !dump.strange.is_empty() {
            plan.create.insert(name.clone(), self.replacement(set, &dump.elements));
            return;
        }
        let add: BTreeSet<_> = desired.difference(&dump.elements).cloned().collect();
        let delete: BTreeSet<_> = dump.elements.difference(&desired).cloned().collect();
        // A foreign element may take the room that ours needs, which are written first.
        if dump.elements.len() + add.len() > dump.capacity {
            plan.create.insert(name.clone(), self.replacement(set, &dump.elements));
            return;
        }
        if !add.is_empty() {
            plan.add.insert(name.clone(), add);
        }
        if !delete.is_empty() {
            plan.delete.insert(name.clone(), delete);
        }
    }
}

fn chains(
    layout: &Layout,
    table: Table,
    dump: &TableDump,
    plan: &mut TablePlan,
    canonical: &dyn Fn(&Rule) -> Option<Arc<str>>,
) {
    for (name, chain) in layout.chains(table) {
        let same = dump.chains.get(name).is_some_and(|saved| {
            saved.len() == chain.rules.len()
                && saved.iter().zip(&chain.rules).all(|(saved, rule)| {
                    canonical(rule).is_some_and(|canonical| *canonical == **saved)
                })
        });
        if !same {
            plan.write.insert(name.clone(), Arc::clone(chain));
        }
    }
    let gone = dump.chains.keys().filter(|name| layout.chain(table, name).is_none());
    plan.delete = gone.cloned().collect();
}

/// The line that makes a jump.
pub fn hook_line(Hook { built_in, ours, .. }: Hook, jump: Jump) -> String {
    match jump {
        Jump::Insert => format!("-I {built_in} 1 -j {ours}"),
        Jump::Append => format!("-A {built_in} -j {ours}"),
    }
}

/// Lines that leave one jump at its place for each hook that is wanted, and no other rule that leads
/// to us. Rules are removed by their text, never by number: another program may change the chain
/// meanwhile.
pub fn hooks(
    table: Table,
    dump: &TableDump,
    jump: Jump,
    wanted: &dyn Fn(&Hook) -> bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    let here = || HOOKS.into_iter().filter(|hook| hook.table == table && wanted(hook));
    for hook in here() {
        let right = format!("-j {}", hook.ours);
        let of = |rule: &&ForeignRule| rule.chain == hook.built_in;
        let found: Vec<_> = dump.foreign.iter().filter(of).collect();
        let well = match found[..] {
            [only] => only.rule == right && (jump == Jump::Append || only.position == 0),
            _ => false,
        };
        if well {
            continue;
        }
        lines.extend(found.into_iter().map(deletion));
        lines.push(hook_line(hook, jump));
    }
    let elsewhere = |chain: &str| here().all(|hook| hook.built_in != chain);
    let strays = dump.foreign.iter().filter(|rule| elsewhere(&rule.chain));
    lines.extend(strays.map(deletion));
    lines
}

fn deletion(rule: &ForeignRule) -> String {
    format!("-D {} {}", rule.chain, rule.rule)
}

/// Lines that leave no rule that leads to us.
pub fn unhook(dump: &TableDump) -> Vec<String> {
    dump.foreign.iter().map(deletion).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(rules: &str) -> TableDump {
        TableDump::parse(rules)
    }

    #[test]
    fn a_jump_is_made_moved_and_freed_of_others() {
        let input = "-A INPUT -j BRINDLE-INPUT\n";
        let at = |forward: &str, jump| {
            let pods = |hook: &Hook| hook.built_in != "OUTPUT";
            hooks(Table::Filter, &dump(&format!("{forward}{input}")), jump, &pods)
        };
        assert!(at("-A FORWARD -j BRINDLE-FORWARD\n", Jump::Insert).is_empty());
        assert_eq!(at("", Jump::Insert), ["-I FORWARD 1 -j BRINDLE-FORWARD"]);
        assert_eq!(at("", Jump::Append), ["-A FORWARD -j BRINDLE-FORWARD"]);
        let behind = "-A FORWARD -j DOCKER\n-A FORWARD -j BRINDLE-FORWARD\n";
        assert!(at(behind, Jump::Append).is_empty());
        let jump = "-j BRINDLE-FORWARD";
        let (delete, insert) = (format!("-D FORWARD {jump}"), format!("-I FORWARD 1 {jump}"));
        assert_eq!(at(behind, Jump::Insert), [delete.clone(), insert.clone()]);
        let three = "-A FORWARD -j BRINDLE-FORWARD\n-A FORWARD -j X\n-A FORWARD -j BRINDLE-FORWARD\n\
                     -A FORWARD -s 10.0.0.1/32 -j BRINDLE-OLD\n";
        let old = "-D FORWARD -s 10.0.0.1/32 -j BRINDLE-OLD".to_owned();
        assert_eq!(at(three, Jump::Insert), [delete.clone(), delete, old, insert]);
        let stray = "-A FORWARD -j BRINDLE-FORWARD\n-A OUTPUT -j BRINDLE-OUTPUT\n";
        assert_eq!(at(stray, Jump::Insert), ["-D OUTPUT -j BRINDLE-OUTPUT"]);
    }
}
