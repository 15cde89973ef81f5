//! Addresses and named ports of pods.
//!
//! A member belongs to an address, and an address to its owners. To bring a set up to date at one
//! address, ask every owner whether it matches now, and compare with what the set holds there.
//! The order of events cannot matter: two pods that hand an address over in one flush, or a late
//! delete of the predecessor, end in the same answer (K39).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use brindle_model::cluster::Pod;
use brindle_model::labels::EffectiveLabels;
use brindle_model::net::Protocol;
use brindle_model::ruleset::{Member, Set, SetDef, SetId};
use brindle_model::selector::Selector;

use super::{Deltas, Moment, host_ports};
use crate::hosts::Hosts;
use crate::pods::PodIx;
use crate::selector_index::SelectorIndex;
use crate::world::World;

/// The sets that follow pods, by selector.
#[derive(Debug, Default)]
pub(super) struct PodSets {
    selectors: SelectorIndex<SetId>,
}

impl PodSets {
    pub fn add(
        &mut self,
        world: &World,
        id: SetId,
        def: &SetDef,
        selector: &Selector,
    ) -> BTreeSet<Member> {
        self.selectors.insert(id, selector.clone());
        let matching = world.judged(world.candidates(selector));
        let matching = matching.filter(|(.., labels)| selector.matches(labels));
        match def {
            SetDef::Selector(_) => in_order(matching.flat_map(|(ix, ..)| world.owned(ix))),
            _ => {
                let members = matching.flat_map(|(ix, pod, _)| {
                    world.owned(ix).flat_map(move |addr| members_of(pod, def, addr))
                });
                members.collect()
            }
        }
    }

    pub fn remove(&mut self, id: &SetId) {
        self.selectors.remove(id);
    }

    pub fn update(&self, moment: &Moment<'_>, deltas: &mut Deltas) {
        let Moment { world, changes, hosts, host_changes, sets } = *moment;
        if self.selectors.is_empty() {
            return;
        }
        let mut settle = |concerned: BTreeSet<SetId>, addresses: &BTreeSet<IpAddr>| {
            for id in concerned {
                let Some(set) = sets.get(&id) else { continue };
                for addr in addresses {
                    let held = held_at(set, *addr).collect();
                    deltas.compare(id, &held, &members_at(world, hosts, &set.def, *addr));
                }
            }
        };
        let matching = |labels: &EffectiveLabels<'_>| self.selectors.matching(labels);
        for (ix, addresses) in world.touched(changes) {
            let labels = [world.labels(ix), world.labels_before(changes, ix)];
            let concerned = labels.iter().flatten().flat_map(matching).copied();
            settle(concerned.collect(), &addresses);
        }
        // At its other addresses, a set that picks a pod by its former and its present labels has the
        // same members of it.
        for ix in world.relabelled(changes) {
            let labels = [world.labels(ix), world.labels_before(changes, ix)];
            let concerned = self.selectors.differing(labels.each_ref().map(Option::as_ref));
            if !concerned.is_empty() {
                settle(concerned.into_iter().copied().collect(), &world.addresses(ix));
            }
        }
        for (name, before) in host_changes {
            let states = before.iter().chain(hosts.endpoints.get(name));
            let addresses = states.clone().flat_map(|e| e.expected_addresses.iter().copied());
            let labels = states.clone().map(|endpoint| crate::hosts::labels(endpoint));
            let concerned = labels.flat_map(|labels| matching(&labels)).copied();
            settle(concerned.collect(), &addresses.collect());
        }
    }
}

/// Addresses as a set. To put integers in order takes a third of the time that members do.
fn in_order(addresses: impl Iterator<Item = IpAddr>) -> BTreeSet<Member> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(address.to_bits()),
            IpAddr::V6(address) => v6.push(address.to_bits()),
        }
    }
    v4.sort_unstable();
    v6.sort_unstable();
    let v4 = v4.into_iter().map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)));
    let v6 = v6.into_iter().map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)));
    v4.chain(v6).map(Member::Addr).collect()
}

/// The members that a set should have at one address.
fn members_at(world: &World, hosts: &Hosts, def: &SetDef, addr: IpAddr) -> BTreeSet<Member> {
    let of_pods = world.owners(addr).flat_map(|owner| brought_by(world, def, owner, addr));
    of_pods.chain(host_ports::at(hosts, def, addr)).collect()
}

/// The members that one owner of an address brings into a set.
pub(crate) fn brought_by(world: &World, def: &SetDef, owner: PodIx, addr: IpAddr) -> Vec<Member> {
    let (SetDef::Selector(selector) | SetDef::NamedPort { selector, .. }) = def else {
        return Vec::new();
    };
    match (world.pods.get(owner), world.labels(owner)) {
        (Some(pod), Some(labels)) if selector.matches(&labels) => {
            members_of(pod, def, addr).collect()
        }
        _ => Vec::new(),
    }
}

/// The members that a pod which matches brings into a set at one address.
fn members_of(pod: &Pod, def: &SetDef, addr: IpAddr) -> impl Iterator<Item = Member> {
    let (addresses, named) = match def {
        SetDef::NamedPort { name, protocol, .. } => (None, Some((name, *protocol))),
        _ => (Some(Member::Addr(addr)), None),
    };
    let ports = named.into_iter().flat_map(move |(name, protocol)| {
        let meant = pod.ports.iter().filter(move |p| p.name == *name && p.protocol == protocol);
        meant.map(move |p| Member::Port(addr, protocol, p.port))
    });
    addresses.into_iter().chain(ports)
}

/// The members that a set has at one address.
fn held_at(set: &Set, addr: IpAddr) -> impl Iterator<Item = Member> {
    let lowest = Member::Port(addr, Protocol(u8::MIN), u16::MIN);
    let highest = Member::Port(addr, Protocol(u8::MAX), u16::MAX);
    let ports = set.members.range(lowest..=highest);
    set.members.get(&Member::Addr(addr)).into_iter().chain(ports).copied()
}
