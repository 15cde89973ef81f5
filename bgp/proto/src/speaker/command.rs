//! What the owner of a speaker tells it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::bfd;
use crate::capability::Role;
use crate::family::{Family, FamilySet};
use crate::message::MAX_COMMUNICATION;
use crate::policy::PeerPolicy;
use crate::rib::{Drain, Origin};
use crate::session::open::{MAX_LONG_LIVED_STALE_TIME, MAX_RESTART_TIME};
use crate::speaker::transport::{Hops, Password, Transport};

/// The port of BGP (RFC 4271 §8.2.1).
pub const BGP_PORT: u16 = 179;

/// Name of a peer: the object that configures it.
pub type PeerName = Arc<str>;

/// Facts of this start that no later command changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This process continues one that ran before: OPENs carry R=1 until the restart is over, and
    /// decisions are held back until the peers have sent their routes (RFC 4724 §4.1).
    pub restarting: bool,
    /// Families whose forwarding state outlived the restart: the F bit (RFC 4724 §3). Only honest
    /// if the kernel was not rebooted and its routes were kept.
    pub forwarding_preserved: FamilySet,
    /// Seed of all jitter; take something that differs from node to node.
    pub jitter_seed: u64,
}

/// Who we are (RFC 4271 §4.2, RFC 4724 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Our AS, not 0.
    pub as_number: u32,
    /// Our BGP identifier, not 0 (RFC 6286).
    pub router_id: Ipv4Addr,
    /// TCP port to listen on; 0 listens nowhere.
    pub listen_port: u16,
    /// Hold time to propose, seconds: 0 for none, else at least 3.
    pub hold_time: u16,
    /// Seconds that peers keep our routes while we restart, at most 4095. Also our
    /// Selection_Deferral_Timer.
    pub restart_time: u16,
    /// Seconds that peers who know of it keep our routes after that, as the last resort (RFC 9494), at
    /// most 16777215; 0 for not at all.
    pub long_lived_stale_time: u32,
    /// Next hops of what we originate. A family without one uses the session's own address, if
    /// that is of the family; else its routes are not advertised.
    pub next_hops: NextHops,
    /// Offer that a NOTIFICATION other than Hard Reset ends no forwarding (the N bit, RFC 8538),
    /// nor does an expired hold timer: a neighbour that died is forwarded to that much longer.
    pub notification_restart: bool,
    /// Whether traffic shall go elsewhere, and how peers are told.
    pub drain: Option<Drain>,
    /// What stands for us in CLUSTER_LISTs, where several reflectors are one cluster (RFC 4456 §7);
    /// our BGP identifier unless given.
    pub cluster_id: Option<Ipv4Addr>,
}

/// One next hop a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHops {
    /// For IPv4 routes.
    pub ipv4: Option<IpAddr>,
    /// For IPv6 routes.
    pub ipv6: Option<IpAddr>,
}

impl NextHops {
    /// The next hop for routes of this family.
    pub fn of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4Unicast => self.ipv4,
            Family::Ipv6Unicast => self.ipv6,
        }
    }
}

impl FromIterator<IpAddr> for NextHops {
    /// Each address serves its own family; the first of a family counts.
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut hops = Self::default();
        for address in addresses {
            let slot = if address.is_ipv4() { &mut hops.ipv4 } else { &mut hops.ipv6 };
            slot.get_or_insert(address);
        }
        hops
    }
}

/// A neighbour as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its address. Two peers with one address: the first by name has it, the other stays idle
    /// and its status says why.
    pub address: IpAddr,
    /// Its TCP port.
    pub port: u16,
    /// Its AS; equal to ours makes the session iBGP.
    pub as_number: u32,
    /// Wait for it to connect.
    pub passive: bool,
    /// Connect from this address; `None` leaves it to the kernel.
    pub source: Option<IpAddr>,
    /// How far away it may be.
    pub hops: Hops,
    /// Its password, if it must have one.
    pub password: Option<Password>,
    /// Watch it by BFD while the session is up.
    pub bfd: Option<bfd::Config>,
    /// No session is wanted: the peer is told so with these words (RFC 9003), which may be empty.
    pub shutdown: Option<Arc<str>>,
    /// No session is wanted, and why: what was asked for does not fit the peer. It is not told more
    /// than that it is not configured.
    pub unfit: Option<Arc<str>>,
    /// What we are to it, if it is external: says what may be told on of what it tells (RFC 9234).
    pub role: Option<Role>,
    /// No session without a role of the peer that fits ours.
    pub require_role: bool,
    /// What is taken from it and what it is told.
    pub policy: PeerPolicy,
}

/// Addresses from where peers may come that nobody named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeConfig {
    /// From where.
    pub prefix: IpNet,
    /// How many peers there may be at once, at least 1.
    pub max_peers: u32,
    /// What each of them is configured like; its address and port mean nothing.
    pub template: PeerConfig,
}

/// An order to the speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Who we are. Another AS or router id resets every session (Cease 6/6); hold time, restart time
    /// and N bit count from the next OPEN on; next hops, draining and cluster id are advertised anew at once. `None` ends every
    /// session (Cease 6/2) until an identity comes.
    SetIdentity(Option<Identity>),
    /// Adds a neighbour or replaces its configuration. What is settled when a session begins resets
    /// it (Cease 6/6) and its counters. It goes on with another port or passivity, which count for
    /// the next connection; with BFD where there was none; with another key of the password, by which
    /// the connection is signed at once (the neighbour has to change its own within the hold time);
    /// with another policy: all routes are judged anew, and only what differs is told.
    SetPeer(PeerName, PeerConfig),
    /// Takes in whoever connects from within a range, or replaces what was said of the range: for
    /// its peers that is [`Command::SetPeer`]. A smaller number of peers ends no session.
    SetRange(PeerName, RangeConfig),
    /// Forgets a neighbour (Cease 6/3) and its routes, or a range with all its neighbours.
    RemovePeer(PeerName),
    /// Advertises this prefix to every peer, like that from now on.
    Originate(IpNet, Origin),
    /// Stops that.
    Withdraw(IpNet),
    /// All sources have said what to originate: End-of-RIB may go out (RFC 4724 §4.1). Before
    /// this, helpers keep routes of the previous run that were not yet originated again.
    InSync,
    /// Asks a peer for all its routes again (RFC 2918).
    Refresh(PeerName),
    /// Ends every session and forgets all. Graceful closes TCP without a NOTIFICATION, so that
    /// helpers keep our routes; otherwise they get Cease 6/2 and drop them.
    Stop {
        /// Whether we shall be back.
        graceful: bool,
    },
    /// Makes the handling of a peer panic, once.
    #[cfg(any(test, feature = "fault-injection"))]
    Fail(PeerName, super::Fault),
    /// Makes the decision about a prefix panic, until another is named.
    #[cfg(any(test, feature = "fault-injection"))]
    FailDecision(Option<IpNet>),
}

/// A command that no speaker could obey.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommand {
    /// RFC 7607.
    #[error("AS 0 is reserved: no speaker may have it")]
    AsZero,
    /// RFC 6286 §2.1.
    #[error("router id 0.0.0.0 is reserved")]
    RouterIdZero,
    /// RFC 4271 §4.2.
    #[error("hold time {0} s is too short: 0 for none, or at least 3")]
    HoldTime(u16),
    /// RFC 4724 §3.
    #[error("restart time {0} s is too long: at most {MAX_RESTART_TIME}")]
    RestartTime(u16),
    /// RFC 9494 §3.1.
    #[error("long-lived stale time {0} s is too long: at most {MAX_LONG_LIVED_STALE_TIME}")]
    LongLivedStaleTime(u32),
    /// A range without room for a peer is none.
    #[error("range {0} has no room for any peer")]
    NoRoom(PeerName),
    /// No connection can be opened to it.
    #[error("peer {0} has no usable address or port")]
    Address(PeerName),
    /// RFC 5082 §3, or a TTL of 0.
    #[error("peer {0} can be no such number of hops away")]
    Hops(PeerName),
    /// RFC 9003 §2.
    #[error("the words of the shutdown of peer {0} are longer than {MAX_COMMUNICATION} octets")]
    Shutdown(PeerName),
    /// RFC 5880.
    #[error("BFD of peer {0}: {1}")]
    Bfd(PeerName, bfd::InvalidConfig),
    /// A connection cannot be opened from it.
    #[error("source address of peer {0} is of the other family")]
    Source(PeerName),
}

impl Command {
    /// Whether a speaker can obey.
    ///
    /// # Errors
    /// A value is outside what its RFC allows.
    pub fn validate(&self) -> Result<(), InvalidCommand> {
        match self {
            Self::SetIdentity(Some(identity)) => identity.validate(),
            Self::SetPeer(name, config) => config.validate(name),
            Self::SetRange(name, config) => config.validate(name),
            _ => Ok(()),
        }
    }
}

impl Identity {
    fn validate(&self) -> Result<(), InvalidCommand> {
        if self.as_number == 0 {
            return Err(InvalidCommand::AsZero);
        }
        if self.router_id.is_unspecified() {
            return Err(InvalidCommand::RouterIdZero);
        }
        if matches!(self.hold_time, 1 | 2) {
            return Err(InvalidCommand::HoldTime(self.hold_time));
        }
        if self.restart_time > MAX_RESTART_TIME {
            return Err(InvalidCommand::RestartTime(self.restart_time));
        }
        if self.long_lived_stale_time > MAX_LONG_LIVED_STALE_TIME {
            return Err(InvalidCommand::LongLivedStaleTime(self.long_lived_stale_time));
        }
        Ok(())
    }
}

impl PeerConfig {
    /// A neighbour at the usual port, nothing else said.
    pub fn new(address: IpAddr, as_number: u32) -> Self {
        Self {
            address,
            port: BGP_PORT,
            as_number,
            passive: false,
            source: None,
            hops: Hops::default(),
            password: None,
            bfd: None,
            shutdown: None,
            unfit: None,
            role: None,
            require_role: false,
            policy: PeerPolicy::default(),
        }
    }

    /// Our role on the session: internal ones have none (RFC 9234 §4).
    pub(crate) fn role_to(&self, identity: &Identity) -> Option<Role> {
        self.role.filter(|_| self.as_number != identity.as_number)
    }

    /// Why no session is wanted, if none is.
    pub(crate) fn unwanted(&self) -> Option<&str> {
        match &self.shutdown {
            Some(words) if words.is_empty() => Some("the peer is shut down"),
            Some(words) => Some(words),
            None => self.unfit.as_deref().or_else(|| self.lacks_password()),
        }
    }

    /// Socket options of its connections.
    pub(crate) fn transport(&self, identity: &Identity) -> Transport {
        let (ttl, min_ttl) = self.hops.ttls(self.as_number != identity.as_number);
        let key = self.password.as_ref().and_then(|password| password.key.clone());
        Transport { ttl, min_ttl, key }
    }

    /// Why it must have a password and has none, if so.
    fn lacks_password(&self) -> Option<&str> {
        let password = self.password.as_ref().filter(|password| password.key.is_none())?;
        Some(password.problem.as_deref().unwrap_or("the password is not known"))
    }

    pub(super) fn validate(&self, name: &PeerName) -> Result<(), InvalidCommand> {
        if self.as_number == 0 {
            return Err(InvalidCommand::AsZero);
        }
        if self.address.is_unspecified() || self.address.is_multicast() || self.port == 0 {
            return Err(InvalidCommand::Address(name.clone()));
        }
        if self.source.is_some_and(|source| source.is_ipv4() != self.address.is_ipv4()) {
            return Err(InvalidCommand::Source(name.clone()));
        }
        if self.shutdown.as_ref().is_some_and(|words| words.len() > MAX_COMMUNICATION) {
            return Err(InvalidCommand::Shutdown(name.clone()));
        }
        if let Some(Err(reason)) = self.bfd.map(|config| config.validate()) {
            return Err(InvalidCommand::Bfd(name.clone(), reason));
        }
        if !self.hops.is_valid() {
            return Err(InvalidCommand::Hops(name.clone()));
        }
        Ok(())
    }
}
