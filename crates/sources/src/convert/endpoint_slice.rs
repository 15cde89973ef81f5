//! `EndpointSlice`: which addresses and ports are a Service's (C26).

use brindle_model::Name;
use brindle_model::cluster::EndpointSlice;
use brindle_model::net::Family;
use k8s_openapi::api::discovery::v1 as discovery;

use super::{port, workload};
use crate::intern::Interner;
use crate::problem::Problems;
use crate::validate::is_dns_label;

/// The label that names a slice's Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Converts a slice; `None` if it belongs to no Service, or names hosts and not addresses. An
/// address or port that cannot be read makes it incomplete (decision 0013).
pub(super) fn endpoint_slice(
    object: &discovery::EndpointSlice,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<EndpointSlice> {
    let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    if !is_dns_label(service) {
        let at = format!("metadata.labels.{SERVICE_NAME_LABEL}");
        problems.error(at, format!("`{service}` is not a Service's name"));
        return None;
    }
    let before = problems.errors();
    let family = match object.address_type.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        "FQDN" => {
            problems.warning("addressType", "names of hosts are not resolved: ignored");
            return None;
        }
        other => {
            problems.error("addressType", format!("`{other}` is not one of IPv4, IPv6, FQDN"));
            None
        }
    };
    let mut addresses = Vec::new();
    for (i, endpoint) in object.endpoints.iter().enumerate() {
        for (j, text) in endpoint.addresses.iter().enumerate() {
            let at = format!("endpoints[{i}].addresses[{j}]");
            match workload::address(text, &at, problems) {
                Some(address) if Some(Family::of(address)) == family => addresses.push(address),
                Some(_) => problems.error(at, format!("{text} is not of {}", object.address_type)),
                None => {}
            }
        }
    }
    let mut ports = Vec::new();
    for (i, written) in object.ports.iter().flatten().enumerate() {
        let Some(number) = written.port else { continue };
        let at = format!("ports[{i}]");
        let protocol =
            port::protocol(written.protocol.as_deref(), &format!("{at}.protocol"), problems);
        let number = port::number(number, &format!("{at}.port"), problems);
        ports.extend(protocol.zip(number));
    }
    let incomplete = problems.errors() > before;
    let ready_on = ready_on(&object.endpoints, names);
    Some(EndpointSlice { service: names.intern(service), addresses, ports, incomplete, ready_on })
}

/// Where endpoints are that take new connections. One whose condition is not known counts as ready,
/// one that is terminating never is.
fn ready_on(endpoints: &[discovery::Endpoint], names: &mut Interner) -> Vec<Name> {
    let ready = |endpoint: &&discovery::Endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
    };
    let nodes = endpoints.iter().filter(ready).filter_map(|e| e.node_name.as_deref());
    let mut nodes: Vec<Name> = nodes.map(|node| names.intern(node)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.shrink_to_fit();
    nodes
}
