//! Verdicts and their names. Every verdict carries a [`DecisionId`]: the one answer to
//! "why was this packet dropped?".

mod label;

use std::fmt;

pub use label::{Label, MAX_LABEL, is_plain};

use crate::{Name, NamespacedName};

/// Direction as seen from the endpoint: ingress = towards the pod.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Direction {
    /// Towards the endpoint.
    Ingress,
    /// From the endpoint.
    Egress,
}

impl Direction {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// What becomes of a packet at one endpoint and direction.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Verdict {
    /// It goes on.
    Allow,
    /// It is dropped.
    Deny,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// Which API a policy came from. Ordered as C2 compares kinds: by name.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum PolicyKind {
    /// `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy.
    ClusterNetworkPolicy,
    /// `brindle.io/v1alpha1` GlobalNetworkPolicy.
    GlobalNetworkPolicy,
    /// `networking.k8s.io/v1` NetworkPolicy.
    KubernetesNetworkPolicy,
    /// `brindle.io/v1alpha1` NetworkPolicy.
    NetworkPolicy,
    /// `brindle.io/v1alpha1` StagedGlobalNetworkPolicy.
    StagedGlobalNetworkPolicy,
    /// `brindle.io/v1alpha1` StagedKubernetesNetworkPolicy.
    StagedKubernetesNetworkPolicy,
    /// `brindle.io/v1alpha1` StagedNetworkPolicy.
    StagedNetworkPolicy,
}

impl PolicyKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::ClusterNetworkPolicy,
        Self::GlobalNetworkPolicy,
        Self::KubernetesNetworkPolicy,
        Self::NetworkPolicy,
        Self::StagedGlobalNetworkPolicy,
        Self::StagedKubernetesNetworkPolicy,
        Self::StagedNetworkPolicy,
    ];

    /// The kind as `kubectl` users shorten it. As in the long name, the upstream one goes without
    /// its group.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::ClusterNetworkPolicy => "cnp",
            Self::GlobalNetworkPolicy => "gnp",
            Self::KubernetesNetworkPolicy => "np",
            Self::NetworkPolicy => "np.brindle",
            Self::StagedGlobalNetworkPolicy => "staged-gnp",
            Self::StagedKubernetesNetworkPolicy => "staged-np",
            Self::StagedNetworkPolicy => "staged-np.brindle",
        }
    }

    /// Whether policies of the kind may govern host endpoints (C10); others are for pods alone.
    pub fn selects_host_endpoints(self) -> bool {
        matches!(self, Self::GlobalNetworkPolicy | Self::StagedGlobalNetworkPolicy)
    }

    /// Whether policies of the kind are judged and reported, and never decide (C7).
    pub fn is_staged(self) -> bool {
        matches!(
            self,
            Self::StagedGlobalNetworkPolicy
                | Self::StagedKubernetesNetworkPolicy
                | Self::StagedNetworkPolicy
        )
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::GlobalNetworkPolicy => "GlobalNetworkPolicy",
            Self::KubernetesNetworkPolicy => "NetworkPolicy",
            // The kind of two groups; the plain name is the upstream one's.
            Self::NetworkPolicy => "NetworkPolicy.brindle.io",
            Self::StagedGlobalNetworkPolicy => "StagedGlobalNetworkPolicy",
            Self::StagedKubernetesNetworkPolicy => "StagedKubernetesNetworkPolicy",
            Self::StagedNetworkPolicy => "StagedNetworkPolicy",
        })
    }
}

/// Identity of a policy. The field order is C2's tie-break: name, namespace, kind.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct PolicyId {
    /// The object's name.
    pub name: Name,
    /// The object's namespace, if its kind has one.
    pub namespace: Option<Name>,
    /// The API it came from.
    pub kind: PolicyKind,
}

impl PolicyId {
    /// A `networking.k8s.io/v1` NetworkPolicy.
    pub fn network_policy(id: &NamespacedName) -> Self {
        Self {
            name: id.name.clone(),
            namespace: Some(id.namespace.clone()),
            kind: PolicyKind::KubernetesNetworkPolicy,
        }
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// The name of a verdict: which rule or default decided (policy-semantics §6.1).
///
/// It is a value, not a number, so that it is a pure function of the inputs. A backend that needs
/// numbers in the kernel hands them out itself.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum DecisionId {
    /// A rule of a policy: `index` counts the user's rules of that direction from 0.
    Rule {
        /// The policy.
        policy: PolicyId,
        /// The rule list.
        direction: Direction,
        /// Position in that list as the user wrote it.
        index: u32,
    },
    /// Policies of the tier govern this endpoint and direction, and none of their rules matched.
    TierEnd {
        /// The tier.
        tier: Name,
    },
    /// No tier decided; the endpoint's profile did (C6). For a pod: it is not isolated (K2).
    Profile {
        /// The profile, `kns.<namespace>` for a pod.
        name: Name,
    },
    /// No tier decided, and the endpoint has no profile that exists: a host endpoint (C35).
    NoProfile,
    /// No policy of a host endpoint's stage decided: what follows is asked (C37, C39).
    StageEnd,
    /// What pods send to their node is dropped, by an option (K30, C40).
    EndpointToHost,
    /// A port of the node that stays open whatever policy says (C36).
    Failsafe,
    /// The flow was accepted before (K31, K32).
    Established,
    /// The flow was accepted before, and policy does not admit it any more (K33).
    Revoked,
    /// Connection tracking cannot place the packet (C9).
    Invalid,
    /// Sent by the pod's own node (K30).
    OwnNode,
    /// IPv6 neighbour discovery or MLD, between a pod and its host side (K34) or on a host endpoint's
    /// link.
    NeighbourDiscovery,
    /// The interface or its pod is not known (yet): closed (K37).
    UnknownEndpoint,
    /// The endpoint's program is above the backend's limits, and had to be cut.
    OverCapacity,
    /// The pod used a source address that is not its own (C41).
    Spoof,
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { policy, direction, index } => {
                write!(f, "{policy} {direction} rule {index}")
            }
            Self::TierEnd { tier } => write!(f, "end of tier {tier}"),
            Self::Profile { name } => write!(f, "profile {name}"),
            Self::NoProfile => f.write_str("no profile"),
            Self::StageEnd => f.write_str("end of the stage"),
            Self::EndpointToHost => f.write_str("default of packets from pods to their node"),
            Self::Failsafe => f.write_str("failsafe port"),
            Self::Established => f.write_str("established"),
            Self::Revoked => f.write_str("revoked connection"),
            Self::Invalid => f.write_str("invalid connection state"),
            Self::OwnNode => f.write_str("own node"),
            Self::NeighbourDiscovery => f.write_str("neighbour discovery"),
            Self::UnknownEndpoint => f.write_str("unknown endpoint"),
            Self::OverCapacity => f.write_str("over capacity"),
            Self::Spoof => f.write_str("spoofed source address"),
        }
    }
}
