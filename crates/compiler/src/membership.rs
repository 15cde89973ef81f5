//! Which members a set has: derived from the world on every question, so there is no second copy
//! of the truth that a late event could leave behind.
//!
//! A member belongs to an address, and an address to its owners. To bring a set up to date at one
//! address, ask every owner whether it matches now, and compare with what the set holds there.
//! The order of events cannot matter: two pods that hand an address over in one flush, or a late
//! delete of the predecessor, end in the same answer (K39).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use brindle_model::net::Protocol;
use brindle_model::ruleset::{Member, Set, SetDef, SetDelta, SetId};
use brindle_model::selector::Selector;

use crate::pods::PodIx;
use crate::selector_index::SelectorIndex;
use crate::world::{World, WorldChanges};

/// The sets that follow labels, by selector.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    selectors: SelectorIndex<SetId>,
}

impl Membership {
    /// Follows a new set, and returns it filled.
    pub fn add(&mut self, world: &World, id: SetId, def: SetDef) -> Set {
        let members = match selector(&def) {
            Some(selector) => {
                self.selectors.insert(id, selector.clone());
                let matches =
                    |ix: &PodIx| world.labels(*ix).is_some_and(|labels| selector.matches(&labels));
                let pods = world.candidates(selector).into_iter().filter(matches);
                let addresses: BTreeSet<_> = pods.flat_map(|ix| world.addresses(ix)).collect();
                addresses.into_iter().flat_map(|addr| members_at(world, &def, addr)).collect()
            }
            None => nets(&def),
        };
        Set { def, members }
    }

    /// Stops following a set.
    pub fn remove(&mut self, id: &SetId) {
        self.selectors.remove(id);
    }

    /// Brings every followed set up to date with these changes of the world.
    pub fn update(
        &self,
        world: &World,
        changes: &WorldChanges,
        sets: &BTreeMap<SetId, Set>,
    ) -> BTreeMap<SetId, SetDelta> {
        let mut deltas = BTreeMap::new();
        if self.selectors.is_empty() {
            return deltas;
        }
        for (ix, addresses) in world.touched(changes) {
            let labels = [world.labels(ix), world.labels_before(changes, ix)];
            let concerned: BTreeSet<SetId> = labels
                .iter()
                .flatten()
                .flat_map(|labels| self.selectors.matching(labels))
                .collect();
            for id in concerned {
                let Some(set) = sets.get(&id) else { continue };
                for addr in &addresses {
                    compare(&mut deltas, id, set, &members_at(world, &set.def, *addr), *addr);
                }
            }
        }
        deltas
    }
}

/// Notes how a set must change at one address.
fn compare(
    deltas: &mut BTreeMap<SetId, SetDelta>,
    id: SetId,
    set: &Set,
    wanted: &BTreeSet<Member>,
    addr: IpAddr,
) {
    let held: BTreeSet<Member> = held_at(set, addr).collect();
    if held != *wanted {
        let delta = deltas.entry(id).or_default();
        delta.added.extend(wanted.difference(&held));
        delta.removed.extend(held.difference(wanted));
    }
}

/// The members that a set should have at one address.
fn members_at(world: &World, def: &SetDef, addr: IpAddr) -> BTreeSet<Member> {
    world.owners(addr).flat_map(|owner| brought_by(world, def, owner, addr)).collect()
}

/// The members that one owner of an address brings into a set.
pub(crate) fn brought_by(
    world: &World,
    def: &SetDef,
    owner: PodIx,
    addr: IpAddr,
) -> BTreeSet<Member> {
    let (Some(pod), Some(labels)) = (world.pods.get(owner), world.labels(owner)) else {
        return BTreeSet::new();
    };
    match def {
        SetDef::Selector(selector) if selector.matches(&labels) => {
            BTreeSet::from([Member::Addr(addr)])
        }
        SetDef::NamedPort { name, protocol, selector } if selector.matches(&labels) => pod
            .ports
            .iter()
            .filter(|port| port.name == *name && port.protocol == *protocol)
            .map(|port| Member::Port(addr, *protocol, port.port))
            .collect(),
        _ => BTreeSet::new(),
    }
}

/// The members that a set has at one address.
fn held_at(set: &Set, addr: IpAddr) -> impl Iterator<Item = Member> {
    let lowest = Member::Port(addr, Protocol(u8::MIN), u16::MIN);
    let highest = Member::Port(addr, Protocol(u8::MAX), u16::MAX);
    let ports = set.members.range(lowest..=highest);
    set.members.get(&Member::Addr(addr)).into_iter().chain(ports).copied()
}

fn selector(def: &SetDef) -> Option<&Selector> {
    match def {
        SetDef::Selector(selector) | SetDef::NamedPort { selector, .. } => Some(selector),
        _ => None,
    }
}

fn nets(def: &SetDef) -> BTreeSet<Member> {
    match def {
        SetDef::Cidrs(nets) => nets.iter().copied().map(Member::Net).collect(),
        _ => BTreeSet::new(),
    }
}
