//! Links: veth pairs, and what is known of any interface.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::str::FromStr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::{Change, Connection, NetlinkError, Request};

/// A hardware address of an Ethernet-like interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not six hexadecimal bytes with colons between them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hardware address; write aa:bb:cc:dd:ee:ff")]
pub struct ParseMacError(String);

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let bytes: Option<Vec<u8>> = text
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2))
            .collect();
        bytes
            .and_then(|bytes| Some(Self(bytes.try_into().ok()?)))
            .ok_or_else(|| ParseMacError(text.to_owned()))
    }
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MTU, bytes.
    pub mtu: u32,
    /// Its hardware address, where it has an Ethernet one.
    pub mac: Option<MacAddr>,
    /// Whether it is set up (`IFF_UP`); says nothing of a carrier.
    pub up: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Its group (`IFLA_GROUP`); 0 unless somebody set one.
    pub group: u32,
}

/// A veth pair to make, each side with its final name and namespace.
#[derive(Clone, Copy, Debug)]
pub struct VethPair<'a> {
    /// Name of the side in this connection's namespace; at most 15 bytes.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its group.
    pub group: u32,
    /// Name of the other side.
    pub peer_name: &'a str,
    /// Its hardware address.
    pub peer_mac: MacAddr,
    /// Its network namespace.
    pub peer_netns: BorrowedFd<'a>,
    /// MTU of both, bytes.
    pub mtu: u32,
}

impl Connection {
    /// Makes a veth pair, both sides down.
    ///
    /// # Errors
    /// `EEXIST` if either name is taken in its namespace.
    pub fn create_veth(&mut self, pair: &VethPair<'_>) -> Result<(), NetlinkError> {
        let side = |name: &str, mac: MacAddr| {
            vec![
                LinkAttribute::IfName(name.to_owned()),
                LinkAttribute::Mtu(pair.mtu),
                // An address that is set by hand is left alone by udev, which would otherwise
                // change it under the permanent neighbours.
                LinkAttribute::Address(mac.0.to_vec()),
            ]
        };
        let mut peer = LinkMessage::default();
        peer.attributes = side(pair.peer_name, pair.peer_mac);
        peer.attributes.push(LinkAttribute::NetNsFd(pair.peer_netns.as_raw_fd()));
        let mut message = LinkMessage::default();
        message.attributes = side(pair.name, pair.mac);
        message.attributes.push(LinkAttribute::Group(pair.group));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let request =
            Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
        self.change(
            request,
            format_args!("create the veth pair {} and {}", pair.name, pair.peer_name),
        )
    }

    /// Finds an interface by name.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let found = self
            .get(RouteNetlinkMessage::GetLink(message), format_args!("look up interface {name}"))?;
        Ok(found.and_then(read))
    }

    /// All interfaces of the namespace.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump(&message, "list interfaces", read)
    }

    /// Deletes an interface, and the other side of a pair with it.
    ///
    /// # Errors
    /// `ENODEV` if there is none.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let request = Request::new(RouteNetlinkMessage::DelLink(message), 0);
        self.change(request, format_args!("delete interface {name}"))
    }
}

impl Change {
    /// Sets an interface up.
    pub fn set_up(index: u32) -> Self {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        let request = Request::new(RouteNetlinkMessage::SetLink(message), 0);
        Self { request, what: format!("set interface {index} up") }
    }

    /// Sets an interface's group.
    pub fn set_group(index: u32, group: u32) -> Self {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::Group(group));
        let request = Request::new(RouteNetlinkMessage::SetLink(message), 0);
        Self { request, what: format!("set the group of interface {index}") }
    }
}

pub(super) fn read(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        mac: None,
        up: message.header.flags.contains(LinkFlags::Up),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        group: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(MacAddr),
            _ => {}
        }
    }
    Some(link)
}
