//! Whether this node can judge before connection tracking and before DNAT: asked of the tools and the
//! kernel, in a network namespace of its own, before the first such rule is needed. A node that has no
//! such policy is never asked, and its kernel loads nothing for it.

use std::io;

use brindle_dataplane_core::netns::Namespace;
use brindle_model::net::Family;

use crate::lower::CHAIN_PREFIX;
use crate::rule::{Criterion, Rule, Target};
use crate::table::Table;
use crate::tools::{ToolError, Tools};

/// Something that policy of an early stage needs is not there.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// No namespace could be made.
    #[error("cannot make a network namespace to try table {0} in")]
    Namespace(Table, #[source] io::Error),
    /// A table, match or target.
    #[error("table {table} of {family:?}: no {what} (look for {hint})")]
    Part {
        /// In which table.
        table: Table,
        /// Of which family.
        family: Family,
        /// What is missing.
        what: &'static str,
        /// The kernel module, and the library of the tools.
        hint: &'static str,
        /// What the tool said.
        #[source]
        source: ToolError,
    },
}

/// A thing that is needed.
struct Part {
    what: &'static str,
    hint: &'static str,
    rule: Option<Rule>,
}

fn parts(table: Table) -> Vec<Part> {
    let rule = |criteria, target| {
        Some(Rule { criteria, target, comment: String::new(), decisions: [].into() })
    };
    let hint = match table {
        Table::Raw => "kernel module iptable_raw and ip6table_raw",
        Table::Mangle => "kernel module iptable_mangle and ip6table_mangle",
        Table::Filter => "kernel module iptable_filter and ip6table_filter",
    };
    let mut parts = vec![Part { what: "such table", hint, rule: None }];
    if table == Table::Raw {
        let (what, hint) = ("target CT", "kernel module xt_CT, library libxt_CT.so");
        parts.push(Part { what, hint, rule: rule(Vec::new(), Target::NoTrack) });
    }
    let (what, hint) = ("match mark", "kernel module xt_mark, library libxt_mark.so");
    let marked = rule(vec![Criterion::HostAccepted], Target::Return);
    parts.push(Part { what, hint, rule: marked });
    let (what, hint) = ("target MARK", "kernel module xt_mark, library libxt_MARK.so");
    parts.push(Part { what, hint, rule: rule(Vec::new(), Target::Mark(true)) });
    parts
}

/// Tries what rules of a table need that no other table needs, in both families.
///
/// # Errors
/// What is missing, by name.
pub fn probe(tools: &Tools, table: Table) -> Result<(), Missing> {
    let namespace = Namespace::create().map_err(|error| Missing::Namespace(table, error))?;
    let ask = || {
        for family in Family::ALL {
            let all = parts(table);
            let whole: Vec<_> = all.iter().collect();
            let Err(refused) = restore(tools, family, table, &whole) else { continue };
            let alone = |part: &&Part| restore(tools, family, table, &[*part]).is_err();
            let part = all.iter().find(alone);
            let (what, hint) =
                part.map_or(("way to use all of it", "the tool's words"), |p| (p.what, p.hint));
            return Err(Missing::Part { table, family, what, hint, source: refused });
        }
        Ok(())
    };
    namespace.run(ask).map_err(|error| Missing::Namespace(table, error))?
}

fn restore(tools: &Tools, family: Family, table: Table, parts: &[&Part]) -> Result<(), ToolError> {
    let trial = format!("{CHAIN_PREFIX}trial");
    let rules: String = parts
        .iter()
        .filter_map(|part| part.rule.as_ref())
        .map(|rule| format!("-A {trial} {rule}\n"))
        .collect();
    tools.restore(family, &format!("*{table}\n:{trial} - [0:0]\n{rules}COMMIT\n"))
}
