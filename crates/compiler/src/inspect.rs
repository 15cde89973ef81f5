//! Read-only questions about compiled state, and its dump: sorted, so that two dumps can be
//! compared as text.

mod bringers;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::cluster::{EndpointId, Namespace, Pod};
use brindle_model::policy::Policy;
use brindle_model::routing::Routing;
use brindle_model::ruleset::{
    Endpoint, Generation, HostStages, Member, PolicyRules, Program, ProgramId, SetId, SetKind,
};
use brindle_model::verdict::{Direction, PolicyId};
use brindle_model::{Name, NamespacedName};

pub use bringers::Bringer;

use crate::Compiler;

/// Everything compiled as of the last flush, for `/debug`; every list is sorted.
#[derive(Debug, serde::Serialize)]
pub struct Dump<'a> {
    /// The last completed generation.
    pub generation: Generation,
    /// Endpoints of this node.
    pub endpoints: Vec<EndpointDump<'a>>,
    /// Interfaces of this node that are policed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostDump<'a>>,
    /// Programs that endpoints and interfaces run.
    pub programs: Vec<(ProgramId, &'a Program)>,
    /// Policies that the programs name.
    pub policies: Vec<PolicyDump<'a>>,
    /// Sets that the policies name.
    pub sets: Vec<SetDump<'a>>,
    /// Speaker, neighbours and prefixes.
    pub routing: &'a Routing,
    /// Neighbours not used: another neighbour, or this node, has their address or name.
    pub shadowed_peers: &'a BTreeMap<Name, Name>,
}

/// One endpoint of a [`Dump`].
#[derive(Debug, serde::Serialize)]
pub struct EndpointDump<'a> {
    /// Its identity.
    pub id: &'a EndpointId,
    /// Its interface, addresses and programs.
    pub endpoint: &'a Endpoint,
}

/// One interface of the node of a [`Dump`].
#[derive(Debug, serde::Serialize)]
pub struct HostDump<'a> {
    /// Its name, or `*` for all that are not named.
    pub interface: String,
    /// What polices it.
    pub stages: &'a HostStages,
}

/// One policy of a [`Dump`].
#[derive(Debug, serde::Serialize)]
pub struct PolicyDump<'a> {
    /// Its identity.
    pub id: &'a PolicyId,
    /// Its lowered rules.
    pub rules: &'a PolicyRules,
}

/// One set of a [`Dump`].
#[derive(Debug, serde::Serialize)]
pub struct SetDump<'a> {
    /// Its identity.
    pub id: SetId,
    /// Its definition in words.
    pub definition: String,
    /// The kind of its members.
    pub kind: SetKind,
    /// Policies whose rules name it.
    pub policies: Vec<&'a PolicyId>,
    /// Its members, each with those who bring it in.
    pub members: Vec<(Member, Vec<Bringer<'a>>)>,
}

/// Questions about inputs and output as of the last flush.
impl Compiler {
    /// A pod as the sources gave it.
    pub fn pod(&self, name: &NamespacedName) -> Option<&Arc<Pod>> {
        self.world.pods.get(self.world.pods.find(name)?)
    }

    /// A namespace as the sources gave it.
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.world.namespaces.table().get(name)
    }

    /// A policy as the sources gave it.
    pub fn policy(&self, id: &PolicyId) -> Option<&Arc<Policy>> {
        self.selection.policies.get(id)
    }

    /// The pods that own an address, by name; several if their sources disagree (K39).
    pub fn owners(&self, addr: IpAddr) -> Vec<&NamespacedName> {
        let mut names: Vec<_> =
            self.world.owners(addr).map(|ix| self.world.pods.name(ix)).collect();
        names.sort_unstable();
        names
    }

    /// The policies that govern a pod anywhere in the cluster, in order of evaluation; `None` if
    /// the pod or its namespace is not known.
    pub fn policies_governing(
        &self,
        pod: &NamespacedName,
        direction: Direction,
    ) -> Option<Vec<PolicyId>> {
        let labels = self.world.labels(self.world.pods.find(pod)?)?;
        let program = self.selection.pod_program(&pod.namespace, &labels, direction);
        Some(program.steps.iter().flat_map(|step| &step.policies).cloned().collect())
    }

    /// The compiled policies whose rules name a set.
    pub fn policies_using(&self, set: SetId) -> Vec<&PolicyId> {
        let policies = self.ruleset().policies.iter();
        policies.filter(|(_, rules)| rules.sets().contains(&set)).map(|(id, _)| id).collect()
    }

    /// The members of a compiled set, each with those who bring it in; nobody for a prefix that a
    /// rule gives itself.
    pub fn members_of(&self, set: SetId) -> Option<Vec<(Member, Vec<Bringer<'_>>)>> {
        let set = self.ruleset().sets.get(&set)?;
        let mut bringers = bringers::of(&self.world, set);
        let members = set.members.iter();
        Some(members.map(|member| (*member, bringers.remove(member).unwrap_or_default())).collect())
    }

    /// Neighbours that are not used because another neighbour, or this node, has their address or
    /// their name: name, and name of the other.
    pub fn shadowed_peers(&self) -> &BTreeMap<Name, Name> {
        self.topology.shadowed()
    }

    /// Why objects that ask for a BGP neighbour make no session on this node: by name.
    pub fn peer_remarks(&self) -> BTreeMap<Name, String> {
        self.topology.peer_remarks()
    }

    /// What host endpoints of this node ask for and do not find: by name.
    pub fn host_remarks(&self) -> BTreeMap<Name, String> {
        self.hosts.remarks()
    }

    /// Everything compiled, sorted.
    pub fn dump(&self) -> Dump<'_> {
        let ruleset = self.ruleset();
        let mut users: BTreeMap<SetId, Vec<&PolicyId>> = BTreeMap::new();
        for (id, rules) in &ruleset.policies {
            rules.sets().into_iter().for_each(|set| users.entry(set).or_default().push(id));
        }
        let sets = ruleset.sets.iter().map(|(id, set)| SetDump {
            id: *id,
            definition: set.def.to_string(),
            kind: set.def.kind(),
            policies: users.remove(id).unwrap_or_default(),
            members: self.members_of(*id).unwrap_or_default(),
        });
        Dump {
            generation: self.generation(),
            endpoints: (ruleset.endpoints.iter())
                .map(|(id, endpoint)| EndpointDump { id, endpoint })
                .collect(),
            hosts: (ruleset.hosts.iter())
                .map(|(at, stages)| HostDump { interface: at.to_string(), stages })
                .collect(),
            programs: ruleset.programs.iter().map(|(id, program)| (*id, &**program)).collect(),
            policies: (ruleset.policies.iter())
                .map(|(id, rules)| PolicyDump { id, rules })
                .collect(),
            sets: sets.collect(),
            routing: self.routing(),
            shadowed_peers: self.shadowed_peers(),
        }
    }
}
