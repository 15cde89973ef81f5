//! Which rules of NetworkPolicy and GlobalNetworkPolicy say something that cannot be meant
//! (C8, C16, C18–C28). The API server would refuse their policy; a folder has no API server.
//!
//! A rule is broken as a whole: its criteria narrow each other, so one that is left out would widen
//! the rest.

use brindle_api::{EntityRule, IcmpFields, PolicyRule};
use brindle_model::net::Protocol;
use brindle_model::verdict::Direction;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cidr::Cidr;
use crate::names::{is_dns_label, is_dns_subdomain};
use crate::protocol::{PortEntry, port_entry, protocol};
use crate::selector::{self, is_global};

/// Rule number and what is wrong.
pub(crate) type Fault = (&'static str, String);

/// Most nets, ports and service account names of one list (C8).
const MAX_NETS: usize = 256;
const MAX_PORTS: usize = 50;
const MAX_SERVICE_ACCOUNTS: usize = 20;

/// What is wrong with a rule, if anything is. `global` tells a GlobalNetworkPolicy's.
pub(crate) fn fault(rule: &PolicyRule, direction: Direction, global: bool) -> Option<Fault> {
    let PolicyRule { ip_version, icmp, not_icmp, source, destination, http, .. } = rule;
    if http.is_some() {
        return Some(("C28", "HTTP criteria need a proxy".into()));
    }
    if let Some(version) = ip_version.filter(|version| !matches!(version, 4 | 6)) {
        return Some(("C22", format!("there is no IP version {version}")));
    }
    for written in [&rule.protocol, &rule.not_protocol].into_iter().flatten() {
        if protocol(written).is_none() {
            return Some(("C18", format!("there is no protocol {}", spelled(written))));
        }
    }
    let wanted = rule.protocol.as_ref().and_then(protocol);
    for fields in [icmp, not_icmp].into_iter().flatten() {
        if let Some(why) = icmp_fault(fields, wanted) {
            return Some(("C21", why));
        }
    }
    for end in [source, destination] {
        if let Some(fault) = end_fault(end, wanted) {
            return Some(fault);
        }
    }
    if let Some(why) = mixed_families(rule) {
        return Some(("C21", why));
    }
    service_fault(source, direction == Direction::Ingress, false, global)
        .or_else(|| service_fault(destination, direction == Direction::Egress, true, global))
        .map(|why| ("C26", why))
}

fn spelled(written: &IntOrString) -> String {
    match written {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => format!("{text:?}"),
    }
}

/// C21: type 0–254, code 0–255 only with a type, beside ICMP or ICMPv6.
fn icmp_fault(fields: &IcmpFields, wanted: Option<Protocol>) -> Option<String> {
    if !matches!(wanted, Some(Protocol::ICMP | Protocol::ICMPV6)) {
        return Some("ICMP criteria need protocol ICMP or ICMPv6".into());
    }
    match (fields.icmp_type, fields.code) {
        (Some(icmp_type), _) if !(0..=254).contains(&icmp_type) => {
            Some(format!("there is no ICMP type {icmp_type}"))
        }
        (_, Some(code)) if !(0..=255).contains(&code) => {
            Some(format!("there is no ICMP code {code}"))
        }
        (None, _) => Some("ICMP criteria need a type".into()),
        _ => None,
    }
}

fn end_fault(end: &EntityRule, wanted: Option<Protocol>) -> Option<Fault> {
    for (list, negated) in [(&end.nets, false), (&end.not_nets, true)] {
        if list.len() > MAX_NETS {
            return Some(("C8", format!("more than {MAX_NETS} nets")));
        }
        for text in list {
            match Cidr::parse_net(text) {
                None => return Some(("C21", format!("{text:?} is not a CIDR"))),
                // C21: nothing is outside a catch-all.
                Some(net) if negated && net.is_catch_all() => {
                    return Some(("C21", format!("{net} cannot be negated")));
                }
                Some(_) => {}
            }
        }
    }
    selectors_fault(end).or_else(|| {
        [&end.ports, &end.not_ports].into_iter().find_map(|ports| ports_fault(ports, wanted))
    })
}

/// C16: a selector that does not parse.
fn selectors_fault(end: &EntityRule) -> Option<Fault> {
    // §2.3: global() only as the whole namespaceSelector of a rule's peer.
    let namespaces = end.namespace_selector.as_deref().filter(|text| !is_global(text));
    let accounts = end.service_accounts.as_ref();
    if let Some(accounts) = accounts {
        let names = &accounts.names;
        if names.len() > MAX_SERVICE_ACCOUNTS {
            return Some(("C8", format!("more than {MAX_SERVICE_ACCOUNTS} service accounts")));
        }
        if let Some(name) = names.iter().find(|name| !is_dns_subdomain(name)) {
            return Some(("C25", format!("{name:?} is no service account's name")));
        }
        if names.is_empty() && accounts.selector.is_none() {
            return Some(("C25", "neither names nor a selector of service accounts".into()));
        }
    }
    let accounts = accounts.and_then(|accounts| accounts.selector.as_deref());
    let texts = [end.selector.as_deref(), end.not_selector.as_deref(), namespaces, accounts];
    texts.into_iter().flatten().find_map(selector::broken).map(|why| ("C16", why))
}

/// C19: ports need TCP, UDP or SCTP, except when all entries are names.
fn ports_fault(ports: &[IntOrString], wanted: Option<Protocol>) -> Option<Fault> {
    if ports.len() > MAX_PORTS {
        return Some(("C8", format!("more than {MAX_PORTS} ports")));
    }
    for written in ports {
        let why = match port_entry(written) {
            None => format!("{} is no port", spelled(written)),
            Some(PortEntry::Numbers(..)) if !wanted.is_some_and(Protocol::has_ports) => {
                "port numbers need protocol TCP, UDP or SCTP".to_owned()
            }
            Some(PortEntry::Named(_)) if wanted.is_some_and(|p| !p.has_ports()) => {
                "ports need protocol TCP, UDP or SCTP".to_owned()
            }
            Some(_) => continue,
        };
        return Some(("C19", why));
    }
    None
}

/// C21: mixed families in one rule, and families that are not those of its `ipVersion`.
fn mixed_families(rule: &PolicyRule) -> Option<String> {
    let version = rule.ip_version.map(|version| version == 6);
    for written in [&rule.protocol, &rule.not_protocol].into_iter().flatten() {
        let of_protocol = icmp_is_v6(protocol(written));
        if of_protocol.is_some_and(|v6| version.is_some_and(|version| version != v6)) {
            return Some("ipVersion is not of the family of the ICMP kind".into());
        }
    }
    let ends = [&rule.source, &rule.destination].into_iter();
    let texts = ends.flat_map(|end| end.nets.iter().chain(&end.not_nets));
    let nets: Vec<bool> = texts.filter_map(|t| Cidr::parse_net(t)).map(Cidr::is_v6).collect();
    let first = *nets.first()?;
    if nets.iter().any(|v6| *v6 != first) {
        return Some("nets of both families in one rule".into());
    }
    version.is_some_and(|v6| v6 != first).then(|| "ipVersion is not of the nets' family".into())
}

/// C18: ICMP and ICMPv6 fix the family.
pub(crate) fn icmp_is_v6(protocol: Option<Protocol>) -> Option<bool> {
    match protocol {
        Some(Protocol::ICMP) => Some(false),
        Some(Protocol::ICMPV6) => Some(true),
        _ => None,
    }
}

/// C26: only the source of ingress and the destination of egress, beside nothing that says where.
fn service_fault(end: &EntityRule, allowed: bool, ports: bool, global: bool) -> Option<String> {
    let service = end.services.as_ref()?;
    let others = end.selector.is_some()
        || end.not_selector.is_some()
        || end.namespace_selector.is_some()
        || end.service_accounts.is_some()
        || !end.nets.is_empty()
        || !end.not_nets.is_empty();
    if !allowed {
        return Some("a Service is only the source of ingress or destination of egress".into());
    }
    if others {
        return Some("a Service excludes other criteria of its end".into());
    }
    // As a destination it brings its ports.
    if ports && !(end.ports.is_empty() && end.not_ports.is_empty()) {
        return Some("a Service as destination excludes ports".into());
    }
    if !is_dns_label(&service.name) {
        return Some(format!("{:?} is no Service's name", service.name));
    }
    // A global policy has no namespace of its own.
    match service.namespace.as_deref() {
        None => global.then(|| "the Service has no namespace".into()),
        Some(name) => (!is_dns_label(name)).then(|| format!("{name:?} is no namespace's name")),
    }
}
