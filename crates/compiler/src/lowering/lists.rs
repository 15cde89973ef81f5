//! Rules that are lists of peers and ports (K8, A8).
//!
//! Such a rule is the product of its peers and its ports. It becomes one lowered rule for each peer
//! *term* and port *term*:
//!
//! - peer terms: anybody; all address blocks of the rule together, as one set of prefixes (K14);
//!   each selector of pods or of nodes, as one set of addresses;
//! - port terms: every protocol (K24), or one for each protocol that is named, with its numbers
//!   merged and its port names as tuple sets (K20).
//!
//! Terms are sorted, so writing peers or ports in another order gives the same rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use brindle_model::labels::{ORCHESTRATOR, ORCHESTRATOR_LABEL};
use brindle_model::net::Protocol;
use brindle_model::policy::{Peer, Port, PortSpec};
use brindle_model::ruleset::{Match, SetDef, Side};
use brindle_model::selector::Selector;
use brindle_model::verdict::Direction;

use super::ports::Ports;
use super::{Definitions, Lean, Reading};
use crate::cover::cover;

/// On which ports: one alternative of a rule.
#[derive(Default)]
struct PortTerm {
    protocol: Option<Protocol>,
    /// Every port of the protocol, which makes the ports moot.
    any: bool,
    ports: Ports,
}

/// The alternatives of a rule of a policy with this subject.
pub(super) fn lower(
    reading: Reading<'_>,
    direction: Direction,
    subject: &Selector,
    peers: Option<&[Peer]>,
    ports: Option<&[Port]>,
    definitions: &mut Definitions,
) -> Vec<Match> {
    let ports = port_terms(ports);
    let mut alternatives = Vec::new();
    for peer in peer_terms(reading, peers) {
        for term in &ports {
            let mut matches = Match { protocol: term.protocol, ..Match::default() };
            if !term.any {
                let scope = named_port_scope(direction, subject, peer.as_ref());
                let ports = term.ports.matches(term.protocol, scope, definitions);
                matches.destination.ports = ports;
            }
            let side: &mut Side = match direction {
                Direction::Ingress => &mut matches.source,
                Direction::Egress => &mut matches.destination,
            };
            side.sets = peer.clone().into_iter().map(|peer| definitions.define(peer)).collect();
            alternatives.push(matches);
        }
    }
    alternatives
}

/// Who may be at the other end: sets of addresses, or anybody.
fn peer_terms(reading: Reading<'_>, peers: Option<&[Peer]>) -> Vec<Option<SetDef>> {
    let Some(peers) = peers else { return vec![None] };
    let anybody = |peer: &Peer| match peer {
        Peer::Nodes(selector) => reading.is(Lean::Perhaps) && reading.world.doubts_nodes(selector),
        Peer::Pods(_) | Peer::IpBlock { .. } => false,
    };
    if peers.iter().any(anybody) {
        return vec![None];
    }
    let nets = cover(peers.iter().filter_map(|peer| match peer {
        Peer::IpBlock { cidr, except } => Some((cidr, except.as_slice())),
        Peer::Pods(_) | Peer::Nodes(_) => None,
    }));
    let selected: BTreeSet<_> = peers
        .iter()
        .filter_map(|peer| match peer {
            Peer::Pods(Selector::None) | Peer::Nodes(Selector::None) | Peer::IpBlock { .. } => None,
            Peer::Pods(selector) => Some(SetDef::Selector(selector.clone())),
            Peer::Nodes(selector) => Some(SetDef::Nodes(selector.clone())),
        })
        .collect();
    let nets = (!nets.is_empty()).then_some(SetDef::Cidrs(nets));
    nets.into_iter().chain(selected).map(Some).collect()
}

fn port_terms(ports: Option<&[Port]>) -> Vec<PortTerm> {
    let Some(ports) = ports else {
        return vec![PortTerm { any: true, ..Default::default() }];
    };
    let mut terms: BTreeMap<Option<Protocol>, PortTerm> = BTreeMap::new();
    for Port { protocol, port } in ports {
        let term = terms.entry(*protocol).or_default();
        term.protocol = *protocol;
        match port {
            PortSpec::Any => term.any = true,
            PortSpec::Range(range) => term.ports.ranges.push(*range),
            PortSpec::Named(name) => {
                term.ports.names.insert(name.clone());
            }
        }
    }
    terms.into_values().collect()
}

/// Every pod, and nothing else that has named ports.
static PODS: LazyLock<Selector> =
    LazyLock::new(|| Selector::equals(ORCHESTRATOR_LABEL, ORCHESTRATOR));

/// Whose container ports a name means: always those of the destination (K20). On ingress that is
/// the policy's subject; on egress the peer, and every pod where the rule names no pods (K21).
fn named_port_scope<'a>(
    direction: Direction,
    subject: &'a Selector,
    peer: Option<&'a SetDef>,
) -> &'a Selector {
    match (direction, peer) {
        (Direction::Ingress, _) => subject,
        (Direction::Egress, Some(SetDef::Selector(selector))) => selector,
        (Direction::Egress, _) => &PODS,
    }
}
