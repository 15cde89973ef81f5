//! The uplink: the interface that holds the node's address, and so decides the pods' MTU.

use std::net::IpAddr;

use brindle_model::cluster::HOST_INTERFACE_PREFIX;
use brindle_model::net::Family;

use crate::netlink::{Connection, Link, NetlinkError, RouteTarget};

/// Where the node's traffic leaves.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Uplink {
    /// Name of the interface.
    pub interface: String,
    /// Its MTU, bytes.
    pub mtu: u32,
    /// The node's address on it.
    pub address: IpAddr,
}

/// No uplink was found.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The kernel could not be asked.
    #[error("could not read the node's interfaces")]
    Netlink(#[from] NetlinkError),
    /// No interface holds the node's address.
    #[error("no interface of this node holds {0}; check the addresses of its Node object")]
    NotHeld(IpAddr),
    /// There is no interface with an address.
    #[error("no interface of this node has a global {0} address")]
    None(&'static str),
}

impl Uplink {
    /// The interface that holds `address`, as the Node object names it.
    ///
    /// # Errors
    /// None does.
    pub fn holding(address: IpAddr) -> Result<Self, UplinkError> {
        let mut kernel = Connection::open()?;
        let held = kernel.global_addresses()?;
        let index = held.into_iter().find(|(_, net)| net.addr() == address).map(|(i, _)| i);
        let link = kernel.links()?.into_iter().find(|link| Some(link.index) == index);
        let link = link.ok_or(UplinkError::NotHeld(address))?;
        Ok(Self { interface: link.name, mtu: link.mtu, address })
    }

    /// The interface of the default route with the lowest metric; without a default route, the
    /// first interface that is up and has a global address. Loopback and pods' interfaces do not
    /// count.
    ///
    /// # Errors
    /// There is none.
    pub fn detect(family: Family) -> Result<Self, UplinkError> {
        let mut kernel = Connection::open()?;
        let mut links = kernel.links()?;
        links.retain(|link| {
            link.up && !link.loopback && !link.name.starts_with(HOST_INTERFACE_PREFIX)
        });
        let addresses = kernel.global_addresses()?;
        let address_of = |link: &Link| {
            let held = addresses.iter().filter(|(index, _)| *index == link.index);
            held.map(|(_, net)| net.addr()).find(|addr| Family::of(*addr) == family)
        };
        let default = default_interface(&mut kernel, family)?;
        links.sort_by_key(|link| (Some(link.index) != default, link.index));
        let found = links.iter().find_map(|link| Some((link, address_of(link)?)));
        let (link, address) = found.ok_or(UplinkError::None(match family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }))?;
        Ok(Self { interface: link.name.clone(), mtu: link.mtu, address })
    }
}

fn default_interface(kernel: &mut Connection, family: Family) -> Result<Option<u32>, NetlinkError> {
    let mut routes = kernel.all_routes()?;
    routes.retain(|route| {
        route.destination.prefix_len() == 0 && Family::of_net(route.destination) == family
    });
    let best = routes.into_iter().min_by_key(|route| route.metric);
    Ok(best.and_then(|route| match route.target {
        RouteTarget::OnLink(index) => Some(index),
        RouteTarget::Via(hops) => hops.first()?.interface,
        RouteTarget::Blackhole => None,
    }))
}
