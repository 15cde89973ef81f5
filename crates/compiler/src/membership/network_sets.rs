//! Prefixes of network sets (C27).
//!
//! Several network sets may give one prefix, and prefixes nest, so each set of this kind counts
//! them and keeps their cover beside the counts; the members are the pieces of the cover. A change
//! of a network set costs the prefixes that came and went, not those that it has. A network set of
//! a namespace that is not known gives none (decision 0009).

use std::collections::{BTreeMap, BTreeSet};

use brindle_model::cluster::NetworkSet;
use brindle_model::labels::EffectiveLabels;
use brindle_model::ruleset::{Member, SetId};
use brindle_model::selector::Selector;
use ipnet::IpNet;

use super::{Deltas, Moment};
use crate::cover::{CountedCover, CoverDelta};
use crate::selector_index::SelectorIndex;
use crate::world::World;

/// The sets that follow network sets, by selector, with what they count.
#[derive(Debug, Default)]
pub(super) struct NetworkSetSets {
    selectors: SelectorIndex<SetId>,
    covers: BTreeMap<SetId, CountedCover>,
}

/// Prefixes that came into and went out of one set.
#[derive(Default)]
struct Traffic {
    came: Vec<IpNet>,
    went: Vec<IpNet>,
}

impl NetworkSetSets {
    pub fn add(&mut self, world: &World, id: SetId, selector: &Selector) -> BTreeSet<Member> {
        self.selectors.insert(id, selector.clone());
        let candidates = world.candidate_network_sets(selector);
        let matching = candidates.iter().filter_map(|id| {
            let (set, labels) = world.network_set(id)?;
            selector.matches(&labels).then_some(set)
        });
        let cover = CountedCover::new(matching.flat_map(nets));
        let members = cover.pieces().iter().copied().map(Member::Net).collect();
        self.covers.insert(id, cover);
        members
    }

    pub fn remove(&mut self, id: &SetId) {
        self.selectors.remove(id);
        self.covers.remove(id);
    }

    pub fn update(&mut self, moment: &Moment<'_>, deltas: &mut Deltas) {
        let Moment { world, changes, .. } = *moment;
        if self.selectors.is_empty() {
            return;
        }
        let mut traffic: BTreeMap<SetId, Traffic> = BTreeMap::new();
        for id in world.touched_network_sets(changes) {
            self.follow(world.network_set_before(changes, id), world.network_set(id), &mut traffic);
        }
        for (id, Traffic { came, went }) in traffic {
            let cover = self.covers.get_mut(&id).expect("every selector has a cover");
            let CoverDelta { added, removed } = cover.change(came, went);
            if !(added.is_empty() && removed.is_empty()) {
                let delta = deltas.0.entry(id).or_default();
                delta.added.extend(added.into_iter().map(Member::Net));
                delta.removed.extend(removed.into_iter().map(Member::Net));
            }
        }
    }

    /// Notes what a change of one network set means to each set.
    fn follow(
        &self,
        before: Option<Judged<'_>>,
        now: Option<Judged<'_>>,
        traffic: &mut BTreeMap<SetId, Traffic>,
    ) {
        let matching = |judged: &Option<Judged<'_>>| match judged {
            Some((_, labels)) => self.selectors.matching(labels).into_iter().copied().collect(),
            None => BTreeSet::new(),
        };
        let (ids_before, ids_now) = (matching(&before), matching(&now));
        if ids_before.is_empty() && ids_now.is_empty() {
            return;
        }
        let nets_of = |judged: Option<Judged<'_>>| judged.map_or(Vec::new(), |(set, _)| nets(set));
        let (nets_before, nets_now) = (nets_of(before), nets_of(now));
        for id in ids_before.difference(&ids_now) {
            traffic.entry(*id).or_default().went.extend(&nets_before);
        }
        for id in ids_now.difference(&ids_before) {
            traffic.entry(*id).or_default().came.extend(&nets_now);
        }
        let stay: Vec<_> = ids_before.intersection(&ids_now).collect();
        if !stay.is_empty() {
            let (came, went) = (missing(&nets_now, &nets_before), missing(&nets_before, &nets_now));
            for id in stay {
                let traffic = traffic.entry(*id).or_default();
                traffic.came.extend(&came);
                traffic.went.extend(&went);
            }
        }
    }
}

/// A network set with its effective labels.
type Judged<'a> = (&'a NetworkSet, EffectiveLabels<'a>);

/// The prefixes of a network set: sorted, each once.
fn nets(set: &NetworkSet) -> Vec<IpNet> {
    let mut nets: Vec<_> = set.nets.iter().map(IpNet::trunc).collect();
    nets.sort_unstable();
    nets.dedup();
    nets
}

/// The prefixes of one sorted list that are not on another.
fn missing(of: &[IpNet], on: &[IpNet]) -> Vec<IpNet> {
    of.iter().filter(|net| on.binary_search(net).is_err()).copied().collect()
}
