//! Our part of the node's main route table.
//!
//! One owner, three kinds of routes, all with protocol number [`ROUTE_PROTOCOL`] and metric
//! [`ROUTE_METRIC`]:
//!
//! | Kind | From | Target |
//! |---|---|---|
//! | endpoint | a batch's endpoints | the pod's host interface |
//! | blackhole | a batch's originated prefixes | drops what no pod of the block claims |
//! | learned | the BGP speaker's best paths | gateways |
//!
//! Where two kinds claim one prefix the upper row wins. The tracker's desired side holds resolved
//! targets: an interface is named in the ruleset, and has another index each time it is made.
//!
//! **Start.** A restarted agent finds the routes of its predecessor and keeps the learned ones
//! until the speaker says that its neighbours have told all they know
//! ([`RouteInput::LearnedComplete`], RFC 4724 §4.1): forwarding goes on meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::cluster::EndpointId;
use brindle_model::routing::Change;
use brindle_model::routing::advertisement::{Origin, Origination};
use brindle_model::ruleset::{Batch, Endpoint, Generation};
use ipnet::IpNet;
use nix::errno::Errno;

use crate::backend::{Commit, Drift};
use crate::delta::{DeltaTracker, Pending};
use crate::driver::Table;
use crate::netlink::{Connection, Link, NetlinkError, NextHop, Route, RouteTarget};

/// Protocol number of our routes: how a restarted agent knows them. Not given out by
/// `linux/rtnetlink.h` nor by iproute2's `rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 98;
/// Metric of our routes. Above what administrators, DHCP clients and router advertisements use
/// (0 to 1024), so that a learned route never takes the place of one of theirs, and uncommon,
/// because the kernel replaces a route by destination and metric whoever made it.
pub const ROUTE_METRIC: u32 = 2098;

/// What the route table takes in.
#[derive(Clone, Debug)]
pub enum RouteInput {
    /// The compiler's changes: endpoints, and prefixes to originate. The first is complete.
    Batch(Arc<Batch>),
    /// Gateways of a learned prefix; none withdraws it.
    Learned(IpNet, BTreeSet<NextHop>),
    /// Everything that neighbours knew at our start has been told: older learned routes may go.
    LearnedComplete,
    /// This interface was set up: routes that waited for it can be made.
    InterfaceUp(Name),
}

/// The table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RouteTableError {
    /// The exchange with the kernel failed.
    #[error("could not exchange routes with the kernel")]
    Netlink(#[from] NetlinkError),
    /// The kernel refused routes that pods need.
    #[error("the kernel refused {count} routes, the first being {first}")]
    Refused {
        /// How many.
        count: usize,
        /// The first of them.
        first: IpNet,
        /// The kernel's reason.
        #[source]
        errno: Errno,
    },
}

/// What there is to see of the route table.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteTableStatus {
    /// Routes that are in the kernel as they should be.
    pub installed: BTreeMap<IpNet, String>,
    /// Routes to pods whose interface is absent or down.
    pub deferred: BTreeMap<IpNet, Name>,
    /// Learned routes that the kernel refused, with its reason; they are tried again.
    pub refused: BTreeMap<IpNet, String>,
    /// Whether learned routes of an earlier agent are still kept.
    pub keeping_learned: bool,
}

/// What a prefix should be, before interfaces are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Interface(Name),
    Blackhole,
    Via(BTreeSet<NextHop>),
}

/// Owner of our routes.
#[derive(Debug)]
pub struct RouteTable {
    kernel: Connection,
    endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    /// Who claims a host prefix, the latest last: during a hand-over of an address the new pod
    /// comes before the old one has gone (K39).
    claims: BTreeMap<IpNet, Vec<EndpointId>>,
    blackholes: BTreeSet<IpNet>,
    learned: BTreeMap<IpNet, BTreeSet<NextHop>>,
    learned_complete: bool,
    /// Prefixes whose wanted target must be resolved anew.
    dirty: BTreeSet<IpNet>,
    deferred: BTreeMap<IpNet, Name>,
    refused: BTreeMap<IpNet, Errno>,
    tracker: DeltaTracker<IpNet, RouteTarget>,
}

impl RouteTable {
    /// Opens the main table of the calling thread's network namespace.
    ///
    /// # Errors
    /// No netlink socket.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            kernel: Connection::open()?,
            endpoints: BTreeMap::new(),
            claims: BTreeMap::new(),
            blackholes: BTreeSet::new(),
            learned: BTreeMap::new(),
            learned_complete: false,
            dirty: BTreeSet::new(),
            deferred: BTreeMap::new(),
            refused: BTreeMap::new(),
            tracker: DeltaTracker::default(),
        })
    }

    /// What there is to see.
    pub fn status(&self) -> RouteTableStatus {
        let installed = self.tracker.in_sync().map(|(net, target)| (*net, target.to_string()));
        let refused = self.refused.iter().map(|(net, errno)| (*net, errno.desc().to_owned()));
        RouteTableStatus {
            installed: installed.collect(),
            deferred: self.deferred.clone(),
            refused: refused.collect(),
            keeping_learned: !self.learned_complete,
        }
    }

    /// What the next commit would write: destination and target, or nothing for a deletion.
    pub fn pending(&self) -> BTreeMap<IpNet, Option<String>> {
        let (delete, replace) = self.program();
        let delete = delete.into_iter().map(|route| (route.destination, None));
        let replace = replace.into_iter().map(|r| (r.destination, Some(r.target.to_string())));
        delete.chain(replace).collect()
    }

    /// Deletes every route of ours.
    ///
    /// # Errors
    /// The kernel could not be read or refused.
    pub fn uninstall(&mut self) -> Result<usize, RouteTableError> {
        let routes = self.kernel.routes_of(ROUTE_PROTOCOL)?;
        let failed = self.kernel.change_routes(&routes, &[])?;
        self.tracker.observe_all([]);
        match failed.first() {
            None => Ok(routes.len()),
            Some((at, errno)) => Err(RouteTableError::Refused {
                count: failed.len(),
                first: routes[*at].destination,
                errno: *errno,
            }),
        }
    }

    fn stage_batch(&mut self, batch: &Batch) {
        let gone = batch.ruleset.endpoints_removed.iter();
        for id in gone.chain(batch.ruleset.endpoints.keys()) {
            let Some(old) = self.endpoints.remove(id) else { continue };
            for net in old.addresses.iter().copied().map(IpNet::from) {
                if let Some(claims) = self.claims.get_mut(&net) {
                    claims.retain(|claimant| claimant != id);
                    if claims.is_empty() {
                        self.claims.remove(&net);
                    }
                }
                self.dirty.insert(net);
            }
        }
        for (id, endpoint) in &batch.ruleset.endpoints {
            for net in endpoint.addresses.iter().copied().map(IpNet::from) {
                self.claims.entry(net).or_default().push(id.clone());
                self.dirty.insert(net);
            }
            self.endpoints.insert(id.clone(), endpoint.clone());
        }
        for change in &batch.routing {
            match change {
                Change::Originate(net, Origination { origin, .. }) => {
                    match origin {
                        Origin::Block => self.blackholes.insert(*net),
                        // What it is announced for is translated before it is routed.
                        Origin::ServiceRange | Origin::Services(_) => self.blackholes.remove(net),
                    };
                    self.dirty.insert(*net);
                }
                Change::Withdraw(net) => {
                    self.blackholes.remove(net);
                    self.dirty.insert(*net);
                }
                Change::Speaker(_) | Change::Peer(..) => {}
            }
        }
    }

    fn wanted(&self, net: IpNet) -> Option<Wanted> {
        let claimant = self.claims.get(&net).and_then(|claims| claims.last());
        if let Some(endpoint) = claimant.and_then(|id| self.endpoints.get(id)) {
            return Some(Wanted::Interface(endpoint.host_interface.clone()));
        }
        if self.blackholes.contains(&net) {
            return Some(Wanted::Blackhole);
        }
        self.learned.get(&net).cloned().map(Wanted::Via)
    }

    /// Brings the tracker's desired side up to date for every dirty prefix.
    fn resolve(&mut self) -> Result<(), NetlinkError> {
        let dirty = std::mem::take(&mut self.dirty);
        let wanted: Vec<_> = dirty.into_iter().map(|net| (net, self.wanted(net))).collect();
        let mut interfaces = Interfaces::default();
        let names = wanted.iter().filter_map(|(_, wanted)| match wanted {
            Some(Wanted::Interface(name)) => Some(name),
            _ => None,
        });
        if let Err(error) = interfaces.read(&mut self.kernel, names) {
            self.dirty.extend(wanted.into_iter().map(|(net, _)| net));
            return Err(error);
        }
        for (net, wanted) in wanted {
            self.deferred.remove(&net);
            self.refused.remove(&net);
            let target = match wanted {
                Some(Wanted::Interface(name)) => match interfaces.index(&name) {
                    Some(index) => Some(RouteTarget::OnLink(index)),
                    None => {
                        self.deferred.insert(net, name);
                        None
                    }
                },
                Some(Wanted::Blackhole) => Some(RouteTarget::Blackhole),
                Some(Wanted::Via(hops)) => Some(RouteTarget::Via(hops)),
                None => None,
            };
            // The kernel names interfaces of gateways that we left to it.
            let actual = self.tracker.actual(&net).cloned();
            let target = match (target, actual) {
                (Some(target), Some(actual)) if satisfies(&actual, &target) => Some(actual),
                (target, _) => target,
            };
            self.tracker.desire(net, target);
        }
        Ok(())
    }

    /// What a commit writes: deletions, then upserts.
    fn program(&self) -> (Vec<Route>, Vec<Route>) {
        let (mut delete, mut replace) = (Vec::new(), Vec::new());
        for (net, pending) in self.tracker.pending() {
            match pending {
                Pending::Remove(RouteTarget::Via(_)) if !self.learned_complete => {}
                Pending::Remove(target) => delete.push(route(*net, target.clone())),
                Pending::Create(target) | Pending::Replace { desired: target, .. } => {
                    replace.push(route(*net, target.clone()));
                }
            }
        }
        (delete, replace)
    }
}

impl Table for RouteTable {
    type Input = RouteInput;
    type Error = RouteTableError;

    fn name(&self) -> &'static str {
        "routes"
    }

    fn stage(&mut self, input: &RouteInput) -> Option<Generation> {
        match input {
            RouteInput::Batch(batch) => {
                self.stage_batch(batch);
                return Some(batch.generation);
            }
            RouteInput::Learned(net, hops) => {
                if hops.is_empty() {
                    self.learned.remove(net);
                } else {
                    self.learned.insert(*net, hops.clone());
                }
                self.dirty.insert(*net);
            }
            RouteInput::LearnedComplete => self.learned_complete = true,
            RouteInput::InterfaceUp(name) => {
                let waiting = self.deferred.iter().filter(|(_, waits_for)| *waits_for == name);
                self.dirty.extend(waiting.map(|(net, _)| *net));
            }
        }
        None
    }

    fn resync(&mut self) -> Result<Drift, RouteTableError> {
        let mut ours = self.kernel.routes_of(ROUTE_PROTOCOL)?;
        ours.retain(|route| route.metric == ROUTE_METRIC);
        self.tracker.observe_all(ours.into_iter().map(|route| (route.destination, route.target)));
        self.dirty.extend(self.claims.keys());
        self.dirty.extend(&self.blackholes);
        self.dirty.extend(self.learned.keys());
        self.resolve()?;
        let (delete, replace) = self.program();
        Ok(Drift { differing: delete.len() + replace.len() })
    }

    fn commit(&mut self) -> Result<Commit, RouteTableError> {
        self.resolve()?;
        let (delete, replace) = self.program();
        if delete.is_empty() && replace.is_empty() {
            return Ok(Commit { writes: 0 });
        }
        let failed: BTreeMap<usize, Errno> =
            self.kernel.change_routes(&delete, &replace)?.into_iter().collect();
        let mut needed = Vec::new();
        let total = delete.len() + replace.len();
        for (at, route) in delete.into_iter().chain(replace).enumerate() {
            let net = route.destination;
            match (failed.get(&at), &route.target) {
                (None, _) => {
                    self.refused.remove(&net);
                    self.tracker.applied(&net);
                }
                (Some(errno), RouteTarget::Via(_)) => drop(self.refused.insert(net, *errno)),
                // The interface went away or down under our hands: as if it had not been there.
                (Some(Errno::ENODEV | Errno::ENETDOWN), RouteTarget::OnLink(_)) => {
                    self.dirty.insert(net);
                }
                (Some(errno), _) => needed.push((net, *errno)),
            }
        }
        match needed.first() {
            None => Ok(Commit { writes: total - failed.len() }),
            Some((first, errno)) => {
                Err(RouteTableError::Refused { count: needed.len(), first: *first, errno: *errno })
            }
        }
    }

    fn wants_retry(&self) -> bool {
        !self.refused.is_empty() || !self.dirty.is_empty()
    }
}

/// Indexes of the interfaces that are up.
#[derive(Default)]
struct Interfaces(BTreeMap<String, u32>);

impl Interfaces {
    /// Up to so many interfaces are asked for one by one; beyond, all are listed.
    const SINGLE: usize = 8;

    fn read<'a>(
        &mut self,
        kernel: &mut Connection,
        names: impl Iterator<Item = &'a Name>,
    ) -> Result<(), NetlinkError> {
        let names: BTreeSet<_> = names.collect();
        let links: Vec<Link> = if names.len() > Self::SINGLE {
            kernel.links()?
        } else {
            let found: Result<Vec<_>, _> = names.iter().map(|name| kernel.link(name)).collect();
            found?.into_iter().flatten().collect()
        };
        self.0 = links.into_iter().filter(|link| link.up).map(|l| (l.name, l.index)).collect();
        Ok(())
    }

    fn index(&self, name: &str) -> Option<u32> {
        self.0.get(name).copied()
    }
}

fn route(destination: IpNet, target: RouteTarget) -> Route {
    Route { destination, target, protocol: ROUTE_PROTOCOL, metric: ROUTE_METRIC }
}

/// Whether a route read back is what was asked for: the same, but for interfaces of gateways that
/// the kernel was left to find.
fn satisfies(actual: &RouteTarget, wanted: &RouteTarget) -> bool {
    let (RouteTarget::Via(actual), RouteTarget::Via(wanted)) = (actual, wanted) else {
        return actual == wanted;
    };
    actual.len() == wanted.len()
        && wanted.iter().all(|hop| {
            actual.iter().any(|have| {
                have.gateway == hop.gateway
                    && (hop.interface.is_none() || have.interface == hop.interface)
            })
        })
}

#[cfg(test)]
#[path = "route_table/tests.rs"]
mod tests;
