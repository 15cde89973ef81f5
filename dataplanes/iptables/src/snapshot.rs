//! What the kernel holds of ours, as the `-save` tools print it.

use std::collections::{BTreeMap, BTreeSet};

use brindle_model::Name;
use brindle_model::net::Family;

use crate::lower::CHAIN_PREFIX;
use crate::set::{Element, SET_PREFIX, Shape, Spec};
use crate::table::PerTable;

/// Everything of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The tables, in the order of [`Family::ALL`].
    pub tables: [PerTable<TableDump>; 2],
    /// The sets.
    pub sets: BTreeMap<Name, SetDump>,
}

/// Our part of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDump {
    /// The chains with their rules, without `-A` and the chain's name.
    pub chains: BTreeMap<Name, Vec<String>>,
    /// Rules in chains of others that lead to ours.
    pub foreign: Vec<ForeignRule>,
}

/// A rule in a chain of somebody else that leads to one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignRule {
    /// Whose chain.
    pub chain: String,
    /// How many rules stand before it.
    pub position: usize,
    /// The rule, without `-A` and the chain's name.
    pub rule: String,
}

/// A set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDump {
    /// What it is; `None` if it is nothing that we make.
    pub spec: Option<Spec>,
    /// Room for elements.
    pub capacity: usize,
    /// The elements; what is none that we write is counted.
    pub elements: BTreeSet<Element>,
    /// Elements that we would not write, as they were printed.
    pub strange: Vec<String>,
}

/// Splits a rule of `-save` into its counters (0 if there are none), chain and text.
pub fn saved_rule(line: &str) -> Option<([u64; 2], &str, &str)> {
    let (counters, line) = match line.strip_prefix('[') {
        None => ([0, 0], line),
        Some(rest) => {
            let (counters, line) = rest.split_once("] ")?;
            let (packets, bytes) = counters.split_once(':')?;
            ([packets.parse().ok()?, bytes.parse().ok()?], line)
        }
    };
    let rule = line.strip_prefix("-A ")?;
    let (chain, text) = rule.split_once(' ').unwrap_or((rule, ""));
    Some((counters, chain, text.trim_end()))
}

impl TableDump {
    /// Reads what `iptables-save -t` prints of one.
    pub fn parse(text: &str) -> Self {
        let mut dump = Self::default();
        let mut positions: BTreeMap<&str, usize> = BTreeMap::new();
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix(':') {
                let name = declared.split(' ').next().unwrap_or_default();
                if name.starts_with(CHAIN_PREFIX) {
                    dump.chains.entry(name.into()).or_default();
                }
            } else if let Some((_, chain, rule)) = saved_rule(line) {
                if chain.starts_with(CHAIN_PREFIX) {
                    dump.chains.entry(chain.into()).or_default().push(rule.to_owned());
                    continue;
                }
                let position = positions.entry(chain).or_default();
                if leads_to_ours(rule) {
                    let (chain, rule) = (chain.to_owned(), rule.to_owned());
                    dump.foreign.push(ForeignRule { chain, position: *position, rule });
                }
                *position += 1;
            }
        }
        dump
    }

    /// Whether nothing is ours.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.foreign.is_empty()
    }
}

fn leads_to_ours(rule: &str) -> bool {
    let mut words = rule.rsplit(' ');
    let target = words.next().unwrap_or_default();
    matches!(words.next(), Some("-j" | "-g")) && target.starts_with(CHAIN_PREFIX)
}

/// Reads `ipset save`.
pub fn parse_sets(text: &str) -> BTreeMap<Name, SetDump> {
    let mut sets: BTreeMap<Name, SetDump> = BTreeMap::new();
    let mut last: Option<Name> = None;
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(verb), Some(name)) = (words.next(), words.next()) else { continue };
        if !name.starts_with(SET_PREFIX) {
            continue;
        }
        match verb {
            "create" => {
                let name = Name::from(name);
                last = Some(name.clone());
                sets.insert(name, created(words));
            }
            "add" if last.as_deref() == Some(name) => {
                let Some(set) = sets.get_mut(name) else { continue };
                let text = words.next().unwrap_or_default();
                let plain = words.next().is_none();
                match set.spec.and_then(|spec| Element::parse(spec.shape, text)).filter(|_| plain) {
                    Some(element) => drop(set.elements.insert(element)),
                    None => set.strange.push(text.to_owned()),
                }
            }
            _ => {}
        }
    }
    sets
}

fn created<'a>(mut words: impl Iterator<Item = &'a str>) -> SetDump {
    let kind = words.next().unwrap_or_default();
    let shape = Shape::ALL.into_iter().find(|shape| shape.kernel_type() == kind);
    let options: Vec<&str> = words.collect();
    let value = |key: &str| {
        let at = options.iter().position(|word| *word == key)?;
        options.get(at + 1).copied()
    };
    let family = match value("family") {
        Some("inet6") => Family::V6,
        _ => Family::V4,
    };
    // A set whose elements end by themselves, or carry something, is none that we make.
    let plain = !options.iter().any(|word| matches!(*word, "timeout" | "skbinfo" | "forceadd"));
    SetDump {
        spec: shape.filter(|_| plain).map(|shape| Spec { shape, family }),
        capacity: value("maxelem").and_then(|text| text.parse().ok()).unwrap_or_default(),
        elements: BTreeSet::new(),
        strange: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_told_from_others() {
        let dump = TableDump::parse(
            "# by hand\n*filter\n:FORWARD DROP [0:0]\n:BRINDLE-FORWARD - [0:0]\n:DOCKER - [1:2]\n\
             [3:4] -A FORWARD -j DOCKER\n[5:6] -A FORWARD -j BRINDLE-FORWARD\n\
             -A BRINDLE-FORWARD -i brd+ -j ACCEPT\nCOMMIT\n",
        );
        assert_eq!(dump.chains["BRINDLE-FORWARD"], ["-i brd+ -j ACCEPT"]);
        assert_eq!(dump.chains.len(), 1);
        let (chain, rule) = ("FORWARD".to_owned(), "-j BRINDLE-FORWARD".to_owned());
        assert_eq!(dump.foreign, [ForeignRule { chain, position: 1, rule }]);
    }

    #[test]
    fn sets_are_read() {
        let sets = parse_sets(
            "create KUBE-X hash:ip family inet hashsize 64 maxelem 9\nadd KUBE-X 10.0.0.1\n\
             create brindle6-nets-1 hash:net family inet6 hashsize 64 maxelem 65536 bucketsize 12\n\
             add brindle6-nets-1 fd00::/8\nadd brindle6-nets-1 fd00::1 nomatch\n",
        );
        assert_eq!(sets.len(), 1);
        let set = &sets["brindle6-nets-1"];
        assert_eq!(set.spec, Some(Spec { shape: Shape::Net, family: Family::V6 }));
        assert_eq!((set.capacity, set.elements.len()), (65_536, 1));
        assert_eq!(set.strange, ["fd00::1"]);
    }
}
