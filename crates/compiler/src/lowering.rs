//! From a policy as the user wrote it to rules that a backend can render.
//!
//! A user's rule is the product of its peers and its ports (K8). Here it becomes one lowered rule
//! for each peer *term* and port *term*, all with the same decision:
//!
//! - peer terms: anybody; all address blocks of the rule together, as one set of prefixes (K14);
//!   each pod selector, as one set of addresses;
//! - port terms: every protocol (K24), or one for each protocol that is named, with its numbers
//!   merged and its port names as tuple sets (K20).
//!
//! A term that no packet satisfies (blocks that except everything, a selector that matches
//! nothing, an empty list) gives no rule: the policy only allows, so this is fail-closed (C31).
//! Terms are sorted, so writing peers or ports in another order gives the same rules.

use std::collections::{BTreeMap, BTreeSet};

use brindle_model::Name;
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::{Criteria, Peer, Policy, Port, PortSpec};
use brindle_model::ruleset::{Match, PolicyRules, PortMatch, Rule, SetDef, SetId, Side};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId};
use ipnet::IpNet;

use crate::cover::cover;

/// A lowered policy, and the definitions of the sets that its rules name.
#[derive(Debug, Default)]
pub(crate) struct Lowered {
    pub rules: PolicyRules,
    pub sets: BTreeMap<SetId, SetDef>,
}

/// Who may talk: one alternative of a rule.
enum PeerTerm {
    Anybody,
    Nets(Vec<IpNet>),
    Pods(Selector),
}

/// On which ports: one alternative of a rule.
#[derive(Default)]
struct PortTerm {
    protocol: Option<Protocol>,
    /// Every port of the protocol, which makes the other fields moot.
    any: bool,
    ranges: Vec<PortRange>,
    names: BTreeSet<Name>,
}

/// Lowers both directions of a policy.
pub(crate) fn lower(id: &PolicyId, policy: &Policy) -> Lowered {
    let mut sets = BTreeMap::new();
    let [ingress, egress] = Direction::ALL.map(|direction| {
        let mut rules = Vec::new();
        for rule in policy.rules(direction).unwrap_or_default() {
            let decision = DecisionId::Rule { policy: id.clone(), direction, index: rule.index };
            let Criteria::Lists { peers, ports } = &rule.criteria else { continue };
            let (peers, ports) = (peer_terms(peers.as_deref()), port_terms(ports.as_deref()));
            for (peer, ports) in peers.iter().flat_map(|peer| ports.iter().map(move |p| (peer, p)))
            {
                let matches = matches(&mut sets, direction, &policy.subject, peer, ports);
                rules.push(Rule { decision: decision.clone(), matches, action: rule.action });
            }
        }
        rules
    });
    Lowered { rules: PolicyRules { ingress, egress }, sets }
}

fn peer_terms(peers: Option<&[Peer]>) -> Vec<PeerTerm> {
    let Some(peers) = peers else { return vec![PeerTerm::Anybody] };
    let nets = cover(peers.iter().filter_map(|peer| match peer {
        Peer::IpBlock { cidr, except } => Some((cidr, except.as_slice())),
        Peer::Pods(_) | Peer::Nodes(_) => None,
    }));
    let selectors: BTreeSet<_> = peers
        .iter()
        .filter_map(|peer| match peer {
            Peer::Pods(selector) if *selector != Selector::None => Some(selector.clone()),
            _ => None,
        })
        .collect();
    let nets = (!nets.is_empty()).then_some(PeerTerm::Nets(nets));
    nets.into_iter().chain(selectors.into_iter().map(PeerTerm::Pods)).collect()
}

fn port_terms(ports: Option<&[Port]>) -> Vec<PortTerm> {
    let Some(ports) = ports else {
        return vec![PortTerm { any: true, ..Default::default() }];
    };
    let mut terms: BTreeMap<Protocol, PortTerm> = BTreeMap::new();
    for Port { protocol, port } in ports {
        let Some(protocol) = protocol else { continue };
        let term = terms.entry(*protocol).or_default();
        term.protocol = Some(*protocol);
        match port {
            PortSpec::Any => term.any = true,
            PortSpec::Range(range) => term.ranges.push(*range),
            PortSpec::Named(name) => {
                term.names.insert(name.clone());
            }
        }
    }
    let mut terms: Vec<_> = terms.into_values().collect();
    for term in &mut terms {
        term.ranges = merge(std::mem::take(&mut term.ranges));
    }
    terms
}

/// Joins ranges that overlap or touch.
fn merge(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

fn matches(
    sets: &mut BTreeMap<SetId, SetDef>,
    direction: Direction,
    subject: &Selector,
    peer: &PeerTerm,
    ports: &PortTerm,
) -> Match {
    let mut define = |def: SetDef| {
        let id = def.id();
        sets.insert(id, def);
        id
    };
    let peer_sets = match peer {
        PeerTerm::Anybody => Vec::new(),
        PeerTerm::Nets(nets) => vec![define(SetDef::Cidrs(nets.clone()))],
        PeerTerm::Pods(selector) => vec![define(SetDef::Selector(selector.clone()))],
    };
    let port_matches = if ports.any {
        Vec::new()
    } else {
        let ranges = ports.ranges.iter().copied().map(PortMatch::Range);
        let named = ports.names.iter().map(|name| {
            let selector = named_port_scope(direction, subject, peer).clone();
            let protocol = ports.protocol.expect("a term with names has a protocol");
            PortMatch::Named(define(SetDef::NamedPort { name: name.clone(), protocol, selector }))
        });
        ranges.chain(named).collect()
    };
    let mut matches = Match { protocol: ports.protocol, ..Match::default() };
    matches.destination.ports = port_matches;
    let peer_side: &mut Side = match direction {
        Direction::Ingress => &mut matches.source,
        Direction::Egress => &mut matches.destination,
    };
    peer_side.sets = peer_sets;
    matches
}

/// Whose container ports a name means: always those of the destination (K20). On ingress that is
/// the policy's subject; on egress the peer, and every pod where the rule names no pods (K21).
fn named_port_scope<'a>(
    direction: Direction,
    subject: &'a Selector,
    peer: &'a PeerTerm,
) -> &'a Selector {
    match (direction, peer) {
        (Direction::Ingress, _) => subject,
        (Direction::Egress, PeerTerm::Pods(selector)) => selector,
        (Direction::Egress, PeerTerm::Anybody | PeerTerm::Nets(_)) => &Selector::All,
    }
}

#[cfg(test)]
mod tests;
