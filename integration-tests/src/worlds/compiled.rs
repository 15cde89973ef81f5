//! A world through the real pipeline: YAML text, sources, one compiler a node; and the ruleset's
//! own evaluator on the result ("O2").

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Result, bail};
use brindle_compiler::Compiler;
use brindle_model::cluster::{Attachment, EndpointId, HOST_INTERFACE_PREFIX, Update};
use brindle_model::packet::{Flow, Origin, Packet};
use brindle_model::ruleset::{Endpoint, Judgement, Ruleset, evaluate};
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use brindle_model::{Name, NamespacedName};
use brindle_oracle::{Hop, World};
use brindle_sources::convert::{convert, update};
use brindle_sources::document::{Content, parse};
use brindle_sources::intern::Interner;
use k8s_openapi::api::core::v1::Pod;

/// What a ruleset says of a flow at one pod and direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The pod.
    pub pod: NamespacedName,
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
        Self { pod, direction, verdict, decision, logged, staged }
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
            let updates = objects.iter().cloned().chain(attachments).collect();
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

fn attach(number: usize, pod: NamespacedName, addresses: Vec<IpAddr>) -> Update {
    let host_interface = format!("{HOST_INTERFACE_PREFIX}{number}").into();
    let container_id = format!("container-of-{}-{}", pod.namespace, pod.name).into();
    let id = EndpointId { pod, container_id, interface: "eth0".into() };
    Update::Endpoint(id, Some(Arc::new(Attachment { host_interface, addresses })))
}

/// The compilers of all nodes, after one flush each.
#[derive(Debug)]
pub struct Compiled(Vec<Compiler>);

impl Compiled {
    /// Compiles a world.
    ///
    /// # Errors
    /// A document that the sources cannot identify.
    pub fn of(text: &str, world: &World) -> Result<Self> {
        Ok(Self::from_inputs(inputs(text, world)?))
    }

    /// Compiles the inputs of every node.
    pub fn from_inputs(inputs: Vec<Inputs>) -> Self {
        let compile = |inputs: Inputs| {
            let mut compiler = Compiler::new(inputs.node);
            inputs.updates.into_iter().for_each(|update| compiler.apply(update));
            compiler.flush();
            compiler
        };
        Self(inputs.into_iter().map(compile).collect())
    }

    /// The compilers, in the order of the world's nodes.
    pub fn nodes(&self) -> &[Compiler] {
        &self.0
    }

    /// What the rulesets say of a flow at each endpoint that it passes.
    pub fn judge(&self, flow: &Flow) -> Vec<Answer> {
        let rulesets: Vec<_> = self.0.iter().map(Compiler::ruleset).collect();
        judge(&rulesets, flow)
    }
}

/// What the rulesets of all nodes say of a flow at each endpoint that it passes.
pub fn judge(rulesets: &[&Ruleset], flow: &Flow) -> Vec<Answer> {
    let endpoints = || {
        rulesets.iter().flat_map(|ruleset| {
            ruleset.endpoints.iter().map(move |(id, endpoint)| (*ruleset, id, &**endpoint))
        })
    };
    let mut answers = Vec::new();
    if let Origin::Pod(pod) = &flow.origin {
        for (ruleset, id, endpoint) in endpoints().filter(|(_, id, _)| id.pod == *pod) {
            // K28: what a pod sends to itself passes no endpoint.
            if endpoint.addresses.contains(&flow.packet.destination) {
                return answers;
            }
            answers.push(ask(ruleset, id, endpoint, Direction::Egress, &flow.packet));
        }
    }
    for (ruleset, id, endpoint) in endpoints() {
        if endpoint.addresses.contains(&flow.packet.destination) {
            answers.push(ask(ruleset, id, endpoint, Direction::Ingress, &flow.packet));
        }
    }
    answers
}

/// What the rulesets say at an answer's endpoint of another packet.
pub fn ask_again(rulesets: &[&Ruleset], answer: &Answer, packet: &Packet) -> Answer {
    let at = |ruleset: &&&Ruleset| ruleset.endpoints.keys().any(|id| id.pod == answer.pod);
    let ruleset = rulesets.iter().find(at).expect("the endpoint has answered");
    let endpoints = ruleset.endpoints.iter().find(|(id, _)| id.pod == answer.pod);
    let (id, endpoint) = endpoints.expect("it is one of the ruleset's");
    ask(ruleset, id, endpoint, answer.direction, packet)
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
    Answer { pod: id.pod.clone(), direction, verdict, decision, logged, staged }
}
