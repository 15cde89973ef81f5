//! `HostEndpoint` (C34, C35).
//!
//! A host endpoint closes an interface, so one that is broken must not be gone: as long as it says
//! which node and interface it means, it polices them, and what cannot be read of it admits nobody.

use std::net::IpAddr;

use brindle_api::{HostEndpointPort, HostEndpointSpec};
use brindle_model::Name;
use brindle_model::cluster::{HOST_INTERFACE_PREFIX, NamedPort};
use brindle_model::host::{DEFAULT_ALLOW_PROFILE, HostEndpoint, HostInterfaces};
use brindle_model::net::Protocol;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::unreserved;
use crate::intern::Interner;
use crate::problem::Problems;
use crate::validate::{is_dns_subdomain, is_port_name};

/// `IFNAMSIZ` without the final NUL.
const MAX_INTERFACE_NAME: usize = 15;

/// Converts a host endpoint.
pub(super) fn host_endpoint(
    metadata: &ObjectMeta,
    spec: &HostEndpointSpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<HostEndpoint> {
    if !is_dns_subdomain(&spec.node) {
        problems.error("spec.node", format!("`{}` is not a node's name", spec.node));
    }
    let expected_addresses: Vec<IpAddr> = spec
        .expected_ips
        .iter()
        .enumerate()
        .filter_map(|(i, text)| {
            let address = text.parse().ok();
            if address.is_none() {
                problems
                    .error(format!("spec.expectedIPs[{i}]"), format!("`{text}` is not an address"));
            }
            address
        })
        .collect();
    let interfaces = interfaces(spec, &expected_addresses, names, problems);
    // Of labels that cannot be read none counts: the policies that they asked for do not allow.
    let labels = unreserved(metadata.labels.as_ref(), names, problems).unwrap_or_default();
    let profiles = profiles(spec, names, problems);
    let ports = spec.ports.iter().enumerate();
    let ports = ports.filter_map(|(i, port)| self::port(port, i, names, problems)).collect();
    is_dns_subdomain(&spec.node).then_some(HostEndpoint {
        node: names.intern(&spec.node),
        interfaces: interfaces?,
        expected_addresses,
        labels,
        profiles,
        ports,
    })
}

fn interfaces(
    spec: &HostEndpointSpec,
    expected: &[IpAddr],
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<HostInterfaces> {
    const AT: &str = "spec.interfaceName";
    match spec.interface_name.as_deref().unwrap_or_default() {
        "" if expected.is_empty() => {
            problems.error(AT, "is missing, and there are no expectedIPs to find it by");
            None
        }
        "" => Some(HostInterfaces::ByAddress),
        "*" => Some(HostInterfaces::All),
        "lo" => {
            problems.error(AT, "the loopback is never policed");
            None
        }
        name if name.starts_with(HOST_INTERFACE_PREFIX) => {
            problems.error(AT, format!("`{name}` is a pod's: pods have policies of their own"));
            None
        }
        name if !is_interface_name(name) => {
            problems.error(AT, format!("`{name}` is not an interface's name"));
            None
        }
        name => Some(HostInterfaces::Named(names.intern(name))),
    }
}

/// As the kernel takes them (`dev_valid_name`), without what would have to be quoted.
fn is_interface_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '"' | '*' | '\\');
    name.len() <= MAX_INTERFACE_NAME && !matches!(name, "." | "..") && name.chars().all(plain)
}

fn profiles(spec: &HostEndpointSpec, names: &mut Interner, problems: &mut Problems) -> Vec<Name> {
    for (i, name) in spec.profiles.iter().enumerate().filter(|(_, p)| *p != DEFAULT_ALLOW_PROFILE) {
        let message = format!(
            "there is no profile `{name}`, only {DEFAULT_ALLOW_PROFILE}: denies what no policy allows"
        );
        problems.error(format!("spec.profiles[{i}]"), message);
    }
    spec.profiles.iter().map(|name| names.intern(name)).collect()
}

fn port(
    written: &HostEndpointPort,
    at: usize,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<NamedPort> {
    let at = format!("spec.ports[{at}]");
    let HostEndpointPort { name, protocol, port } = written;
    if !is_port_name(name) {
        problems.error(format!("{at}.name"), format!("`{name}` is not a port's name"));
    }
    let number = u16::try_from(*port).ok().filter(|port| *port > 0);
    if number.is_none() {
        problems.error(format!("{at}.port"), format!("{port} is not within 1 to 65535"));
    }
    let protocol = match protocol {
        IntOrString::String(name) => match name.as_str() {
            "TCP" => Some(Protocol::TCP),
            "UDP" => Some(Protocol::UDP),
            "SCTP" => Some(Protocol::SCTP),
            _ => None,
        },
        IntOrString::Int(number) => u8::try_from(*number).ok().map(Protocol),
    };
    let protocol = protocol.filter(|protocol| protocol.has_ports());
    if protocol.is_none() {
        problems.error(format!("{at}.protocol"), "is not one of TCP, UDP, SCTP");
    }
    let (protocol, port) = (protocol?, number?);
    is_port_name(name).then(|| NamedPort { name: names.intern(name), protocol, port })
}
