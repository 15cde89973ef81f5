//! `BGPFilter`: rules for the routes of a neighbour.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::Name;

/// Rules by direction and family, each in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BgpFilter {
    /// For IPv4 routes that the neighbour advertises.
    pub import_v4: Vec<FilterRule>,
    /// For IPv6 routes that the neighbour advertises.
    pub import_v6: Vec<FilterRule>,
    /// For IPv4 routes that we advertise.
    pub export_v4: Vec<FilterRule>,
    /// For IPv6 routes that we advertise.
    pub export_v6: Vec<FilterRule>,
}

/// A filter that a neighbour names.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PeerFilter {
    /// Its name.
    pub name: Name,
    /// Its rules; `None` if it does not exist or was refused: nothing passes then, either way.
    pub rules: Option<Arc<BgpFilter>>,
}

/// What becomes of routes; conditions that say nothing hold.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FilterRule {
    /// Of the destination.
    pub prefix: Option<PrefixMatch>,
    /// It was learned from a neighbour. Only such a rule lets out what was learned.
    pub learned: bool,
    /// Where the neighbour is.
    pub peer_type: Option<PeerType>,
    /// The route carries all of these.
    pub communities: Vec<Community>,
    /// Its AS path starts with these numbers.
    pub as_path_prefix: Vec<u32>,
    /// All of these are in its AS path.
    pub as_path_contains: Vec<u32>,
    /// Least and greatest length of its AS path.
    pub as_path_length: Option<(u16, u16)>,
    /// The last AS of its path.
    pub origin_as: Option<u32>,
    /// Its next hop lies in this prefix.
    pub next_hop: Option<IpNet>,
    /// What then.
    pub action: FilterAction,
}

/// A condition on the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PrefixMatch {
    /// Compared with; host bits zero.
    pub net: IpNet,
    /// How.
    pub operator: MatchOperator,
    /// Least and greatest length of what is in.
    pub lengths: (u8, u8),
}

/// How a destination is compared with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum MatchOperator {
    /// It is that prefix.
    Equal,
    /// It is another one.
    NotEqual,
    /// It lies within.
    In,
    /// It does not.
    NotIn,
}

/// Where a neighbour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum PeerType {
    /// In another AS.
    External,
    /// In the node's own.
    Internal,
}

/// A community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Community {
    /// RFC 1997: AS and value.
    Standard(u16, u16),
    /// RFC 8092.
    Large(u32, u32, u32),
}

/// The end of a rule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum FilterAction {
    /// Taken or told, after these changes in order.
    Accept(Vec<Operation>),
    /// Neither.
    Reject,
}

/// A change of a route.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Operation {
    /// Adds a community.
    AddCommunity(Community),
    /// Removes a community.
    RemoveCommunity(Community),
    /// Replaces all communities.
    SetCommunities(Vec<Community>),
    /// Puts AS numbers in front of the path.
    PrependAsPath(Vec<u32>),
    /// LOCAL_PREF.
    SetLocalPreference(u32),
    /// MED.
    SetMed(u32),
    /// The next hop, of the family of the list.
    SetNextHop(IpAddr),
}
