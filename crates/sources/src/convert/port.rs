//! Ports of NetworkPolicies and containers.

use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::{Port, PortSpec};
use k8s_openapi::api::networking::v1::NetworkPolicyPort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::intern::Interner;
use crate::problem::Problems;
use crate::validate::is_port_name;

/// Reads a policy's port (K17, K18, K20); `None` if it is broken.
pub(super) fn policy_port(
    written: &NetworkPolicyPort,
    at: &str,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<Port> {
    let before = problems.errors();
    let protocol = protocol(written.protocol.as_deref(), &format!("{at}.protocol"), problems);
    let spec = port_spec(written, at, names, problems);
    (problems.errors() == before).then_some(Port { protocol: Some(protocol?), port: spec? })
}

fn port_spec(
    written: &NetworkPolicyPort,
    at: &str,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<PortSpec> {
    let (at_port, at_end) = (format!("{at}.port"), format!("{at}.endPort"));
    match (&written.port, written.end_port) {
        (None, None) => Some(PortSpec::Any),
        (None, Some(_)) => {
            problems.error(at_end, "needs a port that it is the end of");
            None
        }
        (Some(IntOrString::Int(port)), end) => {
            let first = number(*port, &at_port, problems);
            let last = end.map_or(first, |end| number(end, &at_end, problems));
            let (first, last) = (first?, last?);
            if last < first {
                problems.error(at_end, format!("{last} is below port {first}"));
                return None;
            }
            Some(PortSpec::Range(PortRange { first, last }))
        }
        (Some(IntOrString::String(name)), end) => {
            if end.is_some() {
                problems.error(at_end, format!("needs a numeric port, `{name}` is a name"));
            }
            if is_port_name(name) {
                return Some(PortSpec::Named(names.intern(name)));
            }
            let hint = match name.parse::<u16>() {
                Ok(_) => "; write a number without quotes",
                Err(_) => "",
            };
            problems.error(at_port, format!("`{name}` is not a valid port name{hint}"));
            None
        }
    }
}

/// Reads a protocol, TCP unless said (K17); `None` if NetworkPolicy does not know it.
pub(super) fn protocol(
    written: Option<&str>,
    at: &str,
    problems: &mut Problems,
) -> Option<Protocol> {
    match written {
        None | Some("TCP") => Some(Protocol::TCP),
        Some("UDP") => Some(Protocol::UDP),
        Some("SCTP") => Some(Protocol::SCTP),
        Some(other) => {
            problems.error(at, format!("`{other}` is not one of TCP, UDP, SCTP"));
            None
        }
    }
}

/// Reads a port number.
pub(super) fn number(port: i32, at: &str, problems: &mut Problems) -> Option<u16> {
    match u16::try_from(port) {
        Ok(port) if port != 0 => Some(port),
        _ => {
            problems.error(at, format!("{port} is not a port: 1 to 65535 are"));
            None
        }
    }
}
