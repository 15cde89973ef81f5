//! Addresses and ports of Services (C26).
//!
//! A Service's endpoints are spread over slices, and one may stand in several for a while. Only
//! members that a changed slice had or has can come or go; each is asked for in all slices.

use std::collections::{BTreeMap, BTreeSet};

use brindle_model::NamespacedName;
use brindle_model::cluster::EndpointSlice;
use brindle_model::ruleset::{Member, SetId};

use super::{Deltas, Moment};
use crate::slices::service_of;
use crate::world::World;

/// The sets that follow Services: whether with ports, by Service.
#[derive(Debug, Default)]
pub(super) struct ServiceSets(BTreeMap<NamespacedName, BTreeMap<SetId, bool>>);

impl ServiceSets {
    pub fn add(
        &mut self,
        world: &World,
        id: SetId,
        service: &NamespacedName,
        ports: bool,
    ) -> BTreeSet<Member> {
        self.0.entry(service.clone()).or_default().insert(id, ports);
        world.slices.of(service).flat_map(|(_, slice)| members(slice, ports)).collect()
    }

    pub fn remove(&mut self, id: &SetId, service: &NamespacedName) {
        if let Some(sets) = self.0.get_mut(service) {
            sets.remove(id);
            if sets.is_empty() {
                self.0.remove(service);
            }
        }
    }

    pub fn update(&self, moment: &Moment<'_>, deltas: &mut Deltas) {
        let Moment { world, changes, sets, .. } = *moment;
        for (slice_id, before) in &changes.slices {
            let [before, now] = [before.as_deref(), world.slices.get(slice_id).map(|s| &**s)];
            for (slice, other) in [(before, now), (now, before)] {
                let Some(slice) = slice else { continue };
                let service = service_of(slice_id, slice);
                let other = other.filter(|other| other.service == slice.service);
                for (id, ports) in self.0.get(&service).into_iter().flatten() {
                    let Some(set) = sets.get(id) else { continue };
                    let stays = |m: &Member| other.is_some_and(|other| brings(other, m));
                    for member in members(slice, *ports).filter(|m| !stays(m)) {
                        let wanted = world.slices.of(&service).any(|(_, s)| brings(s, &member));
                        deltas.settle(*id, set, member, wanted);
                    }
                }
            }
        }
    }
}

/// What a slice brings into a set of its Service.
fn members(slice: &EndpointSlice, ports: bool) -> impl Iterator<Item = Member> {
    slice.addresses.iter().flat_map(move |addr| {
        let addresses = (!ports).then_some(Member::Addr(*addr));
        let tuples = ports.then_some(&slice.ports).into_iter().flatten();
        addresses.into_iter().chain(tuples.map(|(proto, port)| Member::Port(*addr, *proto, *port)))
    })
}

/// Whether a slice brings a member into a set of its Service.
pub(crate) fn brings(slice: &EndpointSlice, member: &Member) -> bool {
    match member {
        Member::Addr(addr) => slice.addresses.contains(addr),
        Member::Port(addr, protocol, port) => {
            slice.ports.contains(&(*protocol, *port)) && slice.addresses.contains(addr)
        }
        Member::Net(_) => false,
    }
}
