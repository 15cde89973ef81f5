//! Which members a set has, kept up to date as the world changes.
//!
//! One file for each kind of set; named ports are those of pods and of host endpoints. All but network sets are derived from the world on every
//! question, so there is no second copy of the truth that a late event could leave behind.

mod host_ports;
mod network_sets;
mod nodes;
mod pods;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::host::HostEndpoint;
use brindle_model::ruleset::{Member, Set, SetDef, SetDelta, SetId};

use crate::hosts::Hosts;
use crate::table::Before;
use crate::world::{World, WorldChanges};

pub(crate) use pods::brought_by;
pub(crate) use services::brings;

/// The sets that follow the world.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    pods: pods::PodSets,
    network_sets: network_sets::NetworkSetSets,
    services: services::ServiceSets,
    nodes: nodes::NodeSets,
}

/// What sets are brought up to date with.
pub(crate) struct Moment<'a> {
    /// The world as it is.
    pub world: &'a World,
    /// How it differs from before.
    pub changes: &'a WorldChanges,
    /// Host endpoints as they are.
    pub hosts: &'a Hosts,
    /// Those that differ from before.
    pub host_changes: &'a Before<Name, Arc<HostEndpoint>>,
    /// The sets as they were before.
    pub sets: &'a BTreeMap<SetId, Set>,
}

/// How sets must change.
#[derive(Debug, Default)]
struct Deltas(BTreeMap<SetId, SetDelta>);

impl Membership {
    /// Follows a new set, and returns it filled.
    pub fn add(&mut self, world: &World, hosts: &Hosts, id: SetId, def: SetDef) -> Set {
        let members = match &def {
            SetDef::Selector(selector) | SetDef::NamedPort { selector, .. } => {
                let mut members = self.pods.add(world, id, &def, selector);
                members.extend(host_ports::of_all(hosts, &def));
                members
            }
            SetDef::NetworkSets(selector) => self.network_sets.add(world, id, selector),
            SetDef::Service { service, ports } => self.services.add(world, id, service, *ports),
            SetDef::Nodes(selector) => self.nodes.add(world, id, selector),
            SetDef::Cidrs(nets) => nets.iter().copied().map(Member::Net).collect(),
        };
        Set { def, members }
    }

    /// Stops following a set.
    pub fn remove(&mut self, id: &SetId, def: &SetDef) {
        match def {
            SetDef::Selector(_) | SetDef::NamedPort { .. } => self.pods.remove(id),
            SetDef::NetworkSets(_) => self.network_sets.remove(id),
            SetDef::Service { service, .. } => self.services.remove(id, service),
            SetDef::Nodes(_) => self.nodes.remove(id),
            SetDef::Cidrs(_) => {}
        }
    }

    /// Brings every followed set up to date with these changes of the world.
    pub fn update(&mut self, moment: &Moment<'_>) -> BTreeMap<SetId, SetDelta> {
        let mut deltas = Deltas::default();
        self.pods.update(moment, &mut deltas);
        self.network_sets.update(moment, &mut deltas);
        self.services.update(moment, &mut deltas);
        self.nodes.update(moment, &mut deltas);
        deltas.0
    }
}

impl Deltas {
    /// Notes which of these members a set holds and should not, and the reverse.
    fn compare(&mut self, id: SetId, held: &BTreeSet<Member>, wanted: &BTreeSet<Member>) {
        if held != wanted {
            let delta = self.0.entry(id).or_default();
            delta.added.extend(wanted.difference(held));
            delta.removed.extend(held.difference(wanted));
        }
    }

    /// Notes that a set should hold a member, or not, if that is not so.
    fn settle(&mut self, id: SetId, set: &Set, member: Member, wanted: bool) {
        if set.members.contains(&member) != wanted {
            let delta = self.0.entry(id).or_default();
            if wanted { &mut delta.added } else { &mut delta.removed }.insert(member);
        }
    }
}
