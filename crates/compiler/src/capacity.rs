//! Programs that are too large for the backend.
//!
//! Each program is measured: its rules, the sets that they name, the members of those. One that is
//! above the backend's limits is *cut*, so that it closes instead of failing as a whole: staged
//! policies go first, then policies that only admit, the last one first, until the rest fits. A
//! policy that may deny or pass stays, so what is left of the program denies whatever it denied; its
//! end is a denial. If that does not fit either, the endpoint is closed.
//!
//! The compiler works on the ruleset as it should be. Only while a program is cut there is a second
//! one, as it is enforced, and then every flush costs the size of the ruleset: that is a state to
//! get out of, and the status says how. While all programs together fit, nothing is measured.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::cluster::EndpointId;
use brindle_model::ruleset::{
    Action, Load, PolicyRules, Program, ProgramId, Ruleset, RulesetDelta, SetId, TierEnd,
};
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};

/// How much of the backend's limits a program takes up.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ProgramLoad {
    /// The pods' endpoints that run it.
    pub endpoints: Vec<EndpointId>,
    /// The HostEndpoints that run it.
    pub hosts: BTreeSet<Name>,
    /// In which direction.
    pub direction: Direction,
    /// The policies that govern them.
    pub policies: Vec<PolicyId>,
    /// Its size.
    pub load: Load,
    /// The most that the backend takes.
    pub limits: Load,
    /// Policies that are not enforced, because it is above the limits.
    pub lost: Vec<PolicyId>,
}

/// Keeps programs within limits.
#[derive(Debug)]
pub(crate) struct Capacity {
    limits: Load,
    /// All that the ruleset holds: no program is larger.
    total: Load,
    /// What is enforced, while that is not the ruleset as it should be.
    enforced: Option<Ruleset>,
}

impl Capacity {
    pub fn new(limits: Load) -> Self {
        Self { limits, total: Load::default(), enforced: None }
    }

    /// What is enforced, if that is not the ruleset as it should be.
    pub fn enforced(&self) -> Option<&Ruleset> {
        self.enforced.as_ref()
    }

    /// Applies a delta to the ruleset as it should be; returns what changes of what is enforced.
    pub fn apply(&mut self, ruleset: &mut Ruleset, delta: RulesetDelta) -> RulesetDelta {
        self.total = total(self.total, ruleset, &delta);
        let before = self.enforced.take();
        if before.is_none() {
            let ahead = View { ruleset, delta: Some(&delta) };
            if self.total.fits(self.limits) || !self.overloads(&ahead, &delta) {
                ruleset.apply(&delta);
                return delta;
            }
        }
        let before = before.unwrap_or_else(|| ruleset.clone());
        ruleset.apply(&delta);
        let view = View { ruleset, delta: None };
        let overloaded = view.overloaded(self.limits);
        if overloaded.is_empty() {
            return RulesetDelta::between(&before, ruleset);
        }
        let cut =
            overloaded.into_iter().map(|id| (id, view.cut(&ruleset.programs[&id], self.limits)));
        let enforced = with_programs(ruleset, cut.collect());
        let changes = RulesetDelta::between(&before, &enforced);
        self.enforced = Some(enforced);
        changes
    }

    /// Whether a delta makes a program too large, where none was before: only what it changes is
    /// measured.
    fn overloads(&self, ahead: &View<'_>, delta: &RulesetDelta) -> bool {
        let too_many_members = self.total.members > self.limits.members
            && !(delta.sets_added.is_empty() && delta.sets_changed.is_empty());
        if delta.programs_added.is_empty() && delta.policies.is_empty() && !too_many_members {
            return false;
        }
        let changed = |id: &ProgramId, program: &Program| {
            too_many_members
                || delta.programs_added.contains_key(id)
                || policies(program).any(|policy| delta.policies.contains_key(policy))
        };
        let mut programs = ahead.programs().filter(|(id, program)| changed(id, program));
        programs.any(|(_, program)| !ahead.load(program).fits(self.limits))
    }

    /// Whether [`Self::loads`] for this share may be others after a change of what is enforced.
    pub fn concerns(&self, changes: &RulesetDelta, share: usize) -> bool {
        let members = Load { members: self.total.members, ..Load::default() };
        let sets = !(changes.sets_added.is_empty() && changes.sets_changed.is_empty());
        self.enforced.is_some()
            || self.total.share(self.limits) < share
            || sets && members.share(self.limits) >= share
            || !(changes.programs_added.is_empty() && changes.programs_removed.is_empty())
            || !(changes.policies.is_empty() && changes.policies_removed.is_empty())
            || !(changes.endpoints.is_empty() && changes.endpoints_removed.is_empty())
            || !(changes.hosts.is_empty() && changes.hosts_removed.is_empty())
    }

    /// Every program that takes up at least this share of a limit, percent.
    pub fn loads(&self, ruleset: &Ruleset, share: usize) -> Vec<ProgramLoad> {
        if self.total.share(self.limits) < share {
            return Vec::new();
        }
        let view = View { ruleset, delta: None };
        let load = |(id, program): (&ProgramId, &Arc<Program>)| {
            let load = view.load(program);
            if load.share(self.limits) < share {
                return None;
            }
            let runs = ruleset.endpoints.iter();
            let runs = runs.filter(|(_, e)| e.program(program.direction) == *id);
            let hosts = ruleset.hosts.values();
            let hosts = hosts.filter(|host| host.programs.iter().any(|at| at.program == *id));
            let policies: Vec<_> = policies(program).cloned().collect();
            let kept: BTreeSet<_> = match load.fits(self.limits) {
                true => policies.iter().cloned().collect(),
                false => set_of_policies(&view.cut(program, self.limits)),
            };
            Some(ProgramLoad {
                endpoints: runs.map(|(id, _)| id.clone()).collect(),
                hosts: hosts.map(|host| host.endpoint.clone()).collect(),
                direction: program.direction,
                lost: policies.iter().filter(|id| !kept.contains(*id)).cloned().collect(),
                policies,
                load,
                limits: self.limits,
            })
        };
        ruleset.programs.iter().filter_map(load).collect()
    }
}

/// A ruleset, or what a delta is about to make of it.
struct View<'a> {
    ruleset: &'a Ruleset,
    delta: Option<&'a RulesetDelta>,
}

impl<'a> View<'a> {
    fn programs(&self) -> impl Iterator<Item = (&'a ProgramId, &'a Arc<Program>)> {
        let delta = self.delta;
        let gone = move |id: &ProgramId| delta.is_some_and(|d| d.programs_removed.contains(id));
        let stay = self.ruleset.programs.iter().filter(move |(id, _)| !gone(id));
        stay.chain(delta.into_iter().flat_map(|delta| &delta.programs_added))
    }

    fn rules(&self, id: &PolicyId) -> Option<&'a PolicyRules> {
        let changed = self.delta.and_then(|delta| delta.policies.get(id));
        changed.or_else(|| self.ruleset.policies.get(id)).map(|rules| &**rules)
    }

    fn members(&self, id: &SetId) -> usize {
        if let Some(set) = self.delta.and_then(|delta| delta.sets_added.get(id)) {
            return set.members.len();
        }
        let held = self.ruleset.sets.get(id).map_or(0, |set| set.members.len());
        let change = self.delta.and_then(|delta| delta.sets_changed.get(id));
        change.map_or(held, |change| held + change.added.len() - change.removed.len())
    }

    /// Programs above the limits.
    fn overloaded(&self, limits: Load) -> Vec<ProgramId> {
        let over = self.programs().filter(|(_, program)| !self.load(program).fits(limits));
        over.map(|(id, _)| *id).collect()
    }

    fn load(&self, program: &Program) -> Load {
        Load::of(program, |id| self.rules(id), |id| self.members(id))
    }

    /// What of a program fits, closed at its end.
    fn cut(&self, program: &Program, limits: Load) -> Program {
        let mut cut = program.clone();
        cut.end = (Verdict::Deny, DecisionId::OverCapacity);
        while !self.load(&cut).fits(limits) {
            let staged = self.last(&cut, |id, _| id.kind.is_staged());
            let admits = |rules: &PolicyRules| {
                let rules = rules.rules(program.direction);
                rules.iter().all(|rule| matches!(rule.action, Action::Allow | Action::Log))
            };
            let Some((step, policy)) = staged.or_else(|| self.last(&cut, |_, rules| admits(rules)))
            else {
                // Not even what denies fits.
                cut.steps.clear();
                return cut;
            };
            cut.steps[step].policies.remove(policy);
            if cut.steps[step].policies.is_empty() {
                let left = cut.steps.remove(step);
                if left.end == TierEnd::Drop {
                    // Nothing comes further than this tier.
                    cut.steps.truncate(step);
                    cut.end = (Verdict::Deny, DecisionId::TierEnd { tier: left.tier });
                }
            }
        }
        cut
    }

    /// The last policy of a program for which this holds: its step, and its place there.
    fn last(
        &self,
        program: &Program,
        holds: impl Fn(&PolicyId, &PolicyRules) -> bool,
    ) -> Option<(usize, usize)> {
        let at = |id| self.rules(id).is_some_and(|rules| holds(id, rules));
        let steps = program.steps.iter().enumerate().rev();
        steps.filter_map(|(step, tier)| Some((step, tier.policies.iter().rposition(at)?))).next()
    }
}

/// The size of everything, after a delta.
fn total(total: Load, ruleset: &Ruleset, delta: &RulesetDelta) -> Load {
    let of = |rules: &PolicyRules| rules.ingress.len() + rules.egress.len();
    let held = |id: &PolicyId| ruleset.policies.get(id).map_or(0, |rules| of(rules));
    let members = |id: &SetId| ruleset.sets.get(id).map_or(0, |set| set.members.len());
    let came = delta.policies.values().map(|rules| of(rules)).sum::<usize>();
    let went = delta.policies.keys().chain(&delta.policies_removed).map(held).sum::<usize>();
    let new = delta.sets_added.values().map(|set| set.members.len()).sum::<usize>();
    let added = delta.sets_changed.values().map(|change| change.added.len()).sum::<usize>();
    let removed = delta.sets_changed.values().map(|change| change.removed.len()).sum::<usize>();
    let gone = delta.sets_removed.iter().map(members).sum::<usize>();
    Load {
        rules: total.rules + came - went,
        sets: total.sets + delta.sets_added.len() - delta.sets_removed.len(),
        members: total.members + new + added - removed - gone,
    }
}

/// A ruleset with other programs in place of some, and without what nothing names then.
fn with_programs(ruleset: &Ruleset, cut: BTreeMap<ProgramId, Program>) -> Ruleset {
    let mut enforced = ruleset.clone();
    for endpoint in enforced.endpoints.values_mut() {
        let [ingress, egress] =
            Direction::ALL.map(|direction| cut.get(&endpoint.program(direction)).map(Program::id));
        if ingress.is_some() || egress.is_some() {
            let endpoint = Arc::make_mut(endpoint);
            endpoint.ingress = ingress.unwrap_or(endpoint.ingress);
            endpoint.egress = egress.unwrap_or(endpoint.egress);
        }
    }
    for host in enforced.hosts.values_mut() {
        if host.programs.iter().any(|at| cut.contains_key(&at.program)) {
            for at in &mut Arc::make_mut(host).programs {
                at.program = cut.get(&at.program).map_or(at.program, Program::id);
            }
        }
    }
    for (id, program) in cut {
        enforced.programs.remove(&id);
        enforced.programs.insert(program.id(), Arc::new(program));
    }
    let named: BTreeSet<_> = enforced.programs.values().flat_map(|p| set_of_policies(p)).collect();
    enforced.policies.retain(|id, _| named.contains(id));
    let named: BTreeSet<_> = enforced.policies.values().flat_map(|p| p.sets()).collect();
    enforced.sets.retain(|id, _| named.contains(id));
    enforced
}

fn policies(program: &Program) -> impl Iterator<Item = &PolicyId> {
    program.steps.iter().flat_map(|step| &step.policies)
}

fn set_of_policies(program: &Program) -> BTreeSet<PolicyId> {
    policies(program).cloned().collect()
}
