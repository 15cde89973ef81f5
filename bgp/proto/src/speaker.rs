//! The whole speaker without I/O: sockets, clock and randomness are the driver's.
//!
//! ```text
//!   handle_command ─┐                                        ┌─► poll_io        connect, close, listen
//!   handle_accepted ┤   ┌───────┐ Effect  ┌────────────────┐ ├─► poll_transmit  octets for one connection
//!   handle_connected┼──►│ Peer  ├────────►│ Rib            ├─┼─► poll_transmit  octets for one connection
//!   handle_bytes    ┤   │ (FSM) │         │ (best, export) │ ├─► poll_timeout   when to come back
//!   handle_closed   ┤   └───────┘         └────────────────┘ └─► poll_event     best routes, sessions
//!   handle_timeout ─┘
//! ```
//!
//! The driver calls one `handle_*`, then drains `poll_io`, then `poll_transmit` for every
//! connection that can take octets; it fetches events when its owner has room for them. The same
//! calls with the same arguments give the same answers: an incident can be replayed.
//!
//! # Graceful restart (RFC 4724)
//! As the restarting side: [`Config::restarting`] sets R=1 in the first OPEN to each peer, the F
//! bits say what [`Config::forwarding_preserved`] says, End-of-RIB waits for
//! [`Command::InSync`], and best routes are reported only when every peer has sent its own
//! End-of-RIB or the restart time is over (`deferral`). What we originate is advertised at once:
//! it depends on no peer. As the helper: see `peer::helper`.
//!
//! # Faults of our own
//! A panic while a peer is handled ends that peer's sessions and starts it anew; other sessions do
//! not notice (`isolation`). A panic in the decision about a prefix costs that prefix its routes
//! (`rib::quarantine`). A panic anywhere else is the driver's to see: the tables may be wrong then.

pub mod bfd;
pub mod command;
mod deferral;
mod differences;
pub mod event;
pub mod explain;
#[cfg(any(test, feature = "fault-injection"))]
pub mod fault;
mod isolation;
pub mod observe;
mod peers;
pub mod plan;
mod ranges;
mod report;
pub mod routes;
pub mod status;
pub mod transport;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::fsm::State;
use crate::message::NotificationCode;
use crate::peer::{Env, Expired, Peer};
use crate::rib::{Local, Outgoing, Rib};
use crate::session::{ConnId, Place};
use crate::timer::{Jitter, Time};

pub use command::{
    Command, Config, Identity, InvalidCommand, NextHops, PeerConfig, PeerName, RangeConfig,
};
use deferral::Deferral;
pub use event::Event;
pub use explain::PrefixReport;
#[cfg(any(test, feature = "fault-injection"))]
pub use fault::Fault;
pub use observe::{Ends, Observed, Seen};
pub use plan::Plan;
pub(crate) use ranges::Guest;
pub use ranges::RangeStatus;
pub use routes::{RouteList, RouteTable};
pub use status::SpeakerStatus;
pub use transport::{Hops, Md5Key, Password, Transport};

/// What the driver has to do with sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Io {
    /// Open a TCP connection; answer with `handle_connected` or `handle_closed`.
    Connect {
        /// Its name from now on.
        conn: ConnId,
        /// Where to.
        remote: SocketAddr,
        /// From which address, if that matters.
        source: Option<IpAddr>,
        /// Its socket options.
        transport: Transport,
    },
    /// Write what was transmitted and this, then close; or give up connecting. Nothing about the
    /// connection need be told any more.
    Close {
        /// Which.
        conn: ConnId,
        /// Last octets; may be empty.
        last: Vec<u8>,
    },
    /// Connections from and to this address, also those that are open, or from this range are signed
    /// with this key from now on; `None`: not signed. An address goes before a range.
    SetKey {
        /// The neighbour as a prefix of full length, or a range of them.
        remote: IpNet,
        /// Its key.
        key: Option<Md5Key>,
    },
    /// Send and receive BFD from this address of ours, or no longer.
    Bfd {
        /// Our address.
        local: IpAddr,
        /// By the port for several hops (RFC 5883) in place of that for one (RFC 5881).
        multihop: bool,
        /// Whether any session has it.
        wanted: bool,
    },
    /// Listen on this port of all addresses and nowhere else; `None`: nowhere.
    Listen(Option<u16>),
}

/// A connection was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its name from now on.
    pub conn: ConnId,
    /// Its socket options.
    pub transport: Transport,
}

/// A connection was not accepted; close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody has that address.
    #[error("no peer has address {0}")]
    UnknownPeer(IpAddr),
    /// The peer is there but wants no connection now.
    #[error("the peer at {0} is not enabled")]
    Disabled(IpAddr),
}

/// Octets of UPDATEs that are handed out at once, beyond which no other is added.
const CHUNK: usize = 16 * 1024;

/// The tables' view of a speaker without identity: no session is up then.
const NOBODY: Local = Local {
    router_id: Ipv4Addr::UNSPECIFIED,
    next_hop_ipv4: None,
    next_hop_ipv6: None,
    drain: None,
    cluster_id: Ipv4Addr::UNSPECIFIED,
};

/// A BGP speaker.
#[derive(Clone, Debug)]
pub struct Speaker {
    identity: Option<Identity>,
    peers: BTreeMap<PeerName, Peer>,
    /// Who claims an address: usually one.
    addresses: BTreeMap<IpAddr, BTreeSet<PeerName>>,
    /// The keys that the driver was told.
    keys: BTreeMap<IpNet, Md5Key>,
    /// From where peers may come that nobody named.
    ranges: BTreeMap<PeerName, ranges::Range>,
    /// Whose a connection is.
    conns: BTreeMap<ConnId, PeerName>,
    next_peer: u32,
    rib: Rib,
    /// The route event that comes next.
    route_event: Option<Event>,
    deferral: Deferral,
    jitter: Jitter,
    next_conn: u64,
    /// BFD of Established peers that ask for it.
    bfd: BTreeMap<PeerName, bfd::Neighbour>,
    next_bfd: u32,
    bfd_seed: u64,
    io: VecDeque<Io>,
    peer_events: BTreeMap<PeerName, Event>,
    refused: u64,
    stopped: bool,
    /// Whether somebody looks on.
    observed: bool,
    seen: VecDeque<Observed>,
}

impl Speaker {
    /// A speaker without identity, peers and routes.
    pub fn new(config: Config) -> Self {
        Self {
            identity: None,
            peers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            keys: BTreeMap::new(),
            ranges: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_peer: 0,
            rib: Rib::new(NOBODY),
            route_event: None,
            deferral: Deferral::new(config.restarting, config.forwarding_preserved),
            jitter: Jitter::new(config.jitter_seed),
            next_conn: 0,
            bfd: BTreeMap::new(),
            next_bfd: 0,
            bfd_seed: config.jitter_seed,
            io: VecDeque::new(),
            peer_events: BTreeMap::new(),
            refused: 0,
            stopped: false,
            observed: false,
            seen: VecDeque::new(),
        }
    }

    /// Obeys an order.
    ///
    /// # Errors
    /// The order makes no sense ([`Command::validate`]); nothing has changed.
    pub fn handle_command(&mut self, command: Command, now: Time) -> Result<(), InvalidCommand> {
        command.validate()?;
        match command {
            Command::SetIdentity(identity) => self.set_identity(identity, now),
            Command::SetPeer(name, config) => self.set_peer(&name, config, now),
            Command::SetRange(name, config) => self.set_range(&name, config, now),
            Command::RemovePeer(name) => self.remove_peer(&name, now),
            Command::Originate(prefix, origin) => self.rib.originate(prefix, origin),
            Command::Withdraw(prefix) => self.rib.withdraw(prefix),
            Command::InSync => {
                self.deferral.in_sync();
                self.rib.set_in_sync();
            }
            Command::Refresh(name) => self.request_refresh(&name, now),
            Command::Stop { graceful } => self.stop(graceful, now),
            #[cfg(any(test, feature = "fault-injection"))]
            Command::Fail(name, fault) => self.arm(&name, fault),
            #[cfg(any(test, feature = "fault-injection"))]
            Command::FailDecision(prefix) => self.rib.fault = prefix,
        }
        self.after(now);
        Ok(())
    }

    /// The TCP connection of [`Io::Connect`] is open.
    pub fn handle_connected(&mut self, conn: ConnId, local: IpAddr, now: Time) {
        self.at(conn, now, |peer, place, env| {
            if place == Place::Main {
                peer.connected(local, env);
            }
        });
    }

    /// The neighbour at `remote` opened a TCP connection to our address `local`.
    ///
    /// # Errors
    /// The connection is not wanted: close it.
    pub fn handle_accepted(
        &mut self,
        remote: IpAddr,
        local: IpAddr,
        now: Time,
    ) -> Result<Accepted, Refusal> {
        let name = match self
            .owner_of(remote)
            .cloned()
            .map_or_else(|| self.admit(remote, now), |name| Ok(Ok(name)))?
        {
            Ok(name) => name,
            Err(turned_away) => {
                self.after(now);
                return Ok(turned_away);
            }
        };
        let accepted = self.with_peer(&name, now, |peer, env| {
            if !peer.is_enabled() {
                return Err(Refusal::Disabled(remote));
            }
            Ok(Accepted { transport: peer.transport(env), conn: peer.accept(local, env) })
        });
        if let Some(Ok(accepted)) = &accepted {
            self.conns.insert(accepted.conn, name);
        }
        self.after(now);
        accepted.unwrap_or(Err(Refusal::Disabled(remote)))
    }

    /// Octets came on a connection.
    pub fn handle_bytes(&mut self, conn: ConnId, octets: &[u8], now: Time) {
        self.at(conn, now, |peer, place, env| peer.receive(place, octets, env));
    }

    /// A connection failed or was closed by the neighbour; `reason` in words.
    pub fn handle_closed(&mut self, conn: ConnId, reason: &str, now: Time) {
        self.at(conn, now, |peer, place, env| peer.closed(place, reason, env));
    }

    /// Time has passed: fires everything that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        let due = |name: &PeerName, peer: &Peer| {
            let timer = peer.next_timeout().map(|(at, _)| at);
            timer.into_iter().chain(self.bfd_deadline(name)).any(|at| at <= now)
        };
        let due = self.peers.iter().filter(|(name, peer)| due(name, peer));
        let names: Vec<PeerName> = due.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.with_peer(&name, now, Peer::timeout);
            self.contain(&name, now, |speaker| {
                let Some(peer) = speaker.peers.get_mut(&name) else { return };
                let Expired { gone, long_lived } = peer.helper.expire(now);
                gone.iter().for_each(|family| speaker.rib.sweep(peer.id, family));
                long_lived.iter().for_each(|family| speaker.rib.keep_for_long(peer.id, family));
            });
            self.bfd_timeout(&name, now);
            self.forget_guest(&name, now);
            // It may have been held back until now.
            if let Some(address) = self.peers.get(&name).map(|peer| peer.config.address) {
                self.assign(address, now);
            }
        }
        self.after(now);
    }

    /// When to call [`Speaker::handle_timeout`] next, and what for.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let deferral = self.deferral.deadline().map(|at| (at, "selection deferral"));
        let bfd = self.bfd.keys().filter_map(|name| Some((self.bfd_deadline(name)?, "BFD")));
        self.peers.values().filter_map(Peer::next_timeout).chain(deferral).chain(bfd).min()
    }

    /// The next thing to do with sockets.
    pub fn poll_io(&mut self) -> Option<Io> {
        self.io.pop_front()
    }

    /// The next octets to write to a connection: whole messages, of UPDATEs several. Ask only while
    /// it can take some; UPDATEs are built at this moment, from the newest routes.
    pub fn poll_transmit(&mut self, conn: ConnId, now: Time) -> Option<Vec<u8>> {
        let name = self.conns.get(&conn)?.clone();
        // A panic in here is about a prefix, not about this peer.
        self.rib.decide();
        let octets =
            self.contain(&name, now, |speaker| speaker.next_octets(&name, conn, now)).flatten()?;
        if self.observed
            && let Some(ends) = self.ends(&name, conn)
        {
            self.saw_sent(now, &name, &ends, &octets);
        }
        Some(octets)
    }

    fn ends(&self, name: &PeerName, conn: ConnId) -> Option<Ends> {
        let peer = self.peers.get(name)?;
        let session = peer.session(peer.place_of(conn)?)?;
        Some(observe::ends(session, peer.config.address, peer.config.as_number))
    }

    fn next_octets(&mut self, name: &PeerName, conn: ConnId, now: Time) -> Option<Vec<u8>> {
        let peer = self.peers.get_mut(name)?;
        #[cfg(any(test, feature = "fault-injection"))]
        peer.fail_at(Fault::Transmit);
        let place = peer.place_of(conn)?;
        if let Some(octets) = peer.session_mut(place)?.transmit(now) {
            return Some(octets);
        }
        if peer.session(place)?.state != State::Established {
            return None;
        }
        let mut octets = Vec::new();
        while octets.len() < CHUNK
            && let Some(outgoing) = self.rib.poll_outgoing(peer.id)
        {
            let result = match outgoing {
                Outgoing::Own(update) => {
                    peer.session(place)?.encode_update(update).map(|own| octets.extend(own))
                }
                Outgoing::Shared(shared) => match &shared.octets {
                    Ok(shared) => {
                        octets.extend_from_slice(shared);
                        Ok(())
                    }
                    Err(error) => Err(error.clone()),
                },
            };
            if let Err(error) = result {
                peer.history.error(format!("cannot advertise: {error}"), now);
            }
        }
        (!octets.is_empty()).then_some(octets)
    }

    /// Whether [`Speaker::poll_event`] has something.
    pub fn has_events(&self) -> bool {
        !self.peer_events.is_empty() || self.route_event.is_some()
    }

    /// The next report: sessions first, then routes, in order of prefixes. Of several changes to a
    /// prefix only the last is told.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.peer_events.pop_first().map(|(_, event)| event).or_else(|| {
            let event = self.route_event.take();
            self.next_route_event();
            event
        })
    }

    /// The same for a driver that is looked at: routes are seen when they are told.
    pub fn poll_event_at(&mut self, now: Time) -> Option<Event> {
        let event = self.poll_event()?;
        if !matches!(event, Event::Peer { .. }) {
            self.saw(now, Seen::Route(event.clone()));
        }
        Some(event)
    }

    /// Whether [`Command::Stop`] was given. What `poll_io` still has is to be done.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn stop(&mut self, graceful: bool, now: Time) {
        let names: Vec<_> = self.peers.keys().cloned().collect();
        for name in names {
            self.with_peer(&name, now, |peer, env| match graceful {
                true => peer.abandon(env),
                false => {
                    peer.stop(NotificationCode::AdministrativeShutdown, "the speaker stops", env);
                }
            });
        }
        let monitored: Vec<PeerName> = self.bfd.keys().cloned().collect();
        monitored.iter().for_each(|name| self.stop_bfd(name));
        self.peers.clear();
        self.ranges.clear();
        self.addresses.clear();
        self.conns.clear();
        self.peer_events.clear();
        self.route_event = None;
        self.rib = Rib::new(NOBODY);
        self.io.push_back(Io::Listen(None));
        self.stopped = true;
    }

    /// What every call ends with: the restart ends if it is over, and the next route is at hand.
    fn after(&mut self, now: Time) {
        if self.deferral.is_restarting() {
            let enabled = self.peers.values_mut().filter(|peer| peer.is_enabled());
            let waiting = enabled.map(Peer::has_sent_all).filter(|sent| !sent).count();
            self.deferral.check(self.identity.is_some() && waiting == 0, now);
        }
        self.next_route_event();
    }

    /// Looks for the next change of a best route, unless they are held back.
    fn next_route_event(&mut self) {
        if self.route_event.is_some() || self.deferral.is_restarting() {
            return;
        }
        self.route_event = match self.rib.poll_event() {
            Some(event) => Some(event.into()),
            None => self.deferral.converges().then_some(Event::Converged),
        };
    }

    /// Lets the peer that has this connection handle something, if one still has it.
    fn at(&mut self, conn: ConnId, now: Time, handle: impl FnOnce(&mut Peer, Place, &mut Env<'_>)) {
        if let Some(name) = self.conns.get(&conn).cloned() {
            self.with_peer(&name, now, |peer, env| {
                if let Some(place) = peer.place_of(conn) {
                    handle(peer, place, env);
                }
            });
        }
        self.after(now);
    }
}
