//! How `-save` prints a rule that we write: asked of the tool itself, in a namespace of its own.
//!
//! Versions differ in the order of options, in names of protocols, in what they leave out; a
//! read-back that guessed wrongly would find drift for ever, one that looked at marks in comments
//! would not find a rule that somebody changed. So rules that were not seen before are restored
//! into a network namespace that is then gone, and saved from it; the answers are kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::io;
use std::sync::Arc;

use brindle_dataplane_core::netns::Namespace;
use brindle_model::Name;
use brindle_model::net::Family;

use crate::lower::CHAIN_PREFIX;
use crate::rule::{Criterion, Rule, Target};
use crate::set::{self, Spec};
use crate::snapshot::TableDump;
use crate::table::{PerTable, Table};
use crate::tools::{ToolError, Tools, restore_sets};

/// Asking failed.
#[derive(Debug, thiserror::Error)]
pub enum CanonError {
    /// No namespace could be made.
    #[error("cannot make a network namespace to try rules in")]
    Namespace(#[source] io::Error),
    /// A tool failed there.
    #[error("cannot try rules in a network namespace of their own")]
    Tool(#[source] ToolError),
    /// So many rules were written and so many read.
    #[error(
        "{written} rules were tried, and {read} read back: this iptables splits or joins rules"
    )]
    Count {
        /// Rules written.
        written: usize,
        /// Rules read.
        read: usize,
    },
}

/// Answers by family, table and spelling of ours. A table may refuse what another takes.
#[derive(Default)]
pub struct Canon {
    known: [PerTable<HashMap<String, Arc<str>>>; 2],
}

/// A rule that is to be asked about, with what it refers to.
#[derive(Default)]
struct Trial {
    lines: BTreeSet<String>,
    chains: BTreeSet<Name>,
    sets: BTreeMap<Name, Spec>,
}

impl Canon {
    /// The answer for a rule that was learned.
    pub fn of(&self, at: usize, table: Table, rule: &Rule) -> Option<Arc<str>> {
        self.known[at][table].get(&rule.to_string()).cloned()
    }

    /// Learns how rules of a table are printed, and forgets all others. `spec` tells what a set is.
    ///
    /// # Errors
    /// The tool could not be asked.
    pub fn learn<'r>(
        &mut self,
        tools: &Tools,
        (family, table): (Family, Table),
        rules: impl Iterator<Item = &'r Rule>,
        spec: &dyn Fn(&str) -> Option<Spec>,
    ) -> Result<(), CanonError> {
        let at = usize::from(family == Family::V6);
        let known = &mut self.known[at][table];
        let mut old = std::mem::take(known);
        let mut trial = Trial::default();
        for rule in rules {
            let line = rule.to_string();
            match old.remove_entry(&line) {
                Some((line, answer)) => drop(known.insert(line, answer)),
                None if known.contains_key(&line) => {}
                None => trial.take(rule, line, spec),
            }
        }
        if trial.lines.is_empty() {
            return Ok(());
        }
        let ask = || trial.ask(tools, family, table);
        let namespace = Namespace::create().map_err(CanonError::Namespace)?;
        let answers = namespace.run(ask).map_err(CanonError::Namespace)??;
        known.extend(trial.lines.into_iter().zip(answers));
        Ok(())
    }
}

impl Trial {
    fn take(&mut self, rule: &Rule, line: String, spec: &dyn Fn(&str) -> Option<Spec>) {
        if let Target::Jump(chain) | Target::Goto(chain) = &rule.target {
            self.chains.insert(chain.clone());
        }
        for criterion in &rule.criteria {
            if let Criterion::Set { set, .. } = criterion
                && let Some(spec) = spec(set)
            {
                self.sets.insert(set.clone(), spec);
            }
        }
        self.lines.insert(line);
    }

    fn ask(
        &self,
        tools: &Tools,
        family: Family,
        table: Table,
    ) -> Result<Vec<Arc<str>>, CanonError> {
        let mut sets = String::new();
        for (name, spec) in &self.sets {
            let create = set::create(name, *spec, 0, set::capacity(0));
            writeln!(sets, "{create}").expect("a String takes everything");
        }
        if !sets.is_empty() {
            restore_sets(&sets).map_err(CanonError::Tool)?;
        }
        let trial = format!("{CHAIN_PREFIX}trial");
        let mut script = format!("*{table}\n:{trial} - [0:0]\n");
        for name in &self.chains {
            writeln!(script, ":{name} - [0:0]").expect("a String takes everything");
        }
        for line in &self.lines {
            writeln!(script, "-A {trial} {line}").expect("a String takes everything");
        }
        script.push_str("COMMIT\n");
        tools.restore(family, &script).map_err(CanonError::Tool)?;
        let saved = tools.save(family, table, false).map_err(CanonError::Tool)?;
        let read = TableDump::parse(&saved).chains.remove(trial.as_str()).unwrap_or_default();
        let written = self.lines.len();
        if read.len() != written {
            return Err(CanonError::Count { written, read: read.len() });
        }
        Ok(read.into_iter().map(Arc::from).collect())
    }
}
