//! What the leader follows, and where the API server has it.

use std::fmt;

use brindle_api::{
    API_VERSION, ClusterNetworkPolicy, GlobalNetworkPolicy, GlobalNetworkSet, HostEndpoint,
    IpamBlock, NetworkPolicy, NetworkSet, NodeEnforcement, POLICY_API_VERSION, Tier,
};
use brindle_sources::kubernetes::watch::Listing;
use k8s_openapi::Resource;

/// A resource whose objects get the condition `Enforced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Enforceable {
    /// `Tier`.
    Tier,
    /// Brindle's `NetworkPolicy`.
    NetworkPolicy,
    /// `GlobalNetworkPolicy`.
    GlobalNetworkPolicy,
    /// `NetworkSet`.
    NetworkSet,
    /// `GlobalNetworkSet`.
    GlobalNetworkSet,
    /// `HostEndpoint`; the node that it names must enforce it, and no other.
    HostEndpoint,
    /// `ClusterNetworkPolicy`, whose definition is not ours: it has conditions and nothing else.
    ClusterNetworkPolicy,
}

impl Enforceable {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Tier,
        Self::NetworkPolicy,
        Self::GlobalNetworkPolicy,
        Self::NetworkSet,
        Self::GlobalNetworkSet,
        Self::HostEndpoint,
        Self::ClusterNetworkPolicy,
    ];

    /// Its `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::ClusterNetworkPolicy => POLICY_API_VERSION,
            _ => API_VERSION,
        }
    }

    /// Its `kind`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Tier => Tier::KIND,
            Self::NetworkPolicy => NetworkPolicy::KIND,
            Self::GlobalNetworkPolicy => GlobalNetworkPolicy::KIND,
            Self::NetworkSet => NetworkSet::KIND,
            Self::GlobalNetworkSet => GlobalNetworkSet::KIND,
            Self::HostEndpoint => HostEndpoint::KIND,
            Self::ClusterNetworkPolicy => ClusterNetworkPolicy::KIND,
        }
    }

    /// Its name in paths, and in a `NodeEnforcement`.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Tier => Tier::URL_PATH_SEGMENT,
            Self::NetworkPolicy => NetworkPolicy::URL_PATH_SEGMENT,
            Self::GlobalNetworkPolicy => GlobalNetworkPolicy::URL_PATH_SEGMENT,
            Self::NetworkSet => NetworkSet::URL_PATH_SEGMENT,
            Self::GlobalNetworkSet => GlobalNetworkSet::URL_PATH_SEGMENT,
            Self::HostEndpoint => HostEndpoint::URL_PATH_SEGMENT,
            Self::ClusterNetworkPolicy => ClusterNetworkPolicy::URL_PATH_SEGMENT,
        }
    }
}

/// What the leader follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// Nodes, by name.
    Nodes,
    /// Up to where each node enforces.
    NodeEnforcements,
    /// Address blocks.
    IpamBlocks,
    /// Objects that get the condition `Enforced`.
    Enforceable(Enforceable),
}

impl Watched {
    /// What is always followed.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Nodes, Self::NodeEnforcements, Self::IpamBlocks]
            .into_iter()
            .chain(Enforceable::ALL.map(Self::Enforceable))
    }

    /// What is followed of it.
    pub fn listing(self) -> Listing {
        let own = |resource: &str| Listing {
            path: format!("/apis/{API_VERSION}/{resource}"),
            comes_soon: true,
            ..Listing::default()
        };
        match self {
            Self::Nodes => Listing {
                path: "/api/v1/nodes".to_owned(),
                metadata_only: true,
                ..Listing::default()
            },
            Self::NodeEnforcements => own(NodeEnforcement::URL_PATH_SEGMENT),
            Self::IpamBlocks => own(IpamBlock::URL_PATH_SEGMENT),
            Self::Enforceable(kind) => Listing {
                path: format!("/apis/{}/{}", kind.api_version(), kind.resource()),
                comes_soon: kind.api_version() == API_VERSION,
                ..Listing::default()
            },
        }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nodes => "Node",
            Self::NodeEnforcements => NodeEnforcement::KIND,
            Self::IpamBlocks => IpamBlock::KIND,
            Self::Enforceable(kind) => kind.kind(),
        })
    }
}
