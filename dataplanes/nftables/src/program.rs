//! What one transaction does: commands in an order that the kernel accepts.
//!
//! `Display` is an nft script: `nft -f` carries out the same transaction as the netlink batch.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use brindle_model::Name;

use crate::rule::Rule;
use crate::table::{Element, Hook, SetSpec, TABLE, TABLE_COMMENT};

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are what the variant's text says")]
pub enum Command {
    /// Makes the table.
    AddTable,
    /// Removes the table and all that is in it.
    DeleteTable,
    /// Makes a set or map.
    AddSet { name: Name, spec: Arc<SetSpec> },
    /// Removes one that nothing refers to.
    DeleteSet { name: Name, map: bool },
    /// Removes all elements.
    FlushSet { name: Name, map: bool },
    /// Adds elements.
    AddElements { set: Name, spec: Arc<SetSpec>, elements: Vec<Element> },
    /// Removes elements.
    DeleteElements { set: Name, spec: Arc<SetSpec>, elements: Vec<Element> },
    /// Makes a chain.
    AddChain { name: Name, hook: Option<Hook>, comment: String },
    /// Removes an empty chain that nothing refers to.
    DeleteChain { name: Name },
    /// Removes all rules of a chain.
    FlushChain { name: Name },
    /// Appends a rule.
    AddRule { chain: Name, rule: Rule },
}

/// A transaction: all of it happens, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The steps, in order.
    pub commands: Vec<Command>,
}

impl Program {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// At most so many messages: the frame, and lists of elements cut in pieces of at least one.
    pub fn messages(&self) -> usize {
        self.writes() + 2
    }

    /// How many kernel objects it creates, changes or deletes.
    pub fn writes(&self) -> usize {
        self.commands.iter().map(Command::writes).sum()
    }
}

impl Command {
    fn writes(&self) -> usize {
        match self {
            Self::AddElements { elements, .. } | Self::DeleteElements { elements, .. } => {
                elements.len()
            }
            _ => 1,
        }
    }

    /// The object, for an error message: what it is called, and what its comment says.
    pub fn object(&self) -> String {
        let commented = |kind: &str, name: &str, comment: &str| {
            if comment.is_empty() {
                format!("{kind} {name}")
            } else {
                format!("{kind} {name} ({comment})")
            }
        };
        match self {
            Self::AddTable | Self::DeleteTable => format!("table inet {TABLE}"),
            Self::AddSet { name, spec } => commented(kind(spec.verdicts), name, &spec.comment),
            Self::DeleteSet { name, map } | Self::FlushSet { name, map } => {
                format!("{} {name}", kind(*map))
            }
            Self::AddElements { set, spec, .. } | Self::DeleteElements { set, spec, .. } => {
                commented(&format!("elements of {}", kind(spec.verdicts)), set, &spec.comment)
            }
            Self::AddChain { name, comment, .. } => commented("chain", name, comment),
            Self::DeleteChain { name } | Self::FlushChain { name } => format!("chain {name}"),
            Self::AddRule { chain, rule } => {
                commented(&format!("rule of chain {chain}"), &rule.to_string(), &rule.comment)
            }
        }
    }
}

fn kind(map: bool) -> &'static str {
    if map { "map" } else { "set" }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable => {
                write!(f, "add table inet {TABLE} {{ comment \"{TABLE_COMMENT}\"; }}")
            }
            Self::DeleteTable => write!(f, "delete table inet {TABLE}"),
            Self::AddSet { name, spec } => {
                write!(f, "add {} inet {TABLE} {name} {spec}", kind(spec.verdicts))
            }
            Self::DeleteSet { name, map } => {
                write!(f, "delete {} inet {TABLE} {name}", kind(*map))
            }
            Self::FlushSet { name, map } => write!(f, "flush {} inet {TABLE} {name}", kind(*map)),
            Self::AddElements { set, elements, .. } => {
                write!(f, "add element inet {TABLE} {set} {{ ")?;
                for (i, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(" }")
            }
            Self::DeleteElements { set, elements, .. } => {
                write!(f, "delete element inet {TABLE} {set} {{ ")?;
                for (i, element) in elements.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, element.key)?;
                }
                f.write_str(" }")
            }
            Self::AddChain { name, hook, comment } => {
                write!(f, "add chain inet {TABLE} {name} {{")?;
                if let Some(hook) = hook {
                    write!(f, " {hook}")?;
                }
                if !comment.is_empty() {
                    write!(f, " comment \"{comment}\";")?;
                }
                f.write_str(" }")
            }
            Self::DeleteChain { name } => write!(f, "delete chain inet {TABLE} {name}"),
            Self::FlushChain { name } => write!(f, "flush chain inet {TABLE} {name}"),
            Self::AddRule { chain, rule } => write!(f, "add rule inet {TABLE} {chain} {rule}"),
        }
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.commands.iter().try_for_each(|command| writeln!(f, "{command}"))
    }
}
