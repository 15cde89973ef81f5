//! A flow's way over a node: which hooks it passes with which interfaces, and what the ruleset's own
//! evaluator says of it there.

use std::fmt;

use anyhow::{Context, Result};

use brindle_dataplane_core::nflog::Event;
use brindle_model::cluster::link_group;
use brindle_model::packet::{ConnState, Flow, Origin, Packet, Transport};
use brindle_model::ruleset::{Endpoint, Passage, Ruleset, evaluate, evaluate_host};
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use brindle_oracle::World;

use super::skb::{Device, Skb};
use super::{Hook, Walk};
use crate::worlds::compiled::{Compiled, addresses_of_node};

/// What the evaluator says at one place of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    verdict: Verdict,
    decision: DecisionId,
    logged: Vec<DecisionId>,
    staged: Vec<DecisionId>,
}

impl Said {
    fn plainly(verdict: Verdict, decision: DecisionId) -> Self {
        Self { verdict, decision, logged: Vec::new(), staged: Vec::new() }
    }
}

/// A packet on a node.
#[derive(Clone, Debug)]
pub struct Passing {
    /// The node's position among the world's.
    pub node: usize,
    /// The hooks, in order.
    pub hooks: Vec<Hook>,
    /// The packet.
    pub skb: Skb,
    /// What is said of it, up to the first denial.
    said: Vec<Said>,
    packet: Packet,
    state: ConnState,
}

impl fmt::Display for Passing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |device: &Option<Device>| {
            device.as_ref().map_or_else(|| "-".to_owned(), |device| device.name.clone())
        };
        let (input, output) = (name(&self.skb.input), name(&self.skb.output));
        let Self { node, packet, state, said, .. } = self;
        write!(f, "{packet} ({state:?}) on node {node} from {input} to {output}: {said:?}")
    }
}

/// How a walk differs from what the evaluator says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The evaluator denies, the rules let it pass.
    FalseAllow,
    /// The evaluator allows, the rules drop it.
    FalseDeny,
    /// Another decision, or another record of Log rules.
    Told(Vec<String>),
    /// No rule that matched bears the comment of who decided.
    Comment(String),
}

/// How much a backend tells with a packet.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes of a log prefix.
    pub prefix: usize,
}

impl Passing {
    /// Compares what became of the packet with what was said of it.
    pub fn differs(&self, walk: &Walk, room: Room) -> Option<Difference> {
        let denied = self.said.last().filter(|said| said.verdict == Verdict::Deny);
        match (denied, walk.dropped) {
            (Some(_), false) => return Some(Difference::FalseAllow),
            (None, true) => return Some(Difference::FalseDeny),
            _ => {}
        }
        let mut told: Vec<_> = self
            .said
            .iter()
            .flat_map(|said| &said.logged)
            .map(|rule| Event::Log.prefix_within(rule, room.prefix))
            .collect();
        told.extend(denied.map(|said| Event::Deny.prefix_within(&said.decision, room.prefix)));
        if told != walk.told {
            return Some(Difference::Told(told));
        }
        let allowed = self.said.iter().filter(|said| said.verdict == Verdict::Allow);
        let decisions = allowed.map(|said| &said.decision);
        let staged = self.said.iter().flat_map(|said| &said.staged);
        let rules = decisions.chain(staged).filter(|d| matches!(d, DecisionId::Rule { .. }));
        rules
            .map(ToString::to_string)
            .find(|rule| !walk.comments.iter().any(|comment| bears(comment, rule)))
            .map(Difference::Comment)
    }
}

/// Whether a comment names a rule, alone or as one of a policy's that were joined; long ones are cut.
fn bears(comment: &str, rule: &str) -> bool {
    let policy = rule.rsplit_once(" rule ").map_or(rule, |(policy, _)| policy);
    let cut = |text: &str| text.chars().take(90).collect::<String>();
    comment == rule || comment.contains(&cut(policy))
}

/// The node of a compiled world that packets pass.
struct Node<'a> {
    at: usize,
    ruleset: &'a Ruleset,
    uplink: &'a str,
    own: Vec<std::net::IpAddr>,
}

/// All that a flow meets on the nodes of a world.
///
/// # Errors
/// A ruleset lacks a program that it names.
pub fn passings(world: &World, compiled: &Compiled, flow: &Flow) -> Result<Vec<Passing>> {
    let mut all = Vec::new();
    let names = world.nodes.iter().filter_map(|node| node.metadata.name.as_deref());
    for (at, (compiler, name)) in compiled.nodes().iter().zip(names).enumerate() {
        let ruleset = compiler.ruleset();
        let own = addresses_of_node(world, name);
        let node = Node { at, ruleset, uplink: &world.uplink, own };
        let local = match &flow.origin {
            Origin::Pod(pod) => ruleset.endpoints.iter().find(|(id, _)| id.pod == *pod),
            _ => None,
        };
        let passing = match (&flow.origin, local) {
            (_, Some((_, endpoint))) => node.pod_sends(endpoint, flow)?,
            (Origin::Node(from), _) if **from == *name => node.node_sends(flow),
            _ => node.comes_in(flow)?,
        };
        all.extend(passing);
    }
    Ok(all)
}

impl Node<'_> {
    fn device(&self, endpoint: Option<&Endpoint>) -> Device {
        match endpoint {
            Some(endpoint) => {
                let name = endpoint.host_interface.to_string();
                Device { group: link_group(&name), name }
            }
            None => Device { name: self.uplink.to_owned(), group: 0 },
        }
    }

    fn target(&self, packet: &Packet) -> Option<&Endpoint> {
        let mut all = self.ruleset.endpoints.values();
        all.find(|e| e.addresses.contains(&packet.destination)).map(|endpoint| &**endpoint)
    }

    fn is_own(&self, packet: &Packet) -> bool {
        self.own.contains(&packet.destination)
    }

    /// Without policy at the node's own interfaces, states mean the same everywhere.
    fn knows_states(&self) -> bool {
        self.ruleset.hosts.is_empty()
    }

    fn pod_sends(&self, endpoint: &Endpoint, flow: &Flow) -> Result<Option<Passing>> {
        let Flow { packet, state, .. } = flow;
        // K28: what a pod sends to itself passes no hook.
        if endpoint.addresses.contains(&packet.destination) {
            return Ok(None);
        }
        let target = self.target(packet);
        let to_node = target.is_none() && self.is_own(packet);
        let forged = !endpoint.addresses.contains(&packet.source);
        let neighbour = to_node && is_neighbour_discovery(packet);
        let mut said = Vec::new();
        if forged && !(neighbour && is_link_local(packet)) {
            said.push(Said::plainly(Verdict::Deny, DecisionId::Spoof));
        } else if *state == ConnState::New && !neighbour {
            said.push(self.ask(endpoint, Direction::Egress, packet)?);
            match target {
                Some(target) => said.push(self.ask(target, Direction::Ingress, packet)?),
                None if to_node => {
                    let (verdict, decision) = self.ruleset.judge_pod_to_node();
                    said.push(Said::plainly(verdict, decision));
                }
                None => said.extend(self.ask_hosts(Passage::ForwardedOut, packet)),
            }
        } else if *state == ConnState::Invalid && !neighbour {
            said.push(Said::plainly(Verdict::Deny, DecisionId::Invalid));
        }
        let output = (!to_node).then(|| self.device(target));
        let hook = if to_node { Hook::Input } else { Hook::Forward };
        Ok(self.passing(flow, Some(self.device(Some(endpoint))), output, hook, said))
    }

    fn comes_in(&self, flow: &Flow) -> Result<Option<Passing>> {
        let Flow { packet, state, .. } = flow;
        let target = self.target(packet);
        let input = Some(self.device(None));
        let mut said = Vec::new();
        let (passage, hook) = match target {
            Some(_) => (Passage::ForwardedIn, Hook::Forward),
            None if self.is_own(packet) => (Passage::ToHost, Hook::Input),
            None => return Ok(None),
        };
        match (state, target) {
            (ConnState::New, _) => {
                said.extend(self.ask_hosts(passage, packet));
                if let Some(target) = target {
                    said.push(self.ask(target, Direction::Ingress, packet)?);
                }
            }
            (ConnState::Invalid, Some(_)) => {
                said.push(Said::plainly(Verdict::Deny, DecisionId::Invalid));
            }
            _ => {}
        }
        let output = target.map(|target| self.device(Some(target)));
        Ok(self.passing(flow, input, output, hook, said))
    }

    fn node_sends(&self, flow: &Flow) -> Option<Passing> {
        let packet = &flow.packet;
        if self.is_own(packet) {
            return None;
        }
        let target = self.target(packet);
        let said = match target {
            // K30: nothing of ours stops what a node sends to its own pods.
            Some(_) => Vec::new(),
            None => self.ask_hosts(Passage::FromHost, packet),
        };
        self.passing(flow, None, Some(self.device(target)), Hook::Output, said)
    }

    fn passing(
        &self,
        flow: &Flow,
        input: Option<Device>,
        output: Option<Device>,
        hook: Hook,
        said: Vec<Said>,
    ) -> Option<Passing> {
        let Flow { packet, state, .. } = flow;
        if *state != ConnState::New && !self.knows_states() {
            return None;
        }
        let skb = Skb { input, output, ..Skb::new(packet, *state)? };
        let first = said.iter().position(|said| said.verdict == Verdict::Deny);
        let said = said.into_iter().take(first.map_or(usize::MAX, |at| at + 1)).collect();
        let hooks = if hook == Hook::Output { vec![hook] } else { vec![Hook::Prerouting, hook] };
        Some(Passing { node: self.at, hooks, skb, said, packet: *packet, state: *state })
    }

    fn ask(&self, endpoint: &Endpoint, direction: Direction, packet: &Packet) -> Result<Said> {
        let program = self.ruleset.programs.get(&endpoint.program(direction));
        let program = program.context("an endpoint runs a program that is not there")?;
        let judgement = evaluate(self.ruleset, program, packet);
        Ok(Said {
            verdict: judgement.verdict,
            decision: judgement.decision,
            logged: judgement.logged,
            staged: judgement.staged,
        })
    }

    fn ask_hosts(&self, passage: Passage, packet: &Packet) -> Vec<Said> {
        let judgements = evaluate_host(self.ruleset, self.uplink, passage, packet);
        let said = judgements.into_iter().map(|host| Said {
            verdict: host.judgement.verdict,
            decision: host.judgement.decision,
            logged: host.judgement.logged,
            staged: host.judgement.staged,
        });
        said.collect()
    }
}

/// What a pod may say to its node's link whatever policy says (K34).
fn is_neighbour_discovery(packet: &Packet) -> bool {
    let meant = [130, 131, 132, 133, 135, 136];
    packet.destination.is_ipv6()
        && matches!(packet.transport, Transport::Icmp { icmp_type, .. } if meant.contains(&icmp_type))
}

/// It says so from a link-local address as well, or from none.
fn is_link_local(packet: &Packet) -> bool {
    match packet.source {
        std::net::IpAddr::V6(source) => {
            source.is_unspecified() || source.segments()[0] & 0xffc0 == 0xfe80
        }
        std::net::IpAddr::V4(_) => false,
    }
}
