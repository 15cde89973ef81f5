//! From an interface to its program: a tree of chains over the interfaces' names, since iptables
//! has no map. And who may send from where.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::cluster::HOST_INTERFACE_PREFIX;
use brindle_model::net::Family;
use brindle_model::ruleset::{Endpoint, ProgramId, Ruleset};
use brindle_model::verdict::{DecisionId, Direction, is_plain};

use super::policy::program_chain;
use super::record::{drop_name, plain};
use super::{CHAIN_PREFIX, Recording};
use crate::rule::{Chain, Criterion, Rule, Target};
use crate::set::Element;

/// Up to so many interfaces are compared one after the other.
const LEAF: usize = 6;
/// The longest name of an interface (`IFNAMSIZ`), bytes without its NUL.
pub const MAX_INTERFACE: usize = 15;

/// The endpoints by interface. If two claim one, the later id has it. One whose interface could not
/// be a pod's has none, and is closed: a name that ends in `+` would mean others' too.
fn by_interface(ruleset: &Ruleset) -> BTreeMap<&Name, &Endpoint> {
    let fit = |name: &str| {
        name.starts_with(HOST_INTERFACE_PREFIX) && name.len() <= MAX_INTERFACE && is_plain(name)
    };
    let all = ruleset.endpoints.values().map(|e| (&e.host_interface, &**e));
    all.filter(|(name, _)| fit(name)).collect()
}

/// Which interface may send from which address of a family.
pub fn own_sources(ruleset: &Ruleset, family: Family) -> BTreeSet<Element> {
    let of = |(interface, endpoint): (&Name, &Endpoint)| {
        let mine = endpoint.addresses.iter().filter(|addr| Family::of(**addr) == family);
        let element = |addr| Element::OwnSource(addr, interface.clone());
        mine.filter(|addr| !addr.is_unspecified()).copied().map(element).collect::<Vec<_>>()
    };
    by_interface(ruleset).into_iter().flat_map(of).collect()
}

/// The chains that lead from `BRINDLE-EGRESS` and `BRINDLE-TO-PODS` to programs. Each ends where
/// packets of unknown endpoints are dropped.
pub fn dispatch(ruleset: &Ruleset, recording: Recording) -> BTreeMap<Name, Arc<Chain>> {
    let endpoints = by_interface(ruleset);
    let mut chains = BTreeMap::new();
    for (direction, name) in [
        (Direction::Egress, super::skeleton::EGRESS),
        (Direction::Ingress, super::skeleton::TO_PODS),
    ] {
        let programs: Vec<_> = endpoints
            .iter()
            .map(|(name, endpoint)| (&***name, endpoint.program(direction)))
            // A program that is not there cannot be run: the endpoint is as unknown, and as closed.
            .filter(|(_, program)| ruleset.programs.contains_key(program))
            .collect();
        let unknown = DecisionId::UnknownEndpoint;
        let closed = Target::Goto(drop_name(&unknown));
        let mut tree = Tree {
            letter: if direction == Direction::Egress { 'f' } else { 't' },
            input: direction == Direction::Egress,
            leaf: &|interface, program: ProgramId| {
                vec![plain(vec![interface], Target::Goto(program_chain(program)), "")]
            },
            otherwise: &[plain(Vec::new(), closed, &unknown.to_string())],
            chains: &mut chains,
        };
        let invalid = Target::Goto(drop_name(&DecisionId::Invalid));
        let text = DecisionId::Invalid.to_string();
        let mut rules = vec![plain(vec![Criterion::Invalid], invalid, &text)];
        rules.extend(tree.rules(&programs));
        chains.insert(name.into(), Arc::new(Chain { rules }));
    }
    for decision in [DecisionId::Invalid, DecisionId::UnknownEndpoint] {
        let (name, chain) = recording.drop_chain(&decision);
        chains.insert(name, chain);
    }
    chains
}

/// A tree of chains over interfaces' names.
pub struct Tree<'a, T> {
    /// What the names of its chains begin with.
    pub letter: char,
    /// Whether packets come in on the interfaces, or go out.
    pub input: bool,
    /// The rules of an interface, given the criterion that means it.
    pub leaf: &'a dyn Fn(Criterion, T) -> Vec<Rule>,
    /// The rules of all interfaces that are not in the tree.
    pub otherwise: &'a [Rule],
    /// Where its chains go.
    pub chains: &'a mut BTreeMap<Name, Arc<Chain>>,
}

impl<T: Copy> Tree<'_, T> {
    /// The rules that tell apart interfaces, which are sorted and begin alike.
    pub fn rules(&mut self, entries: &[(&str, T)]) -> Vec<Rule> {
        let mut rules = Vec::new();
        let common = common_prefix(entries).len();
        let groups: Vec<&[(&str, T)]> = if entries.len() <= LEAF {
            entries.chunks(1).collect()
        } else {
            let next = |name: &str| name.as_bytes().get(common).copied();
            entries.chunk_by(|(a, _), (b, _)| next(a) == next(b)).collect()
        };
        for group in groups {
            match group {
                [(name, entry)] => {
                    rules.extend((self.leaf)(self.interface((*name).into()), *entry));
                }
                group => {
                    let prefix = common_prefix(group);
                    let chain: Name = format!("{CHAIN_PREFIX}{}-{prefix}", self.letter).into();
                    let criteria = vec![self.interface(format!("{prefix}+").into())];
                    rules.push(plain(criteria, Target::Goto(chain.clone()), ""));
                    let rules = self.rules(group);
                    self.chains.insert(chain, Arc::new(Chain { rules }));
                }
            }
        }
        rules.extend_from_slice(self.otherwise);
        rules
    }

    fn interface(&self, name: Name) -> Criterion {
        Criterion::Interface { input: self.input, equal: true, name }
    }
}

/// What sorted names begin with: the first and the last tell.
fn common_prefix<'a, T>(programs: &[(&'a str, T)]) -> &'a str {
    let (Some((first, _)), Some((last, _))) = (programs.first(), programs.last()) else {
        return "";
    };
    let same = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    &first[..same]
}
