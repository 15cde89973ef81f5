//! Routes of the main table.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use brindle_model::net::Family;
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use nix::errno::Errno;

use super::{Change, Connection, NetlinkError, Request, address_family, host_prefix_len};

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// How.
    pub target: RouteTarget,
    /// Who made it (`RTPROT_…`).
    pub protocol: u8,
    /// Preference among routes with one destination; lower wins.
    pub metric: u32,
}

/// What becomes of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// The destination is on the link with this index.
    OnLink(u32),
    /// Through gateways, shared out by flow if there are several.
    Via(BTreeSet<NextHop>),
    /// They are dropped.
    Blackhole,
}

/// A gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// Its address. For an IPv4 destination it may be an IPv6 address (RFC 8950).
    pub gateway: IpAddr,
    /// The interface behind which it is; `None` lets the kernel find it. Required for a
    /// link-local address.
    pub interface: Option<u32>,
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnLink(index) => write!(f, "on link {index}"),
            Self::Blackhole => f.write_str("blackhole"),
            Self::Via(hops) => {
                f.write_str("via")?;
                hops.iter().try_for_each(|hop| write!(f, " {}", hop.gateway))
            }
        }
    }
}

/// How the kernel would send a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// Out of which interface.
    pub interface: u32,
    /// From which address.
    pub source: Option<IpAddr>,
    /// Through which gateway.
    pub gateway: Option<IpAddr>,
}

impl Change {
    /// Adds a route, or replaces the one with its destination and metric. The kernel refuses with
    /// `ENETUNREACH` a gateway that is not on a connected network.
    pub fn set_route(route: &Route) -> Self {
        let what = format!("route {} {}", route.destination, route.target);
        Self { request: set(route), what }
    }
}

impl Connection {
    /// Sets and deletes many routes; returns position (deletions first) and reason of those that
    /// the kernel refused. A route to delete that is not there is no failure.
    ///
    /// # Errors
    /// The exchange failed; how far it got is not known.
    pub fn change_routes(
        &mut self,
        delete: &[Route],
        replace: &[Route],
    ) -> Result<Vec<(usize, Errno)>, NetlinkError> {
        let requests = delete.iter().map(remove).chain(replace.iter().map(set));
        let mut failed = self.batch(requests, &"change routes")?;
        failed.retain(|(at, errno)| *at >= delete.len() || *errno != Errno::ESRCH);
        Ok(failed)
    }

    /// Routes of one maker in the main table, of both families.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn routes_of(&mut self, protocol: u8) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = self.routes(Some(protocol))?;
        routes.retain(|route| route.protocol == protocol);
        Ok(routes)
    }

    /// All routes of the main table that [`RouteTarget`] can express, of both families.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn all_routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        self.routes(None)
    }

    fn routes(&mut self, protocol: Option<u8>) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for family in Family::ALL {
            let mut message = RouteMessage::default();
            message.header.address_family = address_family(family);
            message.header.table = RouteHeader::RT_TABLE_MAIN;
            message.header.protocol = protocol.unwrap_or(0).into();
            let message = RouteNetlinkMessage::GetRoute(message);
            routes.extend(self.dump(&message, "list routes", read)?);
        }
        Ok(routes)
    }

    /// Asks the kernel how it would send a packet to `destination`; `None` if it would not.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn look_up(&mut self, destination: IpAddr) -> Result<Option<LookedUp>, NetlinkError> {
        let family = Family::of(destination);
        let mut message = RouteMessage::default();
        message.header.address_family = address_family(family);
        message.header.destination_prefix_length = host_prefix_len(family);
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        let what = format!("look up the route to {destination}");
        let answer = self.get(RouteNetlinkMessage::GetRoute(message), what)?;
        let Some(RouteNetlinkMessage::NewRoute(message)) = answer else { return Ok(None) };
        if message.header.kind != RouteType::Unicast && message.header.kind != RouteType::Local {
            return Ok(None);
        }
        let mut found = LookedUp { interface: 0, source: None, gateway: None };
        for attribute in message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => found.interface = index,
                RouteAttribute::PrefSource(addr) => found.source = ip(&addr),
                RouteAttribute::Gateway(addr) => found.gateway = ip(&addr),
                _ => {}
            }
        }
        Ok(Some(found))
    }
}

fn message(route: &Route) -> RouteMessage {
    let family = Family::of_net(route.destination);
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::from(route.protocol);
    message.attributes = vec![
        RouteAttribute::Destination(route.destination.network().into()),
        RouteAttribute::Priority(route.metric),
    ];
    message
}

fn set(route: &Route) -> Request {
    let family = Family::of_net(route.destination);
    let mut message = message(route);
    message.header.kind = RouteType::Unicast;
    message.header.scope = RouteScope::Universe;
    match &route.target {
        RouteTarget::Blackhole => message.header.kind = RouteType::BlackHole,
        RouteTarget::OnLink(index) => {
            if family == Family::V4 {
                message.header.scope = RouteScope::Link;
            }
            message.attributes.push(RouteAttribute::Oif(*index));
        }
        RouteTarget::Via(hops) => match hops.first() {
            Some(hop) if hops.len() == 1 => {
                message.attributes.push(gateway(family, hop.gateway));
                message.attributes.extend(hop.interface.map(RouteAttribute::Oif));
            }
            _ => {
                let hops = hops.iter().map(|hop| {
                    let mut next = RouteNextHop::default();
                    next.interface_index = hop.interface.unwrap_or(0);
                    next.attributes = vec![gateway(family, hop.gateway)];
                    next
                });
                message.attributes.push(RouteAttribute::MultiPath(hops.collect()));
            }
        },
    }
    Request::new(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Deletes by destination, metric and maker, whatever the target: what `ip route del` does.
fn remove(route: &Route) -> Request {
    let mut message = message(route);
    message.header.scope = RouteScope::NoWhere;
    Request::new(RouteNetlinkMessage::DelRoute(message), 0)
}

fn gateway(family: Family, addr: IpAddr) -> RouteAttribute {
    match (family, addr) {
        (Family::V4, IpAddr::V6(addr)) => RouteAttribute::Via(RouteVia::Inet6(addr)),
        _ => RouteAttribute::Gateway(addr.into()),
    }
}

/// `None` for what is not a route of the main table, or one that [`RouteTarget`] cannot express
/// (nobody writes such a one with our protocol number).
pub(super) fn read(message: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let mut destination = match header.address_family {
        netlink_packet_route::AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        netlink_packet_route::AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut metric, mut interface, mut single, mut hops) = (0, None, None, BTreeSet::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(addr) => destination = ip(addr)?,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => single = hop_address(attribute),
            RouteAttribute::MultiPath(list) => {
                for hop in list {
                    let gateway = hop.attributes.iter().find_map(hop_address)?;
                    hops.insert(NextHop { gateway, interface: Some(hop.interface_index) });
                }
            }
            _ => {}
        }
    }
    if let Some(gateway) = single {
        hops.insert(NextHop { gateway, interface });
    }
    let target = match header.kind {
        RouteType::BlackHole => RouteTarget::Blackhole,
        RouteType::Unicast if !hops.is_empty() => RouteTarget::Via(hops),
        RouteType::Unicast => RouteTarget::OnLink(interface?),
        _ => return None,
    };
    Some(Route {
        destination: IpNet::new(destination, header.destination_prefix_length).ok()?,
        target,
        protocol: header.protocol.into(),
        metric,
    })
}

fn hop_address(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(addr) => ip(addr),
        RouteAttribute::Via(RouteVia::Inet(addr)) => Some((*addr).into()),
        RouteAttribute::Via(RouteVia::Inet6(addr)) => Some((*addr).into()),
        _ => None,
    }
}

fn ip(addr: &RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(addr) => Some((*addr).into()),
        RouteAddress::Inet6(addr) => Some((*addr).into()),
        _ => None,
    }
}
