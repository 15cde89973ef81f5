//! The compiler: notes updates, and on a flush follows them through the joins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::cluster::{EndpointId, NetworkSet, NetworkSetId, Update};
use brindle_model::host::HostEndpoint;
use brindle_model::routing::Routing;
use brindle_model::ruleset::{
    Batch, Endpoint, Generation, Load, Program, ProgramId, Ruleset, RulesetDelta, SetDef, SetId,
};
use brindle_model::verdict::{Direction, PolicyId};
use ipnet::IpNet;

use crate::capacity::{Capacity, ProgramLoad};
use crate::hosts::{HostChanges, Hosts};
use crate::lowering::lower;
use crate::membership::{Membership, Moment};
use crate::selection::{Classes, Selection, SelectionChanges};
use crate::topology::{Surroundings, Topology};
use crate::uses::Uses;
use crate::world::World;

/// Compiles the inputs of a cluster to what one node enforces and announces.
#[derive(Debug)]
pub struct Compiler {
    pub(crate) world: World,
    pub(crate) selection: Selection,
    pub(crate) hosts: Hosts,
    pub(crate) topology: Topology,
    membership: Membership,
    /// Programs by the endpoints that run them, once a direction.
    program_uses: Uses<ProgramId>,
    /// Policies by the programs that name them.
    policy_uses: Uses<PolicyId>,
    /// Sets by the lowered policies that name them.
    set_uses: Uses<SetId>,
    generation: Generation,
    /// As it should be.
    ruleset: Ruleset,
    pub(crate) capacity: Capacity,
}

impl Compiler {
    /// A compiler for the node of this name, without inputs, for a backend that takes everything.
    pub fn new(node: Name) -> Self {
        Self::within(node, Load::UNBOUNDED)
    }

    /// The same, for a backend that takes no larger programs than these limits.
    pub fn within(node: Name, limits: Load) -> Self {
        Self {
            world: World::default(),
            selection: Selection::default(),
            hosts: Hosts::new(node.clone()),
            topology: Topology::new(node),
            membership: Membership::default(),
            program_uses: Uses::default(),
            policy_uses: Uses::default(),
            set_uses: Uses::default(),
            generation: Generation::default(),
            ruleset: Ruleset::default(),
            capacity: Capacity::new(limits),
        }
    }

    /// A compiler whose node drops what its pods send to it, whatever their policies admit (K30, C40).
    #[must_use]
    pub fn dropping_pods_to_node(mut self) -> Self {
        self.hosts.drop_pods(true);
        self
    }

    /// Notes an update. Cheap, and without effect on what can be read until the next flush; of
    /// several updates for one key the last counts.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Namespace(name, value) => self.world.namespaces.note(name, value),
            Update::Pod(name, value) => self.world.pods.note(name, value),
            Update::Endpoint(id, value) => self.world.attachments.note(id, value),
            Update::NetworkSet(id, value) => self.world.network_sets.note(id, value),
            Update::ServiceAccount(id, value) => self.world.service_accounts.note(id, value),
            Update::EndpointSlice(id, value) => self.world.slices.note(id, value),
            Update::Node(name, value) => self.world.nodes.note(name, value),
            Update::Policy(id, value) => self.selection.policies.note(id, value),
            Update::Tier(name, value) => self.selection.tiers.note(name, value),
            Update::BgpConfiguration(name, value) => self.topology.configurations.note(name, value),
            Update::BgpPeer(name, value) => self.topology.peers.note(name, value),
            Update::BgpFilter(name, value) => self.topology.filters.note(name, value),
            Update::Service(id, value) => self.topology.announcements.services.note(id, value),
            Update::Block(net, value) => self.topology.blocks.note(net, value),
            Update::HostEndpoint(name, value) => {
                let set = value.as_deref().map(|endpoint| Arc::new(known_addresses(endpoint)));
                self.world.network_sets.note(NetworkSetId::of_host_endpoint(&name), set);
                self.hosts.endpoints.note(name, value);
            }
            Update::HostLink(name, value) => self.hosts.links.note(name, value),
            Update::NodeOptions(value) => {
                let options = value.as_deref().cloned().unwrap_or_default();
                self.hosts.set_failsafes(options.failsafes);
                self.hosts.drop_pods(options.drops_pods);
            }
            // Pools steer address assignment; what is announced are the blocks cut from them. Of
            // settings the agent makes the node's options.
            Update::IpPool(..) | Update::AgentConfiguration(..) => {}
        }
    }

    /// Whether an update was noted since the last flush. It may still change nothing.
    pub fn has_pending(&self) -> bool {
        self.world.has_pending()
            || self.selection.has_pending()
            || self.hosts.has_pending()
            || self.topology.has_pending()
    }

    /// Compiles everything noted since the last flush.
    ///
    /// Always completes a generation, also if nothing changes: whoever noted an update and wants to
    /// know when it is enforced waits for the generation of the next batch, whether or not the
    /// update made a difference. Such a batch has an empty delta.
    pub fn flush(&mut self) -> Batch {
        self.generation = self.generation.next();
        let world_changes = self.world.advance();
        let changes = self.selection.advance();
        let host_changes = self.hosts.advance();

        let mut endpoints = self.world.changed_endpoints(&world_changes);
        let concerned = self.selection.concerned(&self.world, &changes, &endpoints);
        endpoints.extend(concerned);
        endpoints.extend(self.in_tiers(changes.tiers.keys().collect()));

        let mut delta = RulesetDelta::default();
        let mut programs = self.compile_endpoints(&endpoints, &mut delta);
        if self.concerns_hosts(&host_changes, &changes) {
            programs.extend(self.compile_hosts(&mut delta));
        }
        self.settle_programs(programs, &mut delta);
        let mut changed: BTreeSet<PolicyId> = changes.policies.into_keys().collect();
        if world_changes.doubts {
            changed.extend(self.ruleset.policies.keys().cloned());
        }
        let definitions = self.settle_policies(changed, &mut delta);
        let new_sets = self.settle_sets(definitions, &mut delta);
        // Only sets that stay are compared member by member; new ones are filled afterwards.
        let moment = Moment {
            world: &self.world,
            changes: &world_changes,
            hosts: &self.hosts,
            host_changes: &host_changes.endpoints,
            sets: &self.ruleset.sets,
        };
        delta.sets_changed = self.membership.update(&moment);
        for (id, def) in new_sets {
            delta.sets_added.insert(id, self.membership.add(&self.world, &self.hosts, id, def));
        }
        let ruleset = self.capacity.apply(&mut self.ruleset, delta);
        self.world.release(&world_changes);
        let nodes_changed = !world_changes.nodes.is_empty();
        let routing = self.topology.advance(&Surroundings {
            nodes: &self.world.nodes,
            nodes_changed,
            slices: &self.world.slices,
            slices_changed: &world_changes.slices,
        });
        Batch { generation: self.generation, ruleset, routing }
    }

    /// The last completed generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What the node enforces as of the last flush.
    pub fn ruleset(&self) -> &Ruleset {
        self.capacity.enforced().unwrap_or(&self.ruleset)
    }

    /// The programs that take up at least this share of a limit of the backend, percent; those above
    /// 100 are not enforced as they should be.
    pub fn loads(&self, share: usize) -> Vec<ProgramLoad> {
        self.capacity.loads(&self.ruleset, share)
    }

    /// Whether [`Self::loads`] may be others after the last flush, which changed this. Costs nothing
    /// while all programs together are below the share.
    pub fn changes_loads(&self, changes: &RulesetDelta, share: usize) -> bool {
        self.capacity.concerns(changes, share)
    }

    /// What the node announces as of the last flush.
    pub fn routing(&self) -> &Routing {
        self.topology.routing()
    }

    /// What Service has this prefix for an address, and why it is not announced by itself; `None` if
    /// it is, or no Service has it.
    pub fn service_remark(&self, prefix: &IpNet) -> Option<String> {
        self.topology.service_remark(&self.world.slices, prefix)
    }

    /// Endpoints whose program has one of these tiers among its steps. Others do not depend on them:
    /// a tier counts only through its policies.
    fn in_tiers(&self, tiers: BTreeSet<&Name>) -> Vec<EndpointId> {
        if tiers.is_empty() {
            return Vec::new();
        }
        let concerned = |program: &Program| program.steps.iter().any(|s| tiers.contains(&s.tier));
        let programs = self.ruleset.programs.iter().filter(|(_, program)| concerned(program));
        let programs: BTreeSet<ProgramId> = programs.map(|(id, _)| *id).collect();
        let runs = |endpoint: &Endpoint| {
            Direction::ALL.into_iter().any(|d| programs.contains(&endpoint.program(d)))
        };
        let endpoints = self.ruleset.endpoints.iter().filter(|(_, endpoint)| runs(endpoint));
        endpoints.map(|(id, _)| id.clone()).collect()
    }

    /// Renews these endpoints; returns the programs that they run now.
    fn compile_endpoints(
        &mut self,
        ids: &BTreeSet<EndpointId>,
        delta: &mut RulesetDelta,
    ) -> BTreeMap<ProgramId, Program> {
        let mut compiled = BTreeMap::new();
        let mut classes = Classes::default();
        for id in ids {
            let old = self.ruleset.endpoints.get(id);
            let Some(attachment) = self.world.attachments.get(id) else {
                if let Some(old) = old {
                    self.program_uses.release(&old.ingress);
                    self.program_uses.release(&old.egress);
                    delta.endpoints_removed.insert(id.clone());
                }
                continue;
            };
            let programs = self.selection.programs(&self.world, id, &mut classes);
            let [ingress, egress] = programs.map(|(id, program)| {
                compiled.insert(id, program);
                id
            });
            let new = Endpoint {
                host_interface: attachment.host_interface.clone(),
                addresses: attachment.addresses.clone(),
                ingress,
                egress,
            };
            if old.is_some_and(|old| **old == new) {
                continue;
            }
            self.program_uses.add(&new.ingress);
            self.program_uses.add(&new.egress);
            if let Some(old) = old {
                self.program_uses.release(&old.ingress);
                self.program_uses.release(&old.egress);
            }
            delta.endpoints.insert(id.clone(), Arc::new(new));
        }
        compiled
    }

    /// Whether what polices this node's own interfaces may have changed.
    fn concerns_hosts(&self, changes: &HostChanges, selection: &SelectionChanges) -> bool {
        let any = !self.ruleset.hosts.is_empty() || self.hosts.any_here();
        let policies = !selection.policies.is_empty() || !selection.tiers.is_empty();
        any && (policies || changes.others || !changes.endpoints.is_empty())
    }

    /// Renews what polices this node's own interfaces; returns the programs that it runs now.
    fn compile_hosts(&mut self, delta: &mut RulesetDelta) -> BTreeMap<ProgramId, Program> {
        let (policed, programs) = self.hosts.compile(&self.selection);
        for (interface, new) in &policed {
            let old = self.ruleset.hosts.get(interface);
            if old.is_some_and(|old| **old == *new) {
                continue;
            }
            new.programs.iter().for_each(|p| self.program_uses.add(&p.program));
            if let Some(old) = old {
                old.programs.iter().for_each(|p| self.program_uses.release(&p.program));
            }
            delta.hosts.insert(interface.clone(), Arc::new(new.clone()));
        }
        for (interface, old) in &self.ruleset.hosts {
            if !policed.contains_key(interface) {
                old.programs.iter().for_each(|p| self.program_uses.release(&p.program));
                delta.hosts_removed.insert(interface.clone());
            }
        }
        programs
    }

    /// Adds programs that are run for the first time, drops those that nothing runs any more.
    fn settle_programs(
        &mut self,
        mut compiled: BTreeMap<ProgramId, Program>,
        delta: &mut RulesetDelta,
    ) {
        for id in self.program_uses.settle() {
            match (self.ruleset.programs.get(&id), self.program_uses.contains(&id)) {
                (None, true) => {
                    let program = compiled.remove(&id).expect("a new use was compiled just now");
                    policies_of(&program).for_each(|policy| self.policy_uses.add(policy));
                    delta.programs_added.insert(id, Arc::new(program));
                }
                (Some(old), false) => {
                    policies_of(old).for_each(|policy| self.policy_uses.release(policy));
                    delta.programs_removed.insert(id);
                }
                (None, false) | (Some(_), true) => {}
            }
        }
    }

    /// Lowers policies that are newly named or whose rules changed, drops those that no program
    /// names any more; returns the definitions of the sets they name.
    fn settle_policies(
        &mut self,
        changed: BTreeSet<PolicyId>,
        delta: &mut RulesetDelta,
    ) -> BTreeMap<SetId, SetDef> {
        let mut definitions = BTreeMap::new();
        let mut concerned = self.policy_uses.settle();
        concerned.extend(changed);
        for id in concerned {
            let old = self.ruleset.policies.get(&id);
            if !self.policy_uses.contains(&id) {
                if let Some(old) = old {
                    old.sets().iter().for_each(|set| self.set_uses.release(set));
                    delta.policies_removed.insert(id);
                }
                continue;
            }
            let policy = self.selection.policies.get(&id);
            let policy = policy.expect("programs name policies that exist");
            let lowered = lower(&id, policy, &self.world);
            if old.is_some_and(|old| **old == lowered.rules) {
                continue;
            }
            lowered.sets.keys().for_each(|set| self.set_uses.add(set));
            if let Some(old) = old {
                old.sets().iter().for_each(|set| self.set_uses.release(set));
            }
            definitions.extend(lowered.sets);
            delta.policies.insert(id, Arc::new(lowered.rules));
        }
        definitions
    }

    /// Drops sets that no policy names any more; returns the definitions of those that are new.
    fn settle_sets(
        &mut self,
        mut definitions: BTreeMap<SetId, SetDef>,
        delta: &mut RulesetDelta,
    ) -> Vec<(SetId, SetDef)> {
        let mut added = Vec::new();
        for id in self.set_uses.settle() {
            match (self.ruleset.sets.contains_key(&id), self.set_uses.contains(&id)) {
                (false, true) => {
                    let def = definitions.remove(&id).expect("a new use was lowered just now");
                    added.push((id, def));
                }
                (true, false) => {
                    self.membership.remove(&id, &self.ruleset.sets[&id].def);
                    delta.sets_removed.insert(id);
                }
                (false, false) | (true, true) => {}
            }
        }
        added
    }
}

/// A host endpoint is picked by selectors as a global network set of its addresses is (C13, C34).
fn known_addresses(endpoint: &HostEndpoint) -> NetworkSet {
    let nets = endpoint.expected_addresses.iter().map(|addr| IpNet::from(*addr)).collect();
    NetworkSet { labels: endpoint.labels.clone(), nets, incomplete: false }
}

fn policies_of(program: &Program) -> impl Iterator<Item = &PolicyId> {
    program.steps.iter().flat_map(|step| &step.policies)
}

/// Compiles inputs from nothing: what every sequence of updates that ends in them must equal.
pub fn snapshot(node: Name, inputs: impl IntoIterator<Item = Update>) -> (Ruleset, Routing) {
    let mut compiler = Compiler::new(node);
    inputs.into_iter().for_each(|update| compiler.apply(update));
    compiler.flush();
    (compiler.ruleset, compiler.topology.into_routing())
}
