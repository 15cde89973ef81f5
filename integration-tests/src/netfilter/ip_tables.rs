//! ip_tables: the tables of one family as `iptables-restore` makes them, and a packet's way through
//! their chains (`net/ipv4/netfilter/ip_tables.c`).

mod rule;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::ip_set::IpSets;
use super::skb::{Skb, Tracking};
use super::{Hook, Walk};
use rule::{Rule, Target};

/// How many chains nf_tables follows one after the other; ip_tables has no such bound.
const DEPTH: usize = 16;

/// The tables with their built-in chains.
const TABLES: [(&str, &[&str]); 3] = [
    ("raw", &["PREROUTING", "OUTPUT"]),
    ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
    ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
];

/// The tables.
#[derive(Clone, Debug)]
pub struct IpTables {
    tables: BTreeMap<&'static str, Chains>,
}

type Chains = BTreeMap<String, Vec<Rule>>;

impl IpTables {
    /// Carries out a script of `iptables-restore --noflush` on empty tables whose policies accept.
    /// What a rule refers to must be there.
    ///
    /// # Errors
    /// The tool or the kernel would refuse it, or it has something that is not known here.
    pub fn restore(script: &str, sets: &IpSets) -> Result<Self> {
        let empty = |name: &&str| ((*name).to_owned(), Vec::new());
        let tables = TABLES.map(|(table, names)| (table, names.iter().map(empty).collect()));
        let mut all = Self { tables: BTreeMap::from(tables) };
        let mut open = None;
        for line in script.lines() {
            all.line(&mut open, line).with_context(|| format!("iptables: {line}"))?;
        }
        ensure!(open.is_none(), "no COMMIT");
        for (table, chains) in &all.tables {
            for rule in chains.values().flatten() {
                rule.is_valid_in(table)?;
                if let Target::Jump(chain) | Target::Goto(chain) = &rule.target {
                    ensure!(chains.contains_key(chain), "no chain {chain} in {table}");
                }
                for set in rule.sets() {
                    ensure!(sets.contains(set), "no set {set}");
                }
            }
        }
        Ok(all)
    }

    /// Carries out a line on the table that is open, if one is.
    fn line(&mut self, open: &mut Option<&'static str>, line: &str) -> Result<()> {
        let words = rule::words(line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let [name] = words[..]
            && let Some(name) = name.strip_prefix('*')
        {
            ensure!(open.is_none(), "a table within a table");
            let known = self.tables.keys().find(|known| **known == name);
            *open = Some(*known.context("no such table")?);
            return Ok(());
        }
        let table = open.context("a line outside of a table")?;
        let chains = self.tables.get_mut(table).context("no such table")?;
        match words[..] {
            ["COMMIT"] => *open = None,
            [name, "-", "[0:0]"] if name.starts_with(':') => {
                let name = &name[1..];
                ensure!(name.len() < 29, "a name of more than 28 bytes");
                chains.insert(name.to_owned(), Vec::new());
            }
            ["-A", chain, ref rest @ ..] => {
                let rule = Rule::parse(rest)?;
                chains.get_mut(chain).context("no such chain")?.push(rule);
            }
            ["-I", chain, "1", ref rest @ ..] => {
                let rule = Rule::parse(rest)?;
                chains.get_mut(chain).context("no such chain")?.insert(0, rule);
            }
            _ => bail!("another command"),
        }
        Ok(())
    }

    /// A packet at a hook: the built-in chains there, in the order of their tables.
    ///
    /// # Errors
    /// The rules make the kernel do what it refuses to do.
    pub fn pass(&self, hook: Hook, skb: &mut Skb, sets: &IpSets, walk: &mut Walk) -> Result<()> {
        let name = match hook {
            Hook::Prerouting => "PREROUTING",
            Hook::Input => "INPUT",
            Hook::Forward => "FORWARD",
            Hook::Output => "OUTPUT",
        };
        for (table, built_in) in TABLES {
            if table != "raw" {
                skb.track();
            }
            if !walk.dropped && built_in.contains(&name) {
                built_in_chain(&self.tables[table], name, skb, sets, walk)?;
            }
        }
        Ok(())
    }
}

/// `ipt_do_table`.
fn built_in_chain(
    chains: &Chains,
    name: &str,
    skb: &mut Skb,
    sets: &IpSets,
    walk: &mut Walk,
) -> Result<()> {
    let mut stack = Vec::new();
    let mut rules = chains[name].iter();
    let mut depth = 0;
    loop {
        let Some(rule) = rules.next() else {
            match stack.pop() {
                Some(caller) => rules = caller,
                None => return Ok(()),
            }
            continue;
        };
        if !rule.matches(skb, sets)? {
            continue;
        }
        walk.comments.extend(rule.comment.clone());
        match &rule.target {
            Target::None => {}
            Target::NoTrack => skb.tracking = Tracking::Untracked,
            Target::Mark { value, mask } => skb.mark = skb.mark & !mask ^ value,
            Target::Tell(prefix) => walk.told.push(prefix.clone()),
            Target::Accept => return Ok(()),
            Target::Drop => {
                walk.dropped = true;
                return Ok(());
            }
            Target::Return => match stack.pop() {
                Some(caller) => rules = caller,
                None => return Ok(()),
            },
            Target::Jump(to) => {
                stack.push(rules);
                rules = chains[to].iter();
                depth += 1;
            }
            Target::Goto(to) => {
                rules = chains[to].iter();
                depth += 1;
            }
        }
        ensure!(depth < 100 * DEPTH, "the packet runs in a circle");
    }
}
