//! Sets: named by what defines them, filled by who is a member.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::content_hash;
use crate::net::{Family, Protocol};
use crate::selector::Selector;
use crate::{Name, NamespacedName};

/// Content identity of a [`SetDef`]: equal definitions share one set (C15).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub u64);

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetId({self})")
    }
}

impl serde::Serialize for SetId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What defines a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum SetDef {
    /// Addresses of the pods that match.
    Selector(Selector),
    /// Prefixes of the network sets that match, as one disjoint cover (C27).
    NetworkSets(Selector),
    /// Addresses of the nodes that match (A10).
    Nodes(Selector),
    /// What the endpoint slices of a Service list (C26), ready or not.
    Service {
        /// The Service.
        service: NamespacedName,
        /// Tuples (address, protocol, port) instead of addresses.
        ports: bool,
    },
    /// Tuples (address, protocol, port) of the pods that match and have a container port of this
    /// name and protocol (K20).
    NamedPort {
        /// The port's name.
        name: Name,
        /// The rule's protocol.
        protocol: Protocol,
        /// Which pods.
        selector: Selector,
    },
    /// Prefixes: a disjoint, sorted, minimal cover (so equal address sets are equal values).
    Cidrs(Vec<IpNet>),
}

impl SetDef {
    /// Content identity.
    pub fn id(&self) -> SetId {
        SetId(content_hash(&self.to_string()))
    }

    /// Which kind of member it has.
    pub fn kind(&self) -> SetKind {
        match self {
            Self::Selector(_) | Self::Nodes(_) | Self::Service { ports: false, .. } => {
                SetKind::Addr
            }
            Self::NamedPort { .. } | Self::Service { ports: true, .. } => SetKind::AddrProtoPort,
            Self::Cidrs(_) | Self::NetworkSets(_) => SetKind::Net,
        }
    }
}

impl fmt::Display for SetDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selector(selector) => write!(f, "pods {selector}"),
            Self::NetworkSets(selector) => write!(f, "network sets {selector}"),
            Self::Nodes(selector) => write!(f, "nodes {selector}"),
            Self::Service { service, ports: false } => write!(f, "addresses of service {service}"),
            Self::Service { service, ports: true } => write!(f, "ports of service {service}"),
            Self::NamedPort { name, protocol, selector } => {
                write!(f, "port {name}/{protocol} of pods {selector}")
            }
            Self::Cidrs(nets) => {
                f.write_str("nets")?;
                nets.iter().try_for_each(|net| write!(f, " {net}"))
            }
        }
    }
}

/// Kind of a set's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum SetKind {
    /// Host addresses.
    Addr,
    /// Disjoint prefixes.
    Net,
    /// (address, protocol, port).
    AddrProtoPort,
}

/// A member of a set; its variant fits the set's [`SetKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Member {
    /// A host address.
    Addr(IpAddr),
    /// A prefix.
    Net(IpNet),
    /// A named port of one pod address.
    Port(IpAddr, Protocol, u16),
}

impl Member {
    /// The member's family: backends keep one set a family.
    pub fn family(&self) -> Family {
        match self {
            Self::Addr(addr) | Self::Port(addr, ..) => Family::of(*addr),
            Self::Net(net) => Family::of_net(*net),
        }
    }
}

/// A set with its members. Members of a `Net` set are disjoint (finding 7).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Set {
    /// What defines it.
    pub def: SetDef,
    /// The members, of both families.
    pub members: BTreeSet<Member>,
}

impl Set {
    /// Whether an address is a member, or lies in a member prefix.
    pub fn contains_addr(&self, addr: IpAddr) -> bool {
        match self.def.kind() {
            SetKind::Addr => self.members.contains(&Member::Addr(addr)),
            SetKind::Net => self.member_around(addr.into()).is_some(),
            SetKind::AddrProtoPort => false,
        }
    }

    /// The member prefix that holds all of a prefix.
    pub fn member_around(&self, net: IpNet) -> Option<Member> {
        // Members are disjoint, so only the last that begins at or before it can hold it.
        let last = self.members.range(..=Member::Net(net)).next_back()?;
        matches!(last, Member::Net(member) if member.contains(&net)).then_some(*last)
    }

    /// Whether a tuple is a member.
    pub fn contains_port(&self, addr: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.members.contains(&Member::Port(addr, protocol, port))
    }
}
