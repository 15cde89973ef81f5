//! The frozen set of API objects, and the few questions that scan it.

use std::net::IpAddr;

use brindle_api::{
    ClusterNetworkPolicy, GlobalNetworkPolicy, GlobalNetworkSet, HostEndpoint,
    NetworkPolicy as TieredPolicy, NetworkSet, StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy, StagedNetworkPolicy, Tier,
};
use brindle_model::NamespacedName;
use k8s_openapi::api::core::v1::{Container, ContainerPort, Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::host::FailsafePorts;

/// API objects exactly as a user wrote them: undefaulted, in any order, names unique per kind.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Namespaces.
    pub namespaces: Vec<Namespace>,
    /// Pods, host-network and finished ones included.
    pub pods: Vec<Pod>,
    /// Service accounts.
    pub service_accounts: Vec<ServiceAccount>,
    /// Endpoint slices of Services.
    pub endpoint_slices: Vec<EndpointSlice>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// `networking.k8s.io` NetworkPolicies, broken ones included, as are those of every kind below.
    pub network_policies: Vec<NetworkPolicy>,
    /// Tiers beside the built-in ones.
    pub tiers: Vec<Tier>,
    /// `brindle.io` NetworkPolicies: those with tier, order and actions.
    pub tiered_policies: Vec<TieredPolicy>,
    /// GlobalNetworkPolicies.
    pub global_network_policies: Vec<GlobalNetworkPolicy>,
    /// NetworkSets.
    pub network_sets: Vec<NetworkSet>,
    /// GlobalNetworkSets.
    pub global_network_sets: Vec<GlobalNetworkSet>,
    /// StagedNetworkPolicies.
    pub staged_network_policies: Vec<StagedNetworkPolicy>,
    /// StagedGlobalNetworkPolicies.
    pub staged_global_network_policies: Vec<StagedGlobalNetworkPolicy>,
    /// StagedKubernetesNetworkPolicies.
    pub staged_kubernetes_network_policies: Vec<StagedKubernetesNetworkPolicy>,
    /// ClusterNetworkPolicies.
    pub cluster_network_policies: Vec<ClusterNetworkPolicy>,
    /// HostEndpoints.
    pub host_endpoints: Vec<HostEndpoint>,
    /// No object: the interface by which every node reaches what it does not hold itself.
    pub uplink: String,
    /// No object: an option of agents.
    pub failsafes: FailsafePorts,
    /// No object: an option of agents, that what pods send to their own node is dropped even if their
    /// egress policy admits it.
    pub drops_pods_to_node: bool,
}

impl Default for World {
    /// Nothing; the uplinks are `eth0`.
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            pods: Vec::new(),
            service_accounts: Vec::new(),
            endpoint_slices: Vec::new(),
            nodes: Vec::new(),
            network_policies: Vec::new(),
            tiers: Vec::new(),
            tiered_policies: Vec::new(),
            global_network_policies: Vec::new(),
            network_sets: Vec::new(),
            global_network_sets: Vec::new(),
            staged_network_policies: Vec::new(),
            staged_global_network_policies: Vec::new(),
            staged_kubernetes_network_policies: Vec::new(),
            cluster_network_policies: Vec::new(),
            host_endpoints: Vec::new(),
            uplink: "eth0".to_owned(),
            failsafes: FailsafePorts::default(),
            drops_pods_to_node: false,
        }
    }
}

/// Label that names a namespace; the API server sets and keeps it (K12).
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Label that names a namespace or service account among its own (C11).
const PARENT_NAME: &str = "projectcalico.org/name";

impl World {
    /// The pod of this name.
    pub(crate) fn pod(&self, id: &NamespacedName) -> Option<&Pod> {
        self.pods.iter().find(|p| {
            *namespace_of(&p.metadata) == *id.namespace && *name_of(&p.metadata) == *id.name
        })
    }

    /// The pods that own an address. More than one only while an address moves from a pod that
    /// goes to one that comes (K39).
    pub(crate) fn owners(&self, addr: IpAddr) -> Vec<&Pod> {
        self.pods
            .iter()
            .filter(|p| has_own_network(p) && addresses_of(p).any(|a| a == addr))
            .collect()
    }

    /// The pods of [`Self::owners`] that selectors may pick.
    pub(crate) fn known_owners(&self, addr: IpAddr) -> impl Iterator<Item = &Pod> {
        self.owners(addr).into_iter().filter(|pod| self.knows(pod))
    }

    /// K37: a pod is known once its namespace is. Until then nobody can say which selectors it
    /// meets: a negative one would match labels that are merely not known yet.
    pub(crate) fn knows(&self, pod: &Pod) -> bool {
        self.knows_namespace(namespace_of(&pod.metadata))
    }

    /// Whether there is an object for a namespace.
    pub(crate) fn knows_namespace(&self, name: &str) -> bool {
        self.namespace(name).is_some()
    }

    fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.iter().find(|n| name_of(&n.metadata) == name)
    }

    /// The value of a namespace's label.
    pub(crate) fn namespace_label(&self, namespace: &str, key: &str) -> Option<&str> {
        let object = self.namespace(namespace)?;
        // K12: kubernetes.io/metadata.name is set on every namespace, whatever the user wrote; C11:
        // so is the engine's own name of the name.
        if key == NAMESPACE_NAME || key == PARENT_NAME {
            return Some(name_of(&object.metadata));
        }
        label_of(&object.metadata, key)
    }

    /// The value of a service account's label. An account that has no object has its name alone.
    pub(crate) fn service_account_label<'a>(
        &'a self,
        namespace: &str,
        account: &'a str,
        key: &str,
    ) -> Option<&'a str> {
        // C11.
        if key == PARENT_NAME {
            return Some(account);
        }
        let object = self.service_accounts.iter().find(|object| {
            name_of(&object.metadata) == account && namespace_of(&object.metadata) == namespace
        })?;
        label_of(&object.metadata, key)
    }

    /// The node that holds this address.
    pub(crate) fn node_holding(&self, addr: IpAddr) -> Option<&str> {
        let mut names = self.nodes.iter().map(|node| name_of(&node.metadata));
        names.find(|name| self.is_address_of_node(name, addr))
    }

    /// Whether a node holds this address.
    pub(crate) fn is_address_of_node(&self, node: &str, addr: IpAddr) -> bool {
        self.nodes.iter().filter(|n| name_of(&n.metadata) == node).any(|n| {
            let addresses = n.status.iter().flat_map(|s| s.addresses.iter().flatten());
            addresses.filter_map(|a| a.address.parse::<IpAddr>().ok()).any(|a| a == addr)
        })
    }
}

/// Whether something that a node's status calls its IP address is none.
pub(crate) fn has_unreadable_address(node: &Node) -> bool {
    let listed = node.status.iter().flat_map(|s| s.addresses.iter().flatten());
    let mut ips = listed.filter(|a| matches!(&*a.type_, "InternalIP" | "ExternalIP"));
    ips.any(|a| a.address.parse::<IpAddr>().is_err())
}

/// The name in an object's metadata; empty if there is none.
pub(crate) fn name_of(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

/// The namespace of a namespaced object: `default` unless said.
pub(crate) fn namespace_of(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or("default")
}

/// Namespace and name of a namespaced object.
pub(crate) fn id_of(metadata: &ObjectMeta) -> NamespacedName {
    NamespacedName::new(namespace_of(metadata), name_of(metadata))
}

/// The value of a pod's own label. C12: what the engine itself puts on pods overrides the user's.
pub(crate) fn pod_label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    match key {
        "projectcalico.org/namespace" => Some(namespace_of(&pod.metadata)),
        "projectcalico.org/orchestrator" => Some("k8s"),
        "projectcalico.org/serviceaccount" => Some(service_account_of(pod)),
        _ if is_inherited(key) => None,
        _ => label_of(&pod.metadata, key),
    }
}

/// C11, C12: keys of labels that an object has from its namespace or service account. Its own of
/// that form are stripped.
pub(crate) fn is_inherited(key: &str) -> bool {
    key.starts_with("pcns.") || key.starts_with("pcsa.")
}

/// C12: keys of labels that the engine itself gives to pods.
pub(crate) fn is_system(key: &str) -> bool {
    matches!(
        key,
        "projectcalico.org/namespace"
            | "projectcalico.org/orchestrator"
            | "projectcalico.org/serviceaccount"
    )
}

/// The service account that a pod runs as; the API server fills in `default`.
pub(crate) fn service_account_of(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    let named = spec.and_then(|s| s.service_account_name.as_deref());
    named.filter(|name| !name.is_empty()).unwrap_or("default")
}

/// The value of an object's label.
pub(crate) fn label_of<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// K27: a host-network pod is a node address, never a pod. K38: a finished pod owns nothing.
pub(crate) fn has_own_network(pod: &Pod) -> bool {
    !is_host_network(pod) && !is_finished(pod)
}

/// K27.
pub(crate) fn is_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false)
}

/// K38: Succeeded and Failed pods keep their addresses in the object, but no longer own them.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The node a pod is scheduled to.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|n| !n.is_empty())
}

/// K35: all addresses in a pod's status belong to it, of either family.
pub(crate) fn addresses_of(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let status = pod.status.as_ref();
    let single = status.and_then(|s| s.pod_ip.as_deref());
    let list = status.and_then(|s| s.pod_ips.as_deref()).unwrap_or_default();
    single.into_iter().chain(list.iter().map(|p| p.ip.as_str())).filter_map(|a| a.parse().ok())
}

/// K22: the ports of all containers, init containers and sidecars too.
pub(crate) fn container_ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let spec = pod.spec.as_ref();
    let main = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    let init = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    main.iter().chain(init).flat_map(|c: &Container| c.ports.iter().flatten())
}
