//! What a node announces of itself: why, and with what.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use crate::NamespacedName;
use crate::routing::filter::Community;

/// Communities of whatever is announced within a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixAdvertisement {
    /// Contains what is announced, or is it; host bits zero.
    pub cidr: IpNet,
    /// Added to it.
    pub communities: Vec<Community>,
}

/// How a prefix is announced.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Origination {
    /// Why this node does.
    pub origin: Origin,
    /// What it carries, each once.
    pub communities: Vec<Community>,
}

/// Why a node announces a prefix.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Origin {
    /// A block of pod addresses of this node: the part that no pod has is a blackhole.
    Block,
    /// A range of Service addresses. No route of the node's own stands for it: its packets are
    /// translated before they are routed, and what the node itself sends would be lost in a blackhole.
    ServiceRange,
    /// An address of these Services, at least one.
    Services(BTreeSet<NamespacedName>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block => f.write_str("a block of this node's pod addresses"),
            Self::ServiceRange => f.write_str("a range of Service addresses"),
            Self::Services(services) => {
                let mut services = services.iter();
                if let Some(first) = services.next() {
                    write!(f, "an address of Service {first}")?;
                }
                match services.len() {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}
