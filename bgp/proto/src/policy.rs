//! Import and export policy of one peer: filters in order, in each its rules in order; the first
//! rule that matches decides (RFC 4271 §9.1.1, §9.1.3).
//!
//! ```text
//!  received ─► built-in checks ─► filters ─► Adj-RIB-In as used        (no rule matches: accepted)
//!  Loc-RIB  ─► built-in rules  ─► filters ─► Adj-RIB-Out
//!                                   no rule matches: what this node originates is accepted, what it
//!                                   learned is not
//! ```
//!
//! So a peer without filters is under a policy all the same (RFC 8212): it gets our own prefixes and
//! nothing else. What was learned goes out only by a rule that names it
//! ([`Matches::learned`]): a rule that accepts "everything" must not make a node transit.
//!
//! A filter that is broken closes its peer both ways: nobody knows what it would have refused.

mod limit;
mod matching;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::attribute::{Attributes, Community, LargeCommunity};
use crate::family::Family;
use crate::negotiated::PeerKind;

pub(crate) use limit::Exceeded;
pub use limit::{MaxPrefixes, MaxPrefixesOut};
pub(crate) use matching::Subject;

/// What a peer may give us and get from us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerPolicy {
    /// How often our own AS may stand in the AS_PATH of a route; beyond, it is a loop.
    pub allow_own_as: usize,
    /// Take routes with AS_SET in the path, which RFC 9774 tells to reject.
    pub allow_as_set: bool,
    /// Tell the peer what we learned from others where no rule decides, not only what we
    /// originate. Between two external peers this makes the node transit.
    pub transit: bool,
    /// It is our client: what it tells goes to every internal peer, and it is told what any peer
    /// tells (RFC 4456 §6). Counts for internal peers only.
    pub reflector_client: bool,
    /// Asked in this order.
    pub filters: Vec<PeerFilter>,
    /// How many prefixes it may advertise.
    pub max_prefixes: Option<MaxPrefixes>,
    /// How many prefixes it is told of.
    pub max_prefixes_out: Option<MaxPrefixesOut>,
}

/// A filter that a peer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerFilter {
    /// Its rules.
    Known(Arc<Filter>),
    /// It does not exist or could not be read.
    Broken {
        /// Its name.
        name: Arc<str>,
        /// What is wrong, and what to check.
        problem: String,
    },
}

/// Rules under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The object it came from.
    pub name: Arc<str>,
    /// For what the peer advertises.
    pub import: Rules,
    /// For what we advertise.
    pub export: Rules,
}

/// Rules of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// For IPv4 routes, in order.
    pub ipv4: Vec<Rule>,
    /// For IPv6 routes, in order.
    pub ipv6: Vec<Rule>,
}

/// What becomes of the routes that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// All of it must hold.
    pub matches: Matches,
    /// What then.
    pub action: Action,
}

/// Conditions on a route; those that say nothing hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// Of the destination.
    pub prefix: Option<PrefixMatch>,
    /// It was learned from a peer. Only such a rule lets out what was learned.
    pub learned: bool,
    /// The peer that it comes from or goes to is of this kind.
    pub peer_kind: Option<PeerKind>,
    /// It carries all of these.
    pub communities: Vec<AnyCommunity>,
    /// Its AS path starts with these numbers.
    pub as_path_prefix: Vec<u32>,
    /// All of these are in its AS path.
    pub as_path_contains: Vec<u32>,
    /// The length of its AS path lies between these, both included.
    pub as_path_length: Option<(usize, usize)>,
    /// The last AS of its path.
    pub origin_as: Option<u32>,
    /// Its next hop lies in this prefix.
    pub next_hop: Option<IpNet>,
}

/// A condition on the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixMatch {
    /// Compared with.
    pub net: IpNet,
    /// How.
    pub operator: PrefixOperator,
    /// Least length of a destination that is `In`.
    pub min_len: u8,
    /// Greatest length of a destination that is `In`.
    pub max_len: u8,
}

/// How a destination is compared with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixOperator {
    /// It is that prefix.
    Equal,
    /// It is another one.
    NotEqual,
    /// It lies within, and has a length within the bounds.
    In,
    /// It does not.
    NotIn,
}

/// A community of any kind that filters know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnyCommunity {
    /// RFC 1997.
    Standard(Community),
    /// RFC 8092.
    Large(LargeCommunity),
}

/// The end of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Taken or told, after these changes in order.
    Accept(Vec<Change>),
    /// Neither.
    Reject,
}

/// A change of a route that a rule accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a community, if it is not there.
    AddCommunity(AnyCommunity),
    /// Removes a community, if it is there.
    RemoveCommunity(AnyCommunity),
    /// Replaces all standard and large communities.
    SetCommunities(Vec<AnyCommunity>),
    /// Puts these numbers in front of the AS path, in this order. To an external peer our own AS
    /// comes before them all the same.
    PrependAsPath(Vec<u32>),
    /// LOCAL_PREF; no external peer gets it.
    SetLocalPref(u32),
    /// MULTI_EXIT_DISC.
    SetMed(u32),
    /// The next hop, of the family of the route.
    SetNextHop(IpAddr),
}

/// Which way a route goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Import,
    /// To the peer.
    Export,
}

/// Names a rule of a peer's filters by position, for as long as they stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleRef {
    filter: u16,
    rule: u16,
}

/// What the filters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// This rule accepts, with these changes.
    Accept(RuleRef, &'a [Change]),
    /// This rule rejects.
    Reject(RuleRef),
    /// One of the filters is broken.
    Broken,
    /// No rule matches.
    NoMatch,
}

impl PeerPolicy {
    /// Asks the filters.
    pub(crate) fn judge(&self, direction: Direction, subject: &Subject<'_>) -> Verdict<'_> {
        if self.broken_filter().is_some() {
            return Verdict::Broken;
        }
        for (filter, known) in self.known_filters().enumerate() {
            let rules = known.rules(direction).of(Family::of(subject.prefix));
            for (rule, Rule { matches, action }) in rules.iter().enumerate() {
                let lets_out = direction == Direction::Export && *action != Action::Reject;
                if (lets_out && subject.learned && !matches.learned) || !matches.hold(subject) {
                    continue;
                }
                let position = |index| u16::try_from(index).unwrap_or(u16::MAX);
                let by = RuleRef { filter: position(filter), rule: position(rule) };
                return match action {
                    Action::Accept(changes) => Verdict::Accept(by, changes),
                    Action::Reject => Verdict::Reject(by),
                };
            }
        }
        Verdict::NoMatch
    }

    /// Name and problem of the first broken filter.
    pub fn broken_filter(&self) -> Option<(&Arc<str>, &str)> {
        self.filters.iter().find_map(|filter| match filter {
            PeerFilter::Broken { name, problem } => Some((name, problem.as_str())),
            PeerFilter::Known(_) => None,
        })
    }

    /// A rule in words: `BGPFilter edge, exportV4[2]`.
    pub(crate) fn rule_in_words(
        &self,
        rule: RuleRef,
        direction: Direction,
        family: Family,
    ) -> String {
        let name = self.known_filters().nth(rule.filter.into()).map_or("?", |filter| &filter.name);
        let list = match (direction, family) {
            (Direction::Import, Family::Ipv4Unicast) => "importV4",
            (Direction::Import, Family::Ipv6Unicast) => "importV6",
            (Direction::Export, Family::Ipv4Unicast) => "exportV4",
            (Direction::Export, Family::Ipv6Unicast) => "exportV6",
        };
        format!("BGPFilter {name}, {list}[{}]", rule.rule)
    }

    fn known_filters(&self) -> impl Iterator<Item = &Filter> {
        self.filters.iter().filter_map(|filter| match filter {
            PeerFilter::Known(filter) => Some(&**filter),
            PeerFilter::Broken { .. } => None,
        })
    }
}

impl PeerFilter {
    /// The object's name.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Known(filter) => &filter.name,
            Self::Broken { name, .. } => name,
        }
    }
}

impl Filter {
    fn rules(&self, direction: Direction) -> &Rules {
        match direction {
            Direction::Import => &self.import,
            Direction::Export => &self.export,
        }
    }
}

impl Rules {
    fn of(&self, family: Family) -> &[Rule] {
        match family {
            Family::Ipv4Unicast => &self.ipv4,
            Family::Ipv6Unicast => &self.ipv6,
        }
    }
}

/// Applies the changes of a rule to attributes; returns the next hop that they set.
pub(crate) fn apply(changes: &[Change], attributes: &mut Attributes) -> Option<IpAddr> {
    let mut next_hop = None;
    for change in changes {
        match change {
            Change::AddCommunity(community) => add(attributes, *community),
            Change::RemoveCommunity(AnyCommunity::Standard(community)) => {
                attributes.communities.retain(|known| known != community);
            }
            Change::RemoveCommunity(AnyCommunity::Large(community)) => {
                attributes.large_communities.retain(|known| known != community);
            }
            Change::SetCommunities(communities) => {
                attributes.communities.clear();
                attributes.large_communities.clear();
                add_communities(attributes, communities);
            }
            Change::PrependAsPath(numbers) => {
                numbers.iter().rev().for_each(|number| attributes.as_path.prepend(*number));
            }
            Change::SetLocalPref(value) => attributes.local_pref = Some(*value),
            Change::SetMed(value) => attributes.med = Some(*value),
            Change::SetNextHop(address) => next_hop = Some(*address),
        }
    }
    next_hop
}

/// Adds those that are not there.
pub(crate) fn add_communities(attributes: &mut Attributes, communities: &[AnyCommunity]) {
    communities.iter().for_each(|community| add(attributes, *community));
}

fn add(attributes: &mut Attributes, community: AnyCommunity) {
    match community {
        AnyCommunity::Standard(community) if !attributes.communities.contains(&community) => {
            attributes.communities.push(community);
        }
        AnyCommunity::Large(community) if !attributes.large_communities.contains(&community) => {
            attributes.large_communities.push(community);
        }
        _ => {}
    }
}

impl fmt::Display for AnyCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(community) => community.fmt(f),
            Self::Large(community) => community.fmt(f),
        }
    }
}
