//! What one flush of the compiler changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{
    Action, Endpoint, HostInterface, HostStages, Match, Member, PolicyRules, PortMatch, Program,
    ProgramId, Rule, Ruleset, Set, SetId,
};
use crate::cluster::EndpointId;
use crate::routing;
use crate::verdict::PolicyId;

/// Counts flushes of one compiler. `Applied(n)` means that every input up to flush `n` is
/// enforced; it says nothing between processes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One flush: the generation it completes, and its changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// This flush.
    pub generation: Generation,
    /// Changes of the ruleset.
    pub ruleset: RulesetDelta,
    /// Changes of routing, in the order of [`routing::Change`]'s variants.
    pub routing: Vec<routing::Change>,
}

/// Changes of the ruleset. The fields stand in the order in which a backend without transactions
/// must carry them out: what is referred to comes before what refers to it, and leaves after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesetDelta {
    /// New sets, filled.
    pub sets_added: BTreeMap<SetId, Set>,
    /// Members that came or went in sets that stay.
    pub sets_changed: BTreeMap<SetId, SetDelta>,
    /// Policies that are new or have other rules.
    pub policies: BTreeMap<PolicyId, Arc<PolicyRules>>,
    /// New programs. A program never changes: other content is another id.
    pub programs_added: BTreeMap<ProgramId, Arc<Program>>,
    /// Endpoints that are new or different.
    pub endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    /// Interfaces of the node that are newly policed, or otherwise.
    pub hosts: BTreeMap<HostInterface, Arc<HostStages>>,
    /// Endpoints that are gone.
    pub endpoints_removed: BTreeSet<EndpointId>,
    /// Interfaces of the node that are not policed any more.
    pub hosts_removed: BTreeSet<HostInterface>,
    /// Programs that nothing runs any more.
    pub programs_removed: BTreeSet<ProgramId>,
    /// Policies that no program names any more.
    pub policies_removed: BTreeSet<PolicyId>,
    /// Sets that no policy names any more.
    pub sets_removed: BTreeSet<SetId>,
}

/// Members that came and went; disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetDelta {
    /// New members.
    pub added: BTreeSet<Member>,
    /// Members that are gone.
    pub removed: BTreeSet<Member>,
}

impl RulesetDelta {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The changes that lead from one ruleset to another.
    pub fn between(old: &Ruleset, new: &Ruleset) -> Self {
        let mut delta = Self::default();
        for (id, set) in &new.sets {
            match old.sets.get(id) {
                None => {
                    delta.sets_added.insert(*id, set.clone());
                }
                Some(before) if before.members != set.members => {
                    delta.sets_changed.insert(
                        *id,
                        SetDelta {
                            added: set.members.difference(&before.members).copied().collect(),
                            removed: before.members.difference(&set.members).copied().collect(),
                        },
                    );
                }
                Some(_) => {}
            }
        }
        delta.policies = changed(&old.policies, &new.policies);
        delta.programs_added = changed(&old.programs, &new.programs);
        delta.endpoints = changed(&old.endpoints, &new.endpoints);
        delta.hosts = changed(&old.hosts, &new.hosts);
        delta.endpoints_removed = gone(&old.endpoints, &new.endpoints);
        delta.hosts_removed = gone(&old.hosts, &new.hosts);
        delta.programs_removed = gone(&old.programs, &new.programs);
        delta.policies_removed = gone(&old.policies, &new.policies);
        delta.sets_removed = gone(&old.sets, &new.sets);
        delta
    }
}

fn changed<K: Ord + Clone, V: PartialEq + Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> BTreeMap<K, V> {
    let differs = |(k, v): &(&K, &V)| old.get(*k) != Some(*v);
    new.iter().filter(differs).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn gone<K: Ord + Clone, V>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> BTreeSet<K> {
    old.keys().filter(|k| !new.contains_key(*k)).cloned().collect()
}

impl Ruleset {
    /// Applies a delta: what a snapshot holder does with each batch. Costs the changes, not the
    /// size of what is held.
    pub fn apply(&mut self, delta: &RulesetDelta) {
        self.sets.extend(delta.sets_added.iter().map(|(id, set)| (*id, set.clone())));
        for (id, change) in &delta.sets_changed {
            if let Some(set) = self.sets.get_mut(id) {
                set.members.extend(&change.added);
                remove(&change.removed, |member| set.members.remove(member));
            }
        }
        self.policies.extend(delta.policies.clone());
        self.programs.extend(delta.programs_added.clone());
        self.endpoints.extend(delta.endpoints.clone());
        self.hosts.extend(delta.hosts.clone());
        remove(&delta.endpoints_removed, |id| self.endpoints.remove(id));
        remove(&delta.hosts_removed, |id| self.hosts.remove(id));
        remove(&delta.programs_removed, |id| self.programs.remove(id));
        remove(&delta.policies_removed, |id| self.policies.remove(id));
        remove(&delta.sets_removed, |id| self.sets.remove(id));
    }
}

impl Ruleset {
    /// Whether a flow that was admitted before `delta` may be denied after it; `self` is what the
    /// delta led to. Errs towards yes. An endpoint that comes counts: its address may have been
    /// another's, with flows that are still tracked (K39).
    pub fn may_revoke(&self, delta: &RulesetDelta) -> bool {
        let narrows = |id: &SetId| {
            let mut policies = self.policies.values();
            policies.any(|p| p.ingress.iter().chain(&p.egress).any(|rule| narrows(rule, *id)))
        };
        !delta.endpoints.is_empty()
            || !delta.policies.is_empty()
            || delta
                .sets_changed
                .iter()
                .any(|(id, change)| !change.removed.is_empty() || narrows(id))
    }
}

/// Whether a new member of the set may turn an allow of this rule, or of one behind it, into a
/// denial.
fn narrows(rule: &Rule, id: SetId) -> bool {
    let Match { source, destination, .. } = &rule.matches;
    match rule.action {
        Action::Deny | Action::Pass => rule.matches.sets().any(|set| set == id),
        Action::Log => false,
        Action::Allow => [source, destination].into_iter().any(|side| {
            side.not_sets.contains(&id) || side.not_ports.contains(&PortMatch::Named(id))
        }),
    }
}

fn remove<K, R>(keys: &BTreeSet<K>, mut remove: impl FnMut(&K) -> R) {
    for key in keys {
        remove(key);
    }
}
