//! Routes as an operator lists them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Speaker;
use super::command::PeerName;
use crate::attribute::Attributes;
use crate::family::Family;
use crate::message::NextHop;
use crate::policy::{Direction, PeerPolicy};
use crate::rib::{LocPath, ReceivedRoute, Rejection};

/// Which table is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTable {
    /// The Adj-RIBs-In: what peers advertised, used or not.
    Received,
    /// The Adj-RIBs-Out: what peers have from us.
    Advertised,
    /// The Loc-RIB: what was chosen, and what we originate.
    Best,
}

/// A list of routes, not longer than was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteList {
    /// By peer, then by prefix; the Loc-RIB by prefix.
    pub routes: Vec<RouteStatus>,
    /// How many more there are.
    pub left_off: usize,
}

/// One path to a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteStatus {
    /// The destination.
    pub prefix: IpNet,
    /// Who told of it or was told; `None` for what we originate.
    pub peer: Option<PeerName>,
    /// Where to; `None` for what we originate.
    pub next_hop: Option<IpAddr>,
    /// AS_PATH, as routers print it.
    pub as_path: String,
    /// LOCAL_PREF, if there is one.
    pub local_pref: Option<u32>,
    /// MED, if there is one.
    pub med: Option<u32>,
    /// Standard and large communities.
    pub communities: Vec<String>,
    /// Taken from the peer or told to it or, in the Loc-RIB, chosen.
    pub used: bool,
    /// What is special about it: why it is not used, that it is stale, or what of ours it is.
    pub note: Option<String>,
}

impl Speaker {
    /// The routes of a table, of every peer or one, at most so many.
    pub fn routes(&self, table: RouteTable, peer: Option<&str>, limit: usize) -> RouteList {
        let of_peer = |name: &PeerName| peer.is_none_or(|peer| peer == &**name);
        let peers = self.peers.iter().filter(|(name, _)| of_peer(name));
        let all: Box<dyn Iterator<Item = RouteStatus> + '_> =
            match table {
                RouteTable::Received => Box::new(peers.flat_map(|(name, peer)| {
                    let routes = self.rib.received(peer.id).into_iter();
                    routes.map(|route| received(name, &peer.config.policy, &route))
                })),
                RouteTable::Advertised => Box::new(peers.flat_map(|(name, peer)| {
                    let routes = self.rib.advertised(peer.id).into_iter();
                    routes.map(|route| RouteStatus {
                        peer: Some(name.clone()),
                        used: true,
                        ..status(route.prefix, Some(route.next_hop), &route.attributes)
                    })
                })),
                RouteTable::Best => Box::new(self.best().filter(move |route| {
                    peer.is_none() || route.peer.as_ref().is_some_and(of_peer)
                })),
            };
        let mut list = RouteList::default();
        for route in all {
            match list.routes.len() < limit {
                true => list.routes.push(route),
                false => list.left_off += 1,
            }
        }
        list
    }

    fn best(&self) -> impl Iterator<Item = RouteStatus> {
        self.rib.routes().flat_map(move |route| {
            let originated = route.origin.is_some();
            let ours = route.origin.map(|origin| RouteStatus {
                used: true,
                note: Some(origin.words.to_string()).filter(|words| !words.is_empty()),
                ..status(route.prefix, None, &origin.attributes())
            });
            let path = move |path: LocPath| RouteStatus {
                peer: Some(self.name_of(path.peer).into()),
                used: path.chosen && !originated,
                ..status(route.prefix, Some(path.next_hop), &path.attributes)
            };
            ours.into_iter().chain(route.paths.into_iter().map(path))
        })
    }
}

fn received(name: &PeerName, policy: &PeerPolicy, route: &ReceivedRoute) -> RouteStatus {
    let note = match route.rejection {
        Some(Rejection::Filtered(rule)) => {
            let family = Family::of(&route.prefix);
            Some(format!("{} rejects it", policy.rule_in_words(rule, Direction::Import, family)))
        }
        Some(rejection) => Some(rejection.to_string()),
        None => route.stale.then(|| "from before the peer's restart".to_owned()),
    };
    RouteStatus {
        peer: Some(name.clone()),
        used: route.rejection.is_none(),
        note,
        ..status(route.prefix, Some(route.next_hop), &route.attributes)
    }
}

pub(super) fn status(
    prefix: IpNet,
    next_hop: Option<NextHop>,
    attributes: &Attributes,
) -> RouteStatus {
    let standard = attributes.communities.iter().map(ToString::to_string);
    let large = attributes.large_communities.iter().map(ToString::to_string);
    RouteStatus {
        prefix,
        next_hop: next_hop.map(|next_hop| next_hop.address()),
        as_path: attributes.as_path.to_string(),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: standard.chain(large).collect(),
        peer: None,
        used: false,
        note: None,
    }
}
