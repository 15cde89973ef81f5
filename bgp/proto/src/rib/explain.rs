//! What the tables say of one prefix and one peer, either way: the facts of an explanation.
//!
//! Nothing of it is stored for that purpose. The same pure functions that took a decision are asked
//! again, so that an explanation cannot differ from what happened.

use std::sync::Arc;

use ipnet::IpNet;

use super::import::{self, Rejection};
use super::{PeerId, Rib, Route, source};
use crate::decision::{self, Candidate, Step};
use crate::export::{self, Exported, Progress, Source, Withheld};
use crate::family::Family;
use crate::policy::RuleRef;

/// From a peer to the forwarding table.
#[derive(Debug)]
pub(crate) struct Inward {
    /// The session carries the family.
    pub(crate) carried: bool,
    /// The family was given up (RFC 7606 §2).
    pub(crate) disabled: bool,
    /// The peer has sent all its routes of the family.
    pub(crate) end_of_rib: bool,
    /// The route as the peer advertised it.
    pub(crate) received: Option<ReceivedFacts>,
}

/// A route that a peer advertised.
#[derive(Debug)]
pub(crate) struct ReceivedFacts {
    pub(crate) route: Arc<Route>,
    /// From before its restart.
    pub(crate) stale: bool,
    /// The rule that accepts it, or why it is not used.
    pub(crate) verdict: Result<Option<RuleRef>, Rejection>,
    /// How the decision went, if it takes part.
    pub(crate) place: Option<Place>,
}

/// How a path fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// We originate the prefix: no path is asked.
    Ours,
    /// The best of so many.
    Best(usize),
    /// Of equal cost with the best one, which is of this peer.
    Equal(PeerId),
    /// The path of this peer is better by that step.
    Lost(PeerId, Step),
}

/// From its origin to a peer.
#[derive(Debug)]
pub(crate) struct Outward {
    /// Where the prefix comes from; `None` for nowhere.
    pub(crate) source: Option<Source>,
    /// What the peer gets; `None` without a session.
    pub(crate) told: Option<Result<(Exported, Option<RuleRef>), Withheld>>,
    /// Whether it has it.
    pub(crate) progress: Progress,
}

impl Rib {
    /// The most specific prefix that contains this one and of which anything is known; itself if
    /// nothing is.
    pub(crate) fn known_prefix(&self, asked: IpNet) -> IpNet {
        let known = |prefix: &IpNet| {
            self.loc.get(prefix).is_some()
                || self.peers.values().any(|peer| peer.received.get(prefix).is_some())
        };
        std::iter::successors(Some(asked.trunc()), IpNet::supernet)
            .find(known)
            .unwrap_or_else(|| asked.trunc())
    }

    /// A prefix on its way from a peer.
    pub(crate) fn inward(&mut self, id: PeerId, prefix: &IpNet) -> Option<Inward> {
        self.decide();
        let peer = self.peers.get(&id)?;
        let session = peer.session.as_ref()?;
        let family = Family::of(prefix);
        let received = peer.received.get(prefix).map(|received| ReceivedFacts {
            route: received.route.clone(),
            stale: received.stale,
            verdict: match received.rejection {
                Some(rejection) => Err(rejection),
                None => {
                    let taken = import::taken(&received.route, session);
                    let taken = taken.as_ref().unwrap_or(&received.route);
                    import::filter(prefix, taken, session).map(|by| Some(by?.0))
                }
            },
            place: self.place(id, prefix),
        });
        Some(Inward {
            carried: session.negotiated.families.contains(family),
            disabled: peer.disabled.contains(family),
            end_of_rib: peer.end_of_rib_received.contains(family),
            received,
        })
    }

    /// A prefix on its way to a peer.
    pub(crate) fn outward(&mut self, id: PeerId, prefix: &IpNet) -> Outward {
        self.decide();
        let source = self.loc.get(prefix).and_then(|entry| source(entry, &self.peers));
        let peer = self.peers.get(&id);
        let told = peer.and_then(|peer| peer.established()).and_then(|session| {
            Some(export::export(*prefix, source.as_ref()?, id, &self.local, session))
        });
        let over = peer.filter(|peer| peer.over.contains(prefix));
        let limit = over.and_then(|peer| peer.limit(Family::of(prefix)));
        let told = match limit {
            Some(limit) => Some(Err(Withheld::Limit(limit))),
            None => told,
        };
        let progress = |peer| self.groups.progress(peer, prefix);
        let progress = peer.map_or(Progress::Absent, progress);
        Outward { source, told, progress }
    }

    /// Whether the owner of the forwarding table was told of a path to a prefix.
    pub(crate) fn is_reported(&self, prefix: &IpNet) -> bool {
        self.loc.get(prefix).is_some_and(|entry| !entry.reported().is_empty())
    }

    fn place(&self, id: PeerId, prefix: &IpNet) -> Option<Place> {
        let entry = self.loc.get(prefix)?;
        let paths = entry.paths();
        let mine = paths.iter().position(|path| path.peer == id)?;
        let best = paths.first()?.peer;
        if entry.origin.is_some() {
            return Some(Place::Ours);
        }
        if mine == 0 {
            return Some(Place::Best(paths.len()));
        }
        let candidates: Vec<Candidate<'_>> = paths
            .iter()
            .filter_map(|path| self.peers.get(&path.peer)?.candidate(&path.route))
            .collect();
        Some(match decision::losses(&candidates).get(mine).copied().flatten() {
            Some(step) => Place::Lost(best, step),
            None => Place::Equal(best),
        })
    }
}
