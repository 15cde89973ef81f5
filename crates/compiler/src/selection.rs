//! Which policies govern an endpoint, and in which order (policy-semantics §2.1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::cluster::EndpointId;
use brindle_model::labels::EffectiveLabels;
use brindle_model::policy::{Order, Policy, Tier};
use brindle_model::ruleset::{Program, ProgramId, ProgramNamer, Stage, Steps, TierEnd, TierStep};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};

use crate::selector_index::{Numbers, SelectorIndex};
use crate::table::{Before, Table};
use crate::world::World;

/// The policies of the cluster, found by the labels of their subjects, and its tiers.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub policies: Table<PolicyId, Arc<Policy>>,
    pub tiers: Table<Name, Arc<Tier>>,
    subjects: SelectorIndex<PolicyId, Arc<Policy>>,
}

/// What an advance changed.
#[derive(Debug)]
pub(crate) struct SelectionChanges {
    pub policies: Before<PolicyId, Arc<Policy>>,
    pub tiers: Before<Name, Arc<Tier>>,
}

impl Selection {
    /// Whether anything was noted since the last advance.
    pub fn has_pending(&self) -> bool {
        self.policies.has_pending() || self.tiers.has_pending()
    }

    /// Takes over what was noted.
    pub fn advance(&mut self) -> SelectionChanges {
        let policies = self.policies.advance();
        self.subjects.expect(policies.len());
        for id in policies.keys() {
            match self.policies.get(id) {
                Some(new) => self.subjects.insert(id.clone(), new.clone()),
                None => self.subjects.remove(id),
            }
        }
        SelectionChanges { policies, tiers: self.tiers.advance() }
    }

    /// A tier, built in or not, if it exists (C3).
    pub fn tier(&self, name: &str) -> Option<Tier> {
        let built_in = || Tier::BUILT_IN.iter().find(|(built_in, _)| *built_in == name);
        self.tiers.get(name).map(|tier| **tier).or_else(|| Some(built_in()?.1))
    }

    /// Endpoints whose programs changes of policies may alter: those that the old or the new
    /// subject selects, unless only rules changed. It scans the endpoints of this node, not pods, and
    /// of them none that is `renewed` anyway: when everything comes at once, all are.
    pub fn concerned(
        &self,
        world: &World,
        changes: &SelectionChanges,
        renewed: &BTreeSet<EndpointId>,
    ) -> BTreeSet<EndpointId> {
        let mut subjects = Vec::new();
        for (id, old) in &changes.policies {
            let (old, new) = (old.as_deref(), self.policies.get(id).map(|p| &**p));
            if placement(old) != placement(new) {
                subjects.extend(old.into_iter().chain(new).map(|policy| &*policy.subject));
            }
        }
        if subjects.is_empty() {
            return BTreeSet::new();
        }
        let selected = |id: &EndpointId| {
            let labels = world.pods.find(&id.pod).and_then(|ix| world.labels(ix));
            labels.is_some_and(|labels| subjects.iter().any(|s| s.matches(&labels)))
        };
        let others = world.attachments.iter().map(|(id, _)| id).filter(|id| !renewed.contains(id));
        others.filter(|id| selected(id)).cloned().collect()
    }

    /// The programs of an endpoint, ingress and egress, by name; closed if its pod is not judged
    /// (K37).
    pub fn programs(
        &self,
        world: &World,
        id: &EndpointId,
        classes: &mut Classes,
    ) -> [(ProgramId, Program); 2] {
        let Some(labels) = world.pods.find(&id.pod).and_then(|ix| world.labels(ix)) else {
            return Direction::ALL.map(Program::closed).map(|program| (program.id(), program));
        };
        let class = classes.0.entry(self.subjects.numbers(&labels));
        let class = class.or_insert_with_key(|selecting| {
            Direction::ALL.map(|direction| {
                let steps = self.steps(self.subjects.keys(selecting), Stage::Normal, direction);
                (ProgramNamer::new(Stage::Normal, direction, &steps), direction, steps)
            })
        });
        class.each_ref().map(|(namer, direction, steps)| {
            let (direction, steps) = (*direction, steps.clone());
            let end = pod_end(&id.pod.namespace);
            (namer.name(&end), Program { stage: Stage::Normal, direction, steps, end })
        })
    }

    /// What a pod runs in the only stage it has.
    pub fn pod_program(
        &self,
        namespace: &str,
        labels: &EffectiveLabels<'_>,
        direction: Direction,
    ) -> Program {
        self.program(labels, Stage::Normal, direction, pod_end(namespace))
    }

    /// The program of an endpoint with these labels.
    pub fn program(
        &self,
        labels: &EffectiveLabels<'_>,
        stage: Stage,
        direction: Direction,
        end: (Verdict, DecisionId),
    ) -> Program {
        // Whatever its subject looks like, no other kind governs host endpoints (C10, C30, A5).
        let selecting = self.subjects.matching(labels).into_iter();
        let selecting = selecting.filter(|id| labels.is_pod || id.kind.selects_host_endpoints());
        let steps = self.steps(selecting, stage, direction);
        Program { stage, direction, steps, end }
    }

    /// The tiers of policies that select one endpoint. A tier is a step only if a policy in it
    /// governs the endpoint at this stage and in this direction, and ends as it says only if one of
    /// them is enforced (C1, C7) and the stage may drop at the end of a tier (C39).
    fn steps<'a>(
        &'a self,
        selecting: impl Iterator<Item = &'a PolicyId>,
        stage: Stage,
        direction: Direction,
    ) -> Steps {
        let place = |id| {
            let policy = self.policies.get(id).filter(|p| p.is_asked_at(stage))?;
            policy.rules(direction)?;
            let tier = self.tier(&policy.tier);
            // Tiers that do not exist come last (C3).
            let of_tier = (tier.is_none(), tier.unwrap_or(Tier::MISSING).order, &policy.tier);
            Some((of_tier, policy.order, id))
        };
        let mut governing: Vec<_> = selecting.filter_map(place).collect();
        governing.sort_unstable();
        let goes_on = matches!(stage, Stage::Untracked | Stage::PreDnat);
        let steps = governing.chunk_by(|(a, ..), (b, ..)| a == b).map(|policies| {
            let tier = policies[0].0.2;
            let enforced = policies.iter().any(|(.., id)| !id.kind.is_staged());
            TierStep {
                tier: tier.clone(),
                policies: policies.iter().map(|(.., id)| (*id).clone()).collect(),
                end: match enforced && !goes_on {
                    true => self.tier(tier).unwrap_or(Tier::MISSING).end,
                    false => TierEnd::NextTier,
                },
            }
        });
        steps.collect()
    }
}

/// Endpoints that the same policies select run programs with the same steps, which are worked out
/// once for all that a flush compiles.
#[derive(Default)]
pub(crate) struct Classes(BTreeMap<Numbers, [(ProgramNamer, Direction, Steps); 2]>);

/// What a pod's profile says, which allows what no tier decides (C6).
fn pod_end(namespace: &str) -> (Verdict, DecisionId) {
    (Verdict::Allow, DecisionId::Profile { name: format!("kns.{namespace}").into() })
}

/// What of a policy decides where it stands in whose program: its tier, order and stage, its
/// subject, and whether it governs each direction.
fn placement(policy: Option<&Policy>) -> Option<(&Name, Order, Stage, &Selector, [bool; 2])> {
    let governs = |policy: &Policy| Direction::ALL.map(|d| policy.rules(d).is_some());
    policy.map(|p| (&p.tier, p.order, p.stage, &*p.subject, governs(p)))
}
