//! Permanent neighbours.

use std::net::IpAddr;

use brindle_model::net::Family;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteType;

use super::{Change, Connection, MacAddr, NetlinkError, Request, address_family};

impl Change {
    /// Sets the hardware address of a neighbour for good: nothing is ever resolved on this link.
    pub fn set_neighbour(index: u32, addr: IpAddr, mac: MacAddr) -> Self {
        let mut message = NeighbourMessage::default();
        message.header.family = address_family(Family::of(addr));
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.header.kind = RouteType::Unicast;
        let destination = match addr {
            IpAddr::V4(addr) => NeighbourAddress::Inet(addr),
            IpAddr::V6(addr) => NeighbourAddress::Inet6(addr),
        };
        message.attributes = vec![
            NeighbourAttribute::Destination(destination),
            NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        ];
        let request =
            Request::new(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE);
        Self { request, what: format!("set neighbour {addr} of interface {index}") }
    }
}

impl Connection {
    /// The permanent neighbours of an interface.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn neighbours(&mut self, index: u32) -> Result<Vec<(IpAddr, MacAddr)>, NetlinkError> {
        let message = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.dump(&message, "list neighbours", |message| read(message, index))
    }
}

fn read(message: RouteNetlinkMessage, index: u32) -> Option<(IpAddr, MacAddr)> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    if message.header.ifindex != index || message.header.state != NeighbourState::Permanent {
        return None;
    }
    let mut addr = None;
    let mut mac = None;
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => addr = Some(a.into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => addr = Some(a.into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = bytes.try_into().ok().map(MacAddr);
            }
            _ => {}
        }
    }
    Some((addr?, mac?))
}
