//! What `brindlectl bgp` shows: a snapshot without references.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::family::Family;
use crate::fsm::State;
use crate::speaker::bfd::BfdStatus;
use crate::speaker::command::PeerName;
use crate::speaker::ranges::RangeStatus;
use crate::timer::Time;

/// The whole speaker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpeakerStatus {
    /// Our AS and router id; `None` before an identity was set.
    pub identity: Option<(u32, Ipv4Addr)>,
    /// Whether this start continues an earlier one and is not over (RFC 4724 §4.1).
    pub restarting: bool,
    /// Whether all sources were synced.
    pub in_sync: bool,
    /// How the node is taken out of service, if it is.
    pub drain: Option<&'static str>,
    /// Whether the owner was told to sweep.
    pub converged: bool,
    /// Prefixes that we originate, in order.
    pub originated: Vec<IpNet>,
    /// How many prefixes have a path from a peer.
    pub learned: usize,
    /// Prefixes that have no route because of an internal error.
    pub broken: Vec<IpNet>,
    /// Connections from addresses that no peer has.
    pub refused_connections: u64,
    /// Ranges of peers that nobody named.
    pub ranges: Vec<RangeStatus>,
    /// Peers by name.
    pub peers: Vec<PeerStatus>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: PeerName,
    /// Its address.
    pub address: IpAddr,
    /// The range by which it came, if nobody named it.
    pub range: Option<PeerName>,
    /// Its TCP port.
    pub port: u16,
    /// The AS that it must have.
    pub as_number: u32,
    /// Whether we only wait for it.
    pub passive: bool,
    /// What protects its connections, in words.
    pub protection: Vec<String>,
    /// Why its password is not as configured, if so.
    pub password_problem: Option<String>,
    /// State of its furthest connection.
    #[serde(serialize_with = "display")]
    pub state: State,
    /// When the session came up or went down last, from the start of the speaker.
    #[serde(serialize_with = "seconds")]
    pub since: Time,
    /// How often the session came up.
    pub established_count: u64,
    /// How often it went down.
    pub flaps: u64,
    /// UPDATE messages that came, over all sessions.
    pub updates_received: u64,
    /// Of these, malformed ones that the session survived (RFC 7606).
    pub updates_malformed: u64,
    /// Failures since the last session that lasted; the pause before the next attempt grows with
    /// it.
    pub failures: u32,
    /// Panics of ours while the peer was handled; each restarted the session.
    pub panics: u64,
    /// Why no connection is wanted, if so.
    pub idle_because: Option<String>,
    /// Why there is no session, or why the last one ended: the latest error of any kind.
    pub last_error: Option<ErrorStatus>,
    /// The last NOTIFICATION that came, in words.
    pub last_received_notification: Option<ErrorStatus>,
    /// The last NOTIFICATION that we sent, in words.
    pub last_sent_notification: Option<ErrorStatus>,
    /// What was negotiated, while a session is up.
    pub session: Option<SessionStatus>,
    /// The filters that it is under, in order.
    pub filters: Vec<PeerName>,
    /// Why nothing passes them, if one is broken.
    pub filter_problem: Option<String>,
    /// How near the peer is to a limit of prefixes, either way, if it is.
    pub prefix_warning: Option<String>,
    /// Its BFD, while it is watched.
    pub bfd: Option<BfdStatus>,
    /// Routes by family.
    pub families: Vec<FamilyStatus>,
    /// The peer restarts and its routes are kept until then (RFC 4724 §4.2).
    #[serde(serialize_with = "maybe_seconds")]
    pub stale_until: Option<Time>,
}

/// An error and when it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorStatus {
    /// In words, with what to check.
    pub message: String,
    /// From the start of the speaker.
    #[serde(serialize_with = "seconds")]
    pub at: Time,
}

/// An Established session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionStatus {
    /// Our address on it.
    pub local_address: IpAddr,
    /// The peer's BGP identifier.
    pub router_id: Ipv4Addr,
    /// Negotiated hold time, seconds.
    pub hold_time: u16,
    /// Seconds between our KEEPALIVEs.
    pub keepalive_time: u16,
    /// The capabilities that both sides have, in words, and the peer's restart time.
    pub capabilities: Vec<String>,
}

/// Routes of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FamilyStatus {
    /// Which.
    #[serde(serialize_with = "display")]
    pub family: Family,
    /// Prefixes that the peer advertised.
    pub received: usize,
    /// Of these, those that may be used (no loop in AS_PATH, a usable next hop).
    pub accepted: usize,
    /// Of these, those kept from before its restart.
    pub stale: usize,
    /// Prefixes that we advertised to it.
    pub advertised: usize,
    /// Whether the peer said that it had sent all (End-of-RIB).
    pub end_of_rib_received: bool,
    /// Whether we said so.
    pub end_of_rib_sent: bool,
    /// The family was given up after an unreadable attribute (RFC 7606 §2).
    pub disabled: bool,
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

fn seconds<S: Serializer>(time: &Time, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64(time.elapsed().as_secs_f64())
}

fn maybe_seconds<S: Serializer>(time: &Option<Time>, s: S) -> Result<S::Ok, S::Error> {
    time.map(Time::elapsed).map(|d: Duration| d.as_secs_f64()).serialize(s)
}
