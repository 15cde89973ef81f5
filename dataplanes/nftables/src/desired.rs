//! The desired state and what is pending of it: the pure half of the backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_dataplane_core::{Rules, Staged};
use brindle_model::Name;
use brindle_model::net::Family;
use brindle_model::ruleset::RulesetDelta;
use brindle_model::verdict::Direction;

use crate::layout::{Layout, Owner, Touched};
use crate::lower::{self, Lowered, Recording, Stages, dispatch_elements, element, members};
use crate::netlink::Snapshot;
use crate::plan::{self, Changes, ElementChanges};
use crate::program::Program;
use crate::table::{Chain, Element, Key};

/// What the kernel is known to hold after a commit.
#[derive(Default)]
pub struct Known {
    chains: BTreeMap<Name, Arc<Chain>>,
    /// Sets, and whether they are maps.
    sets: BTreeMap<Name, bool>,
    dispatch: BTreeMap<(Name, Key), Element>,
}

/// The ruleset, its layout, and what changed in them since the last commit.
pub struct Desired {
    recording: Recording,
    staged: Staged,
    layout: Layout,
    touched: Touched,
    /// `None` until it was said.
    stop_revoked: Option<bool>,
}

impl Desired {
    /// Nothing is desired yet but the skeleton.
    pub fn new(recording: Recording) -> Self {
        let mut layout = Layout::default();
        let mut touched = Touched::default();
        let stages = Stages::default();
        layout.replace(Owner::Skeleton, skeleton(recording, false, stages), &mut touched);
        Self { recording, staged: Staged::default(), layout, touched, stop_revoked: None }
    }

    /// Whether anything was ever staged: before that nothing is desired.
    pub fn staged(&self) -> bool {
        self.staged.any()
    }

    /// Whether packets of revoked connections are dropped.
    pub fn stop_revoked(&mut self, stop: bool) {
        self.stop_revoked = Some(stop);
        self.renew_skeleton();
    }

    fn renew_skeleton(&mut self) {
        let stop = self.stop_revoked.unwrap_or_default();
        let skeleton = skeleton(self.recording, stop, Stages::of(self.staged.ruleset()));
        self.layout.replace(Owner::Skeleton, skeleton, &mut self.touched);
    }

    /// Takes over from what was read whether they are, unless it was said.
    pub fn adopt(&mut self, kernel: &Snapshot) {
        if self.stop_revoked.is_none() {
            self.stop_revoked(lower::stops_revoked(kernel));
        }
    }

    /// The chains as of the last commit, or as they are about to be.
    pub fn chains(&self) -> BTreeMap<Name, Arc<Chain>> {
        self.layout.chains.clone()
    }

    /// Takes a delta.
    pub fn stage(&mut self, delta: &RulesetDelta) {
        self.staged.stage(delta);
    }

    /// Lowers what changed.
    fn lower(&mut self) {
        let Rules { policies, programs } = self.staged.take_rules();
        for id in policies {
            for direction in Direction::ALL {
                let mut lowered = lower::lower_policy(self.staged.ruleset(), &id, direction);
                self.recording.apply(&mut lowered);
                let owner = Owner::Policy(id.clone(), direction);
                self.layout.replace(owner, lowered, &mut self.touched);
            }
        }
        for id in programs {
            let mut lowered = lower::lower_program(self.staged.ruleset(), id);
            self.recording.apply(&mut lowered);
            self.layout.replace(Owner::Program(id), lowered, &mut self.touched);
        }
        if self.staged.take_hosts() {
            let mut lowered = lower::hosts(self.staged.ruleset());
            self.recording.apply(&mut lowered);
            self.layout.replace(Owner::Hosts, lowered, &mut self.touched);
            self.renew_skeleton();
        }
    }

    /// The transaction that makes a kernel without our table as desired.
    pub fn fresh(&mut self) -> Program {
        self.lower();
        plan::fresh(&self.layout).program(&self.layout, self.staged.ruleset())
    }

    /// The transaction that makes the kernel as desired from what was read of it.
    pub fn repair(&mut self, kernel: &Snapshot) -> Program {
        self.lower();
        plan::compare(&self.layout, self.staged.ruleset(), kernel)
            .program(&self.layout, self.staged.ruleset())
    }

    /// The transaction that makes the kernel as desired from what it is known to hold.
    pub fn update(&mut self, kernel: &Known) -> Program {
        self.lower();
        let mut changes = Changes::default();
        for name in &self.touched.chains {
            match (self.layout.chains.get(name), kernel.chains.get(name)) {
                (Some(_), None) => drop(changes.add_chains.insert(name.clone())),
                (None, Some(_)) => drop(changes.delete_chains.insert(name.clone())),
                (Some(new), Some(old)) if new.rules != old.rules => {
                    changes.refill_chains.insert(name.clone());
                }
                _ => {}
            }
        }
        for name in &self.touched.sets {
            match (self.layout.sets.contains_key(name), kernel.sets.get(name)) {
                (true, None) => drop(changes.add_sets.insert(name.clone())),
                (false, Some(map)) => drop(changes.delete_sets.insert(name.clone(), *map)),
                _ => {}
            }
        }
        self.member_changes(kernel, &mut changes);
        self.dispatch_changes(kernel, &mut changes);
        changes.program(&self.layout, self.staged.ruleset())
    }

    fn member_changes(&self, kernel: &Known, changes: &mut Changes) {
        for (id, pending) in self.staged.members() {
            let Some(set) = self.staged.ruleset().sets.get(id) else { continue };
            for family in Family::ALL {
                let (name, _) = members(*id, set, family);
                if !self.layout.is_member_set(&name, family) || !kernel.sets.contains_key(&name) {
                    continue;
                }
                let mine = pending.iter().filter(|(member, _)| member.family() == family);
                let mut elements = ElementChanges::default();
                for (member, present) in mine {
                    let side = if *present { &mut elements.add } else { &mut elements.delete };
                    side.extend(element(member));
                }
                if !elements.add.is_empty() || !elements.delete.is_empty() {
                    changes.elements.insert(name, elements);
                }
            }
        }
    }

    fn dispatch_changes(&self, kernel: &Known, changes: &mut Changes) {
        if !self.staged.endpoints() {
            return;
        }
        let desired = dispatch_elements(self.staged.ruleset());
        let differs = |(at, old): &(&(Name, Key), &Element)| desired.get(*at) != Some(*old);
        for ((set, _), old) in kernel.dispatch.iter().filter(differs) {
            changes.elements.entry(set.clone()).or_default().delete.push(old.clone());
        }
        let comes = |(at, new): &(&(Name, Key), &Element)| kernel.dispatch.get(*at) != Some(*new);
        for ((set, _), new) in desired.iter().filter(comes) {
            // The elements of a set that is made are all added with it.
            if kernel.sets.contains_key(set) {
                changes.elements.entry(set.clone()).or_default().add.push(new.clone());
            }
        }
    }

    /// The kernel is as desired now: nothing is pending. `known` is what it was known to hold.
    pub fn settle(&mut self, known: Option<Known>) -> Known {
        let Touched { chains, sets } = std::mem::take(&mut self.touched);
        let endpoints = self.staged.settle();
        let Some(mut known) = known else { return self.all_known() };
        for name in chains {
            match self.layout.chains.get(&name) {
                Some(chain) => known.chains.insert(name, Arc::clone(chain)),
                None => known.chains.remove(&name),
            };
        }
        for name in sets {
            match self.layout.sets.get(&name) {
                Some((set, _)) => known.sets.insert(name, set.spec.verdicts),
                None => known.sets.remove(&name),
            };
        }
        if endpoints {
            known.dispatch = dispatch_elements(self.staged.ruleset());
        }
        known
    }

    fn all_known(&self) -> Known {
        let sets = self.layout.sets.iter();
        Known {
            chains: self.layout.chains.clone(),
            sets: sets.map(|(name, (set, _))| (name.clone(), set.spec.verdicts)).collect(),
            dispatch: dispatch_elements(self.staged.ruleset()),
        }
    }
}

fn skeleton(recording: Recording, stop_revoked: bool, hosts: Stages) -> Lowered {
    let mut skeleton = lower::skeleton(stop_revoked, hosts);
    recording.apply(&mut skeleton);
    skeleton
}
