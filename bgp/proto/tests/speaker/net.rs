//! A network of speakers with one latency and no loss, in virtual time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use brindle_bgp_proto::family::FamilySet;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::session::ConnId;
use brindle_bgp_proto::speaker::bfd::{Inbound, Outbound};
use brindle_bgp_proto::speaker::status::PeerStatus;
use brindle_bgp_proto::speaker::{
    Accepted, Command, Config, Event, Identity, Io, PeerConfig, Speaker,
};
use brindle_bgp_proto::timer::Time;

/// What a node is made of.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub as_number: u32,
    pub router_id: Ipv4Addr,
    pub seed: u64,
    pub restart_time: u16,
}

impl Setup {
    pub fn new(as_number: u32, router_id: [u8; 4], seed: u64) -> Self {
        Self { as_number, router_id: router_id.into(), seed, restart_time: 30 }
    }
}

/// A speaker and what it reported.
pub struct Node {
    pub speaker: Speaker,
    pub setup: Setup,
    pub events: Vec<Event>,
    /// Connections that TCP has, from its side.
    pub open: Vec<ConnId>,
    /// Connections that it opened itself.
    pub opened: Vec<ConnId>,
}

/// The far end of a connection: which node, and which of its connections once it has one.
type Far = (usize, Option<ConnId>);

enum Delivery {
    Syn { from: usize, conn: ConnId, to: usize },
    Connected { to: usize, conn: ConnId },
    Octets { to: usize, conn: ConnId, octets: Vec<u8> },
    End { to: usize, conn: ConnId, words: &'static str },
    Bfd { from: usize, to: usize, ttl: u8, multihop: bool, octets: Vec<u8> },
}

/// The network.
pub struct Net {
    pub now: Time,
    pub nodes: Vec<Node>,
    /// Everything that was delivered, for comparing runs.
    pub trace: Vec<String>,
    latency: Duration,
    /// How much longer an octet may take on one connection than on another.
    pub spread: Duration,
    /// The TTL that BFD arrives with.
    pub bfd_ttl: u8,
    /// Nothing arrives any more, and nobody is told.
    pub cut: bool,
    flying: BTreeMap<(Time, u64), Delivery>,
    sent: u64,
    far: BTreeMap<(usize, ConnId), Far>,
}

/// The address of a node.
pub fn address(node: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(node).expect("few nodes") + 1).into()
}

impl Net {
    pub fn new(latency: Duration, setups: &[Setup]) -> Self {
        let mut net = Self {
            now: Time::ZERO,
            nodes: Vec::new(),
            trace: Vec::new(),
            latency,
            spread: Duration::ZERO,
            bfd_ttl: u8::MAX,
            cut: false,
            flying: BTreeMap::new(),
            sent: 0,
            far: BTreeMap::new(),
        };
        for setup in setups {
            net.nodes.push(node(*setup, false, Time::ZERO));
        }
        net
    }

    /// Replaces a speaker by one that has just started, as after a crash; TCP says FIN.
    pub fn restart(&mut self, at: usize) {
        for conn in self.nodes[at].open.clone() {
            self.end(at, conn, "connection closed");
        }
        self.nodes[at] = node(self.nodes[at].setup, true, self.now);
    }

    /// The same without a word of TCP, as after a power failure.
    pub fn power_failure(&mut self, at: usize) {
        self.far.retain(|(node, _), far| *node != at && far.0 != at);
        self.flying.clear();
        self.nodes[at] = node(self.nodes[at].setup, true, self.now);
    }

    pub fn command(&mut self, at: usize, command: Command) {
        self.nodes[at].speaker.handle_command(command, self.now).expect("valid command");
        self.pump();
    }

    /// Makes `to` a peer of `at`.
    pub fn peer(&mut self, at: usize, to: usize, passive: bool) {
        let as_number = self.nodes[to].setup.as_number;
        let config = PeerConfig { passive, ..PeerConfig::new(address(to), as_number) };
        self.command(at, Command::SetPeer(format!("n{to}").into(), config));
    }

    pub fn status(&self, at: usize, to: usize) -> PeerStatus {
        let name = format!("n{to}");
        let peers = self.nodes[at].speaker.status().peers;
        peers.into_iter().find(|peer| *peer.name == *name).expect("peer")
    }

    pub fn is_up(&self, at: usize, to: usize) -> bool {
        self.status(at, to).state == State::Established
    }

    /// Runs until something holds; false if that takes longer than `limit`.
    pub fn until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if holds(self) {
                return true;
            }
            if !self.step(end) {
                return holds(self);
            }
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// One delivery or timeout; false if nothing is due by `end`.
    fn step(&mut self, end: Time) -> bool {
        let flying = self.flying.first_key_value().map(|((at, _), _)| *at);
        let timers = self.nodes.iter().filter_map(|node| node.speaker.poll_timeout());
        let timer = timers.map(|(at, _)| at).min();
        let Some(next) = flying.into_iter().chain(timer).min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(next);
        if flying == Some(next) {
            if let Some((_, delivery)) = self.flying.pop_first() {
                self.deliver(delivery);
            }
        } else {
            for node in &mut self.nodes {
                node.speaker.handle_timeout(self.now);
            }
        }
        self.pump();
        true
    }

    fn send(&mut self, delays: u32, delivery: Delivery) {
        self.sent += 1;
        // What travels one way on one connection stays in order.
        let (to, conn) = match delivery {
            Delivery::Syn { to, conn, .. }
            | Delivery::Connected { to, conn }
            | Delivery::Octets { to, conn, .. }
            | Delivery::End { to, conn, .. } => (to, Some(conn)),
            Delivery::Bfd { to, .. } => (to, None),
        };
        let way = format!("{conn:?}{to}").bytes().fold(self.nodes[to].setup.seed, |hash, octet| {
            hash.wrapping_mul(31).wrapping_add(octet.into())
        });
        let extra = self.spread * u32::try_from(way % 8).expect("small") / 8;
        self.flying.insert((self.now + self.latency * delays + extra, self.sent), delivery);
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.now;
        if self.cut {
            return;
        }
        match delivery {
            Delivery::Syn { from, conn, to } => {
                self.trace.push(format!("{now:?} {from} connects to {to}"));
                let speaker = &mut self.nodes[to].speaker;
                match speaker.handle_accepted(address(from), address(to), now) {
                    Ok(Accepted { conn: accepted, .. }) => {
                        self.nodes[to].open.push(accepted);
                        self.far.insert((to, accepted), (from, Some(conn)));
                        let given_up = !self.far.contains_key(&(from, conn));
                        if given_up {
                            self.send(1, Delivery::End { to, conn: accepted, words: "reset" });
                        } else {
                            self.far.insert((from, conn), (to, Some(accepted)));
                            self.send(1, Delivery::Connected { to: from, conn });
                        }
                    }
                    Err(_) => self.send(1, Delivery::End { to: from, conn, words: "refused" }),
                }
            }
            Delivery::Connected { to, conn } if self.far.contains_key(&(to, conn)) => {
                self.nodes[to].open.push(conn);
                self.nodes[to].speaker.handle_connected(conn, address(to), now);
            }
            Delivery::Octets { to, conn, octets } if self.far.contains_key(&(to, conn)) => {
                self.trace.push(format!("{now:?} {to} {conn} {octets:02x?}"));
                self.nodes[to].speaker.handle_bytes(conn, &octets, now);
            }
            Delivery::End { to, conn, words } if self.far.remove(&(to, conn)).is_some() => {
                self.trace.push(format!("{now:?} {to} {conn} {words}"));
                self.nodes[to].open.retain(|c| *c != conn);
                self.nodes[to].speaker.handle_closed(conn, words, now);
            }
            Delivery::Bfd { from, to, ttl, multihop, octets } => {
                let inbound = Inbound { remote: address(from), ttl, multihop, octets };
                self.nodes[to].speaker.handle_bfd(&inbound, now);
            }
            _ => {}
        }
    }

    /// Does what the speakers ask.
    fn pump(&mut self) {
        for at in 0..self.nodes.len() {
            while let Some(io) = self.nodes[at].speaker.poll_io() {
                match io {
                    Io::Connect { conn, remote, .. } => {
                        let Some(to) = (0..self.nodes.len()).find(|n| address(*n) == remote.ip())
                        else {
                            self.far.insert((at, conn), (at, None));
                            self.send(2, Delivery::End { to: at, conn, words: "no route" });
                            continue;
                        };
                        self.nodes[at].opened.push(conn);
                        self.far.insert((at, conn), (to, None));
                        self.send(1, Delivery::Syn { from: at, conn, to });
                    }
                    Io::Close { conn, last } => {
                        self.octets(at, conn, last);
                        self.end(at, conn, "closed by the other side");
                    }
                    Io::SetKey { .. } | Io::Bfd { .. } | Io::Listen(_) => {}
                }
            }
            for conn in self.nodes[at].open.clone() {
                while let Some(octets) = self.nodes[at].speaker.poll_transmit(conn, self.now) {
                    self.octets(at, conn, octets);
                }
            }
            while let Some(outbound) = self.nodes[at].speaker.poll_bfd(self.now) {
                let Outbound { remote, multihop, octets, .. } = outbound;
                if let Some(to) = (0..self.nodes.len()).find(|n| address(*n) == remote) {
                    let ttl = self.bfd_ttl;
                    self.send(1, Delivery::Bfd { from: at, to, ttl, multihop, octets });
                }
            }
            while let Some(event) = self.nodes[at].speaker.poll_event() {
                self.nodes[at].events.push(event);
            }
        }
    }

    fn octets(&mut self, at: usize, conn: ConnId, octets: Vec<u8>) {
        if let Some((to, Some(conn))) = self.far.get(&(at, conn)).copied()
            && !octets.is_empty()
        {
            self.send(1, Delivery::Octets { to, conn, octets });
        }
    }

    fn end(&mut self, at: usize, conn: ConnId, words: &'static str) {
        self.nodes[at].open.retain(|c| *c != conn);
        if let Some((to, Some(conn))) = self.far.remove(&(at, conn)) {
            self.send(1, Delivery::End { to, conn, words });
        }
    }
}

fn node(setup: Setup, restarting: bool, now: Time) -> Node {
    let mut speaker = Speaker::new(Config {
        restarting,
        forwarding_preserved: FamilySet::ALL,
        jitter_seed: setup.seed,
    });
    let identity = identity(setup);
    speaker.handle_command(Command::SetIdentity(Some(identity)), now).expect("valid identity");
    Node { speaker, setup, events: Vec::new(), open: Vec::new(), opened: Vec::new() }
}

/// Who a node is.
pub fn identity(setup: Setup) -> Identity {
    Identity {
        as_number: setup.as_number,
        router_id: setup.router_id,
        listen_port: 179,
        hold_time: 90,
        restart_time: setup.restart_time,
        long_lived_stale_time: 0,
        next_hops: Default::default(),
        notification_restart: false,
        cluster_id: None,
        drain: None,
    }
}
