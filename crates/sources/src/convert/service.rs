//! `Service`: the addresses that nodes answer for.

use std::net::IpAddr;

use brindle_model::cluster::Service;
use k8s_openapi::api::core::v1 as core;

use super::workload;
use crate::problem::Problems;

/// What a headless Service has for an address.
const HEADLESS: &str = "None";

/// Converts a Service. An address that cannot be read is not announced; the others are.
pub(super) fn service(object: &core::Service, problems: &mut Problems) -> Service {
    let Some(spec) = &object.spec else { return Service::default() };
    let mut read = |texts: &mut dyn Iterator<Item = (String, &String)>| {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for (at, text) in texts.filter(|(_, text)| !text.is_empty() && *text != HEADLESS) {
            match workload::address(text, &at, problems) {
                Some(address) if !addresses.contains(&address) => addresses.push(address),
                _ => {}
            }
        }
        addresses
    };
    let single = spec.cluster_ip.iter().map(|text| ("spec.clusterIP".to_owned(), text));
    let listed = spec.cluster_ips.iter().flatten().enumerate();
    let listed = listed.map(|(i, text)| (format!("spec.clusterIPs[{i}]"), text));
    let external = spec.external_ips.iter().flatten().enumerate();
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.iter().flat_map(|status| status.ingress.iter().flatten()).enumerate();
    // Behind `Proxy` the load balancer itself has the address and talks to those of nodes.
    let ingress = ingress.filter(|(_, entry)| entry.ip_mode.as_deref() != Some("Proxy"));
    Service {
        cluster_ips: read(&mut listed.chain(single)),
        external_ips: read(&mut external.map(|(i, text)| (format!("spec.externalIPs[{i}]"), text))),
        load_balancer_ips: read(&mut ingress.filter_map(|(i, entry)| {
            Some((format!("status.loadBalancer.ingress[{i}].ip"), entry.ip.as_ref()?))
        })),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
    }
}
