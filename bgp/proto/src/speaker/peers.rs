//! The set of peers: who is configured, who may run, and what they ask for.

use std::net::IpAddr;

use ipnet::IpNet;

use super::command::{Identity, PeerConfig, PeerName};
use super::differences::ending;
use super::event::Event;
use super::transport::Md5Key;
use super::{Io, Seen, Speaker, observe};
use crate::family::Family;
use crate::fsm::State;
use crate::message::{Message, NotificationCode, RefreshKind, RouteRefresh};
use crate::peer::{Effect, Env, Peer};
use crate::rib::{Local, PeerId};
use crate::timer::Time;

impl Speaker {
    pub(super) fn set_identity(&mut self, identity: Option<Identity>, now: Time) {
        let old = std::mem::replace(&mut self.identity, identity);
        let key =
            |identity: &Option<Identity>| identity.as_ref().map(|i| (i.as_number, i.router_id));
        let port = |identity: &Option<Identity>| {
            identity.as_ref().map(|i| i.listen_port).filter(|port| *port != 0)
        };
        if port(&old) != port(&self.identity) {
            self.io.push_back(Io::Listen(port(&self.identity)));
        }
        if let Some(identity) = &self.identity {
            self.deferral.start(identity.restart_time, now);
            self.rib.set_local(Local {
                router_id: identity.router_id,
                next_hop_ipv4: identity.next_hops.ipv4,
                next_hop_ipv6: identity.next_hops.ipv6,
                drain: identity.drain,
                cluster_id: identity.cluster_id.unwrap_or(identity.router_id),
            });
        }
        if key(&old) != key(&self.identity) {
            let (code, why) = match &self.identity {
                Some(_) => {
                    (NotificationCode::OtherConfigurationChange, "our AS or router id changed")
                }
                None => (NotificationCode::AdministrativeShutdown, "our BGP identity was removed"),
            };
            // An identity that is gone still has to say goodbye.
            let new = std::mem::replace(&mut self.identity, old);
            let names: Vec<_> = self.peers.keys().cloned().collect();
            names.iter().for_each(|name| self.disable(name, code, why, now));
            self.identity = new;
        }
        let addresses: Vec<_> = self.addresses.keys().copied().collect();
        addresses.into_iter().for_each(|address| self.assign(address, now));
    }

    pub(super) fn set_peer(&mut self, name: &PeerName, config: PeerConfig, now: Time) {
        if let Some(peer) = self.peers.get_mut(name) {
            if peer.config == config {
                return;
            }
            let differences = peer.config.differences(&config);
            let Some(why) = ending(&differences, peer.established().is_some()) else {
                return self.change_peer(name, config, now);
            };
            self.take_out(name, NotificationCode::OtherConfigurationChange, &why, now);
        }
        self.remove_range(name, now);
        let address = config.address;
        self.evict(address, now);
        self.next_peer += 1;
        self.peers.insert(name.clone(), Peer::new(PeerId(self.next_peer), config));
        self.addresses.entry(address).or_default().insert(name.clone());
        self.assign(address, now);
    }

    /// Replaces the configuration of a peer whose session goes on with it.
    fn change_peer(&mut self, name: &PeerName, config: PeerConfig, now: Time) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        let policy = config.policy.clone();
        let before = std::mem::replace(&mut peer.config, config);
        if before.policy != policy {
            peer.forgive();
            self.rib.set_policy(peer.id, policy);
        }
        let address = peer.config.address;
        let session = peer.established().filter(|_| before.bfd.is_none());
        if let Some(local) = session.and_then(|session| session.local) {
            self.start_bfd(name, local, now);
        }
        self.assign(address, now);
        self.enforce_limit(name, now);
    }

    pub(super) fn remove_peer(&mut self, name: &PeerName, now: Time) {
        self.remove_range(name, now);
        self.take_out(name, NotificationCode::PeerDeconfigured, "the peer was removed", now);
    }

    pub(super) fn take_out(
        &mut self,
        name: &PeerName,
        code: NotificationCode,
        why: &str,
        now: Time,
    ) {
        self.disable(name, code, why, now);
        let Some(peer) = self.peers.remove(name) else { return };
        let address = peer.config.address;
        if let Some(names) = self.addresses.get_mut(&address) {
            names.remove(name);
        }
        self.assign(address, now);
    }

    /// Lets the peer run that an address belongs to, if we have an identity to speak with; the
    /// others that claim it may not.
    pub(super) fn assign(&mut self, address: IpAddr, now: Time) {
        let Some(names) = self.addresses.get(&address).cloned() else { return };
        if names.is_empty() {
            self.addresses.remove(&address);
        }
        self.tell_key(address);
        // The owner comes first by name and is started last.
        for (rank, name) in names.iter().enumerate().rev() {
            let Some(peer) = self.peers.get(name) else { continue };
            let (enabled, unwanted) = (peer.is_enabled(), peer.config.unwanted());
            let held_back = peer.over_limit().is_some();
            match rank == 0 && self.identity.is_some() && unwanted.is_none() && !held_back {
                true if !enabled => drop(self.with_peer(name, now, Peer::start)),
                false if enabled => {
                    let code = match peer.config.shutdown {
                        Some(_) => NotificationCode::AdministrativeShutdown,
                        None => NotificationCode::PeerDeconfigured,
                    };
                    let why = unwanted.unwrap_or("another peer has this address").to_owned();
                    self.disable(name, code, &why, now);
                }
                _ => {}
            }
        }
    }

    /// Tells the driver the key of an address, if it is another than before.
    fn tell_key(&mut self, address: IpAddr) {
        let owner = self.owner_of(address).and_then(|name| self.peers.get(name));
        let key = owner.and_then(|peer| peer.config.password.as_ref()?.key.clone());
        self.set_key(address.into(), key);
    }

    /// Tells the driver the key of an address or a range, if it is another than before.
    pub(super) fn set_key(&mut self, remote: IpNet, key: Option<Md5Key>) {
        if self.keys.get(&remote) != key.as_ref() {
            match &key {
                Some(key) => self.keys.insert(remote, key.clone()),
                None => self.keys.remove(&remote),
            };
            self.io.push_back(Io::SetKey { remote, key });
        }
    }

    /// The peer that an address belongs to: the first by name.
    pub(super) fn owner_of(&self, address: IpAddr) -> Option<&PeerName> {
        self.addresses.get(&address)?.first()
    }

    /// Ends a peer's sessions and forgets its routes, stale ones too.
    fn disable(&mut self, name: &PeerName, code: NotificationCode, why: &str, now: Time) {
        self.with_peer(name, now, |peer, env| {
            peer.stop(code, why, env);
            peer.helper.peer_is_gone();
        });
        if let Some(peer) = self.peers.get(name) {
            self.rib.remove_peer(peer.id);
        }
    }

    /// Ends the session of a peer that advertises more than it may (Cease 6/1).
    fn enforce_limit(&mut self, name: &PeerName, now: Time) {
        let Some(exceeded) = self.peers.get(name).and_then(|peer| self.rib.exceeded(peer.id))
        else {
            return;
        };
        self.step(name, now, |peer, env| peer.hold_back(exceeded, env));
    }

    pub(super) fn request_refresh(&mut self, name: &PeerName, now: Time) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        let session = &mut peer.main;
        if session.state == State::Established && session.negotiated.route_refresh {
            for family in session.negotiated.families.iter() {
                let kind = RefreshKind::Request;
                let refresh = RouteRefresh { family: family.afi_safi(), kind };
                session.send(&Message::RouteRefresh(refresh), now);
            }
        }
    }

    /// Lets a peer handle something and does what it asks for; `None` without peer or identity, or
    /// if that panicked.
    pub(super) fn with_peer<T>(
        &mut self,
        name: &PeerName,
        now: Time,
        handle: impl FnOnce(&mut Peer, &mut Env<'_>) -> T,
    ) -> Option<T> {
        self.contain(name, now, |speaker| speaker.step(name, now, handle)).flatten()
    }

    /// The same, without protection against panics.
    pub(super) fn step<T>(
        &mut self,
        name: &PeerName,
        now: Time,
        handle: impl FnOnce(&mut Peer, &mut Env<'_>) -> T,
    ) -> Option<T> {
        let (Some(peer), Some(identity)) = (self.peers.get_mut(name), &self.identity) else {
            return None;
        };
        let before = peer.state();
        let mut effects = Vec::new();
        let mut env = Env {
            now,
            identity,
            restarting: self.deferral.is_restarting(),
            preserved: self.deferral.preserved(),
            jitter: &mut self.jitter,
            next_conn: &mut self.next_conn,
            observed: self.observed,
            effects: &mut effects,
        };
        let result = handle(peer, &mut env);
        peer.watch_absence(now);
        let after = peer.state();
        let changed = self.observed && before != after;
        let config = &peer.config;
        let ends = changed.then(|| observe::ends(&peer.main, config.address, config.as_number));
        let mut reason = None;
        for effect in effects {
            if let Effect::Down { reason: words, .. } = &effect {
                reason = Some(words.clone());
            }
            self.apply(name, effect, now);
        }
        if let Some(ends) = ends {
            let (peer, reason) = (name.clone(), reason.clone());
            self.saw(now, Seen::State { peer, ends, before, after, reason });
        }
        if before != after {
            self.report_state(name, after, reason);
        }
        if after == State::Established {
            self.enforce_limit(name, now);
        }
        Some(result)
    }

    /// Of several changes that wait, the owner is told the last one, and why the session ended.
    pub(super) fn report_state(&mut self, name: &PeerName, state: State, reason: Option<String>) {
        let earlier = match self.peer_events.remove(name) {
            Some(Event::Peer { reason, .. }) if state != State::Established => reason,
            _ => None,
        };
        let event = Event::Peer { name: name.clone(), state, reason: reason.or(earlier) };
        self.peer_events.insert(name.clone(), event);
    }

    fn apply(&mut self, name: &PeerName, effect: Effect, now: Time) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        match effect {
            Effect::Connect { conn, remote, source, transport } => {
                self.conns.insert(conn, name.clone());
                self.io.push_back(Io::Connect { conn, remote, source, transport });
            }
            Effect::Heard(ends, octets) => {
                let peer = name.clone();
                self.saw(now, Seen::Message { peer, sent: false, ends: *ends, octets });
            }
            Effect::Close { conn, last, ends } => {
                self.conns.remove(&conn);
                if let Some(ends) = ends {
                    self.saw_sent(now, name, &ends, &last);
                }
                self.io.push_back(Io::Close { conn, last });
            }
            Effect::Up { session, keep_stale } => {
                for family in Family::ALL.into_iter().filter(|f| !keep_stale.contains(*f)) {
                    self.rib.sweep(peer.id, family);
                }
                let local = session.local_address;
                self.rib.peer_up(peer.id, *session);
                self.start_bfd(name, local, now);
            }
            Effect::Down { keep, .. } => {
                self.rib.peer_down(peer.id, keep);
                self.stop_bfd(name);
            }
            Effect::Update(update) => {
                self.rib.update(peer.id, &update);
                #[cfg(any(test, feature = "fault-injection"))]
                peer.fail_at(super::Fault::Update);
                if let Some(family) = update.end_of_rib {
                    peer.end_of_rib(family);
                    self.rib.sweep(peer.id, family);
                }
            }
            Effect::Refresh(RouteRefresh { family, kind: RefreshKind::Request }) => {
                if let Some(family) = family.family() {
                    self.rib.refresh(peer.id, family);
                }
            }
            // Demarcation was not negotiated: to be ignored (RFC 7313 §5).
            Effect::Refresh(_) => {}
        }
    }
}
