//! What objects say, for both judges.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use brindle_compiler::Compiler;
use brindle_model::cluster::{Attachment, EndpointId, Node, Pod, Update};
use brindle_model::host::HostLink;
use brindle_model::packet::{Origin, Packet};
use brindle_model::ruleset::{HostJudgement, Passage, Ruleset, evaluate, evaluate_host};
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use brindle_model::{Name, NamespacedName};
use brindle_oracle::{Hop, HostHop, World};
use brindle_sources::object::{Object, ObjectKey};
use brindle_sources::snapshot::Snapshot;

use super::services::Services;
use crate::cli::{Edits, End};

/// Objects, as both judges take them.
#[derive(Debug)]
pub struct Facts {
    world: World,
    compiler: Compiler,
    /// Of the nodes that have a host endpoint, each its own: what polices them differs.
    hosts: BTreeMap<Name, Compiler>,
    pods: BTreeMap<NamespacedName, Arc<Pod>>,
    nodes: BTreeMap<Name, Arc<Node>>,
    services: Services,
}

/// An end of a packet's way, looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// Who sends from there.
    pub origin: Origin,
    /// Its addresses; not empty.
    pub addresses: Vec<IpAddr>,
}

impl Facts {
    /// Takes what was read, and edits it.
    ///
    /// # Errors
    /// An edit cannot be read.
    pub fn new(read: Snapshot, edits: &Edits) -> Result<Self> {
        let Snapshot { mut objects, services, changes } = read;
        let mut updates = changes.updates;
        edits.apply(&mut objects, &mut updates)?;
        Ok(Self::compile(objects, updates, Services::new(services)))
    }

    fn compile(
        objects: BTreeMap<ObjectKey, Object>,
        updates: Vec<Update>,
        services: Services,
    ) -> Self {
        let mut world = world(objects.into_values());
        if let Some(name) = uplink(&world) {
            world.uplink = name;
        }
        let hosts = hosts(&world, &updates);
        let (mut pods, mut nodes) = (BTreeMap::new(), BTreeMap::new());
        // Programs are the same on every node, so one compiler stands for all.
        let mut compiler = Compiler::new("explain".into());
        for update in updates {
            match &update {
                Update::Pod(id, Some(pod)) => drop(pods.insert(id.clone(), pod.clone())),
                Update::Pod(id, None) => drop(pods.remove(id)),
                Update::Node(name, Some(node)) => drop(nodes.insert(name.clone(), node.clone())),
                Update::Node(name, None) => drop(nodes.remove(name)),
                _ => {}
            }
            compiler.apply(update);
        }
        for (number, (id, pod)) in pods.iter().enumerate() {
            let attachment = attachment(number, pod);
            compiler.apply(Update::Endpoint(endpoint_id(id), Some(attachment.into())));
        }
        compiler.flush();
        Self { world, compiler, hosts, pods, nodes, services }
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn services(&self) -> &Services {
        &self.services
    }

    /// The node that a sender is on, if it is known.
    pub(super) fn node_of(&self, origin: &Origin) -> Option<Name> {
        match origin {
            Origin::Pod(id) => self.pods.get(id)?.node.clone(),
            Origin::Node(name) => Some(name.clone()),
            Origin::Outside => None,
        }
    }

    /// The pod that holds an address.
    pub(super) fn pod_at(&self, address: IpAddr) -> Option<&NamespacedName> {
        self.pods().find(|(_, pod)| pod.addresses.contains(&address)).map(|(id, _)| id)
    }

    /// Looks up an end.
    ///
    /// # Errors
    /// It is not known, or has no address.
    pub(super) fn locate(&self, end: &End) -> Result<Located> {
        let (origin, addresses) = match end {
            End::Address(address) => (self.origin_of(*address), vec![*address]),
            End::Service(id, _) => bail!("svc/{id} is where packets go, not who holds an address"),
            End::Node(name) => (Origin::Node(name.clone()), self.node_addresses(name)?),
            End::HostEndpoint(name) => {
                let endpoints = self.world.host_endpoints.iter();
                let endpoint = { endpoints }
                    .find(|endpoint| endpoint.metadata.name.as_deref() == Some(name))
                    .with_context(|| format!("there is no HostEndpoint {name}"))?;
                let node = &endpoint.spec.node;
                let expected = endpoint.spec.expected_ips.iter();
                let expected: Vec<_> = expected.filter_map(|text| text.parse().ok()).collect();
                let addresses =
                    if expected.is_empty() { self.node_addresses(node)? } else { expected };
                (Origin::Node(node.as_str().into()), addresses)
            }
            End::Pod(id) => match (self.pods.get(id), self.host_network_node(id)) {
                (Some(pod), _) => (Origin::Pod(id.clone()), pod.addresses.to_vec()),
                // A host-network pod is its node (K27).
                (None, Some(node)) => {
                    (Origin::Node(node.as_str().into()), self.node_addresses(&node)?)
                }
                (None, None) => bail!("there is no pod {id}"),
            },
        };
        if addresses.is_empty() {
            bail!("{end} has no address: not started, or finished");
        }
        Ok(Located { origin, addresses })
    }

    /// Compares a hop with what the compiled ruleset says of it, where policy has decided.
    ///
    /// # Errors
    /// They differ: one of the two is wrong.
    pub(super) fn check(&self, hop: &Hop, packet: &Packet) -> Result<()> {
        let by_policy = matches!(
            hop.decision,
            DecisionId::Rule { .. } | DecisionId::TierEnd { .. } | DecisionId::Profile { .. }
        );
        if !by_policy {
            return Ok(());
        }
        let ruleset = self.compiler.ruleset();
        let endpoint = ruleset.endpoints.get(&endpoint_id(&hop.pod));
        let program = endpoint.and_then(|e| ruleset.programs.get(&e.program(hop.direction)));
        let program = program.with_context(|| format!("{} is not compiled", hop.pod))?;
        let compiled = evaluate(ruleset, program, packet);
        if (compiled.verdict, &compiled.decision) != (hop.verdict, &hop.decision) {
            let says = |verdict: &dyn fmt::Display, decision: &dyn fmt::Display| {
                format!("{verdict}, {decision}")
            };
            bail!(
                "the compiler and the reference evaluator disagree about {} of {}: {} against {}; \
                 please report this with the objects",
                hop.direction,
                hop.pod,
                says(&compiled.verdict, &compiled.decision),
                says(&hop.verdict, &hop.decision),
            );
        }
        Ok(())
    }

    /// Compares the hops of host endpoints, likewise.
    ///
    /// # Errors
    /// They differ.
    pub(super) fn check_hosts(&self, hops: &[HostHop], packet: &Packet) -> Result<()> {
        for hop in hops {
            let same = |judged: &HostJudgement| {
                let decided = (judged.judgement.verdict, &judged.judgement.decision);
                (&judged.endpoint, judged.stage) == (&hop.endpoint, hop.stage)
                    && decided == (hop.verdict, &hop.decision)
            };
            let ruleset = self.hosts.get(&hop.node).map(Compiler::ruleset);
            // To a process or on its way through: the stages that differ tell which it was.
            let passages =
                [Passage::ToHost, Passage::ForwardedIn, Passage::FromHost, Passage::ForwardedOut];
            let compiled = passages.into_iter().filter(|p| p.direction() == hop.direction);
            let mut compiled = compiled.flat_map(|passage| {
                ruleset.map_or_else(Vec::new, |ruleset| {
                    evaluate_host(ruleset, &self.world.uplink, passage, packet)
                })
            });
            let before_policy =
                matches!(hop.decision, DecisionId::Established | DecisionId::Invalid);
            if !before_policy && !compiled.any(|judged| same(&judged)) {
                bail!(
                    "the compiler and the reference evaluator disagree about {} of HostEndpoint {}, \
                     {} stage: the latter says {}, {}; please report this with the objects",
                    hop.direction,
                    hop.endpoint,
                    hop.stage,
                    hop.verdict,
                    hop.decision,
                );
            }
        }
        Ok(())
    }

    /// What the compiled rulesets say of the first packet of a flow between two pods: whether it
    /// is delivered, and what decides on either side.
    pub(crate) fn between_pods(
        &self,
        from: &NamespacedName,
        to: &NamespacedName,
        packet: &Packet,
    ) -> Option<(bool, [DecisionId; 2])> {
        let ruleset = self.compiler.ruleset();
        let judge = |pod, direction| {
            let endpoint = ruleset.endpoints.get(&endpoint_id(pod))?;
            Some(evaluate(ruleset, ruleset.programs.get(&endpoint.program(direction))?, packet))
        };
        let (egress, ingress) = (judge(from, Direction::Egress)?, judge(to, Direction::Ingress)?);
        let delivered = [egress.verdict, ingress.verdict] == [Verdict::Allow; 2]
            && self.hosts_admit(from, to, packet);
        Some((delivered, [egress.decision, ingress.decision]))
    }

    /// Whether the host endpoints between two pods let a packet through.
    fn hosts_admit(&self, from: &NamespacedName, to: &NamespacedName, packet: &Packet) -> bool {
        let node = |pod| self.pods.get(pod).and_then(|pod| pod.node.as_ref());
        let (source, target) = (node(from), node(to));
        let passes = [(source, Passage::ForwardedOut), (target, Passage::ForwardedIn)];
        source == target
            || passes.into_iter().all(|(node, passage)| {
                let compiler = node.and_then(|node| self.hosts.get(node));
                compiler.is_none_or(|compiler| {
                    let uplink = &self.world.uplink;
                    evaluate_host(compiler.ruleset(), uplink, passage, packet)
                        .iter()
                        .all(|judged| judged.judgement.verdict == Verdict::Allow)
                })
            })
    }

    /// Every pod that has a network of its own and an address.
    pub(crate) fn pods(&self) -> impl Iterator<Item = (&NamespacedName, &Pod)> {
        self.pods.iter().map(|(id, pod)| (id, &**pod)).filter(|(_, pod)| !pod.addresses.is_empty())
    }

    /// What all pods are judged by.
    pub(crate) fn ruleset(&self) -> &Ruleset {
        self.compiler.ruleset()
    }

    fn origin_of(&self, address: IpAddr) -> Origin {
        let pod = self.pods.iter().find(|(_, pod)| pod.addresses.contains(&address));
        let node = self.nodes.iter().find(|(_, node)| node.addresses.contains(&address));
        match (pod, node) {
            (Some((id, _)), _) => Origin::Pod(id.clone()),
            (None, Some((name, _))) => Origin::Node(name.clone()),
            (None, None) => Origin::Outside,
        }
    }

    fn node_addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        let node = self.nodes.get(name).with_context(|| format!("there is no node {name}"))?;
        Ok(node.addresses.clone())
    }

    /// The node of a host-network pod.
    fn host_network_node(&self, id: &NamespacedName) -> Option<String> {
        let mut pods = self.world.pods.iter();
        let pod = pods.find(|pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            namespace == &*id.namespace && pod.metadata.name.as_deref() == Some(&id.name)
        })?;
        let spec = pod.spec.as_ref().filter(|spec| spec.host_network == Some(true))?;
        spec.node_name.clone()
    }
}

/// The interface by which nodes reach what they do not hold: that which host endpoints name, if they
/// name one alone.
fn uplink(world: &World) -> Option<String> {
    let named = world.host_endpoints.iter().filter_map(|h| h.spec.interface_name.as_deref());
    let named: BTreeSet<&str> = named.filter(|name| !matches!(*name, "" | "*")).collect();
    let mut named = named.into_iter();
    named.next().filter(|_| named.next().is_none()).map(str::to_owned)
}

/// What polices the interfaces of each node that has a host endpoint.
fn hosts(world: &World, updates: &[Update]) -> BTreeMap<Name, Compiler> {
    let nodes: BTreeSet<Name> =
        world.host_endpoints.iter().map(|h| h.spec.node.as_str().into()).collect();
    let compile = |node: Name| {
        let mut compiler = Compiler::new(node.clone());
        let addresses = updates.iter().find_map(|update| match update {
            Update::Node(name, Some(object)) if *name == node => Some(&object.all_addresses),
            _ => None,
        });
        let link = HostLink { addresses: addresses.cloned().unwrap_or_default() };
        updates.iter().cloned().for_each(|update| compiler.apply(update));
        compiler.apply(Update::HostLink(world.uplink.as_str().into(), Some(link.into())));
        compiler.flush();
        (node, compiler)
    };
    nodes.into_iter().map(compile).collect()
}

fn endpoint_id(pod: &NamespacedName) -> EndpointId {
    EndpointId { pod: pod.clone(), container_id: "explain".into(), interface: "eth0".into() }
}

fn attachment(number: usize, pod: &Pod) -> Attachment {
    let prefix = brindle_model::cluster::HOST_INTERFACE_PREFIX;
    Attachment {
        host_interface: format!("{prefix}{number}").into(),
        addresses: pod.addresses.to_vec(),
    }
}

/// The objects that the reference evaluator judges by.
fn world(objects: impl Iterator<Item = Object>) -> World {
    let mut world = World::default();
    for object in objects {
        match object {
            Object::Namespace(it) => world.namespaces.push(*it),
            Object::Node(it) => world.nodes.push(*it),
            Object::Pod(it) => world.pods.push(*it),
            Object::ServiceAccount(it) => world.service_accounts.push(*it),
            Object::EndpointSlice(it) => world.endpoint_slices.push(*it),
            Object::KubernetesNetworkPolicy(it) => world.network_policies.push(*it),
            Object::ClusterNetworkPolicy(it) => world.cluster_network_policies.push(*it),
            Object::Tier(it) => world.tiers.push(*it),
            Object::NetworkPolicy(it) => world.tiered_policies.push(*it),
            Object::GlobalNetworkPolicy(it) => world.global_network_policies.push(*it),
            Object::StagedNetworkPolicy(it) => world.staged_network_policies.push(*it),
            Object::StagedGlobalNetworkPolicy(it) => world.staged_global_network_policies.push(*it),
            Object::StagedKubernetesNetworkPolicy(it) => {
                world.staged_kubernetes_network_policies.push(*it);
            }
            Object::NetworkSet(it) => world.network_sets.push(*it),
            Object::GlobalNetworkSet(it) => world.global_network_sets.push(*it),
            Object::HostEndpoint(it) => world.host_endpoints.push(*it),
            Object::Service(_)
            | Object::IpPool(_)
            | Object::BgpConfiguration(_)
            | Object::BgpPeer(_)
            | Object::BgpFilter(_)
            | Object::AgentConfiguration(_) => {}
        }
    }
    world
}
