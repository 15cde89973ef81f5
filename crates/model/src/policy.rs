//! A policy as the compiler takes it: one shape for every front end (C30).
//!
//! Conversion has resolved defaults (K5, K17) and dropped what cannot match (C31); selectors are
//! over effective labels with the namespace folded in, so nothing below knows Kubernetes.

use std::sync::Arc;

use ipnet::IpNet;

use crate::Name;
use crate::net::{PortRange, Protocol};
use crate::selector::Selector;
use crate::verdict::Direction;

/// Name of the built-in tier that holds Kubernetes NetworkPolicies (C3).
pub const DEFAULT_TIER: &str = "default";
/// Order of a Kubernetes NetworkPolicy within tier `default` (C30).
pub const NETWORK_POLICY_ORDER: u32 = 1000;

/// A validated policy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Policy {
    /// Order within its tier, ascending.
    pub order: u32,
    /// The endpoints it governs.
    pub subject: Selector,
    /// Rules of the ingress direction; `None` if the policy does not govern it (K6). `Some` and
    /// empty governs it and admits nobody (K7).
    pub ingress: Option<Vec<Rule>>,
    /// Rules of the egress direction, likewise.
    pub egress: Option<Vec<Rule>>,
}

impl Policy {
    /// The rules of a direction, or `None` if it is not governed.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// An Allow rule as the user wrote it: peers OR, ports OR, the two AND (K8).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Rule {
    /// Position in the user's list, so that dropped neighbours do not renumber it.
    pub index: u32,
    /// Who may talk; `None` is anybody, outside addresses included (K8). `Some` and empty admits
    /// nobody: every entry was broken.
    pub peers: Option<Vec<Peer>>,
    /// On which ports; `None` is any port of any protocol (K8, K24). `Some` and empty matches
    /// nothing.
    pub ports: Option<Vec<Port>>,
}

/// One entry of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Peer {
    /// Addresses of known pods; namespace and pod selector joined (K10).
    Pods(Selector),
    /// Addresses in `cidr` outside every `except` (K13, K14). Host bits are masked (K16).
    IpBlock {
        /// The block.
        cidr: IpNet,
        /// What is subtracted, within this entry only.
        except: Vec<IpNet>,
    },
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Port {
    /// The protocol, TCP unless said (K17).
    pub protocol: Protocol,
    /// Which destination ports.
    pub port: PortSpec,
}

/// The port part of a [`Port`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum PortSpec {
    /// Every port of the protocol.
    Any,
    /// A range of numbers (K18).
    Range(PortRange),
    /// A container port's name, resolved at the destination pod (K20–K22).
    Named(Name),
}

/// A shared policy: inputs are kept once and handed around.
pub type SharedPolicy = Arc<Policy>;
