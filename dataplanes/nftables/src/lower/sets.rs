//! Sets: which kernel set holds what, and its elements.
//!
//! Kernel sets are one a family. Sets of what the cluster has (pods, nodes, Services, network sets)
//! change all the time, so they are named by the abstract set and filled from it; all others have a
//! fixed content, and are named by a hash of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::cluster::link_group;
use brindle_model::net::{Family, PortRange, Protocol};
use brindle_model::ruleset::{Endpoint, Member, Ruleset, Set, SetDef, SetId, SetKind};
use brindle_model::verdict::Direction;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::SetUse;
use super::policy::program_chain;
use super::skeleton::{EGRESS, INGRESS, known_flows, own_sources};
use crate::table::{Element, Field, Key, KnownState, SetSpec, Verdict, comment};
use crate::text::address_field;

/// Where a set's elements come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Members of an abstract set, of one family.
    Members(SetId, Family),
    /// The same for ever.
    Fixed(Arc<Vec<Element>>),
    /// One of the sets that endpoints fill ([`dispatch_elements`]).
    Dispatch,
}

/// A digit for a family, in names.
fn digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}

/// The kernel set of an abstract set's members of one family.
pub fn members(id: SetId, set: &Set, family: Family) -> (Name, SetUse) {
    let what = match set.def {
        SetDef::Selector(_) => "pods",
        SetDef::NetworkSets(_) => "network-sets",
        SetDef::Nodes(_) => "nodes",
        SetDef::Service { ports: false, .. } => "service",
        SetDef::NamedPort { .. } | SetDef::Service { ports: true, .. } => "ports",
        SetDef::Cidrs(_) => "nets",
    };
    let name = format!("{what}{}-{id}", digit(family));
    let mut key = vec![address_field(family)];
    if set.def.kind() == SetKind::AddrProtoPort {
        key.extend([Field::InetProto, Field::InetService]);
    }
    let comment = comment(&set.def.to_string());
    let interval = set.def.kind() == SetKind::Net;
    let spec = Arc::new(SetSpec { key, interval, verdicts: false, size: None, comment });
    (name.into(), SetUse { spec, source: Source::Members(id, family) })
}

/// The element of a member. A tuple of a protocol without ports can match no packet, and would
/// match bytes that are no port: it has none.
pub fn element(member: &Member) -> Option<Element> {
    match member {
        Member::Addr(addr) => Some(Element::of(Key::Addr(*addr))),
        Member::Port(addr, protocol, port) if protocol.has_ports() => {
            Some(Element::of(Key::Tuple(*addr, *protocol, *port)))
        }
        Member::Net(net) => Some(Element::of(Key::Net(*net))),
        Member::Port(..) => None,
    }
}

/// A set of prefixes of one family; a hash set if each is a single address.
pub fn nets(nets: &[IpNet], family: Family) -> (Name, SetUse) {
    let host = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
    let interval = !nets.iter().all(host);
    let key = |net: &IpNet| if interval { Key::Net(*net) } else { Key::Addr(net.addr()) };
    let elements: Vec<_> = nets.iter().map(|net| Element::of(key(net))).collect();
    fixed(&format!("nets{}", digit(family)), vec![address_field(family)], interval, elements)
}

/// A set of ports.
pub fn ports(ranges: &[PortRange]) -> (Name, SetUse) {
    let elements = ranges.iter().map(|range| Element::of(Key::Ports(*range))).collect();
    fixed("services", vec![Field::InetService], true, elements)
}

/// A set of (address, protocol, port) of one family.
pub fn tuples(elements: Vec<Element>, family: Family) -> (Name, SetUse) {
    let key = vec![address_field(family), Field::InetProto, Field::InetService];
    fixed(&format!("tuples{}", digit(family)), key, false, elements)
}

/// The protocols whose header begins with ports.
pub fn port_protocols() -> (Name, SetUse) {
    let protocols = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];
    let elements = protocols.map(|p| Element::of(Key::Protocol(p))).to_vec();
    let spec = SetSpec {
        key: vec![Field::InetProto],
        interval: false,
        verdicts: false,
        size: None,
        comment: "protocols with ports".to_owned(),
    };
    let source = Source::Fixed(Arc::new(elements));
    ("port-protocols".into(), SetUse { spec: Arc::new(spec), source })
}

/// A verdict map from services to chains.
pub fn services(name: Name, elements: Vec<Element>, of: String) -> (Name, SetUse) {
    let spec = SetSpec {
        key: vec![Field::InetProto, Field::InetService],
        interval: false,
        verdicts: true,
        size: None,
        comment: of,
    };
    (name, SetUse { spec: Arc::new(spec), source: Source::Fixed(Arc::new(elements)) })
}

fn fixed(
    prefix: &str,
    key: Vec<Field>,
    interval: bool,
    mut elements: Vec<Element>,
) -> (Name, SetUse) {
    elements.sort_by(|a, b| a.key.cmp(&b.key));
    let mut text = String::new();
    for element in &elements {
        write!(text, "{} ", element.key).expect("a String takes everything");
    }
    let name = format!("{prefix}-{}", content_hash(&text));
    let spec =
        SetSpec { key, interval, verdicts: false, size: None, comment: comment(text.trim_end()) };
    let source = Source::Fixed(Arc::new(elements));
    (name.into(), SetUse { spec: Arc::new(spec), source })
}

/// First 64 bits of SHA-256: a tenant who chooses his CIDRs must not be able to hit another's set.
pub fn content_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest[..8].iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    })
}

/// What the endpoints put into the maps and sets that are keyed by the group of their interfaces,
/// by set and key. If two endpoints claim one interface, the later id has it. If two interfaces
/// have one group, the kernel cannot tell them apart, and both are closed: neither has an element.
pub fn dispatch_elements(ruleset: &Ruleset) -> BTreeMap<(Name, Key), Element> {
    let mut elements = BTreeMap::new();
    let by_interface: BTreeMap<_, _> =
        ruleset.endpoints.iter().map(|(id, e)| (&e.host_interface, (id, &**e))).collect();
    let mut by_group: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (interface, endpoint) in by_interface {
        by_group.entry(link_group(interface)).or_default().push(endpoint);
    }
    for (group, endpoints) in by_group {
        if let [(id, endpoint)] = endpoints[..] {
            let comment = comment(&format!("{id} on {}", endpoint.host_interface));
            for (set, key, verdict) in endpoint_elements(ruleset, group, endpoint) {
                let element = Element { key: key.clone(), verdict, comment: comment.clone() };
                elements.insert((set.into(), key), element);
            }
        }
    }
    elements
}

fn endpoint_elements(
    ruleset: &Ruleset,
    group: u32,
    endpoint: &Endpoint,
) -> Vec<(&'static str, Key, Option<Verdict>)> {
    let mut elements = Vec::new();
    for (direction, map) in [(Direction::Egress, EGRESS), (Direction::Ingress, INGRESS)] {
        let program = endpoint.program(direction);
        // A program that is not there cannot be run: the endpoint is as unknown, and as closed.
        if ruleset.programs.contains_key(&program) {
            let verdict = Verdict::Goto(program_chain(program));
            elements.push((map, Key::Group(group), Some(verdict)));
        }
    }
    for addr in &endpoint.addresses {
        let family = Family::of(*addr);
        elements.push((own_sources(family), Key::Source(group, *addr), None));
        for state in KnownState::ALL {
            let key = Key::KnownFlow(group, *addr, state);
            elements.push((known_flows(family), key, Some(Verdict::Accept)));
        }
    }
    elements
}
