//! The kinds of object that are read, and their identity.

use std::fmt;

use brindle_api::{BgpConfiguration, BgpPeer, IpPool};
use brindle_model::{Name, NamespacedName};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;

/// An API object of a kind that Brindle reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `v1` Namespace.
    Namespace(Box<Namespace>),
    /// `v1` Node.
    Node(Box<Node>),
    /// `v1` Pod.
    Pod(Box<Pod>),
    /// `networking.k8s.io/v1` NetworkPolicy.
    NetworkPolicy(Box<NetworkPolicy>),
    /// `brindle.io/v1alpha1` IPPool.
    IpPool(Box<IpPool>),
    /// `brindle.io/v1alpha1` BGPConfiguration.
    BgpConfiguration(Box<BgpConfiguration>),
    /// `brindle.io/v1alpha1` BGPPeer.
    BgpPeer(Box<BgpPeer>),
}

/// A kind of object that Brindle reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Namespace.
    Namespace,
    /// `v1` Node.
    Node,
    /// `v1` Pod.
    Pod,
    /// `networking.k8s.io/v1` NetworkPolicy.
    NetworkPolicy,
    /// `brindle.io/v1alpha1` IPPool.
    IpPool,
    /// `brindle.io/v1alpha1` BGPConfiguration.
    BgpConfiguration,
    /// `brindle.io/v1alpha1` BGPPeer.
    BgpPeer,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::NetworkPolicy,
        Self::IpPool,
        Self::BgpConfiguration,
        Self::BgpPeer,
    ];

    /// The kind that an object's `apiVersion` and `kind` name, if it is one that Brindle reads.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.api_version() == api_version && k.name() == kind)
    }

    /// The `apiVersion` that is read.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Namespace | Self::Node | Self::Pod => "v1",
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::IpPool | Self::BgpConfiguration | Self::BgpPeer => brindle_api::API_VERSION,
        }
    }

    /// The `kind` as objects spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::IpPool => "IPPool",
            Self::BgpConfiguration => "BGPConfiguration",
            Self::BgpPeer => "BGPPeer",
        }
    }

    /// Whether objects of the kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        matches!(self, Self::Pod | Self::NetworkPolicy)
    }

    /// Whether users write such objects to tell Brindle what to do, so that each has a status.
    pub fn has_status(self) -> bool {
        matches!(self, Self::NetworkPolicy | Self::IpPool | Self::BgpConfiguration | Self::BgpPeer)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
