//! The abstract ruleset: what one node must enforce, free of any backend's idiom
//! (policy-semantics §6.1).
//!
//! ```text
//! Endpoint ── ingress, egress ──> Program ── steps ──> TierStep ── policies ──> Policy ── rules
//!                                (shared by endpoints                            (shared by
//!                                 with equal steps)                               programs)
//! HostStages ── stage, direction ──> Program
//!                                                        Rule.match ── SetId ──> Set (shared)
//! ```
//! The design rules: it is a pure function of the current inputs; every shared object is named by
//! its content, so "changed" is a comparison; each verdict carries its [`DecisionId`].

mod batch;
mod evaluate;
mod host;
mod load;
mod rules;
mod set;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use batch::{Batch, Generation, RulesetDelta, SetDelta};
pub use evaluate::{Judgement, Step, StepOutcome, evaluate, rule_matches};
pub use host::{
    HostInterface, HostJudgement, HostStages, Passage, Stage, StageProgram, evaluate_host,
};
pub use load::{Load, WARNING_SHARE};
pub use rules::Rules;
pub use set::{Member, Set, SetDef, SetId, SetKind};
pub use steps::{ProgramNamer, Steps};

use crate::cluster::EndpointId;
use crate::net::{Family, IcmpMatch, PortRange, Protocol};
pub use crate::policy::{Action, TierEnd};
use crate::verdict::{DecisionId, Direction, PolicyId, Verdict};
use crate::{List, Name};

/// Everything one node enforces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Sets by content identity. Every `SetId` in a rule is here (C29).
    pub sets: BTreeMap<SetId, Set>,
    /// Policies that some program of this node names.
    pub policies: BTreeMap<PolicyId, Arc<PolicyRules>>,
    /// Programs that some endpoint of this node runs.
    pub programs: BTreeMap<ProgramId, Arc<Program>>,
    /// The endpoints on this node.
    pub endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    /// The interfaces of the node itself that are policed.
    pub hosts: BTreeMap<HostInterface, Arc<HostStages>>,
}

/// A pod interface on this node and what it runs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Endpoint {
    /// Host side of the veth pair.
    pub host_interface: Name,
    /// Addresses the pod may use as source, and that are routed to it.
    pub addresses: Vec<IpAddr>,
    /// What judges packets towards the pod.
    pub ingress: ProgramId,
    /// What judges packets from the pod.
    pub egress: ProgramId,
}

impl Endpoint {
    /// The program of a direction.
    pub fn program(&self, direction: Direction) -> ProgramId {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// Content identity of a [`Program`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramId(pub u64);

impl fmt::Display for ProgramId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ProgramId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProgramId({self})")
    }
}

impl serde::Serialize for ProgramId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The walk of one endpoint, stage and direction (policy-semantics §2.1): tiers in order, then the
/// end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Program {
    /// Where it is asked: what an allow leads to depends on that.
    #[serde(skip_serializing_if = "Stage::is_normal")]
    pub stage: Stage,
    /// Which rule list of the policies is walked.
    pub direction: Direction,
    /// Tiers that have a policy governing this endpoint and direction; others are invisible (C1).
    pub steps: Steps,
    /// What decides when no tier did: profiles (C6), `UnknownEndpoint` for a closed endpoint, or
    /// `StageEnd` where the next stage is asked.
    pub end: (Verdict, DecisionId),
}

impl Program {
    /// A program that drops everything: what an endpoint runs before its pod is known (K37).
    pub fn closed(direction: Direction) -> Self {
        let end = (Verdict::Deny, DecisionId::UnknownEndpoint);
        Self { stage: Stage::Normal, direction, steps: Steps::default(), end }
    }

    /// Content identity.
    pub fn id(&self) -> ProgramId {
        ProgramNamer::new(self.stage, self.direction, &self.steps).name(&self.end)
    }
}

/// One tier of a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct TierStep {
    /// The tier's name.
    pub tier: Name,
    /// Its policies in order of evaluation; never empty. Staged ones stand where they would be
    /// asked, and never decide (C7).
    pub policies: Vec<PolicyId>,
    /// What ends the tier if no rule was terminal; `NextTier` if all its policies are staged.
    pub end: TierEnd,
}

/// The rules of a policy, lowered.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PolicyRules {
    /// Rules for packets towards the subjects.
    pub ingress: Rules,
    /// Rules for packets from the subjects.
    pub egress: Rules,
}

impl PolicyRules {
    /// The rules of a direction.
    pub fn rules(&self, direction: Direction) -> &Rules {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Every set that some rule names.
    pub fn sets(&self) -> BTreeSet<SetId> {
        self.ingress.iter().chain(self.egress.iter()).flat_map(|r| r.matches.sets()).collect()
    }
}

/// One lowered rule. Several may carry the same decision: a user's rule is split by peer and
/// protocol, and those pieces are alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Rule {
    /// Name of the verdict if this rule decides.
    pub decision: DecisionId,
    /// The criteria; all of them must hold.
    pub matches: Match,
    /// What happens then.
    pub action: Action,
}

/// Criteria of a rule: every one that is given must hold, an empty one always does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Match {
    /// Only this family.
    pub family: Option<Family>,
    /// The protocol is this one.
    pub protocol: Option<Protocol>,
    /// The protocol is not this one.
    pub not_protocol: Option<Protocol>,
    /// ICMP type and code; implies that the packet is ICMP of its family.
    pub icmp: Option<IcmpMatch>,
    /// Not this ICMP type and code; a packet that is not ICMP satisfies it.
    pub not_icmp: Option<IcmpMatch>,
    /// Criteria on the source.
    pub source: Side,
    /// Criteria on the destination.
    pub destination: Side,
}

impl Match {
    /// Every set that is named.
    pub fn sets(&self) -> impl Iterator<Item = SetId> {
        [&self.source, &self.destination].into_iter().flat_map(|side| {
            let ports = side.ports.iter().chain(&side.not_ports).filter_map(|p| match p {
                PortMatch::Named(set) => Some(*set),
                PortMatch::Range(_) => None,
            });
            side.sets.iter().chain(&side.not_sets).copied().chain(ports)
        })
    }
}

/// Criteria on one side of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Side {
    /// The address is a member of every one of these (kinds `Addr` and `Net`).
    pub sets: List<SetId>,
    /// The address is a member of none of these.
    pub not_sets: List<SetId>,
    /// The port is one of these; empty is any. A packet without ports matches none.
    pub ports: List<PortMatch>,
    /// The port is none of these.
    pub not_ports: List<PortMatch>,
}

// Ten thousand policies are a hundred thousand of these, nearly all of whose lists are empty.
const _: () = assert!(size_of::<Side>() == 4 * size_of::<usize>());
const _: () = assert!(size_of::<Rule>() <= 17 * size_of::<usize>());

/// A port criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub enum PortMatch {
    /// A range of numbers, whatever the protocol.
    Range(PortRange),
    /// The (address, protocol, port) tuple of this side is a member (K20).
    Named(SetId),
}

impl PortMatch {
    /// The ranges among port criteria, [joined](PortRange::join).
    pub fn ranges(ports: &[Self]) -> Vec<PortRange> {
        PortRange::join(ports.iter().filter_map(|port| match port {
            Self::Range(range) => Some(*range),
            Self::Named(_) => None,
        }))
    }
}

/// First 64 bits of SHA-256: ids must be equal on every run and not forgeable by a tenant who
/// chooses his selectors.
pub fn content_hash(text: &str) -> u64 {
    first_bits(Sha256::new_with_prefix(text))
}

fn first_bits(hash: Sha256) -> u64 {
    let digest = hash.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes"))
}
