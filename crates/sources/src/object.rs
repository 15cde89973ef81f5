//! The kinds of object that are read, and their identity.

use std::fmt;

use brindle_api::{
    API_VERSION, AgentConfiguration, BgpConfiguration, BgpFilter, BgpPeer, ClusterNetworkPolicy,
    GlobalNetworkPolicy, GlobalNetworkSet, HostEndpoint, IpPool, NetworkPolicy, NetworkSet,
    POLICY_API_VERSION, StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy, Tier,
};
use brindle_model::verdict::{PolicyId, PolicyKind};
use brindle_model::{Name, NamespacedName};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1 as networking;

const V1: &str = "v1";
const DISCOVERY: &str = "discovery.k8s.io/v1";
const NETWORKING: &str = "networking.k8s.io/v1";

/// An API object of a kind that Brindle reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `v1` Namespace.
    Namespace(Box<Namespace>),
    /// `v1` Node.
    Node(Box<Node>),
    /// `v1` Pod.
    Pod(Box<Pod>),
    /// `v1` ServiceAccount.
    ServiceAccount(Box<ServiceAccount>),
    /// `v1` Service.
    Service(Box<Service>),
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice(Box<EndpointSlice>),
    /// `networking.k8s.io/v1` NetworkPolicy.
    KubernetesNetworkPolicy(Box<networking::NetworkPolicy>),
    /// `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy.
    ClusterNetworkPolicy(Box<ClusterNetworkPolicy>),
    /// `brindle.io/v1alpha1` Tier.
    Tier(Box<Tier>),
    /// `brindle.io/v1alpha1` NetworkPolicy.
    NetworkPolicy(Box<NetworkPolicy>),
    /// `brindle.io/v1alpha1` GlobalNetworkPolicy.
    GlobalNetworkPolicy(Box<GlobalNetworkPolicy>),
    /// `brindle.io/v1alpha1` StagedNetworkPolicy.
    StagedNetworkPolicy(Box<StagedNetworkPolicy>),
    /// `brindle.io/v1alpha1` StagedGlobalNetworkPolicy.
    StagedGlobalNetworkPolicy(Box<StagedGlobalNetworkPolicy>),
    /// `brindle.io/v1alpha1` StagedKubernetesNetworkPolicy.
    StagedKubernetesNetworkPolicy(Box<StagedKubernetesNetworkPolicy>),
    /// `brindle.io/v1alpha1` NetworkSet.
    NetworkSet(Box<NetworkSet>),
    /// `brindle.io/v1alpha1` GlobalNetworkSet.
    GlobalNetworkSet(Box<GlobalNetworkSet>),
    /// `brindle.io/v1alpha1` IPPool.
    IpPool(Box<IpPool>),
    /// `brindle.io/v1alpha1` BGPConfiguration.
    BgpConfiguration(Box<BgpConfiguration>),
    /// `brindle.io/v1alpha1` BGPPeer.
    BgpPeer(Box<BgpPeer>),
    /// `brindle.io/v1alpha1` HostEndpoint.
    HostEndpoint(Box<HostEndpoint>),
    /// `brindle.io/v1alpha1` BGPFilter.
    BgpFilter(Box<BgpFilter>),
    /// `brindle.io/v1alpha1` AgentConfiguration.
    AgentConfiguration(Box<AgentConfiguration>),
}

/// A kind of object that Brindle reads. Those of policies are named as in [`PolicyKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Namespace.
    Namespace,
    /// `v1` Node.
    Node,
    /// `v1` Pod.
    Pod,
    /// `v1` ServiceAccount.
    ServiceAccount,
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `networking.k8s.io/v1` NetworkPolicy.
    KubernetesNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy.
    ClusterNetworkPolicy,
    /// `brindle.io/v1alpha1` Tier.
    Tier,
    /// `brindle.io/v1alpha1` NetworkPolicy.
    NetworkPolicy,
    /// `brindle.io/v1alpha1` GlobalNetworkPolicy.
    GlobalNetworkPolicy,
    /// `brindle.io/v1alpha1` StagedNetworkPolicy.
    StagedNetworkPolicy,
    /// `brindle.io/v1alpha1` StagedGlobalNetworkPolicy.
    StagedGlobalNetworkPolicy,
    /// `brindle.io/v1alpha1` StagedKubernetesNetworkPolicy.
    StagedKubernetesNetworkPolicy,
    /// `brindle.io/v1alpha1` NetworkSet.
    NetworkSet,
    /// `brindle.io/v1alpha1` GlobalNetworkSet.
    GlobalNetworkSet,
    /// `brindle.io/v1alpha1` IPPool.
    IpPool,
    /// `brindle.io/v1alpha1` BGPConfiguration.
    BgpConfiguration,
    /// `brindle.io/v1alpha1` BGPPeer.
    BgpPeer,
    /// `brindle.io/v1alpha1` BGPFilter.
    BgpFilter,
    /// `brindle.io/v1alpha1` HostEndpoint.
    HostEndpoint,
    /// `brindle.io/v1alpha1` AgentConfiguration.
    AgentConfiguration,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::ServiceAccount,
        Self::Service,
        Self::EndpointSlice,
        Self::KubernetesNetworkPolicy,
        Self::ClusterNetworkPolicy,
        Self::Tier,
        Self::NetworkPolicy,
        Self::GlobalNetworkPolicy,
        Self::StagedNetworkPolicy,
        Self::StagedGlobalNetworkPolicy,
        Self::StagedKubernetesNetworkPolicy,
        Self::NetworkSet,
        Self::GlobalNetworkSet,
        Self::IpPool,
        Self::BgpConfiguration,
        Self::BgpPeer,
        Self::BgpFilter,
        Self::HostEndpoint,
        Self::AgentConfiguration,
    ];

    /// The kind that an object's `apiVersion` and `kind` name, if it is one that Brindle reads.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.api_version() == api_version && k.name() == kind)
    }

    /// The `apiVersion` that is read.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Namespace | Self::Node | Self::Pod | Self::ServiceAccount | Self::Service => V1,
            Self::EndpointSlice => DISCOVERY,
            Self::KubernetesNetworkPolicy => NETWORKING,
            Self::ClusterNetworkPolicy => POLICY_API_VERSION,
            Self::Tier
            | Self::NetworkPolicy
            | Self::GlobalNetworkPolicy
            | Self::StagedNetworkPolicy
            | Self::StagedGlobalNetworkPolicy
            | Self::StagedKubernetesNetworkPolicy
            | Self::NetworkSet
            | Self::GlobalNetworkSet
            | Self::IpPool
            | Self::BgpConfiguration
            | Self::BgpPeer
            | Self::BgpFilter
            | Self::HostEndpoint
            | Self::AgentConfiguration => API_VERSION,
        }
    }

    /// The `kind` as objects spell it. Two kinds have the same; `Display` tells them apart.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::ServiceAccount => "ServiceAccount",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::Tier => "Tier",
            Self::KubernetesNetworkPolicy | Self::NetworkPolicy => "NetworkPolicy",
            Self::GlobalNetworkPolicy => "GlobalNetworkPolicy",
            Self::StagedNetworkPolicy => "StagedNetworkPolicy",
            Self::StagedGlobalNetworkPolicy => "StagedGlobalNetworkPolicy",
            Self::StagedKubernetesNetworkPolicy => "StagedKubernetesNetworkPolicy",
            Self::NetworkSet => "NetworkSet",
            Self::GlobalNetworkSet => "GlobalNetworkSet",
            Self::IpPool => "IPPool",
            Self::BgpConfiguration => "BGPConfiguration",
            Self::BgpPeer => "BGPPeer",
            Self::BgpFilter => "BGPFilter",
            Self::HostEndpoint => "HostEndpoint",
            Self::AgentConfiguration => "AgentConfiguration",
        }
    }

    /// Whether objects of the kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        matches!(
            self,
            Self::Pod
                | Self::ServiceAccount
                | Self::Service
                | Self::EndpointSlice
                | Self::KubernetesNetworkPolicy
                | Self::NetworkPolicy
                | Self::StagedNetworkPolicy
                | Self::StagedKubernetesNetworkPolicy
                | Self::NetworkSet
        )
    }

    /// Whether users write such objects to tell Brindle what to do, so that each has a status.
    pub fn has_status(self) -> bool {
        !matches!(
            self,
            Self::Namespace
                | Self::Node
                | Self::Pod
                | Self::ServiceAccount
                | Self::Service
                | Self::EndpointSlice
        )
    }

    /// Which policies the kind's objects are, if they are any.
    pub fn policy(self) -> Option<PolicyKind> {
        match self {
            Self::KubernetesNetworkPolicy => Some(PolicyKind::KubernetesNetworkPolicy),
            Self::ClusterNetworkPolicy => Some(PolicyKind::ClusterNetworkPolicy),
            Self::NetworkPolicy => Some(PolicyKind::NetworkPolicy),
            Self::GlobalNetworkPolicy => Some(PolicyKind::GlobalNetworkPolicy),
            Self::StagedNetworkPolicy => Some(PolicyKind::StagedNetworkPolicy),
            Self::StagedGlobalNetworkPolicy => Some(PolicyKind::StagedGlobalNetworkPolicy),
            Self::StagedKubernetesNetworkPolicy => Some(PolicyKind::StagedKubernetesNetworkPolicy),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.policy() {
            // Verdicts and objects name a kind alike.
            Some(policy) => policy.fmt(f),
            None => f.write_str(self.name()),
        }
    }
}

/// Identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; present iff [`Kind::is_namespaced`].
    pub namespace: Option<Name>,
    /// Its name.
    pub name: Name,
}

impl ObjectKey {
    /// The object that a policy is.
    ///
    /// # Panics
    /// There is no kind of object for the policy's kind.
    pub fn of_policy(id: &PolicyId) -> Self {
        let kind = Kind::ALL.into_iter().find(|kind| kind.policy() == Some(id.kind));
        let kind = kind.expect("every kind of policy is a kind of object");
        Self { kind, namespace: id.namespace.clone(), name: id.name.clone() }
    }

    /// Namespace and name; the namespace is empty for a cluster-scoped kind.
    pub fn namespaced_name(&self) -> NamespacedName {
        NamespacedName {
            namespace: self.namespace.clone().unwrap_or_else(|| Name::from("")),
            name: self.name.clone(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}
