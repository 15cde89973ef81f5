//! Namespaces, nodes, pods and service accounts.

use std::net::IpAddr;

use brindle_model::List;
use brindle_model::cluster::{NamedPort, Namespace, Node, Pod, PodAddresses, ServiceAccount, Uid};
use brindle_model::labels::Labels;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::labels::{as_written, labels, unreserved};
use super::port;
use crate::intern::Interner;
use crate::object::ObjectKey;
use crate::problem::Problems;

/// The label that names a namespace; the API server keeps it (K12).
const METADATA_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What a pod runs as that names no service account.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

/// Converts a namespace.
pub(super) fn namespace(
    key: &ObjectKey,
    object: &core::Namespace,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Namespace> {
    let written = labels(object.metadata.labels.as_ref(), names, problems)?;
    let own_name = (names.intern(METADATA_NAME_LABEL), names.intern(&key.name));
    let written = written.iter().map(|(key, value)| (key.clone(), value.clone()));
    let labels: Labels = written.chain([own_name]).collect();
    Some(Namespace { labels })
}

/// Converts a service account.
pub(super) fn service_account(
    object: &core::ServiceAccount,
    names: &mut Interner,
    problems: &mut Problems,
) -> ServiceAccount {
    ServiceAccount { labels: as_written(object.metadata.labels.as_ref(), names, problems) }
}

/// Converts a node: its labels and IP addresses, in the order of its status. One that cannot be
/// read makes it incomplete (decision 0013).
pub(super) fn node(object: &core::Node, names: &mut Interner, problems: &mut Problems) -> Node {
    let labels = as_written(object.metadata.labels.as_ref(), names, problems);
    let listed = object.status.iter().flat_map(|s| s.addresses.iter().flatten()).enumerate();
    let mut node = Node { labels, ..Node::default() };
    for (i, entry) in listed.filter(|(_, a)| matches!(&*a.type_, "InternalIP" | "ExternalIP")) {
        let at = format!("status.addresses[{i}].address");
        let Some(address) = address(&entry.address, &at, problems) else {
            node.incomplete = true;
            continue;
        };
        if entry.type_ == "InternalIP" {
            node.addresses.push(address);
        }
        node.all_addresses.push(address);
    }
    node
}

/// Converts a pod; `None` if it has no network of its own (K27).
pub(super) fn pod(
    object: &core::Pod,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Pod> {
    let labels = unreserved(object.metadata.labels.as_ref(), names, problems)?;
    let spec = object.spec.as_ref();
    if spec.is_some_and(|s| s.host_network == Some(true)) {
        return None;
    }
    let node = spec.and_then(|s| s.node_name.as_deref()).filter(|name| !name.is_empty());
    let service_account = spec.and_then(|s| s.service_account_name.as_deref());
    let service_account = service_account.filter(|name| !name.is_empty());
    Some(Pod {
        uid: uid(&object.metadata),
        node: node.map(|name| names.intern(name)),
        labels,
        service_account: Some(names.intern(service_account.unwrap_or(DEFAULT_SERVICE_ACCOUNT))),
        addresses: addresses(object.status.as_ref(), problems),
        ports: spec.map_or_else(List::new, |spec| named_ports(spec, names, problems)),
    })
}

/// The identity by which the runtime knows a pod. The API server's copy of a static pod has another
/// one than the pod, and names the pod's in an annotation.
fn uid(metadata: &ObjectMeta) -> Option<Uid> {
    const STATIC_POD: &str = "kubernetes.io/config.mirror";
    let of_static = metadata.annotations.as_ref().and_then(|all| all.get(STATIC_POD));
    of_static.or(metadata.uid.as_ref()).and_then(|uid| Uid::parse(uid))
}

/// The addresses that a pod owns: none once it is finished (K38), else those of both families
/// (K35).
fn addresses(status: Option<&core::PodStatus>, problems: &mut Problems) -> PodAddresses {
    let Some(status) = status else { return PodAddresses::new() };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return PodAddresses::new();
    }
    let listed = status.pod_ips.iter().flatten().enumerate();
    let listed = listed.map(|(i, entry)| (entry.ip.as_str(), format!("status.podIPs[{i}].ip")));
    let single = status.pod_ip.as_deref().map(|ip| (ip, "status.podIP".to_owned()));
    let mut addresses = PodAddresses::new();
    for (text, at) in listed.chain(single).filter(|(text, _)| !text.is_empty()) {
        match address(text, &at, problems) {
            Some(address) if !addresses.contains(&address) => addresses.push(address),
            _ => {}
        }
    }
    addresses.shrink_to_fit();
    addresses
}

/// The named ports of all containers, init and sidecar containers among them (K22). Ephemeral
/// containers cannot have ports.
fn named_ports(
    spec: &core::PodSpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> List<NamedPort> {
    let init = ("initContainers", spec.init_containers.as_deref().unwrap_or_default());
    let mut found = List::new();
    for (list, containers) in [init, ("containers", &spec.containers)] {
        for (i, container) in containers.iter().enumerate() {
            for (j, written) in container.ports.iter().flatten().enumerate() {
                let at = format!("spec.{list}[{i}].ports[{j}]");
                found.extend(named_port(written, &at, names, problems));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found.shrink_to_fit();
    found
}

fn named_port(
    written: &core::ContainerPort,
    at: &str,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<NamedPort> {
    let name = written.name.as_deref()?;
    let protocol = port::protocol(written.protocol.as_deref(), &format!("{at}.protocol"), problems);
    let number = port::number(written.container_port, &format!("{at}.containerPort"), problems);
    Some(NamedPort { name: names.intern(name), protocol: protocol?, port: number? })
}

/// Reads an address.
pub(super) fn address(text: &str, at: &str, problems: &mut Problems) -> Option<IpAddr> {
    let address = text.parse();
    if address.is_err() {
        problems.error(at, format!("`{text}` is not an IP address"));
    }
    address.ok()
}
