//! ip_tables: table `filter` of one family as `iptables-restore` makes it, and a packet's way through
//! its chains (`net/ipv4/netfilter/ip_tables.c`).

mod rule;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::ip_set::IpSets;
use super::skb::Skb;
use super::{Hook, Walk};
use rule::{Rule, Target};

/// How many chains nf_tables follows one after the other; ip_tables has no such bound.
const DEPTH: usize = 16;

/// The table.
#[derive(Clone, Debug)]
pub struct IpTables {
    chains: BTreeMap<String, Vec<Rule>>,
}

impl IpTables {
    /// Carries out a script of `iptables-restore --noflush` on an empty table whose policies accept.
    /// What a rule refers to must be there.
    ///
    /// # Errors
    /// The tool or the kernel would refuse it, or it has something that is not known here.
    pub fn restore(script: &str, sets: &IpSets) -> Result<Self> {
        let built_in = ["INPUT", "FORWARD", "OUTPUT"].map(|name| (name.to_owned(), Vec::new()));
        let mut table = Self { chains: BTreeMap::from(built_in) };
        let mut committed = script.is_empty();
        for line in script.lines() {
            ensure!(!committed, "a line behind COMMIT");
            committed = table.line(line).with_context(|| format!("iptables: {line}"))?;
        }
        ensure!(committed, "no COMMIT");
        for rule in table.chains.values().flatten() {
            if let Target::Jump(chain) | Target::Goto(chain) = &rule.target {
                ensure!(table.chains.contains_key(chain), "no chain {chain}");
            }
            for set in rule.sets() {
                ensure!(sets.contains(set), "no set {set}");
            }
        }
        Ok(table)
    }

    /// Returns whether the script ends.
    fn line(&mut self, line: &str) -> Result<bool> {
        let words = rule::words(line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["*filter"] => {}
            ["COMMIT"] => return Ok(true),
            [name, "-", "[0:0]"] if name.starts_with(':') => {
                let name = &name[1..];
                ensure!(name.len() < 29, "a name of more than 28 bytes");
                self.chains.insert(name.to_owned(), Vec::new());
            }
            ["-A", chain, ref rest @ ..] => {
                let rule = Rule::parse(rest)?;
                self.chains.get_mut(chain).context("no such chain")?.push(rule);
            }
            ["-I", chain, "1", ref rest @ ..] => {
                let rule = Rule::parse(rest)?;
                self.chains.get_mut(chain).context("no such chain")?.insert(0, rule);
            }
            _ => bail!("another command"),
        }
        Ok(false)
    }

    /// A packet at a hook.
    ///
    /// # Errors
    /// The rules make the kernel do what it refuses to do.
    pub fn pass(&self, hook: Hook, skb: &mut Skb, sets: &IpSets, walk: &mut Walk) -> Result<()> {
        skb.track();
        let chain = match hook {
            Hook::Prerouting => return Ok(()),
            Hook::Input => "INPUT",
            Hook::Forward => "FORWARD",
            Hook::Output => "OUTPUT",
        };
        let mut stack = Vec::new();
        let mut rules = self.chains[chain].iter();
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
                    rules = self.chains[to].iter();
                    depth += 1;
                }
                Target::Goto(to) => {
                    rules = self.chains[to].iter();
                    depth += 1;
                }
            }
            ensure!(depth < 100 * DEPTH, "the packet runs in a circle");
        }
    }
}
