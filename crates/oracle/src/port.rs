//! Ports: on which protocol and destination port (§1.3).

use brindle_model::net::Protocol;
use brindle_model::packet::Packet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicyPort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::peer::Answer;
use crate::world::{container_ports, name_of};

/// Puts one entry of `ports` to a packet. `destination` is the pod the packet goes to: on ingress
/// the subject, on egress the peer (K20).
pub(crate) fn read(
    entry: &NetworkPolicyPort,
    packet: &Packet,
    destination: Option<&Pod>,
) -> Answer {
    // K17: protocol defaults to TCP; only TCP, UDP, SCTP.
    let name = entry.protocol.as_deref().unwrap_or("TCP");
    let Some(protocol) = transport(name) else {
        return no("K17", format!("broken: unknown protocol {name:?}"));
    };
    // K18: both ends within 1–65535, port ≤ endPort, endPort only beside a numeric port.
    let wanted = match (&entry.port, entry.end_port) {
        (None, None) => Wanted::Any,
        (Some(IntOrString::Int(port)), end) => {
            let last = end.unwrap_or(*port);
            if !(1..=65535).contains(port) || !(1..=65535).contains(&last) || *port > last {
                return no("K18", format!("broken: {} is not a range", spelled(*port, end)));
            }
            Wanted::Numbers(*port, last)
        }
        (Some(IntOrString::String(name)), None) => Wanted::Named(name),
        (_, Some(_)) => return no("K18", "broken: endPort needs a numeric port"),
    };
    // K17, K23, K24: a rule with ports speaks of one protocol each; no other protocol passes it.
    if packet.protocol() != protocol {
        return no("K17", format!("the protocol is {}, not {protocol}", packet.protocol()));
    }
    // K19: the destination port as the packet has it at the pod.
    let Some((_, port)) = packet.ports() else {
        return no("K19", "the packet has no ports");
    };
    match wanted {
        Wanted::Any => ("K17", true, format!("any {protocol} port")),
        Wanted::Numbers(first, last) => {
            let inside = (first..=last).contains(&i32::from(port));
            let side = if inside { "is" } else { "is not" };
            // K19: the number is the packet's destination port; K18: or within the range that it
            // begins.
            (
                if entry.end_port.is_some() { "K18" } else { "K19" },
                inside,
                format!("{port} {side} in {}", spelled(first, (first != last).then_some(last))),
            )
        }
        Wanted::Named(name) => read_named(name, protocol, port, destination),
    }
}

enum Wanted<'a> {
    Any,
    Numbers(i32, i32),
    Named(&'a str),
}

fn no(rule: &'static str, why: impl Into<String>) -> Answer {
    (rule, false, why.into())
}

fn spelled(first: i32, last: Option<i32>) -> String {
    last.map_or_else(|| first.to_string(), |last| format!("{first}-{last}"))
}

/// K20–K22: the name is resolved at the destination pod, by name and protocol; if two containers
/// use it with different numbers, both match.
fn read_named(name: &str, protocol: Protocol, port: u16, destination: Option<&Pod>) -> Answer {
    // K21: outside addresses never match a named port.
    let Some(pod) = destination else {
        return no("K21", format!("the destination is no pod that could have a port {name:?}"));
    };
    let known = named_ports(pod, name, protocol);
    let pod = name_of(&pod.metadata);
    if known.contains(&i32::from(port)) {
        return ("K20", true, format!("{port} is port {name:?} of pod {pod}"));
    }
    if known.is_empty() {
        return no("K20", format!("pod {pod} has no {protocol} port {name:?}"));
    }
    no("K20", format!("port {name:?} of pod {pod} is {known:?}, not {port}"))
}

/// The numbers of a pod's container ports of this name and protocol, of all containers (K20, K22).
pub(crate) fn named_ports(pod: &Pod, name: &str, protocol: Protocol) -> Vec<i32> {
    container_ports(pod)
        .filter(|p| !name.is_empty() && p.name.as_deref() == Some(name))
        .filter(|p| transport(p.protocol.as_deref().unwrap_or("TCP")) == Some(protocol))
        .map(|p| p.container_port)
        .collect()
}

/// A transport protocol by its Kubernetes name (K17).
pub(crate) fn transport(name: &str) -> Option<Protocol> {
    match name {
        "TCP" => Some(Protocol::TCP),
        "UDP" => Some(Protocol::UDP),
        "SCTP" => Some(Protocol::SCTP),
        _ => None,
    }
}
