//! Rules of NetworkPolicy and GlobalNetworkPolicy (§2.4): every criterion that is given must hold.

use brindle_api::{IcmpFields, PolicyRule};
use brindle_model::verdict::PolicyId;

use crate::cidr::Cidr;
use crate::end::End;
use crate::member::Doubt;
use crate::peer::Answer;
use crate::protocol::protocol;
use crate::trace::{Action, Place, Trace};
use crate::validity::{fault, icmp_is_v6};
use crate::walk::Asked;

/// What a rule says of a packet: what happens to it, or nothing.
pub(crate) fn ask(
    rule: &PolicyRule,
    asked: &Asked<'_>,
    policy: &PolicyId,
    index: u32,
    trace: &mut Trace,
) -> Option<Action> {
    let action = match rule.action.as_str() {
        "Allow" => Action::Allow,
        "Deny" => Action::Deny,
        "Pass" => Action::Pass,
        "Log" => Action::Log,
        other => {
            let why = format!("unknown action {other:?}");
            return broken(Action::Deny, ("C16", why), policy, index, trace);
        }
    };
    if let Some(fault) = fault(rule, asked.direction, policy.namespace.is_none()) {
        return broken(action, fault, policy, index, trace);
    }
    let mut matched = true;
    for (criterion, (number, holds, words)) in answers(rule, asked, policy, Doubt::of(action)) {
        let place = Place::Criterion { policy: policy.clone(), rule: index, criterion };
        matched &= trace.note(number, place, holds, words);
    }
    let place = || Place::Rule { policy: policy.clone(), rule: index, action };
    let words = if matched { "every criterion holds" } else { "not every criterion holds" };
    if trace.note(action.rule(), place(), matched, words) {
        return Some(action);
    }
    let perhaps = || answers(rule, asked, policy, Doubt::HoldsAll);
    let may_pass = action == Action::Pass && perhaps().iter().all(|(_, (_, holds, _))| *holds);
    may_pass.then(|| deny_doubtful_pass(place(), trace))
}

/// A13: what may match a Pass, and does so for sure only if something were known that cannot be
/// read, is denied: to pass it on, and to keep it, could both admit it.
pub(crate) fn deny_doubtful_pass(place: Place, trace: &mut Trace) -> Action {
    trace.note("A13", place, true, "may match, but what it names cannot be read whole; denies");
    Action::Deny
}

/// C16, A13: fail closed. A broken Allow or Log matches nothing; a broken Deny or Pass denies
/// everything in its direction.
pub(crate) fn broken(
    action: Action,
    (number, why): (&'static str, String),
    policy: &PolicyId,
    index: u32,
    trace: &mut Trace,
) -> Option<Action> {
    let place = Place::Rule { policy: policy.clone(), rule: index, action };
    match action {
        Action::Allow | Action::Log => {
            trace.note(number, place, false, format!("broken: {why}; matches nothing"));
            None
        }
        Action::Deny | Action::Pass => {
            trace.note(number, place, true, format!("broken: {why}; denies everything"));
            Some(Action::Deny)
        }
    }
}

fn answers(
    rule: &PolicyRule,
    asked: &Asked<'_>,
    policy: &PolicyId,
    doubt: Doubt,
) -> Vec<(String, Answer)> {
    let packet = asked.packet;
    let mut answers = Vec::new();
    let v6 = packet.destination.is_ipv6();
    if let Some(version) = rule.ip_version {
        let holds = (version == 6) == v6;
        answers.push(("ipVersion".to_owned(), ("C22", holds, format!("IPv{version} is wanted"))));
    }
    if let Some(answer) = family(rule, v6) {
        answers.push(("family".to_owned(), answer));
    }
    if let Some(wanted) = rule.protocol.as_ref().and_then(protocol) {
        let words = format!("the protocol is {}, wanted {wanted}", packet.protocol());
        answers.push(("protocol".to_owned(), ("C18", packet.protocol() == wanted, words)));
    }
    if let Some(unwanted) = rule.not_protocol.as_ref().and_then(protocol) {
        let words =
            format!("the protocol is {}, wanted another than {unwanted}", packet.protocol());
        answers.push(("notProtocol".to_owned(), ("C18", packet.protocol() != unwanted, words)));
    }
    let says = |fields: &IcmpFields| {
        // C21: a code is only looked at beside its type.
        packet.icmp().is_some_and(|(icmp_type, code)| {
            fields.icmp_type.is_none_or(|t| t == i32::from(icmp_type))
                && fields.code.is_none_or(|c| c == i32::from(code))
        })
    };
    if let Some(fields) = &rule.icmp {
        answers.push(("icmp".to_owned(), ("C21", says(fields), "ICMP type and code".into())));
    }
    if let Some(fields) = &rule.not_icmp {
        let words = "not this ICMP type and code".to_owned();
        answers.push(("notICMP".to_owned(), ("C21", !says(fields), words)));
    }
    let (source_port, destination_port) = match packet.ports() {
        Some((source, destination)) => (Some(source), Some(destination)),
        None => (None, None),
    };
    for (side, rule, addr, port) in [
        ("source", &rule.source, packet.source, source_port),
        ("destination", &rule.destination, packet.destination, destination_port),
    ] {
        let end = End {
            world: asked.world,
            namespace: policy.namespace.as_deref(),
            rule,
            addr,
            protocol: packet.protocol(),
            port,
            destination: side == "destination",
            doubt,
        };
        let of_end = end.answers().into_iter();
        answers.extend(of_end.map(|(field, answer)| (format!("{side}.{field}"), answer)));
    }
    answers
}

/// C22: every net list that is not empty has an entry of the packet's family, and the ICMP kind
/// agrees. So a rule with IPv4-only notNets never matches IPv6.
fn family(rule: &PolicyRule, v6: bool) -> Option<Answer> {
    let ends = [&rule.source, &rule.destination].into_iter();
    let lists = ends.flat_map(|end| [&end.nets, &end.not_nets]).filter(|list| !list.is_empty());
    let lists = lists.map(|list| {
        list.iter().filter_map(|net| Cidr::parse_net(net)).any(|net| net.is_v6() == v6)
    });
    let icmp = icmp_is_v6(rule.protocol.as_ref().and_then(protocol)).map(|icmp| icmp == v6);
    let holds = icmp.into_iter().chain(lists).reduce(|a, b| a && b)?;
    let family = if v6 { "IPv6" } else { "IPv4" };
    let words = if holds { format!("is for {family}") } else { format!("is not for {family}") };
    Some(("C22", holds, words))
}
