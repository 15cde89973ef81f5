//! Joining the pieces of one of the user's rules: those that differ in one list of prefixes only
//! are one rule over the union, and those that differ in their destination ports only likewise. So
//! a rule over a thousand blocks is one lookup of a set, and who decided is told as before.

use std::collections::HashMap;
use std::hash::Hash;

use brindle_model::net::Protocol;
use brindle_model::ruleset::{
    Action, Match, Member, PortMatch, Rule, Ruleset, SetDef, SetId, Side as Criteria,
};
use brindle_model::verdict::DecisionId;
use ipnet::IpNet;

use crate::rule::Side;

/// A rule, or pieces of one that are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The criteria, without what `peer` holds.
    pub matches: Match,
    /// The address of a side lies in one of these prefixes.
    pub peer: Option<Peer>,
    /// The action.
    pub action: Action,
    /// The rule that the user wrote.
    pub decision: DecisionId,
}

/// The prefixes of a draft.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The side.
    pub side: Side,
    /// Disjoint prefixes.
    pub nets: Vec<IpNet>,
}

/// The rules, as few as may be, in runs of one decision and action.
pub fn drafts(ruleset: &Ruleset, rules: &[Rule]) -> Vec<Vec<Draft>> {
    let same = |a: &Rule, b: &Rule| a.action == b.action && a.decision == b.decision;
    rules.chunk_by(same).map(|run| joined(ruleset, run)).collect()
}

fn joined(ruleset: &Ruleset, run: &[Rule]) -> Vec<Draft> {
    let drafts = run.iter().map(|rule| draft(ruleset, rule)).collect();
    let by_nets = join(
        drafts,
        |d| (d.matches.clone(), d.peer.as_ref().map(|peer| peer.side)),
        |into, from| {
            if let (Some(into), Some(from)) = (&mut into.peer, from.peer) {
                into.nets.extend(from.nets);
                into.nets = IpNet::aggregate(&into.nets);
            }
        },
    );
    join(
        by_nets,
        |d| {
            let mut key = d.matches.clone();
            let numbers = numbers(&key.destination.ports, d.matches.protocol);
            if numbers {
                key.destination.ports.clear();
            }
            (key, numbers, d.peer.clone())
        },
        |into, from| into.matches.destination.ports.extend(from.matches.destination.ports),
    )
}

fn numbers(ports: &[PortMatch], protocol: Option<Protocol>) -> bool {
    let range = |port: &PortMatch| matches!(port, PortMatch::Range(_));
    protocol.is_some() && !ports.is_empty() && ports.iter().all(range)
}

/// Joins what has the same key, at the place of the first.
fn join<K: Hash + Eq>(
    drafts: Vec<Draft>,
    key: impl Fn(&Draft) -> K,
    merge: impl Fn(&mut Draft, Draft),
) -> Vec<Draft> {
    let mut out: Vec<Draft> = Vec::new();
    let mut at = HashMap::new();
    for draft in drafts {
        let place = *at.entry(key(&draft)).or_insert(out.len());
        match out.get_mut(place) {
            Some(into) => merge(into, draft),
            None => out.push(draft),
        }
    }
    out
}

fn draft(ruleset: &Ruleset, rule: &Rule) -> Draft {
    let mut matches = rule.matches.clone();
    let source = take_nets(ruleset, &mut matches.source);
    let source = source.map(|nets| Peer { side: Side::Source, nets });
    let peer = source.or_else(|| {
        let nets = take_nets(ruleset, &mut matches.destination)?;
        Some(Peer { side: Side::Destination, nets })
    });
    Draft { matches, peer, action: rule.action, decision: rule.decision.clone() }
}

fn take_nets(ruleset: &Ruleset, side: &mut Criteria) -> Option<Vec<IpNet>> {
    let [id] = side.sets[..] else { return None };
    let nets = fixed_nets(ruleset, id)?;
    side.sets.clear();
    Some(nets)
}

/// The prefixes of a set that is defined by them.
pub fn fixed_nets(ruleset: &Ruleset, id: SetId) -> Option<Vec<IpNet>> {
    let set = ruleset.sets.get(&id)?;
    matches!(set.def, SetDef::Cidrs(_)).then_some(())?;
    let net = |member: &Member| match member {
        Member::Net(net) => Some(*net),
        Member::Addr(_) | Member::Port(..) => None,
    };
    Some(set.members.iter().filter_map(net).collect())
}
