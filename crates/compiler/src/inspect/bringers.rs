//! Who brings a member into a set.

use std::collections::BTreeMap;

use brindle_model::cluster::NetworkSetId;
use brindle_model::ruleset::{Member, Set, SetDef};
use brindle_model::selector::Selector;
use brindle_model::{Name, NamespacedName};

use crate::membership::{brings, brought_by};
use crate::world::World;

/// Who brings a member into a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Bringer<'a> {
    /// A network set: some of its prefixes are in the member.
    NetworkSet(&'a NetworkSetId),
    /// An endpoint slice.
    EndpointSlice(&'a NamespacedName),
    /// A node.
    Node(&'a Name),
    /// A pod.
    #[serde(untagged)]
    Pod(&'a NamespacedName),
}

/// Everybody who brings a member into a set, sorted; nobody for a prefix that a rule gives itself.
pub(super) fn of<'a>(world: &'a World, set: &Set) -> BTreeMap<Member, Vec<Bringer<'a>>> {
    let mut bringers: BTreeMap<Member, Vec<Bringer<'a>>> = match &set.def {
        SetDef::Selector(_) | SetDef::NamedPort { .. } => by_member(set, |m| pods(world, set, m)),
        SetDef::Nodes(selector) => by_member(set, |member| nodes(world, selector, member)),
        SetDef::Service { service, .. } => by_member(set, |member| {
            let slices = world.slices.of(service).filter(|(_, slice)| brings(slice, member));
            slices.map(|(id, _)| Bringer::EndpointSlice(id)).collect()
        }),
        SetDef::NetworkSets(selector) => network_sets(world, set, selector),
        SetDef::Cidrs(_) => BTreeMap::new(),
    };
    for bringers in bringers.values_mut() {
        bringers.sort_unstable();
        bringers.dedup();
    }
    bringers
}

fn by_member<'a>(
    set: &Set,
    bringers: impl Fn(&Member) -> Vec<Bringer<'a>>,
) -> BTreeMap<Member, Vec<Bringer<'a>>> {
    set.members.iter().map(|member| (*member, bringers(member))).collect()
}

fn pods<'a>(world: &'a World, set: &Set, member: &Member) -> Vec<Bringer<'a>> {
    let (Member::Addr(addr) | Member::Port(addr, ..)) = *member else { return Vec::new() };
    let brings = |ix| brought_by(world, &set.def, ix, addr).contains(member);
    let owners = world.owners(addr).filter(|ix| brings(*ix));
    owners.map(|ix| Bringer::Pod(world.pods.name(ix))).collect()
}

fn nodes<'a>(world: &'a World, selector: &Selector, member: &Member) -> Vec<Bringer<'a>> {
    let Member::Addr(addr) = *member else { return Vec::new() };
    let matching = world.nodes.at(addr).filter(|(_, node)| selector.matches(&node.labels));
    matching.map(|(name, _)| Bringer::Node(name)).collect()
}

/// Goes the other way round, from the network sets to the members that hold their prefixes: a
/// member does not know what it was joined from.
fn network_sets<'a>(
    world: &'a World,
    set: &Set,
    selector: &Selector,
) -> BTreeMap<Member, Vec<Bringer<'a>>> {
    let mut bringers: BTreeMap<Member, Vec<Bringer<'a>>> = BTreeMap::new();
    for (id, _) in world.network_sets.table().iter() {
        let Some((network_set, labels)) = world.network_set(id) else { continue };
        if selector.matches(&labels) {
            for member in network_set.nets.iter().filter_map(|net| set.member_around(*net)) {
                bringers.entry(member).or_default().push(Bringer::NetworkSet(id));
            }
        }
    }
    bringers
}
