//! What an agent tells of itself: the wire types between the agent's admin API and `brindlectl`.
//!
//! HTTP over the unix socket `agent.sock` in the agent's run directory, JSON bodies:
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /healthz` | 200 while every part works, else 503; [`Health`] |
//! | `GET /readyz` | 200 once the first complete ruleset is enforced, else 503; [`Health`] |
//! | `GET /status` | [`NodeStatus`] |
//! | `POST /sync?timeout=SECONDS` | 200 [`Synced`] when every change made to the source before is enforced, 504 [`Failure`] if not in time |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /settings` | a list of [`SettingReport`] |
//! | `GET /drops?after=NUMBER` | [`Packets`] that were denied |
//! | `GET /logged?after=NUMBER` | [`Packets`] that Log rules told of |
//! | `GET /hits` | [`Hits`] |
//! | `GET /debug/ruleset` | everything compiled |
//! | `GET /debug/sets` | sets with their members and who brings them |
//! | `GET /debug/endpoints` | endpoints with the programs that they run |
//! | `GET /debug/routing` | speaker, neighbours, originated prefixes |
//! | `GET /debug/routes` | our part of the kernel's route table |
//! | `GET /debug/bgp` | the speaker: sessions, counts, last errors |
//! | `GET /debug/bgp/routes?table=TABLE` | routes of `received`, `advertised` or `best`; `&peer=NAME`, `&limit=NUMBER` (1000) |
//! | `GET /debug/bgp/why?prefix=PREFIX` | each step of a prefix from origin to wire, both directions; `&peer=NAME` |
//! | `POST /bgp/diff` | what [`EditFiles`] would change for the speaker, 400 [`Failure`] if they cannot be read; nothing is done |
//! | `GET /debug/ipam` | blocks and who holds which address |
//! | `GET /debug/deltas` | what every kernel table has done and still has to do |
//!
//! Every other answer than 200 has a [`Failure`] as body.

mod packets;

use std::net::Ipv4Addr;

pub use packets::{DecisionHits, Hits, PacketReport, Packets};
use serde::{Deserialize, Serialize};

use crate::Name;
use crate::ruleset::Generation;

/// An agent at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The node's name.
    pub node: Name,
    /// The agent's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Where objects come from, as `--source` says it.
    pub source: String,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// Whether the first complete ruleset is enforced.
    pub ready: bool,
    /// What is wrong or still missing, if anything is.
    pub problems: Vec<String>,
    /// The last generation that was compiled; nothing before every source is in sync.
    pub generation: Option<Generation>,
    /// The last generation that every kernel table holds.
    pub applied: Option<Generation>,
    /// What is compiled.
    pub compiled: CompiledStatus,
    /// The backend's rules.
    pub dataplane: TableStatus,
    /// The route table.
    pub routes: TableStatus,
    /// Connections that were admitted before.
    pub connections: ConnectionsStatus,
    /// The BGP speaker.
    pub bgp: BgpSummary,
    /// Address blocks of this node.
    pub blocks: usize,
    /// Addresses that pods of this node hold.
    pub addresses: usize,
    /// Resident memory, KiB.
    pub resident_kib: u64,
}

/// How much is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompiledStatus {
    /// Endpoints of this node.
    pub endpoints: usize,
    /// Programs that they run.
    pub programs: usize,
    /// Policies that the programs name.
    pub policies: usize,
    /// Sets that the policies name.
    pub sets: usize,
    /// Members of all sets.
    pub members: usize,
}

/// One kernel table and its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStatus {
    /// Its name: `nftables`, `routes`.
    pub name: String,
    /// `waitingForSync`, `running`, `failing` or `stopped`.
    pub state: String,
    /// The generation that the kernel holds.
    pub applied: Option<Generation>,
    /// Commits that went through since the agent started.
    pub commits: u64,
    /// Kernel objects that they created, changed or deleted.
    pub writes: u64,
    /// Read-backs that went through.
    pub resyncs: u64,
    /// Kernel objects that somebody else had changed.
    pub drifted: u64,
    /// How often what others did was undone.
    #[serde(default)]
    pub repairs: u64,
    /// Commits and read-backs that failed.
    pub failures: u64,
    /// Why the last one failed; nothing once one went through.
    pub last_error: Option<String>,
}

/// What becomes of connections that were admitted before policy changed (K33).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionsStatus {
    /// `reevaluate` or `keep`, as `--existing-connections` says.
    pub existing: String,
    /// How often they were judged since the agent started.
    pub passes: u64,
    /// How many were judged the last time: those that touch a pod of this node.
    pub judged: usize,
    /// How many of these are stopped.
    pub revoked: usize,
    /// Seconds that the last pass took.
    pub seconds: f64,
    /// Passes that failed.
    pub failures: u64,
    /// Why the last one failed; nothing once one went through.
    pub last_error: Option<String>,
}

/// The speaker in short; `/debug/bgp` has all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpSummary {
    /// Local AS and BGP identifier, once they are known.
    pub identity: Option<(u32, Ipv4Addr)>,
    /// Neighbours.
    pub peers: usize,
    /// Neighbours with an established session.
    pub established: usize,
    /// Prefixes that we announce.
    pub originated: usize,
    /// Prefixes that neighbours told of and that have a best path.
    pub learned: usize,
    /// Whether an earlier run is being continued (RFC 4724).
    pub restarting: bool,
}

/// Answer of `/healthz` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Whether all is well.
    pub ok: bool,
    /// What is not.
    pub problems: Vec<String>,
}

/// Answer of `/sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Synced {
    /// The generation that every kernel table holds.
    pub generation: Generation,
}

/// Body of `/bgp/diff`: files of objects laid over those that the agent has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EditFiles {
    /// Objects that count in place of those of the same name, or beside the others.
    pub with: Vec<EditFile>,
    /// Objects that count as absent, those of the same name.
    pub without: Vec<EditFile>,
}

/// A file of objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EditFile {
    /// Its name, for errors.
    pub name: String,
    /// What it holds: a stream of YAML documents.
    pub text: String,
}

/// Body of an answer that is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Why.
    pub error: String,
}

/// A setting of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingReport {
    /// Its field of an AgentConfiguration.
    pub setting: String,
    /// Its value.
    pub value: String,
    /// Who says so.
    pub origin: String,
    /// Whether a running agent takes a change at once.
    pub live: bool,
    /// What keeps the value from having effect, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}
