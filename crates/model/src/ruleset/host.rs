//! What judges packets on interfaces of the node itself (policy-semantics §2.6), and its meaning.
//!
//! ```text
//! comes in ── Untracked ── PreDnat ──┬── Normal, ingress ──> a process of the node
//!                                    └── Forward, ingress ── (pods) ── Forward, egress ──> goes out
//! a process of the node ── Untracked, egress ── Normal, egress ──────────────────────────> goes out
//! ```
//! An allow of a stage that stands before connection tracking or DNAT skips the later stages of the
//! same interface and direction (C38).

use std::fmt;
use std::sync::Arc;

use super::{Judgement, ProgramId, Ruleset, evaluate};
use crate::Name;
use crate::host::Failsafes;
use crate::net::Protocol;
use crate::packet::Packet;
use crate::verdict::{DecisionId, Direction, Verdict};

/// Where on its way a packet is judged (C37). Pods have the last one only.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub enum Stage {
    /// Before connection tracking.
    Untracked,
    /// Before DNAT.
    PreDnat,
    /// On its way through the node.
    Forward,
    /// At the endpoint.
    #[default]
    Normal,
}

impl Stage {
    /// Whether it is the one that pods have.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    pub(super) fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untracked => "untracked",
            Self::PreDnat => "pre-dnat",
            Self::Forward => "forward",
            Self::Normal => "normal",
        })
    }
}

/// Interfaces of the node that something judges.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum HostInterface {
    /// The one of this name.
    Named(Name),
    /// All that are not named; never those of pods, nor the loopback.
    Others,
    /// Those of pods, for what they send to the node and their egress policy admits (K30, C40). Only
    /// ingress of the normal stage; not there if that is accepted.
    Pods,
}

impl fmt::Display for HostInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Others => f.write_str("*"),
            Self::Pods => f.write_str("pods"),
        }
    }
}

/// What judges packets on some interfaces of the node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HostStages {
    /// The HostEndpoint.
    pub endpoint: Name,
    /// Its programs, at most one a stage and direction, sorted. `Normal` has both; `Untracked` and
    /// `Forward` have one where a policy governs, `PreDnat` likewise and for ingress alone.
    pub programs: Vec<StageProgram>,
    /// What is open before any of them is asked.
    pub failsafes: Arc<Failsafes>,
}

/// What one stage runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct StageProgram {
    /// The stage.
    pub stage: Stage,
    /// As seen from the interface's node: ingress comes in.
    pub direction: Direction,
    /// The program.
    pub program: ProgramId,
}

impl HostStages {
    /// The program of a stage and direction.
    pub fn program(&self, stage: Stage, direction: Direction) -> Option<ProgramId> {
        let same = |p: &&StageProgram| p.stage == stage && p.direction == direction;
        self.programs.iter().find(same).map(|p| p.program)
    }
}

/// How a packet passes an interface of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Passage {
    /// It comes in, for a process of the node.
    ToHost,
    /// It comes in, on its way through.
    ForwardedIn,
    /// It goes out, on its way through.
    ForwardedOut,
    /// A process of the node sent it, and it goes out.
    FromHost,
}

impl Passage {
    /// As seen from the node.
    pub fn direction(self) -> Direction {
        match self {
            Self::ToHost | Self::ForwardedIn => Direction::Ingress,
            Self::ForwardedOut | Self::FromHost => Direction::Egress,
        }
    }

    /// The stages on the way, in order.
    pub fn stages(self) -> &'static [Stage] {
        match self {
            Self::ToHost => &[Stage::Untracked, Stage::PreDnat, Stage::Normal],
            Self::ForwardedIn => &[Stage::Untracked, Stage::PreDnat, Stage::Forward],
            Self::ForwardedOut => &[Stage::Forward],
            Self::FromHost => &[Stage::Untracked, Stage::Normal],
        }
    }
}

/// What one stage says of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostJudgement {
    /// The HostEndpoint.
    pub endpoint: Name,
    /// The stage.
    pub stage: Stage,
    /// What it says.
    pub judgement: Judgement,
}

/// Judges the first packet of a flow on an interface of the node, stage by stage; stages behind a
/// denial too. Connection tracking, which comes before policy, is not asked here.
pub fn evaluate_host(
    ruleset: &Ruleset,
    interface: &str,
    passage: Passage,
    packet: &Packet,
) -> Vec<HostJudgement> {
    let named = ruleset.hosts.get(&HostInterface::Named(interface.into()));
    let Some(host) = named.or_else(|| ruleset.hosts.get(&HostInterface::Others)) else {
        return Vec::new();
    };
    let direction = passage.direction();
    let mut judgements = Vec::new();
    for stage in passage.stages() {
        let Some(id) = host.program(*stage, direction) else { continue };
        let judgement = match ruleset.programs.get(&id) {
            _ if *stage != Stage::Forward && is_neighbour_discovery(packet) => {
                Judgement::without_policy(Verdict::Allow, DecisionId::NeighbourDiscovery)
            }
            _ if host.failsafes.admit(*stage, direction, packet) => {
                Judgement::without_policy(Verdict::Allow, DecisionId::Failsafe)
            }
            Some(program) => evaluate(ruleset, program, packet),
            None => Judgement::without_policy(Verdict::Deny, DecisionId::UnknownEndpoint),
        };
        let early = matches!(stage, Stage::Untracked | Stage::PreDnat);
        let admitted = judgement.verdict == Verdict::Allow
            && matches!(judgement.decision, DecisionId::Rule { .. });
        let endpoint = host.endpoint.clone();
        judgements.push(HostJudgement { endpoint, stage: *stage, judgement });
        if early && admitted {
            break;
        }
    }
    judgements
}

impl Ruleset {
    /// What becomes of a packet to the node that a pod's egress policy admits.
    pub fn judge_pod_to_node(&self) -> (Verdict, DecisionId) {
        let pods = self.hosts.get(&HostInterface::Pods);
        match pods.and_then(|host| host.program(Stage::Normal, Direction::Ingress)) {
            None => (Verdict::Allow, DecisionId::StageEnd),
            Some(id) => match self.programs.get(&id) {
                Some(program) => program.end.clone(),
                None => (Verdict::Deny, DecisionId::UnknownEndpoint),
            },
        }
    }
}

/// Neighbour and router discovery (RFC 4861) and MLD (RFC 2710, RFC 3810): what makes neighbours of
/// a link is not judged there, as ARP is not.
fn is_neighbour_discovery(packet: &Packet) -> bool {
    let meant = |(icmp_type, _)| matches!(icmp_type, 130..=136 | 143);
    packet.protocol() == Protocol::ICMPV6 && packet.icmp().is_some_and(meant)
}

impl Failsafes {
    /// Whether a packet is open at a stage whatever policy says (C36). Before connection tracking
    /// replies are known by their source port alone.
    pub fn admit(&self, stage: Stage, direction: Direction, packet: &Packet) -> bool {
        let (own, replies, peer) = match direction {
            Direction::Ingress => (&self.inbound, &self.outbound, packet.source),
            Direction::Egress => (&self.outbound, &self.inbound, packet.destination),
        };
        match stage {
            Stage::Forward => false,
            Stage::Untracked if replies.iter().any(|f| f.admits_reply(packet, peer)) => true,
            Stage::Untracked | Stage::PreDnat | Stage::Normal => {
                own.iter().any(|f| f.admits(packet, peer))
            }
        }
    }
}
