//! The tables of one family, and in which order they change.
//!
//! The kernel changes one table at once. A packet that both the state before and the state after deny
//! must not pass in between, and one of them may deny it in `raw` and the other in `filter`, or skip
//! `filter` by what `raw` says of it. So:
//!
//! - *Early stages come:* `raw`, `mangle`, `filter`. Until the last step `filter` is as before, and
//!   asks for no mark.
//! - *Early stages go:* `filter` first, which is as after from then on, and asks for no mark.
//! - *Early stages stay, and only one table changes:* that one.
//! - *Early stages stay, and several tables change:* `filter` lets nothing new through policed
//!   interfaces, then `raw` and `mangle` change, then `filter` judges again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;

use super::line;
use crate::rule::Chain;
use crate::table::{PerTable, Table};

/// Changes of a family's tables.
#[derive(Default)]
pub struct FamilyPlan {
    /// The tables.
    pub tables: PerTable<TablePlan>,
    /// Whether `raw` or `mangle` hold chains of ours, before and after.
    pub early: Early,
    /// What closes in between, if that is needed.
    pub closing: Closing,
}

/// Whether packets are judged before `filter`.
#[derive(Clone, Copy, Default)]
pub struct Early {
    /// Before the commit.
    pub before: bool,
    /// After it.
    pub after: bool,
}

/// Chains of `filter` that close policed interfaces for a moment, and what they are otherwise.
#[derive(Default)]
pub struct Closing {
    /// Closed.
    pub closed: BTreeMap<Name, Arc<Chain>>,
    /// As desired.
    pub open: BTreeMap<Name, Arc<Chain>>,
}

/// Changes of a table.
#[derive(Clone, Default)]
pub struct TablePlan {
    /// Chains to be written.
    pub write: BTreeMap<Name, Arc<Chain>>,
    /// Chains that go.
    pub delete: BTreeSet<Name>,
    /// Lines that change rules in chains that are not ours.
    pub hooks: Vec<String>,
}

impl FamilyPlan {
    /// How many kernel objects change.
    pub fn writes(&self) -> usize {
        self.tables.iter().map(|(_, table)| table.writes()).sum()
    }

    /// Whether no order of the tables will do.
    pub fn must_close(&self) -> bool {
        let changed = self.tables.iter().filter(|(_, table)| table.writes() > 0).count();
        self.early.before && self.early.after && changed > 1
    }

    /// Writes what `-restore` is given.
    pub fn write(&self, text: &mut String) {
        let [raw, mangle, filter] = Table::ALL.map(|table| &self.tables[table]);
        if self.must_close() {
            let mut closed = filter.clone();
            closed.write.extend(self.closing.closed.clone());
            closed.write(Table::Filter, text);
            raw.write(Table::Raw, text);
            mangle.write(Table::Mangle, text);
            let open = TablePlan { write: self.closing.open.clone(), ..TablePlan::default() };
            open.write(Table::Filter, text);
            return;
        }
        let early_first = !self.early.before;
        if !early_first {
            filter.write(Table::Filter, text);
        }
        raw.write(Table::Raw, text);
        mangle.write(Table::Mangle, text);
        if early_first {
            filter.write(Table::Filter, text);
        }
    }
}

impl TablePlan {
    fn writes(&self) -> usize {
        self.write.len() + self.delete.len() + self.hooks.len()
    }

    fn write(&self, table: Table, text: &mut String) {
        if self.writes() == 0 {
            return;
        }
        line(text, format_args!("*{table}"));
        // Makes a chain, or empties it.
        for name in self.write.keys().chain(&self.delete) {
            line(text, format_args!(":{name} - [0:0]"));
        }
        for (name, chain) in &self.write {
            for rule in &chain.rules {
                line(text, format_args!("-A {name} {rule}"));
            }
        }
        for hook in &self.hooks {
            line(text, hook);
        }
        for name in &self.delete {
            line(text, format_args!("-X {name}"));
        }
        line(text, "COMMIT");
    }
}
