//! Joining a policy's rules, so that a new connection pays for lookups and not for the number of
//! rules.
//!
//! Within a run of rules with the same action the order does not matter for the verdict, and rules
//! are alternatives: the run decides if any of them matches. So
//!
//! 1. rules that differ in one list of prefixes only are one rule over the union;
//! 2. rules that differ in their destination ports only are one rule over the union;
//! 3. rules (single addresses, protocol, single ports) are one lookup of (address, protocol, port);
//! 4. many rules, each of one destination port, are reached by a verdict map of that port.
//!
//! Who decided must be told, by counters and for denied packets: so only the pieces of one of the
//! user's rules are joined, and rules keep their order, except in long runs that admit or pass.
//! There a counter stands for all rules that were joined, and comments name them. Sets of pods are
//! never joined: their members would be stored twice.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use brindle_model::net::{Family, PortRange, Protocol};
use brindle_model::ruleset::{Action, Match, PortMatch, Rule, Ruleset, SetDef, SetId, Side};
use brindle_model::verdict::DecisionId;
use ipnet::IpNet;

use crate::rule;
use crate::table::comment;

/// From how many different services on a map is cheaper than rules, and not so cheap that it pays
/// for a set and a chain each.
const SERVICES: usize = 8;
/// From how many rules on the lookup of tuples pays for its set.
const TUPLES: usize = 4;
/// Up to so many of the user's rules in a run are told apart: about what a lookup costs.
const APART: usize = 8;

/// A rule, or several joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The criteria, without what `peer` holds.
    pub matches: Match,
    /// The one list of prefixes on one side.
    pub peer: Option<Peer>,
    /// The action.
    pub action: Action,
    /// The rules it stands for.
    pub decisions: BTreeSet<DecisionId>,
}

/// The address of a side lies in one of these prefixes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The side.
    pub side: rule::Side,
    /// Disjoint prefixes.
    pub nets: Vec<IpNet>,
}

/// A part of a policy's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A rule.
    Linear(Box<Draft>),
    /// Rules that are one lookup of (address, protocol, destination port).
    Tuples {
        /// The rules.
        drafts: Vec<Draft>,
        /// The tuples.
        tuples: Tuples,
    },
    /// Rules that are reached by protocol and destination port.
    Services {
        /// The rules by service.
        services: BTreeMap<(Protocol, u16), Vec<Draft>>,
        /// All of them.
        drafts: Vec<Draft>,
    },
    /// Alternatives of one Log rule.
    Log(Vec<Draft>),
}

/// Addresses of one side, with protocol and destination port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuples {
    /// Whose address.
    pub side: rule::Side,
    /// The tuples.
    pub members: BTreeSet<(std::net::IpAddr, Protocol, u16)>,
}

/// The parts of a chain. Of a staged policy every rule is told apart.
pub fn parts(ruleset: &Ruleset, rules: &[Rule], staged: bool) -> Vec<Part> {
    runs(rules, staged)
        .into_iter()
        .flat_map(|run| {
            let drafts = joined(ruleset, run);
            match run[0].action {
                Action::Log => vec![Part::Log(drafts)],
                Action::Allow | Action::Deny | Action::Pass => by_service(by_tuple(drafts)),
            }
        })
        .collect()
}

/// Neighbours that may be joined and change places.
fn runs(rules: &[Rule], staged: bool) -> Vec<&[Rule]> {
    let mut runs = Vec::new();
    for run in rules.chunk_by(|a, b| a.action == b.action) {
        let mut users = run.chunk_by(|a, b| a.decision == b.decision);
        let apart = match run[0].action {
            Action::Deny | Action::Log => true,
            Action::Allow | Action::Pass => staged || users.clone().count() <= APART,
        };
        if apart { runs.extend(&mut users) } else { runs.push(run) }
    }
    runs
}

fn joined(ruleset: &Ruleset, run: &[Rule]) -> Vec<Draft> {
    let drafts = run.iter().map(|rule| draft(ruleset, rule));
    let drafts = join(
        drafts,
        |d| (d.matches.clone(), d.peer.as_ref().map(|p| p.side)),
        |into, from| {
            if let (Some(into), Some(from)) = (&mut into.peer, from.peer) {
                into.nets.extend(from.nets);
            }
        },
    );
    let cover = |mut draft: Draft| {
        if let Some(peer) = &mut draft.peer {
            peer.nets = IpNet::aggregate(&peer.nets);
        }
        draft
    };
    join(
        drafts.into_iter().map(cover),
        |d| {
            let mut key = d.matches.clone();
            let mergeable = plain_ports(&key.destination.ports);
            if mergeable {
                key.destination.ports.clear();
            }
            (key, mergeable, d.peer.clone())
        },
        |into, from| into.matches.destination.ports.extend(from.matches.destination.ports),
    )
}

/// Joins what has the same key, at the place of the first.
fn join<K: Hash + Eq>(
    drafts: impl IntoIterator<Item = Draft>,
    key: impl Fn(&Draft) -> K,
    merge: impl Fn(&mut Draft, Draft),
) -> Vec<Draft> {
    let mut out: Vec<Draft> = Vec::new();
    let mut at = std::collections::HashMap::new();
    for mut draft in drafts {
        match at.entry(key(&draft)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(out.len());
                out.push(draft);
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                let into = &mut out[*entry.get()];
                into.decisions.append(&mut draft.decisions);
                merge(into, draft);
            }
        }
    }
    out
}

fn plain_ports(ports: &[PortMatch]) -> bool {
    !ports.is_empty() && ports.iter().all(|p| matches!(p, PortMatch::Range(_)))
}

fn draft(ruleset: &Ruleset, rule: &Rule) -> Draft {
    let mut matches = rule.matches.clone();
    let source = take_nets(ruleset, &mut matches.source);
    let source = source.map(|nets| Peer { side: rule::Side::Source, nets });
    let peer = source.or_else(|| {
        let nets = take_nets(ruleset, &mut matches.destination)?;
        Some(Peer { side: rule::Side::Destination, nets })
    });
    let decisions = BTreeSet::from([rule.decision.clone()]);
    Draft { matches, peer, action: rule.action, decisions }
}

fn take_nets(ruleset: &Ruleset, side: &mut Side) -> Option<Vec<IpNet>> {
    let [id] = side.sets[..] else { return None };
    let nets = nets_of(ruleset, id)?;
    side.sets.clear();
    Some(nets)
}

/// The prefixes of a set of kind `Net`.
pub fn nets_of(ruleset: &Ruleset, id: SetId) -> Option<Vec<IpNet>> {
    let set = ruleset.sets.get(&id)?;
    matches!(set.def, SetDef::Cidrs(_)).then_some(())?;
    let net = |m: &_| match m {
        brindle_model::ruleset::Member::Net(net) => Some(*net),
        _ => None,
    };
    Some(set.members.iter().filter_map(net).collect())
}

fn by_tuple(drafts: Vec<Draft>) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut tuples: BTreeMap<rule::Side, Vec<Draft>> = BTreeMap::new();
    for draft in drafts {
        match tuple_side(&draft) {
            Some(side) => tuples.entry(side).or_default().push(draft),
            None => parts.push(Part::Linear(Box::new(draft))),
        }
    }
    for (side, drafts) in tuples {
        if drafts.len() < TUPLES {
            parts.extend(drafts.into_iter().map(Box::new).map(Part::Linear));
            continue;
        }
        let members = drafts.iter().flat_map(tuples_of).collect();
        parts.push(Part::Tuples { drafts, tuples: Tuples { side, members } });
    }
    parts
}

/// The side whose address is one of few single ones, if there is no other criterion than protocol
/// and single destination ports.
fn tuple_side(draft: &Draft) -> Option<rule::Side> {
    let peer = draft.peer.as_ref()?;
    let single = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
    let bare = Match {
        protocol: draft.matches.protocol,
        destination: Side { ports: draft.matches.destination.ports.clone(), ..Side::default() },
        ..Match::default()
    };
    let plain = draft.matches == bare
        && draft.matches.protocol.is_some_and(Protocol::has_ports)
        && single_ports(&draft.matches.destination.ports).is_some()
        && peer.nets.iter().all(single)
        && !peer.nets.is_empty();
    plain.then_some(peer.side)
}

fn tuples_of(draft: &Draft) -> Vec<(std::net::IpAddr, Protocol, u16)> {
    let ports = single_ports(&draft.matches.destination.ports).unwrap_or_default();
    let (Some(peer), Some(protocol)) = (&draft.peer, draft.matches.protocol) else {
        return Vec::new();
    };
    let each = |port: u16| peer.nets.iter().map(move |net| (net.addr(), protocol, port));
    ports.into_iter().flat_map(each).collect()
}

/// The ports, if there are any and each is a single one.
fn single_ports(ports: &[PortMatch]) -> Option<Vec<u16>> {
    let single = |port: &PortMatch| match port {
        PortMatch::Range(PortRange { first, last }) if first == last => Some(*first),
        _ => None,
    };
    (!ports.is_empty()).then(|| ports.iter().map(single).collect())?
}

fn by_service(parts: Vec<Part>) -> Vec<Part> {
    let mut services: BTreeMap<(Protocol, u16), Vec<Draft>> = BTreeMap::new();
    let mut drafts = Vec::new();
    let mut rest = Vec::new();
    for part in parts {
        match part {
            Part::Linear(draft) => match service(&draft) {
                Some(service) => {
                    services.entry(service).or_default().push((*draft).clone());
                    drafts.push(*draft);
                }
                None => rest.push(Part::Linear(draft)),
            },
            other => rest.push(other),
        }
    }
    if services.len() >= SERVICES {
        rest.push(Part::Services { services, drafts });
    } else {
        rest.extend(drafts.into_iter().map(Box::new).map(Part::Linear));
    }
    rest
}

fn service(draft: &Draft) -> Option<(Protocol, u16)> {
    let protocol = draft.matches.protocol.filter(|p| p.has_ports())?;
    let ports = single_ports(&draft.matches.destination.ports)?;
    if let [port] = ports[..] { Some((protocol, port)) } else { None }
}

/// The comment of a joined rule: all decisions, consecutive rules of a policy as a range.
pub fn decisions<'a>(all: impl Iterator<Item = &'a DecisionId>) -> String {
    let mut text = String::new();
    let mut last: Option<&DecisionId> = None;
    let mut open = false;
    let sorted: BTreeSet<_> = all.collect();
    for decision in sorted {
        let (
            DecisionId::Rule { policy, direction, index },
            Some(DecisionId::Rule {
                policy: last_policy,
                direction: last_direction,
                index: last_index,
            }),
        ) = (decision, last)
        else {
            text.push_str(&format!("{}{decision}", if last.is_some() { "; " } else { "" }));
            last = Some(decision);
            continue;
        };
        if (policy, direction) != (last_policy, last_direction) {
            close(&mut text, &mut open, *last_index);
            text.push_str(&format!("; {decision}"));
        } else if *index == last_index + 1 {
            open = true;
        } else {
            close(&mut text, &mut open, *last_index);
            text.push_str(&format!(", {index}"));
        }
        last = Some(decision);
    }
    if let Some(DecisionId::Rule { index, .. }) = last {
        close(&mut text, &mut open, *index);
    }
    comment(&text)
}

fn close(text: &mut String, open: &mut bool, index: u32) {
    if std::mem::take(open) {
        text.push_str(&format!("-{index}"));
    }
}

/// The prefixes of one family.
pub fn of_family(nets: &[IpNet], family: Family) -> Vec<IpNet> {
    nets.iter().copied().filter(|net| Family::of_net(*net) == family).collect()
}
