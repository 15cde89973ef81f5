//! nf_tables: a table that was loaded from a netlink batch, and a packet's way through its chains
//! (`net/netfilter/nf_tables_core.c`).

mod batch;
mod expression;
mod set;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::skb::Skb;
use super::{Hook, Walk};
pub use expression::Expression;
use expression::{Next, Registers};
pub use set::{Element, Set};

/// Where connection tracking stands, in `prerouting` and `output`.
const CONNTRACK: i32 = -200;
/// How many chains may wait for another to come back (`NFT_JUMP_STACK_SIZE`).
const STACK: usize = 16;

/// One table of family `inet`.
#[derive(Clone, Debug, Default)]
pub struct NfTables {
    /// The chains.
    pub chains: BTreeMap<String, Chain>,
    /// The sets and maps.
    pub sets: BTreeMap<String, Set>,
}

/// A chain.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The hook and priority of a base chain, and whether its policy is to accept.
    pub hook: Option<(Hook, i32, bool)>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it does, expression by expression.
    pub expressions: Vec<Expression>,
    /// The comment.
    pub comment: String,
}

/// What an expression or a map's element decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The base chain lets it go on.
    Accept,
    /// It ends.
    Drop,
    /// Back to where the last jump was.
    Return,
    /// To a chain, and back.
    Jump(String),
    /// To a chain.
    Goto(String),
}

impl NfTables {
    /// Carries out a batch on a namespace without tables.
    ///
    /// # Errors
    /// The kernel would refuse it, or it has something that is not known here.
    pub fn load(bytes: &[u8]) -> Result<Self> {
        let mut table = Self::default();
        batch::carry_out(&mut table, bytes)?;
        table.validate()?;
        Ok(table)
    }

    /// Whatever refers to a chain or set finds it.
    fn validate(&self) -> Result<()> {
        let rules = self.chains.values().flat_map(|chain| &chain.rules);
        let mut verdicts = Vec::new();
        for expression in rules.flat_map(|rule| &rule.expressions) {
            match expression {
                Expression::Verdict(verdict) => verdicts.push(verdict),
                Expression::Lookup { set, map, .. } => {
                    let set = self.sets.get(set).with_context(|| format!("no set {set}"))?;
                    ensure!(set.map == *map, "a map is asked as a set, or a set as a map");
                }
                _ => {}
            }
        }
        verdicts.extend(self.sets.values().flat_map(Set::verdicts));
        for verdict in verdicts {
            if let Verdict::Jump(chain) | Verdict::Goto(chain) = verdict {
                let chain = self.chains.get(chain).with_context(|| format!("no chain {chain}"))?;
                ensure!(chain.hook.is_none(), "a jump to a base chain");
            }
        }
        Ok(())
    }

    /// A packet at a hook: all base chains there, in the order of their priorities.
    ///
    /// # Errors
    /// The rules make the kernel do what it refuses to do.
    pub fn pass(&self, hook: Hook, skb: &mut Skb, walk: &mut Walk) -> Result<()> {
        let mut bases: Vec<_> = self
            .chains
            .values()
            .filter_map(|chain| {
                chain.hook.map(|(at, priority, accept)| (at, priority, accept, chain))
            })
            .filter(|(at, ..)| *at == hook)
            .collect();
        bases.sort_by_key(|(_, priority, ..)| *priority);
        for (_, priority, accept, chain) in bases {
            if priority > CONNTRACK {
                skb.track();
            }
            walk.dropped = match self.base_chain(chain, skb, walk)? {
                Some(accepted) => !accepted,
                None => !accept,
            };
            if walk.dropped {
                return Ok(());
            }
        }
        skb.track();
        Ok(())
    }

    /// `nft_do_chain`: whether the packet is accepted; `None` leaves it to the chain's policy.
    fn base_chain(&self, base: &Chain, skb: &mut Skb, walk: &mut Walk) -> Result<Option<bool>> {
        let mut stack: Vec<std::slice::Iter<'_, Rule>> = Vec::new();
        let mut rules = base.rules.iter();
        loop {
            let Some(rule) = rules.next() else {
                match stack.pop() {
                    Some(caller) => rules = caller,
                    None => return Ok(None),
                }
                continue;
            };
            let Some(verdict) = self.rule(rule, skb, walk)? else { continue };
            match verdict {
                Verdict::Accept => return Ok(Some(true)),
                Verdict::Drop => return Ok(Some(false)),
                Verdict::Return => match stack.pop() {
                    Some(caller) => rules = caller,
                    None => return Ok(None),
                },
                Verdict::Jump(chain) => {
                    ensure!(stack.len() < STACK, "more than {STACK} jumps");
                    stack.push(rules);
                    rules = self.chains[&chain].rules.iter();
                }
                Verdict::Goto(chain) => rules = self.chains[&chain].rules.iter(),
            }
        }
    }

    /// The verdict of a rule; `None` if it does not match or has none.
    fn rule(&self, rule: &Rule, skb: &mut Skb, walk: &mut Walk) -> Result<Option<Verdict>> {
        let mut registers = Registers::default();
        let mut verdict = None;
        for expression in &rule.expressions {
            match expression.run(self, &mut registers, skb, walk)? {
                Next::Continue => {}
                Next::Break => return Ok(None),
                Next::Verdict(decided) => {
                    verdict = Some(decided);
                    break;
                }
            }
        }
        if !rule.comment.is_empty() {
            walk.comments.push(rule.comment.clone());
        }
        Ok(verdict)
    }
}
