//! A ruleset as it is desired, and what of it has changed since the kernel was last made so: what
//! every backend that renders rules and sets keeps between [`stage`](crate::Backend::stage) and
//! [`commit`](crate::Backend::commit).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::ruleset::{
    Member, PolicyRules, ProgramId, Ruleset, RulesetDelta, Set, SetDef, SetDelta, SetId,
};
use brindle_model::verdict::PolicyId;

/// The ruleset, and what is pending of it. Repeated and reverted deltas are as good as any.
#[derive(Debug, Default)]
pub struct Staged {
    ruleset: Ruleset,
    any: bool,
    rules: Rules,
    endpoints: bool,
    hosts: bool,
    members: BTreeMap<SetId, BTreeMap<Member, bool>>,
}

/// What is to be lowered anew; some of it may be gone.
#[derive(Debug, Default)]
pub struct Rules {
    /// Policies.
    pub policies: BTreeSet<PolicyId>,
    /// Programs, those among them that run such a policy.
    pub programs: BTreeSet<ProgramId>,
}

impl Staged {
    /// Takes a delta. Costs what the delta is long; changed prefixes of rules cost the number of
    /// policies.
    pub fn stage(&mut self, delta: &RulesetDelta) {
        self.any = true;
        for (id, set) in &delta.sets_added {
            self.put_set(*id, set);
        }
        for (id, change) in &delta.sets_changed {
            self.change_set(*id, change);
        }
        for (id, policy) in &delta.policies {
            self.ruleset.policies.insert(id.clone(), Arc::clone(policy));
            self.rules.policies.insert(id.clone());
        }
        for (id, program) in &delta.programs_added {
            self.ruleset.programs.insert(*id, Arc::clone(program));
            self.rules.programs.insert(*id);
        }
        for (id, endpoint) in &delta.endpoints {
            self.ruleset.endpoints.insert(id.clone(), Arc::clone(endpoint));
        }
        for (interface, host) in &delta.hosts {
            self.ruleset.hosts.insert(interface.clone(), Arc::clone(host));
        }
        for id in &delta.endpoints_removed {
            self.ruleset.endpoints.remove(id);
        }
        for interface in &delta.hosts_removed {
            self.ruleset.hosts.remove(interface);
        }
        for id in &delta.programs_removed {
            self.ruleset.programs.remove(id);
            self.rules.programs.insert(*id);
        }
        for id in &delta.policies_removed {
            self.ruleset.policies.remove(id);
            self.rules.policies.insert(id.clone());
        }
        for id in &delta.sets_removed {
            if let Some(set) = self.ruleset.sets.get(id) {
                let removed = set.members.clone();
                self.change_set(*id, &SetDelta { added: BTreeSet::new(), removed });
            }
            self.ruleset.sets.remove(id);
        }
        // A program is what an interface is sent to, so it counts as a change of those.
        let programs = !delta.programs_added.is_empty() || !delta.programs_removed.is_empty();
        self.endpoints |=
            programs || !delta.endpoints.is_empty() || !delta.endpoints_removed.is_empty();
        self.hosts |= (programs && !self.ruleset.hosts.is_empty())
            || !delta.hosts.is_empty()
            || !delta.hosts_removed.is_empty();
    }

    fn put_set(&mut self, id: SetId, set: &Set) {
        let Some(old) = self.ruleset.sets.get(&id) else {
            let empty = Set { def: set.def.clone(), members: BTreeSet::new() };
            self.ruleset.sets.insert(id, empty);
            let added = set.members.clone();
            self.change_set(id, &SetDelta { added, removed: BTreeSet::new() });
            return;
        };
        let added = set.members.difference(&old.members).copied().collect();
        let removed = old.members.difference(&set.members).copied().collect();
        self.change_set(id, &SetDelta { added, removed });
    }

    fn change_set(&mut self, id: SetId, change: &SetDelta) {
        let Some(set) = self.ruleset.sets.get_mut(&id) else { return };
        let pending = self.members.entry(id).or_default();
        for member in &change.removed {
            if set.members.remove(member) && pending.remove(member).is_none() {
                pending.insert(*member, false);
            }
        }
        for member in &change.added {
            if set.members.insert(*member) && pending.remove(member).is_none() {
                pending.insert(*member, true);
            }
        }
        if matches!(set.def, SetDef::Cidrs(_)) {
            // They stand in rules and in sets named by their content.
            let uses = |policy: &PolicyRules| policy.sets().contains(&id);
            let users = self.ruleset.policies.iter().filter(|(_, policy)| uses(policy));
            self.rules.policies.extend(users.map(|(id, _)| id.clone()));
        }
    }

    /// Whether anything was ever staged: before that nothing is desired.
    pub fn any(&self) -> bool {
        self.any
    }

    /// The ruleset as desired.
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// Takes what is to be lowered anew.
    pub fn take_rules(&mut self) -> Rules {
        let mut rules = std::mem::take(&mut self.rules);
        for (id, program) in &self.ruleset.programs {
            let mut named = program.steps.iter().flat_map(|step| &step.policies);
            if !rules.policies.is_empty() && named.any(|policy| rules.policies.contains(policy)) {
                rules.programs.insert(*id);
            }
        }
        rules
    }

    /// Whether interfaces of pods, or what they are sent to, have changed.
    pub fn endpoints(&self) -> bool {
        self.endpoints
    }

    /// Whether interfaces of the node, or what they are sent to, have changed since this was asked.
    pub fn take_hosts(&mut self) -> bool {
        std::mem::take(&mut self.hosts)
    }

    /// Members that came (true) or went, by set.
    pub fn members(&self) -> &BTreeMap<SetId, BTreeMap<Member, bool>> {
        &self.members
    }

    /// The kernel is as desired: no member is pending, and no interface. Returns whether one was.
    pub fn settle(&mut self) -> bool {
        self.members.clear();
        std::mem::take(&mut self.endpoints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_comes_and_goes_is_not_pending() {
        let def = SetDef::Cidrs(Vec::new());
        let id = def.id();
        let member = Member::Net("10.0.0.0/8".parse().expect("a prefix"));
        let members = |all: &[Member]| all.iter().copied().collect::<BTreeSet<_>>();
        let change = |added: &[Member], removed: &[Member]| RulesetDelta {
            sets_changed: [(id, SetDelta { added: members(added), removed: members(removed) })]
                .into(),
            ..RulesetDelta::default()
        };
        let mut staged = Staged::default();
        assert!(!staged.any());
        let set = Set { def, members: BTreeSet::new() };
        staged.stage(&RulesetDelta { sets_added: [(id, set)].into(), ..RulesetDelta::default() });
        staged.stage(&change(&[member], &[]));
        assert_eq!(staged.members()[&id], BTreeMap::from([(member, true)]));
        staged.stage(&change(&[], &[member]));
        assert_eq!(staged.members()[&id], BTreeMap::new());
        staged.stage(&change(&[member], &[]));
        assert!(staged.any() && !staged.settle());
        assert!(staged.members().is_empty() && staged.ruleset().sets[&id].members.len() == 1);
    }
}
