//! Which policies govern an endpoint, and in which order (policy-semantics §2.1).

use std::collections::BTreeSet;
use std::sync::Arc;

use brindle_model::cluster::EndpointId;
use brindle_model::labels::EffectiveLabels;
use brindle_model::policy::{DEFAULT_TIER, Order, Policy};
use brindle_model::ruleset::{Program, TierEnd, TierStep};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};

use crate::selector_index::SelectorIndex;
use crate::table::{Before, Table};
use crate::world::World;

/// The policies of the cluster, found by the labels of their subjects.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub policies: Table<PolicyId, Arc<Policy>>,
    subjects: SelectorIndex<PolicyId>,
}

impl Selection {
    /// Takes over the policies that were noted; returns those that really changed, as they were.
    pub fn advance(&mut self) -> Before<PolicyId, Arc<Policy>> {
        let before = self.policies.advance();
        for (id, old) in &before {
            match self.policies.get(id) {
                Some(new) if old.as_ref().is_some_and(|old| old.subject == new.subject) => {}
                Some(new) => self.subjects.insert(id.clone(), new.subject.clone()),
                None => self.subjects.remove(id),
            }
        }
        before
    }

    /// Endpoints whose programs these policy changes may alter: those that the old or the new
    /// subject selects, unless only rules changed. It scans the endpoints of this node, not pods.
    pub fn concerned(
        &self,
        world: &World,
        before: &Before<PolicyId, Arc<Policy>>,
    ) -> BTreeSet<EndpointId> {
        let mut subjects = Vec::new();
        for (id, old) in before {
            let (old, new) = (old.as_deref(), self.policies.get(id).map(|p| &**p));
            if placement(old) != placement(new) {
                subjects.extend(old.into_iter().chain(new).map(|policy| &policy.subject));
            }
        }
        if subjects.is_empty() {
            return BTreeSet::new();
        }
        let selected = |id: &EndpointId| {
            let labels = world.pods.find(&id.pod).and_then(|ix| world.labels(ix));
            labels.is_some_and(|labels| subjects.iter().any(|s| s.matches(&labels)))
        };
        world.attachments.iter().map(|(id, _)| id).filter(|id| selected(id)).cloned().collect()
    }

    /// The programs of an endpoint, ingress and egress; closed if its pod is not judged (K37).
    pub fn programs(&self, world: &World, id: &EndpointId) -> [Program; 2] {
        match world.pods.find(&id.pod).and_then(|ix| world.labels(ix)) {
            Some(labels) => {
                let namespace = &id.pod.namespace;
                Direction::ALL.map(|direction| self.program(namespace, &labels, direction))
            }
            None => Direction::ALL.map(Program::closed),
        }
    }

    /// The program of a pod of this namespace with these labels. A tier is a step only if a policy in it governs this
    /// pod in this direction (C1).
    pub fn program(
        &self,
        namespace: &str,
        labels: &EffectiveLabels<'_>,
        direction: Direction,
    ) -> Program {
        let selecting = self.subjects.matching(labels);
        let mut governing: Vec<(Order, &PolicyId)> = selecting
            .iter()
            .filter_map(|id| Some((self.policies.get(id)?, id)))
            .filter(|(policy, _)| policy.rules(direction).is_some())
            .map(|(policy, id)| (policy.order, id))
            .collect();
        governing.sort_unstable();
        let policies: Vec<_> = governing.into_iter().map(|(_, id)| id.clone()).collect();
        let step = TierStep { tier: DEFAULT_TIER.into(), policies, end: TierEnd::Drop };
        let profile = DecisionId::Profile { name: format!("kns.{namespace}").into() };
        Program {
            direction,
            steps: if step.policies.is_empty() { Vec::new() } else { vec![step] },
            end: (Verdict::Allow, profile),
        }
    }
}

/// What of a policy decides where it stands in whose program: its order, its subject, and whether
/// it governs each direction.
fn placement(policy: Option<&Policy>) -> Option<(Order, &Selector, [bool; 2])> {
    let governs = |policy: &Policy| Direction::ALL.map(|d| policy.rules(d).is_some());
    policy.map(|policy| (policy.order, &policy.subject, governs(policy)))
}
