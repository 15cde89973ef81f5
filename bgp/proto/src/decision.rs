//! The decision process (RFC 4271 §9.1.2), a pure function of the candidates for one prefix.
//!
//! Each step removes those that another candidate beats; the order of the candidates does not
//! matter. MED compares only within one neighbouring AS, hence elimination, not sorting: the
//! relation "better" is not transitive.
//!
//! | step | prefers | source |
//! |---|---|---|
//! | | not LLGR_STALE | RFC 9494 §4.3 |
//! | preference | highest LOCAL_PREF, 100 where there is none | §9.1.1 |
//! | a | shortest AS_PATH; a set counts one | §9.1.2.2 a |
//! | b | lowest ORIGIN | §9.1.2.2 b |
//! | c | lowest MED within a neighbouring AS; none is 0 | §9.1.2.2 c |
//! | d | eBGP over iBGP | §9.1.2.2 d |
//! | | *here equal-cost paths part from the best one* | RFC 7938 §6.1 |
//! | f | lowest BGP identifier, ORIGINATOR_ID instead where it is there | §9.1.2.2 f, RFC 4456 §9 |
//! | | shortest CLUSTER_LIST | RFC 4456 §9 |
//! | g | lowest peer address | §9.1.2.2 g |
//!
//! Step e, interior cost, needs an interior protocol; where next hops are resolved by the
//! kernel there is no cost to compare. What we originate ourselves is not a candidate: it wins
//! before any of this.

use std::net::{IpAddr, Ipv4Addr};

use crate::attribute::Attributes;
use crate::negotiated::PeerKind;

/// Degree of preference of a route that brings none (the value every implementation takes).
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// One path to the prefix and the peer it came from.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What the peer said of the path.
    pub attributes: &'a Attributes,
    /// Whether the peer is in our AS.
    pub peer_kind: PeerKind,
    /// The peer's BGP identifier.
    pub router_id: Ipv4Addr,
    /// The peer's address.
    pub peer_address: IpAddr,
}

/// The outcome, as positions in the list of candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The best path: the one that is told on.
    pub best: usize,
    /// Paths of equal cost, the best among them, in the order of the candidates.
    pub multipath: Vec<usize>,
}

/// A step of the decision, and how it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Before anything else: LLGR_STALE (RFC 9494 §4.3).
    LongLivedStale,
    /// Before a: LOCAL_PREF.
    LocalPref,
    /// a.
    AsPathLength,
    /// b.
    Origin,
    /// c.
    Med,
    /// d.
    PeerKind,
    /// f.
    RouterId,
    /// RFC 4456 §9.
    ClusterList,
    /// g.
    PeerAddress,
}

/// Steps that part better from worse; who is left shares the traffic.
const COST: [Step; 6] = [
    Step::LongLivedStale,
    Step::LocalPref,
    Step::AsPathLength,
    Step::Origin,
    Step::Med,
    Step::PeerKind,
];
/// Steps that part one from its equals.
const TIES: [Step; 3] = [Step::RouterId, Step::ClusterList, Step::PeerAddress];

impl Step {
    /// Keeps those that this step prefers.
    fn keep(self, left: &mut Vec<usize>, candidates: &[Candidate<'_>]) {
        let attributes = |i: usize| candidates[i].attributes;
        match self {
            Self::LongLivedStale => keep_least(left, |i| attributes(i).is_stale()),
            Self::LocalPref => {
                keep_least(left, |i| !attributes(i).local_pref.unwrap_or(DEFAULT_LOCAL_PREF));
            }
            Self::AsPathLength => keep_least(left, |i| attributes(i).as_path.length()),
            Self::Origin => keep_least(left, |i| attributes(i).origin),
            Self::Med => keep_lowest_med(left, candidates),
            Self::PeerKind => keep_least(left, |i| candidates[i].peer_kind),
            Self::RouterId => {
                let originator = |i: usize| attributes(i).originator_id;
                keep_least(left, |i| originator(i).unwrap_or(candidates[i].router_id));
            }
            Self::ClusterList => keep_least(left, |i| attributes(i).cluster_list.len()),
            Self::PeerAddress => keep_least(left, |i| candidates[i].peer_address),
        }
    }
}

impl std::fmt::Display for Step {
    /// What the better path has.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LongLivedStale => "no LLGR_STALE, by which a route is the last resort",
            Self::LocalPref => "a higher LOCAL_PREF",
            Self::AsPathLength => "a shorter AS path",
            Self::Origin => "a better ORIGIN",
            Self::Med => "a lower MED from the same neighbouring AS",
            Self::PeerKind => "an external peer, which comes before an internal one",
            Self::RouterId => "a lower BGP identifier",
            Self::ClusterList => "a shorter cluster list",
            Self::PeerAddress => "a lower peer address",
        })
    }
}

/// Selects; `None` without candidates. Two with the same peer address are told apart by their
/// position.
pub fn select(candidates: &[Candidate<'_>]) -> Option<Selection> {
    if candidates.len() == 1 {
        return Some(Selection { best: 0, multipath: vec![0] });
    }
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    COST.into_iter().for_each(|step| step.keep(&mut left, candidates));
    let multipath = left.clone();
    TIES.into_iter().for_each(|step| step.keep(&mut left, candidates));
    Some(Selection { best: *left.first()?, multipath })
}

/// For each candidate the step that removed it from those of equal cost; `None` for one of them.
pub fn losses(candidates: &[Candidate<'_>]) -> Vec<Option<Step>> {
    let mut lost = vec![None; candidates.len()];
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    for step in COST {
        let before = left.clone();
        step.keep(&mut left, candidates);
        before.into_iter().filter(|i| !left.contains(i)).for_each(|i| lost[i] = Some(step));
    }
    lost
}

fn keep_least<K: Ord>(left: &mut Vec<usize>, key: impl Fn(usize) -> K) {
    if let Some(least) = left.iter().map(|i| key(*i)).min() {
        left.retain(|i| key(*i) == least);
    }
}

/// A path goes if another one from the same neighbouring AS has a lower MED.
fn keep_lowest_med(left: &mut Vec<usize>, candidates: &[Candidate<'_>]) {
    let med = |i: usize| candidates[i].attributes.med.unwrap_or(0);
    let neighbor = |i: usize| candidates[i].attributes.as_path.neighbor();
    let all = left.clone();
    left.retain(|i| !all.iter().any(|j| neighbor(*j) == neighbor(*i) && med(*j) < med(*i)));
}
