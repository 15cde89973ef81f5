//! Where the API server keeps the objects of a kind.

use brindle_api::{
    AgentConfiguration, BgpConfiguration, BgpFilter, BgpPeer, ClusterNetworkPolicy,
    GlobalNetworkPolicy, GlobalNetworkSet, HostEndpoint, IpPool, NetworkPolicy, NetworkSet,
    StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy, Tier,
};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1 as networking;

use super::watch::Listing;
use crate::object::{Kind, ObjectKey};

/// What is followed of a kind.
pub(super) fn listing(kind: Kind) -> Listing {
    Listing {
        path: path(kind),
        labels: None,
        metadata_only: metadata_suffices(kind),
        comes_soon: kind.api_version() == brindle_api::API_VERSION,
    }
}

/// The path of all objects of a kind.
fn path(kind: Kind) -> String {
    format!("{}/{}", version(kind), plural(kind))
}

/// The path of the objects beside this one.
pub(super) fn path_of(key: &ObjectKey) -> String {
    match &key.namespace {
        Some(namespace) => {
            format!("{}/namespaces/{namespace}/{}", version(key.kind), plural(key.kind))
        }
        None => path(key.kind),
    }
}

fn version(kind: Kind) -> String {
    match kind.api_version() {
        core @ "v1" => format!("/api/{core}"),
        group => format!("/apis/{group}"),
    }
}

/// Whether a kind's metadata is all that is read of it.
fn metadata_suffices(kind: Kind) -> bool {
    matches!(kind, Kind::Namespace | Kind::ServiceAccount)
}

/// A kind's resource, as it stands in paths.
pub(super) fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => Namespace::URL_PATH_SEGMENT,
        Kind::Node => Node::URL_PATH_SEGMENT,
        Kind::Pod => Pod::URL_PATH_SEGMENT,
        Kind::ServiceAccount => ServiceAccount::URL_PATH_SEGMENT,
        Kind::Service => Service::URL_PATH_SEGMENT,
        Kind::EndpointSlice => EndpointSlice::URL_PATH_SEGMENT,
        Kind::KubernetesNetworkPolicy => networking::NetworkPolicy::URL_PATH_SEGMENT,
        Kind::ClusterNetworkPolicy => ClusterNetworkPolicy::URL_PATH_SEGMENT,
        Kind::Tier => Tier::URL_PATH_SEGMENT,
        Kind::NetworkPolicy => NetworkPolicy::URL_PATH_SEGMENT,
        Kind::GlobalNetworkPolicy => GlobalNetworkPolicy::URL_PATH_SEGMENT,
        Kind::StagedNetworkPolicy => StagedNetworkPolicy::URL_PATH_SEGMENT,
        Kind::StagedGlobalNetworkPolicy => StagedGlobalNetworkPolicy::URL_PATH_SEGMENT,
        Kind::StagedKubernetesNetworkPolicy => StagedKubernetesNetworkPolicy::URL_PATH_SEGMENT,
        Kind::NetworkSet => NetworkSet::URL_PATH_SEGMENT,
        Kind::GlobalNetworkSet => GlobalNetworkSet::URL_PATH_SEGMENT,
        Kind::IpPool => IpPool::URL_PATH_SEGMENT,
        Kind::BgpConfiguration => BgpConfiguration::URL_PATH_SEGMENT,
        Kind::BgpFilter => BgpFilter::URL_PATH_SEGMENT,
        Kind::BgpPeer => BgpPeer::URL_PATH_SEGMENT,
        Kind::HostEndpoint => HostEndpoint::URL_PATH_SEGMENT,
        Kind::AgentConfiguration => AgentConfiguration::URL_PATH_SEGMENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api_server() {
        assert_eq!(path(Kind::Pod), "/api/v1/pods");
        assert_eq!(path(Kind::EndpointSlice), "/apis/discovery.k8s.io/v1/endpointslices");
        assert_eq!(path(Kind::IpPool), "/apis/brindle.io/v1alpha1/ippools");
    }
}
