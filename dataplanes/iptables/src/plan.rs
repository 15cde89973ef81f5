//! What is to be changed, and the scripts that change it.
//!
//! The kernel changes one table at once (`tables` says in which order), and sets one element after the other, so a commit
//! has four steps. Between any two of them the node denies what the state before or the state
//! after it denies:
//!
//! 1. sets: new ones, what comes to sets that deny, what comes to sets that admit;
//! 2. and 3. the rules of each family, table by table;
//! 4. sets: what goes from sets that admit, what goes from sets that deny.
//!
//! Last, sets go that no rule asks. That may have to wait for the rules of the other variant, which
//! leave when these have come; it opens nothing.
//!
//! What goes from a set goes first of all if rules ask that set together with another: an address
//! that changes between the two would be in both for a moment. A source that a pod may not use any
//! more goes first as well, and one that it may use now comes last, unless the set is a new one, which
//! no rule asks yet: rules that found it empty would take every packet of a pod for a forged one.

mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter, Write};

use brindle_model::Name;
use brindle_model::net::Family;

use crate::set::{self, Element, Spec};

pub use tables::{Closing, Early, FamilyPlan, TablePlan};

/// The name under which a set is made that takes another's place.
const SPARE: &str = "brindle-spare";

/// Changes of the sets and of both families' tables.
#[derive(Default)]
pub struct Plan {
    /// The sets.
    pub sets: SetPlan,
    /// The tables, in the order of [`Family::ALL`].
    pub families: [FamilyPlan; 2],
}

/// Changes of sets.
#[derive(Default)]
pub struct SetPlan {
    /// Sets to be made.
    pub create: BTreeMap<Name, NewSet>,
    /// Elements that come.
    pub add: BTreeMap<Name, BTreeSet<Element>>,
    /// Elements that go.
    pub delete: BTreeMap<Name, BTreeSet<Element>>,
    /// Sets that go.
    pub destroy: BTreeSet<Name>,
    /// How rules ask the sets.
    pub roles: Roles,
}

/// A set to be made.
pub struct NewSet {
    /// What it is.
    pub spec: Spec,
    /// All its elements.
    pub elements: BTreeSet<Element>,
    /// Those of them that come after the rules: own sources that the set it replaces does not hold.
    pub late: BTreeSet<Element>,
    /// Room for elements.
    pub capacity: usize,
    /// Whether there is one that is too small, whose place it takes.
    pub replaces: bool,
}

/// How rules ask sets, where that decides in which order elements come and go.
#[derive(Default)]
pub struct Roles {
    /// Asked by rules that deny or pass, or negated: a new member closes something.
    pub deny: BTreeSet<Name>,
    /// Asked together with another set of the same side.
    pub joint: BTreeSet<Name>,
    /// Own sources: they come last and go first.
    pub own: BTreeSet<Name>,
}

/// What the tools are given, step by step; an empty step is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// For `ipset restore`, before the rules.
    pub before: String,
    /// For `iptables-restore` and `ip6tables-restore`: tables, each of which ends in `COMMIT`.
    pub tables: [String; 2],
    /// For `ipset restore`, after the rules.
    pub after: String,
    /// For `ipset restore`, at the end.
    pub sweep: String,
    /// How many kernel objects it makes, changes or removes.
    pub writes: usize,
}

impl Plan {
    /// The scripts.
    pub fn script(&self) -> Script {
        let mut script = Script::default();
        self.sets.before(&mut script.before);
        for (family, text) in self.families.iter().zip(&mut script.tables) {
            family.write(text);
        }
        self.sets.after(&mut script.after);
        for name in &self.sets.destroy {
            line(&mut script.sweep, format_args!("destroy {name}"));
        }
        script.writes =
            self.sets.writes() + self.families.iter().map(FamilyPlan::writes).sum::<usize>();
        script
    }
}

fn line(text: &mut String, line: impl Display) {
    writeln!(text, "{line}").expect("a String takes everything");
}

fn elements<'e>(
    text: &mut String,
    verb: &str,
    name: &str,
    elements: impl IntoIterator<Item = &'e Element>,
) {
    for element in elements {
        line(text, format_args!("{verb} {name} {element}"));
    }
}

impl SetPlan {
    fn writes(&self) -> usize {
        let new = self.create.values().map(|set| 1 + set.elements.len()).sum::<usize>();
        let changed =
            self.add.values().chain(self.delete.values()).map(BTreeSet::len).sum::<usize>();
        new + changed + self.destroy.len()
    }

    fn before(&self, text: &mut String) {
        let early =
            |name: &&Name| self.roles.own.contains(*name) || self.roles.joint.contains(*name);
        for (name, going) in self.delete.iter().filter(|(name, _)| early(name)) {
            elements(text, "del", name, going);
        }
        for (name, NewSet { spec, elements: all, late, capacity, replaces }) in &self.create {
            let made = if *replaces { SPARE } else { name };
            line(text, set::create(made, *spec, all.len(), *capacity));
            elements(text, "add", made, all.difference(late));
            if *replaces {
                line(text, format_args!("swap {SPARE} {name}"));
                line(text, format_args!("destroy {SPARE}"));
            }
        }
        for denies in [true, false] {
            let of = |name: &Name| self.roles.deny.contains(name) == denies;
            let coming = self.add.iter().filter(|(name, _)| of(name));
            for (name, coming) in coming.filter(|(name, _)| !self.roles.own.contains(*name)) {
                elements(text, "add", name, coming);
            }
        }
    }

    fn after(&self, text: &mut String) {
        let early = |name: &Name| self.roles.own.contains(name) || self.roles.joint.contains(name);
        for denies in [false, true] {
            let of = |name: &Name| self.roles.deny.contains(name) == denies && !early(name);
            for (name, going) in self.delete.iter().filter(|(name, _)| of(name)) {
                elements(text, "del", name, going);
            }
        }
        for name in &self.roles.own {
            if let Some(NewSet { late, .. }) = self.create.get(name) {
                elements(text, "add", name, late);
            }
            if let Some(coming) = self.add.get(name) {
                elements(text, "add", name, coming);
            }
        }
    }
}

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut step = |tool: &str, text: &str| {
            if text.is_empty() { Ok(()) } else { write!(f, "# {tool}\n{text}") }
        };
        step("ipset restore", &self.before)?;
        for (family, text) in Family::ALL.into_iter().zip(&self.tables) {
            let tool = match family {
                Family::V4 => "iptables-restore",
                Family::V6 => "ip6tables-restore",
            };
            step(&format!("{tool} --noflush"), text)?;
        }
        step("ipset restore", &self.after)?;
        step("ipset restore", &self.sweep)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(last: u8) -> Element {
        Element::OwnSource(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), "brd0".into())
    }

    fn script(replaces: bool, late: BTreeSet<Element>) -> Script {
        let (name, set) = set::own_sources(Family::V4);
        let elements = [1, 2].map(source).into();
        let new = NewSet { spec: set.spec, elements, late, capacity: 64, replaces };
        let roles = Roles { own: [name.clone()].into(), ..Roles::default() };
        let sets = SetPlan { create: [(name, new)].into(), roles, ..SetPlan::default() };
        Plan { sets, ..Plan::default() }.script()
    }

    #[test]
    fn rules_never_find_the_own_sources_of_a_pod_missing_that_had_them() {
        let new = script(false, BTreeSet::new());
        for element in [1, 2].map(source) {
            assert!(new.before.contains(&element.to_string()), "{new}");
        }
        assert_eq!(new.after, "");
        let grown = script(true, [source(2)].into());
        let swap = grown.before.find("swap").expect("it takes another's place");
        let kept = grown.before.find(&source(1).to_string());
        assert!(kept.is_some_and(|at| at < swap), "{grown}");
        assert!(!grown.before.contains(&source(2).to_string()), "{grown}");
        assert!(grown.after.contains(&source(2).to_string()), "{grown}");
    }
}
