//! API types as users write them: Brindle's own, group `brindle.io`, version `v1alpha1`, and the
//! upstream ones that have no crate.
//!
//! The types hold what was written, checked for shape only: an unknown field of a `spec` is an
//! error (an option is never accepted and ignored), a missing one has its documented default.
//! Whether an address parses or two pools overlap is decided where objects become inputs, in
//! `brindle-sources`. Field names follow Calico's v3 API where the meaning is the same.

mod agent_configuration;
mod bgp_configuration;
mod bgp_filter;
mod bgp_node_status;
mod bgp_peer;
mod cluster_network_policy;
pub mod crd;
mod duration;
mod host_endpoint;
mod installation;
mod ip_pool;
mod ipam_block;
mod network_policy;
mod network_set;
mod node_enforcement;
mod policy_rule;
mod resource;
mod tier;

pub use agent_configuration::{AgentConfiguration, AgentConfigurationSpec, FailsafePort};
pub use bgp_configuration::{
    BgpConfiguration, BgpConfigurationSpec, NamedCommunity, PrefixAdvertisement, ServiceRange,
};
pub use bgp_filter::{
    BgpFilter, BgpFilterCommunities, BgpFilterOperation, BgpFilterPrepend, BgpFilterRange,
    BgpFilterRule, BgpFilterSpec, BgpFilterValue,
};
pub use bgp_node_status::{BgpFamilyStatus, BgpNodeStatus, BgpNodeStatusSpec, BgpPeerStatus};
pub use bgp_peer::{
    BgpBfd, BgpMaxPrefixes, BgpMaxPrefixesOut, BgpPassword, BgpPeer, BgpPeerSpec, DEFAULT_BGP_PORT,
    SecretKeyRef,
};
pub use cluster_network_policy::{
    ClusterNetworkPolicy, ClusterNetworkPolicyEgressPeer, ClusterNetworkPolicyEgressRule,
    ClusterNetworkPolicyIngressPeer, ClusterNetworkPolicyIngressRule, ClusterNetworkPolicyPort,
    ClusterNetworkPolicyPortRange, ClusterNetworkPolicyProtocol, ClusterNetworkPolicySpec,
    ClusterNetworkPolicySubject, ClusterNetworkPolicyTransport, NamespacedPod, POLICY_API_VERSION,
    POLICY_GROUP, POLICY_VERSION,
};
pub use duration::{Duration, DurationError};
pub use host_endpoint::{HostEndpoint, HostEndpointPort, HostEndpointSpec};
pub use installation::{
    INSTALLATION_NAME, Installation, InstallationConnections, InstallationDataplane,
    InstallationLogLevel, InstallationSpec,
};
pub use ip_pool::{DEFAULT_BLOCK_SIZE_V4, DEFAULT_BLOCK_SIZE_V6, IpPool, IpPoolSpec};
pub use ipam_block::{IpamBlock, IpamBlockSpec};
pub use network_policy::{
    GlobalNetworkPolicy, GlobalNetworkPolicySpec, NetworkPolicy, NetworkPolicySpec,
    StagedGlobalNetworkPolicy, StagedGlobalNetworkPolicySpec, StagedKubernetesNetworkPolicy,
    StagedKubernetesNetworkPolicySpec, StagedNetworkPolicy, StagedNetworkPolicySpec,
};
pub use network_set::{GlobalNetworkSet, NetworkSet, NetworkSetSpec};
pub use node_enforcement::{NodeEnforcement, NodeEnforcementSpec, ResourceVersion};
pub use policy_rule::{EntityRule, IcmpFields, PolicyRule, ServiceAccountMatch, ServiceMatch};
pub use tier::{Tier, TierSpec};

/// The API group of Brindle's own kinds.
pub const GROUP: &str = "brindle.io";
/// The API version of Brindle's own kinds.
pub const VERSION: &str = "v1alpha1";
/// Group and version as an object's `apiVersion` spells them.
pub const API_VERSION: &str = "brindle.io/v1alpha1";
