//! A policy as the compiler takes it: one shape for every front end (C30).
//!
//! Conversion has resolved defaults (K5, K17) and dropped what cannot match (C31); selectors are
//! over effective labels with the namespace folded in, so nothing below knows Kubernetes.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::net::{Family, IcmpMatch, PortRange, Protocol};
use crate::ruleset::Stage;
use crate::selector::Selector;
use crate::verdict::Direction;
use crate::{List, Name, NamespacedName};

/// Name of the built-in tier that holds Kubernetes NetworkPolicies (C3).
pub const DEFAULT_TIER: &str = "default";
/// Name of the built-in tier of ClusterNetworkPolicies of tier Admin (C3, C32).
pub const ADMIN_TIER: &str = "kube-admin";
/// Name of the built-in tier of ClusterNetworkPolicies of tier Baseline (C3, C32).
pub const BASELINE_TIER: &str = "kube-baseline";
/// Order of a Kubernetes NetworkPolicy within tier `default` (C30).
pub const NETWORK_POLICY_ORDER: Order = Order(1000.0);

/// Place among siblings, ascending. Policies and tiers without an order come last (C2, C3).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Order(f64);

impl Order {
    /// Behind every order that is given.
    pub const LAST: Self = Self(f64::INFINITY);

    /// An order as users write it; `None` if it is not a finite number.
    pub fn new(order: f64) -> Option<Self> {
        // Adding zero makes -0 and 0 one order.
        order.is_finite().then_some(Self(order + 0.0))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::LAST { f.write_str("last") } else { write!(f, "{}", self.0) }
    }
}

impl From<u32> for Order {
    fn from(order: u32) -> Self {
        Self(f64::from(order))
    }
}

impl Eq for Order {}

impl Ord for Order {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A tier: policies that are asked together, before those of the next tier (C1, C3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Tier {
    /// Place among the tiers; equal orders by name.
    pub order: Order,
    /// What happens to packets that its policies govern and no rule of theirs decides.
    pub end: TierEnd,
}

impl Tier {
    /// A tier that some policy names and that does not exist (C3).
    pub const MISSING: Self = Self { order: Order::LAST, end: TierEnd::Drop };

    /// The tiers that always exist (C3).
    pub const BUILT_IN: [(&'static str, Self); 3] = [
        (ADMIN_TIER, Self { order: Order(1_000.0), end: TierEnd::NextTier }),
        (DEFAULT_TIER, Self { order: Order(1_000_000.0), end: TierEnd::Drop }),
        (BASELINE_TIER, Self { order: Order(10_000_000.0), end: TierEnd::NextTier }),
    ];
}

/// End of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum TierEnd {
    /// Drop, named [`crate::verdict::DecisionId::TierEnd`].
    Drop,
    /// Go on with the next tier.
    NextTier,
}

/// A validated policy of any kind. Whether it is staged, its id says
/// ([`crate::verdict::PolicyKind::is_staged`]).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Policy {
    /// The tier it stands in; it need not exist (C3).
    pub tier: Name,
    /// Its place in the tier; equal orders by id (C2).
    pub order: Order,
    /// The endpoints it governs.
    pub subject: Arc<Selector>,
    /// Where it is asked. `Forward` is asked in the normal stage too (C37); what is asked in neither
    /// of these two never applies to pods.
    pub stage: Stage,
    /// Rules of the ingress direction; `None` if the policy does not govern it (K6, C1). `Some`
    /// and empty governs it: the end of the tier decides (K7).
    pub ingress: Option<Vec<Rule>>,
    /// Rules of the egress direction, likewise.
    pub egress: Option<Vec<Rule>>,
}

impl Policy {
    /// Whether it is asked at a stage (C37).
    pub fn is_asked_at(&self, stage: Stage) -> bool {
        self.stage == stage || (self.stage, stage) == (Stage::Forward, Stage::Normal)
    }

    /// The rules of a direction, or `None` if it is not governed.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// A rule as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Rule {
    /// Position in the user's list, so that dropped neighbours do not renumber it.
    pub index: u32,
    /// What happens to a packet that matches.
    pub action: Action,
    /// Which packets match.
    pub criteria: Criteria,
}

impl Rule {
    /// A rule of a Kubernetes NetworkPolicy (K8).
    pub fn allow(index: u32, peers: Option<Vec<Peer>>, ports: Option<Vec<Port>>) -> Self {
        let criteria =
            Criteria::Lists { peers: peers.map(Into::into), ports: ports.map(Into::into) };
        Self { index, action: Action::Allow, criteria }
    }

    /// What stands for a rule that might have denied and cannot be read: it denies everything in
    /// its direction (A13).
    pub fn deny_all(index: u32) -> Self {
        let criteria = Criteria::Lists { peers: None, ports: None };
        Self { index, action: Action::Deny, criteria }
    }
}

/// A rule's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Action {
    /// The endpoint admits the packet.
    Allow,
    /// The endpoint drops it.
    Deny,
    /// Leave this tier, go on with the next (C4).
    Pass,
    /// Record the packet, go on with the next rule (C5).
    Log,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Pass => "pass",
            Self::Log => "log",
        })
    }
}

/// Which packets a rule matches, in one of the two shapes that users write.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Criteria {
    /// Lists of alternatives: peers OR, ports OR, the two AND (K8, A8).
    Lists {
        /// Who is at the other end; `None` is anybody, outside addresses included (K8). `Some` and
        /// empty matches nobody: every entry was broken.
        peers: Option<List<Peer>>,
        /// On which ports; `None` is any port of any protocol (K8, K24, A8). `Some` and empty
        /// matches nothing.
        ports: Option<List<Port>>,
    },
    /// Criteria on the packet and on both of its ends, all of which must hold (C18–C26). Shared by
    /// the rules that a source found equal.
    Ends(Arc<Ends>),
}

/// Criteria on a packet and on both of its ends: every one that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Ends {
    /// Only this family. Nets and ICMP criteria restrict it further (C22).
    pub family: Option<Family>,
    /// The protocol is this one (C18).
    pub protocol: Option<Protocol>,
    /// The protocol is not this one.
    pub not_protocol: Option<Protocol>,
    /// ICMP type and code, beside `protocol` ICMP or ICMPv6 (C21).
    pub icmp: Option<IcmpMatch>,
    /// Not this ICMP type and code, likewise.
    pub not_icmp: Option<IcmpMatch>,
    /// Where the packet comes from.
    pub source: End,
    /// Where it goes.
    pub destination: End,
}

/// Criteria on one end of a packet. Rules give few of them, so that one which is not given is a word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct End {
    /// The address belongs to a known endpoint or network set that matches (C23): selector,
    /// namespace selector and service accounts joined.
    pub selector: Option<Arc<Selector>>,
    /// The address belongs to no known endpoint or network set that matches (C24).
    pub not_selector: Option<Arc<Selector>>,
    /// The address is an endpoint's of this Service; as destination so is the port. It excludes the
    /// other criteria on the address, and as destination `ports` too (C26).
    pub service: Option<Box<NamespacedName>>,
    /// The address is in one of these (C21).
    pub nets: Option<List<IpNet>>,
    /// The address is in none of these.
    pub not_nets: List<IpNet>,
    /// The port is one of these (C19); a packet without ports has none.
    pub ports: Option<List<EndPort>>,
    /// The port is none of these.
    pub not_ports: List<EndPort>,
}

// A cluster has a million rules, of which a node enforces hundreds.
const _: () = assert!(size_of::<End>() == 7 * size_of::<usize>());
const _: () = assert!(size_of::<Rule>() == 4 * size_of::<usize>());

/// A port criterion on one end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub enum EndPort {
    /// A range of numbers.
    Range(PortRange),
    /// A container port's name, resolved over the endpoints that the end's selector picks, or over
    /// all without one (C20). Without a protocol in the rule the container port's own decides
    /// (C19).
    Named(Name),
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
    /// Addresses of the nodes that match (A10).
    Nodes(Selector),
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Port {
    /// The protocol, TCP unless said (K17). `None` only beside a name: the container port's own
    /// decides (A11).
    pub protocol: Option<Protocol>,
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
