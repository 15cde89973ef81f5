//! The desired state and what is pending of it: the pure half of the backend.

mod hosts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_dataplane_core::{Rules, Staged};
use brindle_model::Name;
use brindle_model::net::Family;
use brindle_model::ruleset::{Member, ProgramId, Ruleset, RulesetDelta, SetId};
use brindle_model::verdict::{Direction, PolicyId};

use crate::config::Jump;
use crate::layout::{Layout, Owner, Touched};
use crate::lower::{self, Gate, HOOKS, Lowered, Recording, Stages};
use crate::plan::{NewSet, Plan, Roles, SetPlan, TablePlan};
use crate::repair::hook_line;
use crate::rule::Chain;
use crate::set::{self, Element, SetUse, Source};
use crate::table::{PerTable, Table};

/// What the kernel is known to hold after a commit.
#[derive(Default)]
pub struct Known {
    /// The chains, in the order of [`Family::ALL`].
    pub chains: [PerTable<BTreeMap<Name, Arc<Chain>>>; 2],
    /// The sets.
    pub sets: BTreeMap<Name, KnownSet>,
    /// The elements of the sets of own sources.
    own: BTreeMap<Name, BTreeSet<Element>>,
}

/// A set that the kernel is known to hold.
#[derive(Clone, Copy, Debug)]
pub struct KnownSet {
    /// How many elements.
    pub len: usize,
    /// How many it has room for.
    pub capacity: usize,
}

/// The ruleset, its layout, and what changed in them since the last commit.
pub struct Desired {
    recording: Recording,
    staged: Staged,
    /// In the order of [`Family::ALL`].
    layouts: [Layout; 2],
    /// `None` until it was said.
    stop_revoked: Option<bool>,
    /// What the skeleton leads to.
    stages: Stages,
    /// The programs of the node's interfaces.
    host_programs: BTreeMap<ProgramId, Table>,
    /// Whether programs of early stages can be asked here.
    gate: Gate,
    gate_changed: bool,
}

/// Rules on the way of one direction of a pod from which on the operator is warned.
const MANY_RULES: usize = 1_000;

/// The families with their places.
pub fn families() -> impl Iterator<Item = (usize, Family)> {
    Family::ALL.into_iter().enumerate()
}

impl Desired {
    /// Nothing is desired yet but the skeleton.
    pub fn new(recording: Recording) -> Self {
        let mut new = Self {
            recording,
            staged: Staged::default(),
            layouts: Default::default(),
            stop_revoked: None,
            stages: Stages::default(),
            host_programs: BTreeMap::new(),
            gate: Gate::Open,
            gate_changed: false,
        };
        new.skeleton();
        new.dispatch();
        new
    }

    /// Whether anything was ever staged: before that nothing is desired.
    pub fn staged(&self) -> bool {
        self.staged.any()
    }

    /// Whether packets of revoked connections are dropped.
    pub fn stop_revoked(&mut self, stop: bool) {
        if self.stop_revoked.replace(stop) != Some(stop) {
            self.skeleton();
        }
    }

    /// As [`Self::stop_revoked`], unless it was said.
    pub fn adopt(&mut self, stop: bool) {
        if self.stop_revoked.is_none() {
            self.stop_revoked(stop);
        }
    }

    fn skeleton(&mut self) {
        let stop = self.stop_revoked.unwrap_or_default();
        for (at, family) in families() {
            let lowered = lower::skeleton(family, self.recording, stop, self.stages);
            self.layouts[at].replace(Owner::Skeleton, lowered);
        }
    }

    /// The layouts as of the last commit, or as they are about to be.
    pub fn layouts(&self) -> &[Layout; 2] {
        &self.layouts
    }

    /// The ruleset as desired.
    pub fn ruleset(&self) -> &Ruleset {
        self.staged.ruleset()
    }

    /// Takes a delta.
    pub fn stage(&mut self, delta: &RulesetDelta) {
        self.staged.stage(delta);
    }

    /// Lowers what changed.
    pub fn lower(&mut self) {
        let Rules { policies, programs } = self.staged.take_rules();
        self.lower_these(&policies, &programs);
        self.lower_hosts(&programs);
        programs.iter().for_each(|id| self.warn_of_length(*id));
    }

    /// Each rule costs each new connection about 4 ns in the legacy variant, 12 ns in the other.
    fn warn_of_length(&self, id: ProgramId) {
        let Some(program) = self.staged.ruleset().programs.get(&id) else { return };
        let layout = &self.layouts[0];
        let named = program.steps.iter().flat_map(|step| &step.policies);
        let policy = |id: &PolicyId| Owner::Policy(id.clone(), program.direction);
        let rules = layout.rules_of(&Owner::Program(id))
            + named.map(|id| layout.rules_of(&policy(id))).sum::<usize>();
        if rules > MANY_RULES {
            tracing::warn!(
                program = %id,
                direction = %program.direction,
                rules,
                "new connections meet many rules one after the other; nftables would look them up"
            );
        }
    }

    fn lower_these(&mut self, policies: &BTreeSet<PolicyId>, programs: &BTreeSet<ProgramId>) {
        let (ruleset, recording) = (self.staged.ruleset(), self.recording);
        for (at, family) in families() {
            let layout = &mut self.layouts[at];
            for id in policies {
                for direction in Direction::ALL {
                    let new = lower::lower_policy(ruleset, family, recording, id, direction);
                    layout.replace(Owner::Policy(id.clone(), direction), new);
                }
            }
            for id in programs {
                let new = lower::lower_program(ruleset, family, recording, *id);
                layout.replace(Owner::Program(*id), new);
            }
        }
        if self.staged.endpoints() {
            self.dispatch();
        }
    }

    fn dispatch(&mut self) {
        for layout in &mut self.layouts {
            let chains = lower::dispatch(self.staged.ruleset(), self.recording);
            layout.replace(Owner::Dispatch, Lowered { chains, ..Lowered::default() });
        }
    }

    /// All elements that a set must have.
    pub fn elements(&self, set: &SetUse) -> BTreeSet<Element> {
        match &set.source {
            Source::Fixed(elements) => elements.clone(),
            Source::OwnSources => lower::own_sources(self.staged.ruleset(), set.spec.family),
            Source::Members(id) => {
                let members = self.staged.ruleset().sets.get(id).map(|set| &set.members);
                let mine = |m: &&Member| m.family() == set.spec.family;
                members.into_iter().flatten().filter(mine).flat_map(set::elements).collect()
            }
        }
    }

    /// A set that is to be made, where there is none.
    pub fn new_set(&self, set: &SetUse) -> NewSet {
        let elements = self.elements(set);
        let capacity = set::capacity(elements.len());
        NewSet { spec: set.spec, elements, late: BTreeSet::new(), capacity, replaces: false }
    }

    /// A set that is to take the place of one that holds these elements, or some that it must not.
    pub fn replacement(&self, set: &SetUse, held: &BTreeSet<Element>) -> NewSet {
        let new = self.new_set(set);
        let late = match set.source {
            Source::OwnSources => new.elements.difference(held).cloned().collect(),
            Source::Fixed(_) | Source::Members(_) => BTreeSet::new(),
        };
        NewSet { late, replaces: true, ..new }
    }

    /// What makes the kernel as desired from what it is known to hold.
    pub fn update(&mut self, known: &Known, jump: Jump) -> Plan {
        self.lower();
        let mut plan = Plan::default();
        for (at, layout) in self.layouts.iter().enumerate() {
            let (family, known_chains) = (&mut plan.families[at], &known.chains[at]);
            for (at, name) in &layout.touched.chains {
                let (table, known) = (&mut family.tables[*at], &known_chains[*at]);
                match (layout.chain(*at, name), known.get(name)) {
                    (Some(new), old) if old != Some(new) => {
                        table.write.insert(name.clone(), Arc::clone(new));
                    }
                    (None, Some(_)) => drop(table.delete.insert(name.clone())),
                    _ => {}
                }
            }
            hook_changes(layout, known_chains, jump, &mut family.tables);
            for name in &layout.touched.sets {
                match (layout.set(name), known.sets.get(name)) {
                    (Some(set), None) => {
                        plan.sets.create.insert(name.clone(), self.new_set(set));
                    }
                    (None, Some(_)) => drop(plan.sets.destroy.insert(name.clone())),
                    _ => {}
                }
            }
        }
        self.member_changes(known, &mut plan.sets);
        self.own_changes(known, &mut plan.sets);
        self.roles(&mut plan);
        let early = known.chains.each_ref().map(|chains| {
            chains.iter().any(|(table, chains)| table != Table::Filter && !chains.is_empty())
        });
        self.order(&mut plan, early);
        plan
    }

    fn member_changes(&self, known: &Known, plan: &mut SetPlan) {
        for (id, pending) in self.staged.members() {
            let Some(set) = self.staged.ruleset().sets.get(id) else { continue };
            for (at, family) in families() {
                let (name, _) = set::members(*id, set, family);
                let Some(used) = self.layouts[at].set(&name) else { continue };
                let Some(held) = known.sets.get(&name) else { continue };
                let mine = pending.iter().filter(|(member, _)| member.family() == family);
                let (mut add, mut delete) = (BTreeSet::new(), BTreeSet::new());
                for (member, present) in mine {
                    let side = if *present { &mut add } else { &mut delete };
                    side.extend(set::elements(member));
                }
                // Prefixes of different members may be written as the same one.
                let both: BTreeSet<_> = add.intersection(&delete).cloned().collect();
                add.retain(|element| !both.contains(element));
                delete.retain(|element| !both.contains(element));
                if held.len + add.len() > held.capacity {
                    let new = NewSet { replaces: true, ..self.new_set(used) };
                    plan.create.insert(name, new);
                    continue;
                }
                insert(&mut plan.add, &name, add);
                insert(&mut plan.delete, &name, delete);
            }
        }
    }

    fn own_changes(&self, known: &Known, plan: &mut SetPlan) {
        if !self.staged.endpoints() {
            return;
        }
        for (_, family) in families() {
            let (name, _) = set::own_sources(family);
            let (Some(old), true) = (known.own.get(&name), known.sets.contains_key(&name)) else {
                continue;
            };
            let new = lower::own_sources(self.staged.ruleset(), family);
            insert(&mut plan.add, &name, new.difference(old).cloned().collect());
            insert(&mut plan.delete, &name, old.difference(&new).cloned().collect());
        }
    }

    /// Finds how rules ask the sets that change, where more than one thing changes.
    pub fn roles(&self, plan: &mut Plan) {
        let sets = &mut plan.sets;
        let tables = plan.families.iter().flat_map(|family| family.tables.iter());
        let rules = tables.into_iter().any(|(_, table)| !table.write.is_empty());
        let changes = sets.create.len() + sets.add.len() + sets.delete.len();
        if changes > 1 || rules {
            for rule in self
                .staged
                .ruleset()
                .policies
                .values()
                .flat_map(|p| p.ingress.iter().chain(&p.egress))
            {
                self.roles_in(rule, &mut sets.roles);
            }
        }
        sets.roles.own.extend(families().map(|(_, family)| set::own_sources(family).0));
    }

    fn roles_in(&self, rule: &brindle_model::ruleset::Rule, roles: &mut Roles) {
        use brindle_model::ruleset::{Action, PortMatch};
        let admits = matches!(rule.action, Action::Allow | Action::Log);
        for side in [&rule.matches.source, &rule.matches.destination] {
            let named = |ports: &[PortMatch]| -> Vec<SetId> {
                let id = |port: &PortMatch| match port {
                    PortMatch::Named(id) => Some(*id),
                    PortMatch::Range(_) => None,
                };
                ports.iter().filter_map(id).collect()
            };
            let positive = [&side.sets[..], &named(&side.ports)].concat();
            let negative = [&side.not_sets[..], &named(&side.not_ports)].concat();
            let joint = positive.len() + negative.len() > 1;
            let all = positive.iter().map(|id| (id, !admits));
            for (id, denies) in all.chain(negative.iter().map(|id| (id, admits))) {
                let Some(set) = self.staged.ruleset().sets.get(id) else { continue };
                for family in Family::ALL {
                    let (name, _) = set::members(*id, set, family);
                    if denies {
                        roles.deny.insert(name.clone());
                    } else if joint {
                        roles.joint.insert(name);
                    }
                }
            }
        }
    }

    /// The kernel is as desired now: nothing is pending. `known` is what it was known to hold, and
    /// `plan` what was done to it; if it was not known, `capacities` are those of the sets that
    /// were read.
    pub fn settle(
        &mut self,
        known: Option<Known>,
        plan: &Plan,
        capacities: &BTreeMap<Name, usize>,
    ) -> Known {
        let endpoints = self.staged.settle();
        let known = match known {
            None => self.all_known(plan, capacities),
            Some(mut known) => {
                for (chains, family) in known.chains.iter_mut().zip(&plan.families) {
                    for (table, plan) in family.tables.iter() {
                        let chains = &mut chains[table];
                        let written = plan.write.iter().map(|(n, c)| (n.clone(), Arc::clone(c)));
                        chains.extend(written);
                        plan.delete.iter().for_each(|name| drop(chains.remove(name)));
                    }
                }
                known.change_sets(&plan.sets);
                if endpoints {
                    known.own = self.own_sources();
                }
                known
            }
        };
        for layout in &mut self.layouts {
            layout.touched = Touched::default();
        }
        known
    }

    fn own_sources(&self) -> BTreeMap<Name, BTreeSet<Element>> {
        let of = |family| {
            (set::own_sources(family).0, lower::own_sources(self.staged.ruleset(), family))
        };
        Family::ALL.map(of).into()
    }

    fn all_known(&self, plan: &Plan, capacities: &BTreeMap<Name, usize>) -> Known {
        let mut known = Known { own: self.own_sources(), ..Known::default() };
        for (layout, chains) in self.layouts.iter().zip(&mut known.chains) {
            for (table, chains) in chains.iter_mut() {
                let all = layout.chains(table);
                chains.extend(all.map(|(name, chain)| (name.clone(), Arc::clone(chain))));
            }
            for (name, set) in layout.sets() {
                let made = plan.sets.create.get(name).map(|set| set.capacity);
                let capacity = made.or_else(|| capacities.get(name).copied()).unwrap_or_default();
                let len = self.elements(set).len();
                known.sets.insert(name.clone(), KnownSet { len, capacity });
            }
        }
        known
    }
}

impl Known {
    fn change_sets(&mut self, plan: &SetPlan) {
        for (name, NewSet { elements, capacity, .. }) in &plan.create {
            let held = KnownSet { len: elements.len(), capacity: *capacity };
            self.sets.insert(name.clone(), held);
        }
        for (name, elements) in &plan.add {
            if let Some(held) = self.sets.get_mut(name) {
                held.len += elements.len();
            }
        }
        for (name, elements) in &plan.delete {
            if let Some(held) = self.sets.get_mut(name) {
                held.len = held.len.saturating_sub(elements.len());
            }
        }
        self.sets.retain(|name, _| !plan.destroy.contains(name));
    }
}

/// Lines for the jumps to chains of ours that come or go.
fn hook_changes(
    layout: &Layout,
    known: &PerTable<BTreeMap<Name, Arc<Chain>>>,
    jump: Jump,
    plan: &mut PerTable<TablePlan>,
) {
    for hook in HOOKS {
        let held = known[hook.table].contains_key(hook.ours);
        match (held, layout.chain(hook.table, hook.ours).is_some()) {
            (false, true) => plan[hook.table].hooks.push(hook_line(hook, jump)),
            (true, false) => {
                let line = format!("-D {} -j {}", hook.built_in, hook.ours);
                plan[hook.table].hooks.push(line);
            }
            _ => {}
        }
    }
}

fn insert(all: &mut BTreeMap<Name, BTreeSet<Element>>, name: &Name, elements: BTreeSet<Element>) {
    if !elements.is_empty() {
        all.insert(name.clone(), elements);
    }
}
