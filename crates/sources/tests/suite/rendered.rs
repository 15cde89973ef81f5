//! Policies as text, for tables.

use std::fmt::Write;

use brindle_model::policy::{
    Action, Criteria, End, EndPort, Ends, Peer, Policy, Port, PortSpec, Rule,
};

/// Subject and rules. A rule of lists that allows is shown without its action.
pub fn policy(policy: &Policy) -> String {
    let mut text = format!("subject {}", policy.subject);
    for (name, list) in [("ingress", &policy.ingress), ("egress", &policy.egress)] {
        if let Some(rules) = list {
            write!(text, "; {name}{}", self::rules(rules)).unwrap();
        }
    }
    text
}

fn rules(rules: &[Rule]) -> String {
    let mut text = String::new();
    for Rule { index, action, criteria } in rules {
        write!(text, " {index}:").unwrap();
        match criteria {
            Criteria::Lists { peers, ports } => {
                if *action != Action::Allow {
                    write!(text, " {action:?}").unwrap();
                }
                list(&mut text, "peers", peers.as_deref(), peer);
                list(&mut text, "ports", ports.as_deref(), port);
            }
            Criteria::Ends(ends) => write!(text, " {action:?}{}", self::ends(ends)).unwrap(),
        }
    }
    text
}

fn list<T>(text: &mut String, name: &str, items: Option<&[T]>, show: fn(&T) -> String) {
    if let Some(items) = items {
        let items: Vec<_> = items.iter().map(show).collect();
        write!(text, " {name} [{}]", items.join(", ")).unwrap();
    }
}

fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Pods(selector) => selector.to_string(),
        Peer::Nodes(selector) => format!("nodes {selector}"),
        Peer::IpBlock { cidr, except } => {
            except.iter().fold(cidr.to_string(), |text, hole| format!("{text} - {hole}"))
        }
    }
}

fn port(Port { protocol, port }: &Port) -> String {
    let protocol = protocol.map_or_else(|| "any".to_owned(), |protocol| protocol.to_string());
    match port {
        PortSpec::Any => protocol,
        PortSpec::Range(range) => format!("{range}/{protocol}"),
        PortSpec::Named(name) => format!("{name}/{protocol}"),
    }
}

fn ends(ends: &Ends) -> String {
    let Ends { family, protocol, not_protocol, icmp, not_icmp, source, destination } = ends;
    let mut text = String::new();
    let mut word = |word: Option<String>| text.extend(word.map(|word| format!(" {word}")));
    word(family.map(|family| format!("{family:?}")));
    word(protocol.map(|protocol| protocol.to_string()));
    word(not_protocol.map(|protocol| format!("!{protocol}")));
    word(icmp.map(|icmp| format!("type {} code {:?}", icmp.icmp_type, icmp.code)));
    word(not_icmp.map(|icmp| format!("!type {} code {:?}", icmp.icmp_type, icmp.code)));
    word((*source != End::default()).then(|| format!("from{}", end(source))));
    word((*destination != End::default()).then(|| format!("to{}", end(destination))));
    text
}

fn end(end: &End) -> String {
    let End { selector, not_selector, service, nets, not_nets, ports, not_ports } = end;
    let mut text = String::new();
    if let Some(selector) = selector {
        write!(text, " {selector}").unwrap();
    }
    if let Some(selector) = not_selector {
        write!(text, " but {selector}").unwrap();
    }
    if let Some(service) = service {
        write!(text, " service {service}").unwrap();
    }
    list(&mut text, "nets", nets.as_deref(), ToString::to_string);
    list(&mut text, "but nets", some(not_nets), ToString::to_string);
    list(&mut text, "ports", ports.as_deref(), end_port);
    list(&mut text, "but ports", some(not_ports), end_port);
    text
}

fn some<T>(items: &[T]) -> Option<&[T]> {
    (!items.is_empty()).then_some(items)
}

fn end_port(port: &EndPort) -> String {
    match port {
        EndPort::Range(range) => range.to_string(),
        EndPort::Named(name) => name.to_string(),
    }
}
