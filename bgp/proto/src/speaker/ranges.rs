//! Neighbours that nobody named: who connects from an address within a range becomes a peer.
//!
//! Such a peer is called `range/address`, has the range's template and never connects by itself. An
//! address that a peer was configured with belongs to that peer; of several ranges the smallest
//! counts. A peer whose session ended stays for a while, so that its last error can be read and its
//! stale routes live as long as they may (RFC 4724 §4.2); then it is forgotten. It makes room
//! earlier if the range is full. Who comes when no room can be made gets Cease 6/5 (RFC 4486 §4).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use super::command::{InvalidCommand, PeerConfig, PeerName, RangeConfig};
use super::differences::ending;
use super::isolation::last_words;
use super::status::ErrorStatus;
use super::{Accepted, Io, Refusal, Speaker};
use crate::fsm::State;
use crate::message::NotificationCode;
use crate::peer::Peer;
use crate::rib::PeerId;
use crate::session::ConnId;
use crate::timer::Time;

/// How long a peer that nobody named is remembered without a connection.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// A range and what became of those who came.
#[derive(Clone, Debug)]
pub(super) struct Range {
    config: RangeConfig,
    rejected: u64,
    last_rejected: Option<ErrorStatus>,
}

/// What a peer of a range has beside others.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// Its range.
    pub(crate) range: PeerName,
    /// When it is forgotten, while it has neither connection nor routes.
    pub(crate) forget_at: Option<Time>,
}

/// A range for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangeStatus {
    /// Its name.
    pub name: PeerName,
    /// From where peers may come.
    pub prefix: IpNet,
    /// The AS that they must have.
    pub as_number: u32,
    /// How many may be there.
    pub max_peers: u32,
    /// How many are there, with and without a session.
    pub peers: usize,
    /// Connections that found no room.
    pub rejected: u64,
    /// The last one of them.
    pub last_rejected: Option<ErrorStatus>,
    /// What protects the connections, in words.
    pub protection: Vec<String>,
    /// Why nobody is let in, if so.
    pub idle_because: Option<String>,
}

impl RangeConfig {
    pub(super) fn validate(&self, name: &PeerName) -> Result<(), InvalidCommand> {
        if self.max_peers == 0 {
            return Err(InvalidCommand::NoRoom(name.clone()));
        }
        // The network's own address may be one that no host has.
        let config = PeerConfig { address: first_host(self.prefix), ..self.template.clone() };
        config.validate(name)
    }

    /// The configuration of a peer in the range.
    fn at(&self, address: IpAddr) -> PeerConfig {
        PeerConfig { address, passive: true, ..self.template.clone() }
    }
}

fn first_host(prefix: IpNet) -> IpAddr {
    match prefix {
        IpNet::V4(net) => net.hosts().next().unwrap_or(net.addr()).into(),
        IpNet::V6(net) => net.hosts().next().unwrap_or(net.addr()).into(),
    }
}

impl Speaker {
    pub(super) fn set_range(&mut self, name: &PeerName, config: RangeConfig, now: Time) {
        self.take_out(name, NotificationCode::PeerDeconfigured, "a range has its name", now);
        let config = RangeConfig { prefix: config.prefix.trunc(), ..config };
        let before = self.ranges.get(name).map(|range| range.config.clone());
        if before.as_ref() == Some(&config) {
            return;
        }
        let moved = before.as_ref().filter(|before| before.prefix != config.prefix);
        if let Some(before) = moved {
            self.set_key(before.prefix, None);
        }
        let key = config.template.password.as_ref().and_then(|password| password.key.clone());
        self.set_key(config.prefix, key);
        for (guest, address) in self.guests(name) {
            let peer = config.at(address);
            let Some(known) = self.peers.get(&guest) else { continue };
            let differences = known.config.differences(&peer);
            let why = match config.prefix.contains(&address) {
                true => ending(&differences, known.established().is_some()),
                false => Some("the range does not contain it any more".to_owned()),
            };
            match why {
                None => self.set_peer(&guest, peer, now),
                Some(why) => {
                    self.take_out(&guest, NotificationCode::OtherConfigurationChange, &why, now);
                }
            }
        }
        match self.ranges.get_mut(name) {
            Some(range) => range.config = config,
            None => {
                let range = Range { config, rejected: 0, last_rejected: None };
                self.ranges.insert(name.clone(), range);
            }
        }
    }

    /// Forgets a range and its peers.
    pub(super) fn remove_range(&mut self, name: &PeerName, now: Time) {
        let Some(range) = self.ranges.remove(name) else { return };
        for (guest, _) in self.guests(name) {
            let why = "the range was removed";
            self.take_out(&guest, NotificationCode::PeerDeconfigured, why, now);
        }
        self.set_key(range.config.prefix, None);
    }

    /// Makes a peer of somebody whom no peer's address fits; `Ok(Err)` is a connection that was
    /// taken only to say why it is closed.
    pub(super) fn admit(
        &mut self,
        remote: IpAddr,
        now: Time,
    ) -> Result<Result<PeerName, Accepted>, Refusal> {
        let fits = self.ranges.iter().filter(|(_, range)| range.config.prefix.contains(&remote));
        let smallest = fits.max_by_key(|(_, range)| range.config.prefix.prefix_len());
        let Some((name, config)) = smallest.map(|(name, range)| (name.clone(), &range.config))
        else {
            self.refused += 1;
            return Err(Refusal::UnknownPeer(remote));
        };
        let config = config.clone();
        if self.identity.is_none() || config.template.unwanted().is_some() {
            return Err(Refusal::Disabled(remote));
        }
        if !self.make_room(&name, config.max_peers, now) {
            return self.turn_away(&name, &config, remote, now).map(Err);
        }
        let guest: PeerName = format!("{name}/{remote}").into();
        self.next_peer += 1;
        let mut peer = Peer::new(PeerId(self.next_peer), config.at(remote));
        peer.guest = Some(Guest { range: name, forget_at: None });
        self.peers.insert(guest.clone(), peer);
        self.addresses.entry(remote).or_default().insert(guest.clone());
        self.assign(remote, now);
        Ok(Ok(guest))
    }

    /// Whether one more fits, at the expense of the one that is without connection for longest.
    fn make_room(&mut self, range: &PeerName, max_peers: u32, now: Time) -> bool {
        let guests = self.guests(range);
        if u32::try_from(guests.len()).is_ok_and(|guests| guests < max_peers) {
            return true;
        }
        let idle = guests.into_iter().filter_map(|(name, _)| {
            let forget_at = self.peers.get(&name)?.guest.as_ref()?.forget_at?;
            Some((forget_at, name))
        });
        let Some((_, longest)) = idle.min() else { return false };
        let why = "another needs its place in the range";
        self.take_out(&longest, NotificationCode::PeerDeconfigured, why, now);
        true
    }

    fn turn_away(
        &mut self,
        name: &PeerName,
        config: &RangeConfig,
        remote: IpAddr,
        now: Time,
    ) -> Result<Accepted, Refusal> {
        let message = format!(
            "{remote} was turned away: {} peers are there, as many as may be (maxPeers)",
            config.max_peers
        );
        if let Some(range) = self.ranges.get_mut(name) {
            range.rejected += 1;
            range.last_rejected = Some(ErrorStatus { message, at: now });
        }
        let identity = self.identity.as_ref().ok_or(Refusal::Disabled(remote))?;
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let last = last_words(NotificationCode::ConnectionRejected);
        self.io.push_back(Io::Close { conn, last });
        Ok(Accepted { transport: config.template.transport(identity), conn })
    }

    /// Peers of a range that may be forgotten are.
    pub(super) fn forget_guest(&mut self, name: &PeerName, now: Time) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.watch_absence(now);
        let forget_at = peer.guest.as_ref().and_then(|guest| guest.forget_at);
        if forget_at.is_some_and(|at| at <= now) {
            self.take_out(name, NotificationCode::PeerDeconfigured, "it did not come again", now);
        }
    }

    /// An address was given to a peer of its own: who came from it by a range has to come again.
    pub(super) fn evict(&mut self, address: IpAddr, now: Time) {
        let there = self.addresses.get(&address).cloned().unwrap_or_default();
        for name in there {
            if self.peers.get(&name).is_some_and(|peer| peer.guest.is_some()) {
                let why = "its address has a peer of its own now";
                self.take_out(&name, NotificationCode::OtherConfigurationChange, why, now);
            }
        }
    }

    /// The peers of a range with their addresses.
    fn guests(&self, range: &PeerName) -> Vec<(PeerName, IpAddr)> {
        let of_range = |peer: &Peer| peer.guest.as_ref().is_some_and(|g| g.range == *range);
        let guests = self.peers.iter().filter(|(_, peer)| of_range(peer));
        guests.map(|(name, peer)| (name.clone(), peer.config.address)).collect()
    }

    pub(super) fn range_configs(&self) -> BTreeMap<PeerName, RangeConfig> {
        self.ranges.iter().map(|(name, range)| (name.clone(), range.config.clone())).collect()
    }

    pub(super) fn range_status(&self) -> Vec<RangeStatus> {
        let status = |(name, range): (&PeerName, &Range)| {
            let RangeConfig { prefix, max_peers, template } = &range.config;
            let unwanted = template.unwanted().map(str::to_owned);
            let nobody = self.identity.is_none().then(|| super::report::NOBODY.to_owned());
            RangeStatus {
                name: name.clone(),
                prefix: *prefix,
                as_number: template.as_number,
                max_peers: *max_peers,
                peers: self.guests(name).len(),
                rejected: range.rejected,
                last_rejected: range.last_rejected.clone(),
                protection: template.protection(),
                idle_because: nobody.or(unwanted),
            }
        };
        self.ranges.iter().map(status).collect()
    }
}

impl Peer {
    /// Begins or ends the time after which a peer of a range is forgotten. One that is held back for
    /// its prefixes is not: it could come back at once.
    pub(crate) fn watch_absence(&mut self, now: Time) {
        let absent = self.main.state == State::Idle
            && self.incoming.is_none()
            && self.helper.deadline().is_none()
            && self.over_limit().is_none();
        if let Some(guest) = &mut self.guest {
            let forget_at = guest.forget_at.unwrap_or(now + FORGET_AFTER);
            guest.forget_at = absent.then_some(forget_at);
        }
    }
}
