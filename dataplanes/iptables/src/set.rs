//! ipsets: their kinds, what they hold, and their spelling for `ipset restore`.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use brindle_model::Name;
use brindle_model::net::{Family, Protocol};
use brindle_model::ruleset::{Member, Set, SetDef, SetId, SetKind};
use ipnet::IpNet;

/// Every set of ours has a name that begins so, and no other has: the ownership mark. The kernel
/// takes 31 bytes.
pub const SET_PREFIX: &str = "brindle";
/// Room that a set has at least: one that grows beyond its room is made anew.
const MIN_CAPACITY: usize = 65_536;

/// What a set is asked for (`SETTYPE` of ipset(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Addresses.
    Address,
    /// Prefixes.
    Net,
    /// (address, protocol, port).
    Tuple,
    /// (address, interface).
    OwnSource,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 4] = [Self::Address, Self::Net, Self::Tuple, Self::OwnSource];

    /// The name of the type.
    pub fn kernel_type(self) -> &'static str {
        match self {
            Self::Address => "hash:ip",
            Self::Net => "hash:net",
            Self::Tuple => "hash:ip,port",
            Self::OwnSource => "hash:net,iface",
        }
    }
}

/// What a set is, without its elements. It never changes under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What it holds.
    pub shape: Shape,
    /// Of which family.
    pub family: Family,
}

/// Where a set's elements come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Members of an abstract set, of the family.
    Members(SetId),
    /// The same for ever.
    Fixed(BTreeSet<Element>),
    /// Which interface may send from which address.
    OwnSources,
}

/// A set that a chain refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUse {
    /// What it is.
    pub spec: Spec,
    /// Where its elements come from.
    pub source: Source,
}

/// An element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// An address.
    Address(IpAddr),
    /// A prefix, not of length 0.
    Net(IpNet),
    /// Address, protocol, port.
    Tuple(IpAddr, Protocol, u16),
    /// An address and the interface that it may come in on.
    OwnSource(IpAddr, Name),
}

/// A digit for a family, in names.
fn digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}

/// The set of own sources.
pub fn own_sources(family: Family) -> (Name, SetUse) {
    let spec = Spec { shape: Shape::OwnSource, family };
    let name = format!("{SET_PREFIX}{}-own-sources", digit(family)).into();
    (name, SetUse { spec, source: Source::OwnSources })
}

/// The set of an abstract set's members of one family.
pub fn members(id: SetId, set: &Set, family: Family) -> (Name, SetUse) {
    let what = match set.def {
        SetDef::Selector(_) => "pods",
        SetDef::NetworkSets(_) => "sets",
        SetDef::Nodes(_) => "nodes",
        SetDef::Service { ports: false, .. } => "svc",
        SetDef::NamedPort { .. } | SetDef::Service { ports: true, .. } => "ports",
        SetDef::Cidrs(_) => "nets",
    };
    let shape = match set.def.kind() {
        SetKind::Addr => Shape::Address,
        SetKind::Net => Shape::Net,
        SetKind::AddrProtoPort => Shape::Tuple,
    };
    let name = format!("{SET_PREFIX}{}-{what}-{id}", digit(family));
    (name.into(), SetUse { spec: Spec { shape, family }, source: Source::Members(id) })
}

/// A set of fixed prefixes of one family, named by them.
pub fn nets(nets: &[IpNet], family: Family) -> (Name, SetUse) {
    let elements: BTreeSet<_> = nets.iter().flat_map(|net| prefix_elements(*net)).collect();
    let text: Vec<_> = elements.iter().map(ToString::to_string).collect();
    let hash = SetId(brindle_model::ruleset::content_hash(&text.join(" ")));
    let name = format!("{SET_PREFIX}{}-nets-{hash}", digit(family));
    let spec = Spec { shape: Shape::Net, family };
    (name.into(), SetUse { spec, source: Source::Fixed(elements) })
}

/// The elements of a member: none if no packet can be it and the kernel could not hold it; two of a
/// prefix of length 0, which the kernel does not take.
pub fn elements(member: &Member) -> Vec<Element> {
    match member {
        Member::Addr(addr) if !addr.is_unspecified() => vec![Element::Address(*addr)],
        Member::Port(addr, protocol, port) if protocol.has_ports() && !addr.is_unspecified() => {
            vec![Element::Tuple(*addr, *protocol, *port)]
        }
        Member::Net(net) => prefix_elements(*net),
        Member::Addr(_) | Member::Port(..) => Vec::new(),
    }
}

fn prefix_elements(net: IpNet) -> Vec<Element> {
    if net.prefix_len() > 0 {
        return vec![Element::Net(net.trunc())];
    }
    net.subnets(1).into_iter().flatten().map(Element::Net).collect()
}

/// Room for so many elements, and as many again.
pub fn capacity(elements: usize) -> usize {
    (elements * 2).next_power_of_two().max(MIN_CAPACITY)
}

/// The line that makes a set.
pub fn create(name: &str, spec: Spec, elements: usize, capacity: usize) -> String {
    let family = match spec.family {
        Family::V4 => "inet",
        Family::V6 => "inet6",
    };
    // Many sets are small, and a large one should not be hashed anew while it fills.
    let buckets = elements.next_power_of_two().clamp(64, 1 << 20);
    let kind = spec.shape.kernel_type();
    format!("create {name} {kind} family {family} hashsize {buckets} maxelem {capacity}")
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => write!(f, "{addr}"),
            Self::Net(net) => write!(f, "{net}"),
            Self::Tuple(addr, protocol, port) => write!(f, "{addr},{protocol}:{port}"),
            Self::OwnSource(addr, interface) => write!(f, "{addr},{interface}"),
        }
    }
}

impl Element {
    /// Reads what `ipset save` prints; `None` if it is nothing that we write.
    pub fn parse(shape: Shape, text: &str) -> Option<Self> {
        match shape {
            Shape::Address => Some(Self::Address(text.parse().ok()?)),
            Shape::Net => {
                let host = || text.parse::<IpAddr>().map(IpNet::from);
                Some(Self::Net(text.parse().or_else(|_| host()).ok()?))
            }
            Shape::Tuple => {
                let (addr, service) = text.split_once(',')?;
                let (protocol, port) = service.split_once(':')?;
                let known = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];
                let protocol = known.into_iter().find(|known| known.to_string() == protocol)?;
                Some(Self::Tuple(addr.parse().ok()?, protocol, port.parse().ok()?))
            }
            Shape::OwnSource => {
                let (addr, interface) = text.split_once(',')?;
                Some(Self::OwnSource(addr.parse().ok()?, interface.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_back() {
        let addr = |text: &str| text.parse::<IpAddr>().unwrap();
        let all = [
            (Shape::Address, Element::Address(addr("10.0.0.1"))),
            (Shape::Net, Element::Net("10.0.0.0/8".parse().unwrap())),
            (Shape::Net, Element::Net("fd00::1/128".parse().unwrap())),
            (Shape::Tuple, Element::Tuple(addr("fd00::1"), Protocol::SCTP, 80)),
            (Shape::OwnSource, Element::OwnSource(addr("fd00::1"), "brda".into())),
        ];
        for (shape, element) in all {
            assert_eq!(Element::parse(shape, &element.to_string()), Some(element));
        }
        let host = Element::parse(Shape::Net, "10.0.0.1");
        assert_eq!(host, Some(Element::Net("10.0.0.1/32".parse().unwrap())), "as ipset prints it");
    }

    #[test]
    fn everything_is_two_halves() {
        let all = elements(&Member::Net("::/0".parse().unwrap()));
        let text: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["::/1", "8000::/1"]);
    }

    #[test]
    fn names_fit() {
        let def = SetDef::NamedPort {
            name: "web".into(),
            protocol: Protocol::TCP,
            selector: brindle_model::selector::Selector::All,
        };
        let id = def.id();
        let set = Set { def, members: BTreeSet::new() };
        let (name, _) = members(id, &set, Family::V6);
        assert!(name.len() <= 31, "{name}");
    }
}
