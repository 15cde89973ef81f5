//! Addresses of nodes (A10).

use std::collections::BTreeSet;

use brindle_model::ruleset::{Member, SetDef, SetId};
use brindle_model::selector::Selector;

use super::{Deltas, Moment};
use crate::world::World;

/// The sets that follow nodes. They are few, and nodes change rarely, so each change visits all.
#[derive(Debug, Default)]
pub(super) struct NodeSets(BTreeSet<SetId>);

impl NodeSets {
    pub fn add(&mut self, world: &World, id: SetId, selector: &Selector) -> BTreeSet<Member> {
        self.0.insert(id);
        let matching = world.nodes.iter().filter(|(_, node)| selector.matches(&node.labels));
        matching.flat_map(|(_, node)| &node.all_addresses).copied().map(Member::Addr).collect()
    }

    pub fn remove(&mut self, id: &SetId) {
        self.0.remove(id);
    }

    pub fn update(&self, moment: &Moment<'_>, deltas: &mut Deltas) {
        let Moment { world, changes, sets, .. } = *moment;
        for (name, before) in &changes.nodes {
            let nodes = before.iter().chain(world.nodes.get(name));
            let addresses: BTreeSet<_> = nodes.flat_map(|node| &node.all_addresses).collect();
            for id in &self.0 {
                let Some(set) = sets.get(id) else { continue };
                let SetDef::Nodes(selector) = &set.def else { continue };
                for addr in &addresses {
                    let mut holders = world.nodes.at(**addr);
                    let wanted = holders.any(|(_, node)| selector.matches(&node.labels));
                    deltas.settle(*id, set, Member::Addr(**addr), wanted);
                }
            }
        }
    }
}
