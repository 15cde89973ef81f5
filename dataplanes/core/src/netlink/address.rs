//! Addresses of interfaces.

use std::net::IpAddr;

use brindle_model::net::Family;
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};

use super::{Change, Connection, NetlinkError, Request, address_family, host_prefix_len};

impl Change {
    /// Gives an interface a host address, usable at once: duplicate detection would delay IPv6 by
    /// a second, and on a point-to-point link with managed addresses it has nothing to find.
    pub fn add_host_address(index: u32, addr: IpAddr) -> Self {
        let family = Family::of(addr);
        let mut message = AddressMessage::default();
        message.header.family = address_family(family);
        message.header.prefix_len = host_prefix_len(family);
        message.header.index = index;
        message.attributes = vec![AddressAttribute::Address(addr), AddressAttribute::Local(addr)];
        if family == Family::V6 {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let request =
            Request::new(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE);
        Self { request, what: format!("add address {addr} to interface {index}") }
    }
}

impl Connection {
    /// Global addresses of all interfaces: (interface index, address and prefix length).
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn global_addresses(&mut self) -> Result<Vec<(u32, IpNet)>, NetlinkError> {
        self.addresses(|message| message.header.scope == AddressScope::Universe)
    }

    /// Every address that this node sends from, link-local and loopback ones included.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn own_addresses(&mut self) -> Result<Vec<IpAddr>, NetlinkError> {
        let all = self.addresses(|_| true)?;
        Ok(all.into_iter().map(|(_, net)| net.addr()).collect())
    }

    fn addresses(
        &mut self,
        wanted: impl Fn(&AddressMessage) -> bool,
    ) -> Result<Vec<(u32, IpNet)>, NetlinkError> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump(&message, "list addresses", |message| match message {
            RouteNetlinkMessage::NewAddress(message) if wanted(&message) => read(&message),
            _ => None,
        })
    }
}

fn read(message: &AddressMessage) -> Option<(u32, IpNet)> {
    // On a point-to-point link `Address` is the other side; `Local`, where present, is ours.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(addr) => Some(*addr),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(addr) => Some(*addr),
        _ => None,
    });
    let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some((message.header.index, net))
}
