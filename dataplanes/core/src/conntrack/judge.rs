//! What policy says of a connection that was admitted before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use brindle_model::cluster::EndpointId;
use brindle_model::packet::Packet;
use brindle_model::ruleset::{Ruleset, evaluate};
use brindle_model::verdict::{DecisionId, Direction, Verdict};

use super::Entry;

/// Whose addresses are whose on this node.
#[derive(Clone, Debug, Default)]
pub struct Locals {
    /// Endpoints by address. Several only while an address moves from one to another (K39).
    endpoints: BTreeMap<IpAddr, Vec<EndpointId>>,
    /// The node's own addresses.
    node: BTreeSet<IpAddr>,
}

impl Locals {
    /// Of the endpoints of a ruleset, and a node with these addresses.
    pub fn new(ruleset: &Ruleset, node: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut endpoints: BTreeMap<IpAddr, Vec<EndpointId>> = BTreeMap::new();
        for (id, endpoint) in &ruleset.endpoints {
            for address in &endpoint.addresses {
                endpoints.entry(*address).or_default().push(id.clone());
            }
        }
        Self { endpoints, node: node.into_iter().collect() }
    }

    /// Whether the node has no endpoint with an address.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Whether the connection begins or ends at an endpoint of this node. No other is ours to
    /// judge or to mark.
    pub fn touches(&self, entry: &Entry) -> bool {
        self.endpoints.contains_key(&entry.original.source)
            || self.endpoints.contains_key(&entry.reply.source)
    }

    fn at(&self, address: IpAddr) -> &[EndpointId] {
        self.endpoints.get(&address).map_or(&[], Vec::as_slice)
    }
}

/// Who denies the first packet of a connection (see [`Entry::first_packet`]), if anybody does: the egress program of the endpoint
/// that it begins at, or the ingress program of the one that it ends at. What the node itself began
/// is not judged where it ends (K30); an entry does not tell its origin, so a source address of the
/// node stands for it.
pub fn refusal(ruleset: &Ruleset, locals: &Locals, packet: &Packet) -> Option<DecisionId> {
    let sender = locals.at(packet.source).iter().map(|id| (id, Direction::Egress));
    let receivers =
        if locals.node.contains(&packet.source) { &[] } else { locals.at(packet.destination) };
    let receiver = receivers.iter().map(|id| (id, Direction::Ingress));
    sender.chain(receiver).find_map(|(id, direction)| {
        // An endpoint that went after `locals` was made has nobody to guard.
        let endpoint = ruleset.endpoints.get(id)?;
        let program = ruleset.programs.get(&endpoint.program(direction));
        // Rulesets name no program that they lack; one that did would run nothing (C29).
        let Some(program) = program else { return Some(DecisionId::UnknownEndpoint) };
        let judgement = evaluate(ruleset, program, packet);
        (judgement.verdict == Verdict::Deny).then_some(judgement.decision)
    })
}
