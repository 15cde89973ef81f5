//! What orders would do: they are carried out on a copy of the speaker.
//!
//! The copy does with them what the speaker itself would do, so there is no second set of rules
//! about what resets a session or what a peer is told. Afterwards the two are compared.
//!
//! A session that ends in the copy and is to come back is taken to come up with the capabilities that
//! it had, and the neighbour to say again what it said: what is compared is how things are before and
//! how they are once all is settled. A session that was not there before is taken to come up with all
//! that we offer; nobody knows what a new neighbour will say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::Serialize;

use super::Speaker;
use super::command::{Command, Identity, PeerConfig, PeerName, RangeConfig};
use super::event::Event;
use super::routes::{RouteStatus, status};
use crate::family::{Family, FamilySet};
use crate::message::{Reach, Update};
use crate::negotiated::Negotiated;
use crate::peer::Peer;
use crate::rib::{AdvertisedRoute, PeerId, PeerSession, ReceivedRoute};
use crate::timer::Time;

/// What orders would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What becomes of our own AS, times and so on, in words, with what it costs.
    pub identity: Vec<String>,
    /// Neighbours with any difference, by name.
    pub peers: Vec<PeerPlan>,
    /// Ranges of neighbours with any difference, by name.
    pub ranges: Vec<RangePlan>,
    /// Prefixes that this node would forward otherwise, in order.
    pub forwarding: Vec<ForwardingPlan>,
    /// Orders that no speaker could obey, and why.
    pub refused: Vec<String>,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerPlan {
    /// Its name.
    pub name: PeerName,
    /// Its address.
    pub address: IpAddr,
    /// The AS that it must have.
    pub as_number: u32,
    /// What becomes of its session.
    pub session: Fate,
    /// Why the session ends or is not opened.
    pub reason: Option<String>,
    /// What of its configuration changes while the session goes on.
    pub applied: Vec<&'static str>,
    /// Routes that it would be told of and has not.
    pub announced: Vec<RouteStatus>,
    /// Routes that it has and would be told otherwise: as they would be.
    pub changed: Vec<RouteStatus>,
    /// Prefixes that it has and would have no more.
    pub withdrawn: Vec<IpNet>,
}

/// What becomes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The neighbour is new.
    Added,
    /// The neighbour is gone.
    Removed,
    /// The session ends and is opened anew.
    Reset,
    /// The session ends, or is no longer tried.
    Closed,
    /// A session is tried that was not before.
    Opened,
    /// It goes on.
    Kept,
    /// There is none before, and none because of this.
    Down,
}

/// One range of neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangePlan {
    /// Its name.
    pub name: PeerName,
    /// Its addresses.
    pub prefix: IpNet,
    /// `added`, `removed` or, if it is there before and after, `changed`.
    pub range: &'static str,
}

/// One prefix of the forwarding table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForwardingPlan {
    /// The destination.
    pub prefix: IpNet,
    /// Where to now; empty for nowhere.
    pub before: Vec<IpAddr>,
    /// Where to then.
    pub after: Vec<IpAddr>,
}

/// A neighbour before the orders.
struct Before {
    id: PeerId,
    config: PeerConfig,
    is_guest: bool,
    session: Option<PeerSession>,
    idle_because: Option<String>,
    received: Vec<ReceivedRoute>,
    told: BTreeMap<IpNet, AdvertisedRoute>,
}

impl Speaker {
    /// How many routes the tables hold: what a copy costs.
    pub fn routes_held(&self) -> usize {
        self.rib.routes_held()
    }

    /// Carries out orders on this speaker, which is a copy, and says what they change.
    pub fn plan(mut self, commands: Vec<Command>, now: Time) -> Plan {
        self.observed = false;
        self.settle();
        self.peer_events.clear();
        let before = self.before();
        let (identity, ranges) = (self.identity.clone(), self.range_configs());
        let forwarding = self.rib.forwarding();
        let mut plan = Plan::default();
        for order in commands {
            let refused = self.handle_command(order, now).err();
            plan.refused.extend(refused.map(|error| error.to_string()));
        }
        self.readmit_guests(&before, now);
        let names: BTreeSet<PeerName> = before.keys().chain(self.peers.keys()).cloned().collect();
        let mut fates = Vec::new();
        for name in names {
            let was = before.get(&name);
            let (mut fate, mut reason) = self.fate(&name, was);
            let comes = matches!(fate, Fate::Added | Fate::Reset | Fate::Opened);
            if comes
                && self.may_come_up(&name)
                && let Some(why) = self.come_up(&name, was)
            {
                (fate, reason) = (Fate::Closed, Some(why));
            }
            fates.push((name, fate, reason));
        }
        self.settle();
        for (name, fate, reason) in fates {
            plan.peers.extend(self.peer_plan(&name, before.get(&name), fate, reason));
        }
        plan.identity = identity_changes(identity.as_ref(), self.identity.as_ref());
        plan.ranges = range_changes(&ranges, &self.range_configs());
        plan.forwarding = forwarding_changes(&forwarding, &self.rib.forwarding());
        plan
    }

    /// Lets every peer have what waits for it.
    fn settle(&mut self) {
        let ids: Vec<PeerId> = self.peers.values().map(|peer| peer.id).collect();
        for id in ids {
            while self.rib.poll_outgoing(id).is_some() {}
        }
        self.io.clear();
    }

    fn before(&self) -> BTreeMap<PeerName, Before> {
        let before = |(name, peer): (&PeerName, &Peer)| {
            let seen = Before {
                id: peer.id,
                config: peer.config.clone(),
                is_guest: peer.guest.is_some(),
                session: self.rib.session(peer.id).cloned(),
                idle_because: self.idle_because(name, peer),
                received: self.rib.received(peer.id),
                told: self.told(peer.id),
            };
            (name.clone(), seen)
        };
        self.peers.iter().map(before).collect()
    }

    fn told(&self, id: PeerId) -> BTreeMap<IpNet, AdvertisedRoute> {
        self.rib.advertised(id).into_iter().map(|route| (route.prefix, route)).collect()
    }

    /// Who came by a range and was sent away comes again, if it is still let in.
    fn readmit_guests(&mut self, before: &BTreeMap<PeerName, Before>, now: Time) {
        for (name, was) in before {
            let address = was.config.address;
            let gone = was.is_guest && was.session.is_some() && !self.peers.contains_key(name);
            if gone && self.owner_of(address).is_none() {
                // Whoever is refused stays away, and is a neighbour that is gone.
                drop(self.admit(address, now));
            }
        }
    }

    fn fate(&self, name: &PeerName, was: Option<&Before>) -> (Fate, Option<String>) {
        let ended = match self.peer_events.get(name) {
            Some(Event::Peer { reason, .. }) => reason.clone(),
            _ => None,
        };
        let Some(peer) = self.peers.get(name) else { return (Fate::Removed, ended) };
        let idle = self.idle_because(name, peer);
        let Some(was) = was else { return (Fate::Added, idle) };
        let goes_on = was.id == peer.id && peer.established().is_some();
        match (was.session.is_some(), goes_on, was.idle_because.is_some(), idle) {
            (true, true, ..) => (Fate::Kept, None),
            (true, false, _, Some(idle)) => (Fate::Closed, Some(idle)),
            (true, false, _, None) => (Fate::Reset, ended),
            (false, _, false, Some(idle)) => (Fate::Closed, Some(idle)),
            (false, _, true, None) => (Fate::Opened, None),
            (false, ..) => (Fate::Down, None),
        }
    }

    fn may_come_up(&self, name: &PeerName) -> bool {
        self.peers.get(name).is_some_and(|peer| self.idle_because(name, peer).is_none())
    }

    /// The session of a peer comes up in the tables; the reason if it cannot stay.
    fn come_up(&mut self, name: &PeerName, was: Option<&Before>) -> Option<String> {
        let peer = self.peers.get(name)?;
        let id = peer.id;
        let session = assumed(peer, self.identity.as_ref()?, was)?;
        self.rib.peer_up(id, session);
        for route in was.into_iter().flat_map(|was| &was.received) {
            let reach = Reach {
                family: Family::of(&route.prefix),
                next_hop: route.next_hop,
                prefixes: vec![route.prefix],
            };
            let attributes = route.attributes.clone();
            self.rib.update(id, &Update { reach: vec![reach], attributes, ..Update::default() });
        }
        let exceeded = self.rib.exceeded(id)?;
        self.rib.remove_peer(id);
        Some(exceeded.words())
    }

    /// What is told of a peer; `None` if nothing becomes of it.
    fn peer_plan(
        &self,
        name: &PeerName,
        was: Option<&Before>,
        session: Fate,
        reason: Option<String>,
    ) -> Option<PeerPlan> {
        let peer = self.peers.get(name);
        let config = peer.map(|peer| &peer.config).or(was.map(|was| &was.config))?;
        let none = BTreeMap::new();
        let before = was.map_or(&none, |was| &was.told);
        let after = peer.map(|peer| self.told(peer.id)).unwrap_or_default();
        let as_told = |route: &AdvertisedRoute| RouteStatus {
            peer: Some(name.clone()),
            used: true,
            ..status(route.prefix, Some(route.next_hop), &route.attributes)
        };
        let applied = match (was, session) {
            (Some(was), Fate::Kept | Fate::Down) => {
                was.config.differences(config).into_iter().map(|changed| changed.what).collect()
            }
            _ => Vec::new(),
        };
        let new = after.values().filter(|route| !before.contains_key(&route.prefix));
        let other = after.values().filter(|r| before.get(&r.prefix).is_some_and(|b| b != *r));
        let plan = PeerPlan {
            name: name.clone(),
            address: config.address,
            as_number: config.as_number,
            session,
            reason,
            applied,
            announced: new.map(as_told).collect(),
            changed: other.map(as_told).collect(),
            withdrawn: before.keys().filter(|p| !after.contains_key(p)).copied().collect(),
        };
        let nothing = matches!(session, Fate::Kept | Fate::Down)
            && plan.applied.is_empty()
            && plan.announced.is_empty()
            && plan.changed.is_empty()
            && plan.withdrawn.is_empty();
        (!nothing).then_some(plan)
    }
}

/// The session as it will be: like the one before, else with all that we offer.
fn assumed(peer: &Peer, identity: &Identity, was: Option<&Before>) -> Option<PeerSession> {
    let config = &peer.config;
    let earlier = was.and_then(|was| was.session.as_ref());
    let negotiated = earlier.map_or_else(
        || Negotiated {
            four_octet_as: true,
            families: FamilySet::ALL,
            extended_next_hop: config.address.is_ipv6(),
            ..Negotiated::before_open(0)
        },
        |session| session.negotiated.clone(),
    );
    let family = if config.address.is_ipv4() { Family::Ipv4Unicast } else { Family::Ipv6Unicast };
    let own = identity.next_hops.of(family).filter(|own| own.is_ipv4() == config.address.is_ipv4());
    Some(PeerSession {
        negotiated: Negotiated {
            local_as: identity.as_number,
            peer_as: config.as_number,
            ..negotiated
        },
        // Of a new neighbour nobody knows it; it is no address that a route could come from.
        router_id: earlier.map_or(Ipv4Addr::UNSPECIFIED, |session| session.router_id),
        peer_address: config.address,
        local_address: config.source.or(earlier.map(|session| session.local_address)).or(own)?,
        role: config.role_to(identity),
        policy: config.policy.clone(),
    })
}

fn identity_changes(before: Option<&Identity>, after: Option<&Identity>) -> Vec<String> {
    match (before, after) {
        (Some(before), Some(after)) => before.differences(after),
        (None, Some(_)) => vec!["this node gets its AS and router id: sessions are opened".into()],
        (Some(_), None) => vec!["this node has no AS and router id any more: no session is".into()],
        (None, None) => Vec::new(),
    }
}

fn range_changes(
    before: &BTreeMap<PeerName, RangeConfig>,
    after: &BTreeMap<PeerName, RangeConfig>,
) -> Vec<RangePlan> {
    let names: BTreeSet<&PeerName> = before.keys().chain(after.keys()).collect();
    let plan = |name: &PeerName| {
        let (was, is) = (before.get(name), after.get(name));
        let range = match (was, is) {
            (None, _) => "added",
            (_, None) => "removed",
            (was, is) if was != is => "changed",
            _ => return None,
        };
        Some(RangePlan { name: name.clone(), prefix: is.or(was)?.prefix, range })
    };
    names.into_iter().filter_map(plan).collect()
}

fn forwarding_changes(
    before: &BTreeMap<IpNet, Vec<IpAddr>>,
    after: &BTreeMap<IpNet, Vec<IpAddr>>,
) -> Vec<ForwardingPlan> {
    let prefixes: BTreeSet<&IpNet> = before.keys().chain(after.keys()).collect();
    let changed = prefixes.into_iter().filter(|prefix| before.get(prefix) != after.get(prefix));
    let hops = |table: &BTreeMap<IpNet, Vec<IpAddr>>, prefix| {
        table.get(prefix).cloned().unwrap_or_default()
    };
    changed
        .map(|prefix| ForwardingPlan {
            prefix: *prefix,
            before: hops(before, prefix),
            after: hops(after, prefix),
        })
        .collect()
}
