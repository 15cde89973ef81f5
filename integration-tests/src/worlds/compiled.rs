//! A world through the real pipeline: YAML text, sources, one compiler a node; and the ruleset's
//! own evaluator on the result ("O2").

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Result, bail};
use brindle_compiler::Compiler;
use brindle_model::cluster::{Attachment, EndpointId, HOST_INTERFACE_PREFIX, Update};
use brindle_model::host::HostLink;
use brindle_model::packet::{Flow, Origin, Packet};
use brindle_model::ruleset::{
    Endpoint, HostJudgement, Judgement, Passage, Ruleset, Stage, evaluate, evaluate_host,
};
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use brindle_model::{Name, NamespacedName};
use brindle_oracle::{Hop, HostHop, Outcome, World};
use brindle_sources::convert::{convert, update};
use brindle_sources::document::{Content, parse};
use brindle_sources::intern::Interner;
use k8s_openapi::api::core::v1::Pod;

/// Who judges.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// A pod.
    Pod(NamespacedName),
    /// A stage of a HostEndpoint of a node.
    Host {
        /// The node.
        node: Name,
        /// The HostEndpoint.
        endpoint: Name,
        /// The stage.
        stage: Stage,
    },
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(pod) => write!(f, "{pod}"),
            Self::Host { node, endpoint, stage } => {
                write!(f, "host endpoint {endpoint} of {node}, {stage}")
            }
        }
    }
}

/// What a ruleset says of a flow at one pod or stage of a host endpoint, and direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who judges.
    pub at: At,
    /// The direction.
    pub direction: Direction,
    /// Whether the packet goes on.
    pub verdict: Verdict,
    /// Who decided.
    pub decision: DecisionId,
    /// The Log rules on the way.
    pub logged: Vec<DecisionId>,
    /// What staged policies on the way would have decided.
    pub staged: Vec<DecisionId>,
}

impl From<Hop> for Answer {
    /// What the oracle answers.
    fn from(hop: Hop) -> Self {
        let Hop { pod, direction, verdict, decision, logged, staged, .. } = hop;
        Self { at: At::Pod(pod), direction, verdict, decision, logged, staged }
    }
}

impl From<HostHop> for Answer {
    /// What the oracle answers.
    fn from(hop: HostHop) -> Self {
        let HostHop { node, endpoint, stage, direction, verdict, decision, logged, staged, .. } =
            hop;
        let at = At::Host { node, endpoint, stage };
        Self { at, direction, verdict, decision, logged, staged }
    }
}

impl Answer {
    /// Everything that the oracle answers.
    pub fn all(outcome: &Outcome) -> Vec<Self> {
        let pods = outcome.hops.iter().cloned().map(Self::from);
        pods.chain(outcome.hosts.iter().cloned().map(Self::from)).collect()
    }
}

/// The inputs of one node's compiler.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The node.
    pub node: Name,
    /// In the order of the text, then the node's own attachments.
    pub updates: Vec<Update>,
}

/// Name of the pod of each node's attachment that has no object: an endpoint that is not known.
pub const GHOST: &str = "ghost";

/// The inputs of every node's compiler.
///
/// # Errors
/// A document that the sources cannot identify.
pub fn inputs(text: &str, world: &World) -> Result<Vec<Inputs>> {
    let objects = updates(text)?;
    let nodes = world.nodes.iter().filter_map(|n| n.metadata.name.as_deref());
    Ok((1..)
        .zip(nodes)
        .map(|(number, node)| {
            let own = world.pods.iter().filter(|pod| is_attached(pod, node));
            let own = own.map(|pod| (id(pod), addresses(pod)));
            let ghost = (NamespacedName::new("x", GHOST), vec![IpAddr::from([10, 0, 9, number])]);
            let attachments = own
                .chain([ghost])
                .enumerate()
                .map(|(i, (pod, addresses))| attach(i, pod, addresses));
            let links = links(world, node);
            let updates = objects.iter().cloned().chain(attachments).chain(links).collect();
            Inputs { node: node.into(), updates }
        })
        .collect())
}

/// Every object of the text as an update, as an agent would see it.
fn updates(text: &str) -> Result<Vec<Update>> {
    let mut names = Interner::default();
    let mut updates = Vec::new();
    for document in parse(text) {
        match document.content {
            Content::Object { key, decoded } => {
                let conversion = convert(&key, &decoded, &mut names);
                updates.extend(update(&key, conversion.input));
            }
            other => bail!("document {} is not an object: {other:?}", document.number),
        }
    }
    Ok(updates)
}

/// What the CNI plugin has done by now: a live pod with addresses hangs on its node.
fn is_attached(pod: &Pod, node: &str) -> bool {
    let spec = pod.spec.as_ref();
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    spec.and_then(|s| s.node_name.as_deref()) == Some(node)
        && spec.and_then(|s| s.host_network) != Some(true)
        && !matches!(phase, Some("Succeeded" | "Failed"))
        && !addresses(pod).is_empty()
}

fn id(pod: &Pod) -> NamespacedName {
    let metadata = &pod.metadata;
    NamespacedName::new(
        metadata.namespace.as_deref().unwrap_or("default"),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let ips = pod.status.iter().flat_map(|s| s.pod_ips.iter().flatten());
    ips.filter_map(|ip| ip.ip.parse().ok()).collect()
}

/// The interfaces of a node: its uplink with its addresses, one without, and the loopback.
fn links(world: &World, node: &str) -> Vec<Update> {
    let link = |name: &str, addresses: Vec<IpAddr>| {
        Update::HostLink(name.into(), Some(Arc::new(HostLink { addresses })))
    };
    let loopback = vec![IpAddr::from([127, 0, 0, 1])];
    vec![
        link(&world.uplink, addresses_of_node(world, node)),
        link("spare0", Vec::new()),
        link("lo", loopback),
    ]
}

pub(crate) fn addresses_of_node(world: &World, node: &str) -> Vec<IpAddr> {
    let own = world.nodes.iter().filter(|n| n.metadata.name.as_deref() == Some(node));
    let listed = own.flat_map(|n| n.status.iter().flat_map(|s| s.addresses.iter().flatten()));
    listed.filter_map(|a| a.address.parse().ok()).collect()
}

fn attach(number: usize, pod: NamespacedName, addresses: Vec<IpAddr>) -> Update {
    let host_interface = format!("{HOST_INTERFACE_PREFIX}{number}").into();
    let container_id = format!("container-of-{}-{}", pod.namespace, pod.name).into();
    let id = EndpointId { pod, container_id, interface: "eth0".into() };
    Update::Endpoint(id, Some(Arc::new(Attachment { host_interface, addresses })))
}

/// A node's compiler without inputs, with the options that a world has beside its objects.
pub fn compiler(node: Name, world: &World) -> Compiler {
    let compiler = Compiler::new(node);
    if world.drops_pods_to_node { compiler.dropping_pods_to_node() } else { compiler }
}

/// The compilers of all nodes, after one flush each.
#[derive(Debug)]
pub struct Compiled {
    compilers: Vec<Compiler>,
    fabric: Fabric,
}

impl Compiled {
    /// Compiles a world.
    ///
    /// # Errors
    /// A document that the sources cannot identify.
    pub fn of(text: &str, world: &World) -> Result<Self> {
        Ok(Self::from_inputs(inputs(text, world)?, world))
    }

    /// Compiles the inputs of every node.
    pub fn from_inputs(inputs: Vec<Inputs>, world: &World) -> Self {
        let compile = |inputs: Inputs| {
            let mut compiler = compiler(inputs.node, world);
            inputs.updates.into_iter().for_each(|update| compiler.apply(update));
            compiler.flush();
            compiler
        };
        let compilers = inputs.into_iter().map(compile).collect();
        Self { compilers, fabric: Fabric::of(world) }
    }

    /// The compilers, in the order of the world's nodes.
    pub fn nodes(&self) -> &[Compiler] {
        &self.compilers
    }

    /// What the rulesets say of a flow at each endpoint that it passes, pods first.
    pub fn judge(&self, flow: &Flow) -> Vec<Answer> {
        let rulesets: Vec<_> = self.compilers.iter().map(Compiler::ruleset).collect();
        self.fabric.judge(&rulesets, flow)
    }
}

/// Which nodes there are, and how packets reach them.
#[derive(Clone, Debug)]
pub struct Fabric {
    /// The addresses of each node, and its name.
    nodes: Vec<(Name, Vec<IpAddr>)>,
    uplink: String,
    /// Host-network pods, each with its node.
    host_network: BTreeMap<NamespacedName, Name>,
}

impl Fabric {
    /// That of a world.
    pub fn of(world: &World) -> Self {
        let names = world.nodes.iter().filter_map(|node| node.metadata.name.as_deref());
        let nodes = names.map(|name| (name.into(), addresses_of_node(world, name)));
        let host_network = world.pods.iter().filter_map(|pod| {
            let spec = pod.spec.as_ref().filter(|spec| spec.host_network == Some(true))?;
            Some((id(pod), spec.node_name.as_deref()?.into()))
        });
        Self {
            nodes: nodes.collect(),
            uplink: world.uplink.clone(),
            host_network: host_network.collect(),
        }
    }

    /// What rulesets, one a node, say of a flow at each endpoint that it passes, pods first.
    pub fn judge(&self, rulesets: &[&Ruleset], flow: &Flow) -> Vec<Answer> {
        let mut answers = Vec::new();
        let (mut source, mut lost) = (None, false);
        let destination = flow.packet.destination;
        let mut targets = BTreeSet::new();
        if let Origin::Node(name) = &flow.origin {
            source = self.nodes.iter().position(|(node, _)| node == name);
        }
        if let Origin::Pod(pod) = &flow.origin {
            for (node, id, endpoint) in endpoints(rulesets).filter(|(_, id, _)| id.pod == *pod) {
                // K28: what a pod sends to itself passes no endpoint.
                if endpoint.addresses.contains(&destination) {
                    return answers;
                }
                source = Some(node);
                let ruleset = rulesets[node];
                let mut answer = ask(ruleset, id, endpoint, Direction::Egress, &flow.packet);
                if answer.verdict == Verdict::Allow && self.nodes[node].1.contains(&destination) {
                    match ruleset.judge_pod_to_node() {
                        (Verdict::Allow, _) => {}
                        denied => (answer.verdict, answer.decision) = denied,
                    }
                }
                answers.push(answer);
            }
            // A host-network pod is its node; nobody knows where one is that is not known (K27, K37).
            match self.host_network.get(pod) {
                Some(node) => source = self.nodes.iter().position(|(name, _)| name == node),
                None => lost = source.is_none() || &*pod.name == GHOST,
            }
        }
        for (node, id, endpoint) in endpoints(rulesets) {
            if endpoint.addresses.contains(&destination) {
                targets.insert(node);
                let direction = Direction::Ingress;
                answers.push(ask(rulesets[node], id, endpoint, direction, &flow.packet));
            }
        }
        if lost {
            return answers;
        }
        let to_pod = !targets.is_empty();
        if !to_pod {
            targets.extend(self.nodes.iter().position(|(_, own)| own.contains(&destination)));
        }
        if let Some(node) = source
            && (targets.is_empty() || targets.iter().any(|target| *target != node))
        {
            let own_network = |pod| !self.host_network.contains_key(pod);
            let of_pod = matches!(&flow.origin, Origin::Pod(pod) if own_network(pod));
            let passage = if of_pod { Passage::ForwardedOut } else { Passage::FromHost };
            answers.extend(self.pass(rulesets, node, passage, &flow.packet));
        }
        let passage = if to_pod { Passage::ForwardedIn } else { Passage::ToHost };
        for node in targets.into_iter().filter(|target| Some(*target) != source) {
            answers.extend(self.pass(rulesets, node, passage, &flow.packet));
        }
        answers
    }

    fn pass(
        &self,
        rulesets: &[&Ruleset],
        node: usize,
        passage: Passage,
        packet: &Packet,
    ) -> Vec<Answer> {
        let judgements = evaluate_host(rulesets[node], &self.uplink, passage, packet);
        let answers = judgements.into_iter().map(|HostJudgement { endpoint, stage, judgement }| {
            let Judgement { verdict, decision, logged, staged, .. } = judgement;
            let at = At::Host { node: self.nodes[node].0.clone(), endpoint, stage };
            Answer { at, direction: passage.direction(), verdict, decision, logged, staged }
        });
        answers.collect()
    }
}

fn endpoints<'a>(
    rulesets: &'a [&'a Ruleset],
) -> impl Iterator<Item = (usize, &'a EndpointId, &'a Endpoint)> {
    rulesets.iter().enumerate().flat_map(|(node, ruleset)| {
        ruleset.endpoints.iter().map(move |(id, endpoint)| (node, id, &**endpoint))
    })
}

/// What the rulesets say of another packet where a pod has answered; a host endpoint's answer stays.
pub fn ask_again(rulesets: &[&Ruleset], answer: &Answer, packet: &Packet) -> Answer {
    let At::Pod(pod) = &answer.at else { return answer.clone() };
    let found = endpoints(rulesets).find(|(_, id, _)| id.pod == *pod);
    let (node, id, endpoint) = found.expect("the endpoint has answered");
    ask(rulesets[node], id, endpoint, answer.direction, packet)
}

fn ask(
    ruleset: &Ruleset,
    id: &EndpointId,
    endpoint: &Endpoint,
    direction: Direction,
    packet: &Packet,
) -> Answer {
    let program = &ruleset.programs[&endpoint.program(direction)];
    let Judgement { verdict, decision, logged, staged, .. } = evaluate(ruleset, program, packet);
    let at = At::Pod(id.pod.clone());
    Answer { at, direction, verdict, decision, logged, staged }
}
