//! Signs that somebody else has touched what is ours, between two read-backs.
//!
//! The rules of the nft variant are nf_tables': the kernel tells of every change. ip_tables tells
//! nothing, but says at the price of a system call how many entries a table has. Those that are not
//! ours are as many as before unless somebody has changed the table; only then the table is printed,
//! and our chains' lengths and the jumps to them are compared. A rule that somebody exchanges for
//! another, and elements of sets, are found by the slow timer alone.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brindle_dataplane_core::Watch;
use brindle_dataplane_core::nfnetlink::{Change, News, find, text};
use brindle_model::net::Family;

use crate::config::Jump;
use crate::desired::{Known, families};
use crate::lower::{CHAIN_PREFIX, HOOKS, Hook};
use crate::repair::hooks;
use crate::snapshot::TableDump;
use crate::sockopt::entries;
use crate::table::{PerTable, Table};
use crate::tools::{ToolError, Tools};

/// Pause between two questions to ip_tables, which take 2 µs each.
pub const PAUSE: Duration = Duration::from_millis(100);
/// Processes of ours that are remembered. A number comes again after tens of thousands of others.
const REMEMBERED: usize = 16;

const DEL_TABLE: u8 = 2;
const NEW_RULE: u8 = 6;
const DEL_RULE: u8 = 8;
const RULE_CHAIN: u16 = 2;

/// The latest programs that we started to change rules. The kernel calls a program's first netlink
/// socket by the number of its process, unless another socket has that name; then a change of ours
/// is taken for somebody else's, and read back once more.
#[derive(Clone, Debug, Default)]
pub struct OwnProcesses(Arc<Mutex<VecDeque<u32>>>);

impl OwnProcesses {
    /// Remembers one.
    pub fn note(&self, process: u32) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.truncate(REMEMBERED - 1);
        all.push_front(process);
    }

    fn contains(&self, port: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&port)
    }
}

/// Who has changed what may be ours in nf_tables, since that was last asked.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<Changers>>);

#[derive(Debug, Default)]
struct Changers {
    ports: BTreeSet<u32>,
    /// Others may have as well.
    lost: bool,
}

impl Heard {
    /// Listens. Our own programs are heard as well: while one runs, its number is not noted yet.
    pub fn watch(&self) -> Watch {
        let heard = Arc::clone(&self.0);
        Watch::Told(Box::new(move |news| {
            let mut changers = heard.lock().unwrap_or_else(PoisonError::into_inner);
            match news {
                News::Change(change) if !concerns(&change) => return false,
                News::Change(change) => drop(changers.ports.insert(change.port)),
                News::Lost => changers.lost = true,
            }
            true
        }))
    }

    /// Whether it was somebody else, or may have been.
    pub fn of_others(&self, own: &OwnProcesses) -> bool {
        let heard = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Changers { ports, lost } = std::mem::take(heard);
        lost || ports.iter().any(|port| !own.contains(*port))
    }
}

/// What names one of our chains, or comes or goes in a chain that jumps to ours: a rule before the
/// jump may go past policy.
fn concerns(change: &Change<'_>) -> bool {
    let ip = [libc::NFPROTO_IPV4, libc::NFPROTO_IPV6].contains(&i32::from(change.family));
    let table = Table::ALL.into_iter().find(|table| table.name() == change.table);
    let Some(table) = table.filter(|_| ip) else { return false };
    let hooked = || {
        let chain = find(change.attributes, RULE_CHAIN).and_then(text);
        HOOKS.iter().any(|hook| hook.table == table && chain == Some(hook.built_in))
    };
    let ours = || {
        let prefix = CHAIN_PREFIX.as_bytes();
        change.attributes.windows(prefix.len()).any(|bytes| bytes == prefix)
    };
    match change.kind {
        DEL_TABLE => true,
        NEW_RULE | DEL_RULE => hooked() || ours(),
        _ => ours(),
    }
}

/// How many entries of each family's table are somebody else's, once that was found out.
#[derive(Debug, Default)]
pub struct Others([PerTable<Option<usize>>; 2]);

impl Others {
    /// Whether ip_tables may hold of ours something else than what is known.
    pub fn disturbed(&mut self, tools: &Tools, jump: Jump, known: &Known) -> bool {
        families().any(|(at, family)| {
            // To ask for a table that is not there would make it.
            let used = known.chains[at].iter().filter(|(_, chains)| !chains.is_empty());
            let mut used = used.map(|(table, _)| table);
            used.any(|table| self.in_table(tools, jump, (at, family, table), known))
        })
    }

    fn in_table(
        &mut self,
        tools: &Tools,
        jump: Jump,
        (at, family, table): (usize, Family, Table),
        known: &Known,
    ) -> bool {
        let Ok(others) = count(at, family, table, known) else { return true };
        if others.is_some() && others == self.0[at][table] {
            return false;
        }
        match looks_whole(tools, jump, (at, family, table), known) {
            Ok(true) => {
                self.0[at][table] = others;
                false
            }
            Ok(false) | Err(_) => true,
        }
    }
}

/// The entries that are not ours; `None` if there are fewer than ours.
fn count(at: usize, family: Family, table: Table, known: &Known) -> std::io::Result<Option<usize>> {
    let chains = &known.chains[at][table];
    let hooks = HOOKS.iter().filter(|hook| is_used(hook, at, table, known)).count();
    let ours = chains.values().map(|chain| chain.rules.len() + 2).sum::<usize>() + hooks;
    Ok(entries(family, table)?.checked_sub(ours))
}

fn is_used(hook: &Hook, at: usize, table: Table, known: &Known) -> bool {
    hook.table == table && known.chains[at][table].contains_key(hook.ours)
}

fn looks_whole(
    tools: &Tools,
    jump: Jump,
    (at, family, table): (usize, Family, Table),
    known: &Known,
) -> Result<bool, ToolError> {
    let dump = TableDump::parse(&tools.save(family, table, false)?);
    let (held, wanted) = (&dump.chains, &known.chains[at][table]);
    let same = held.len() == wanted.len()
        && held.iter().zip(wanted).all(|((name, rules), (wanted, chain))| {
            name == wanted && rules.len() == chain.rules.len()
        });
    let used = |hook: &Hook| is_used(hook, at, table, known);
    Ok(same && hooks(table, &dump, jump, &used).is_empty())
}

#[cfg(test)]
mod tests {
    use brindle_dataplane_core::nfnetlink::Writer;

    use super::*;

    fn of(kind: u8, family: i32, table: &str, chain: &str, more: &str) -> bool {
        let mut writer = Writer::default();
        writer.string(1, table);
        writer.string(RULE_CHAIN, chain);
        writer.string(9, more);
        let family = family as u8;
        concerns(&Change { port: 7, kind, family, table, attributes: &writer.buffer })
    }

    #[test]
    fn only_what_may_be_ours_is_of_concern() {
        let (v4, inet) = (libc::NFPROTO_IPV4, libc::NFPROTO_INET);
        assert!(of(DEL_RULE, v4, "filter", "FORWARD", "-j BRINDLE-FORWARD"));
        assert!(of(NEW_RULE, v4, "filter", "INPUT", "-j ACCEPT"), "it may stand before the jump");
        assert!(of(NEW_RULE, v4, "filter", "BRINDLE-EGRESS", "-j ACCEPT"));
        assert!(of(DEL_TABLE, v4, "filter", "", ""));
        assert!(!of(NEW_RULE, v4, "filter", "KUBE-SERVICES", "-j ACCEPT"));
        assert!(!of(NEW_RULE, v4, "nat", "FORWARD", "-j BRINDLE-FORWARD"));
        assert!(of(NEW_RULE, v4, "raw", "PREROUTING", "-j ACCEPT"));
        assert!(!of(NEW_RULE, v4, "mangle", "FORWARD", "-j ACCEPT"));
        assert!(!of(NEW_RULE, inet, "filter", "FORWARD", "-j BRINDLE-FORWARD"));
    }

    #[test]
    fn the_latest_processes_are_ours() {
        let own = OwnProcesses::default();
        (1..=17).for_each(|process| own.note(process));
        assert_eq!([1, 2, 17, 18].map(|port| own.contains(port)), [false, true, true, false]);
        let heard = Heard::default();
        let Watch::Told(mut hear) = heard.watch() else { unreachable!("nf_tables tells") };
        let mut tell = |port, table| {
            let (kind, family) = (DEL_TABLE, libc::NFPROTO_IPV4 as u8);
            hear(News::Change(Change { port, kind, family, table, attributes: &[] }))
        };
        assert!(tell(17, "filter") && !tell(18, "nat"));
        assert!(!heard.of_others(&own));
        assert!(tell(18, "filter"));
        assert!(heard.of_others(&own) && !heard.of_others(&own), "told once");
        assert!(hear(News::Lost) && heard.of_others(&own));
    }
}
