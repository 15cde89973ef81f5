//! BFD of neighbours: a session of each Established BGP session that asks for it.
//!
//! It starts when BGP is up, with the addresses that BGP has, and ends with it. When it goes down
//! after it was up, the neighbour no longer forwards: the BGP session ends (Cease 6/10, RFC 9384) and
//! its routes go at once, graceful restart or not. Who asks for BFD asks for that; a neighbour that
//! restarts gracefully has to keep its BFD up meanwhile. Our own packets say that our BFD dies with
//! our control plane (C=0), so that a neighbour may take our restart for one (RFC 5882 §4.3).

use std::net::IpAddr;

use serde::Serialize;

use super::command::PeerName;
use super::{Hops, Io, Speaker};
use crate::bfd::{self, Change, Packet};
use crate::timer::Time;

/// A BFD session and between whom it is.
#[derive(Clone, Debug)]
pub(super) struct Neighbour {
    session: bfd::Session,
    path: Path,
    local: IpAddr,
    remote: IpAddr,
}

/// How far BFD reaches: which port it has, and how old what comes may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Path {
    /// The neighbour may be behind others (RFC 5883); else it is on the link (RFC 5881).
    multihop: bool,
    /// What comes with less is dropped. On the link everybody sends with TTL 255 (RFC 5881 §5).
    least_ttl: u8,
}

/// A control packet to send, with TTL 255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// From which address of ours.
    pub local: IpAddr,
    /// Where to.
    pub remote: IpAddr,
    /// To the port for several hops (RFC 5883 §5) in place of that for one.
    pub multihop: bool,
    /// What.
    pub octets: Vec<u8>,
}

/// A control packet that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Who sent it.
    pub remote: IpAddr,
    /// TTL or hop limit that it came with.
    pub ttl: u8,
    /// It came to the port for several hops.
    pub multihop: bool,
    /// What.
    pub octets: Vec<u8>,
}

/// A BFD session for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BfdStatus {
    /// Its state.
    pub state: String,
    /// How long the neighbour may be silent, milliseconds; `None` before it spoke.
    pub detection_time: Option<u64>,
    /// Why it was down last.
    pub diagnostic: String,
}

impl Speaker {
    /// A control packet came. One by the wrong port or from too far away is dropped (RFC 5881 §5).
    pub fn handle_bfd(&mut self, inbound: &Inbound, now: Time) {
        let Some(name) = self.owner_of(inbound.remote).cloned() else { return };
        let Ok(packet) = Packet::decode(&inbound.octets) else { return };
        if let Some(neighbour) = self.bfd.get_mut(&name)
            && neighbour.path.multihop == inbound.multihop
            && inbound.ttl >= neighbour.path.least_ttl
        {
            neighbour.session.handle_packet(&packet, now);
        }
        self.bfd_changed(&name, now);
        self.after(now);
    }

    /// The next control packet to send.
    pub fn poll_bfd(&mut self, now: Time) -> Option<Outbound> {
        self.bfd.values_mut().find_map(|neighbour| {
            let packet = neighbour.session.poll_transmit(now)?;
            Some(Outbound {
                local: neighbour.local,
                remote: neighbour.remote,
                multihop: neighbour.path.multihop,
                octets: packet.encode().to_vec(),
            })
        })
    }

    /// The BGP session of a peer came up.
    pub(super) fn start_bfd(&mut self, name: &PeerName, local: IpAddr, now: Time) {
        let Some(peer) = self.peers.get(name) else { return };
        let Some(config) = peer.config.bfd else { return };
        let (remote, path) = (peer.config.address, path(peer.config.hops));
        self.next_bfd += 1;
        let seed = u64::from(self.next_bfd) ^ self.bfd_seed;
        let session = bfd::Session::new(config, self.next_bfd, seed, now);
        self.bfd.insert(name.clone(), Neighbour { session, path, local, remote });
        self.io.push_back(Io::Bfd { local, multihop: path.multihop, wanted: true });
    }

    /// The BGP session of a peer is over.
    pub(super) fn stop_bfd(&mut self, name: &PeerName) {
        let Some(gone) = self.bfd.remove(name) else { return };
        let (local, multihop) = (gone.local, gone.path.multihop);
        let sockets = |other: &Neighbour| (other.local, other.path.multihop);
        if !self.bfd.values().any(|other| sockets(other) == (local, multihop)) {
            self.io.push_back(Io::Bfd { local, multihop, wanted: false });
        }
    }

    /// When a peer's BFD wants to be looked at.
    pub(super) fn bfd_deadline(&self, name: &PeerName) -> Option<Time> {
        self.bfd.get(name)?.session.poll_timeout()
    }

    pub(super) fn bfd_timeout(&mut self, name: &PeerName, now: Time) {
        if let Some(neighbour) = self.bfd.get_mut(name) {
            neighbour.session.handle_timeout(now);
        }
        self.bfd_changed(name, now);
    }

    /// Ends the BGP session with a neighbour that no longer forwards.
    fn bfd_changed(&mut self, name: &PeerName, now: Time) {
        let Some(neighbour) = self.bfd.get_mut(name) else { return };
        if let Some(Change::Down(diagnostic)) = neighbour.session.poll_change() {
            let why = format!("BFD says that the neighbour does not forward: {diagnostic}");
            self.with_peer(name, now, |peer, env| peer.bfd_down(&why, env));
        }
    }

    /// A peer's BFD, if it is watched.
    pub(super) fn bfd_status(&self, name: &PeerName) -> Option<BfdStatus> {
        let session = &self.bfd.get(name)?.session;
        Some(BfdStatus {
            state: session.state().to_string(),
            detection_time: session
                .detection_time()
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            diagnostic: session.diagnostic().to_string(),
        })
    }
}

/// A neighbour that may be more than one hop away is watched over several (RFC 5883). That RFC does
/// not say with what TTL to send, and BIRD does with 64: only who asks for TTL security gets it.
fn path(hops: Hops) -> Path {
    match hops {
        Hops::Multihop(2..) => Path { multihop: true, least_ttl: 0 },
        Hops::Security(hops @ 2..) => Path { multihop: true, least_ttl: u8::MAX - (hops - 1) },
        Hops::Usual | Hops::Multihop(_) | Hops::Security(_) => {
            Path { multihop: false, least_ttl: u8::MAX }
        }
    }
}
