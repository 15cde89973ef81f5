//! How a pod hangs on its node.
//!
//! ```text
//!        node                                      pod
//!  ┌──────────────┐                        ┌───────────────────────┐
//!  │ brd…   (veth)├────────────────────────┤ eth0   10.1.0.5/32    │
//!  │ HOST_MAC     │                        │        fd00:1::5/128  │
//!  └──────────────┘                        └───────────────────────┘
//!   10.1.0.5/32 dev brd…    (RouteTable)    default via 169.254.1.1 dev eth0
//!   fd00:1::5/128 dev brd…                  default via fe80::1 dev eth0
//!   neighbour 10.1.0.5  -> pod's MAC        neighbour 169.254.1.1 -> HOST_MAC
//!   neighbour fd00:1::5 -> pod's MAC        neighbour fe80::1     -> HOST_MAC
//! ```
//! A pod shares no subnet with anybody: its addresses are host prefixes, everything goes through
//! the node, where policy is. The next hops are addresses that nobody holds; **permanent
//! neighbours** on both sides answer for them, instead of proxy ARP and proxy NDP: nothing is
//! resolved, so the first packet waits for nothing, no ARP reply depends on the node's own routes,
//! and neither side can be made to believe another hardware address. It needs hardware addresses
//! that stay: the pairs are made with addresses of our choice, which udev does not change.
//!
//! If somebody sets a host interface down and up the node's permanent neighbours are lost; then
//! the node resolves the pod's addresses as usual, because the pod does hold them.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use brindle_model::Name;
use brindle_model::cluster::{HOST_INTERFACE_PREFIX, link_group};
use brindle_model::net::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;

use crate::netlink::{
    Change, Connection, MacAddr, NetlinkError, NextHop, Route, RouteTarget, VethPair,
};
use crate::netns;
use crate::sysctl::{self, SysctlError};

/// Hardware address of every host side: locally administered, the same everywhere, since each
/// link has only two ends.
pub const HOST_MAC: MacAddr = MacAddr([0x02, 0x62, 0x72, 0x64, 0x00, 0x01]);
/// A pod's IPv4 next hop (RFC 3927 range; held by nobody).
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// A pod's IPv6 next hop (RFC 4291 §2.5.6; held by nobody).
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;
/// Maker of routes in pods: what an administrator's `ip route add` writes.
const RTPROT_BOOT: u8 = 3;

/// One pod interface to make or to check.
#[derive(Clone, Copy, Debug)]
pub struct Attachment<'a> {
    /// The pod's network namespace.
    pub netns: BorrowedFd<'a>,
    /// Name inside the pod.
    pub interface: &'a str,
    /// Name on the host: begins with [`HOST_INTERFACE_PREFIX`], at most 15 bytes.
    pub host_interface: &'a str,
    /// The pod's addresses, at most one a family.
    pub addresses: &'a [IpAddr],
    /// MTU, bytes.
    pub mtu: u32,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Hardware address of the host side.
    pub host_mac: MacAddr,
    /// Hardware address of the pod side.
    pub pod_mac: MacAddr,
    /// Routes inside the pod, in the order in which they were made.
    pub routes: Vec<PodRoute>,
}

/// A route inside a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodRoute {
    /// Destination.
    pub destination: IpNet,
    /// Next hop; `None` is on-link.
    pub gateway: Option<IpAddr>,
}

/// Why a pod interface could not be made, removed or found in order.
#[derive(Debug, thiserror::Error)]
pub enum PodNetworkError {
    /// A name that the kernel or a restarted agent would not accept.
    #[error(
        "host interface `{0}` must begin with {HOST_INTERFACE_PREFIX} and have at most 15 bytes"
    )]
    HostInterfaceName(String),
    /// The pod's namespace could not be entered.
    #[error("could not enter the pod's network namespace; is the pod still there?")]
    Netns(#[source] io::Error),
    /// A step on the host failed.
    #[error("host side {0}")]
    Host(String, #[source] NetlinkError),
    /// A step in the pod failed.
    #[error("pod side {0}")]
    Pod(String, #[source] NetlinkError),
    /// A setting could not be written.
    #[error("settings of interface {0}")]
    Setting(String, #[source] SysctlError),
    /// A check found something amiss.
    #[error("{0} is missing")]
    Missing(String),
}

/// Makes and removes pod links. Holds nothing: each call opens its own sockets, so any number of
/// threads may call at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodNetwork;

impl PodNetwork {
    /// Makes the pair, the pod side complete and the host side down: no packet passes before
    /// [`enable`](Self::enable). A host interface of this name that an interrupted attempt left
    /// behind is replaced.
    ///
    /// # Errors
    /// The kernel refused a step; nothing of the pair is left.
    pub fn attach(&self, pod: &Attachment<'_>) -> Result<Attached, PodNetworkError> {
        let name = pod.host_interface;
        if !name.starts_with(HOST_INTERFACE_PREFIX) || name.len() > 15 {
            return Err(PodNetworkError::HostInterfaceName(name.to_owned()));
        }
        let host = |error| PodNetworkError::Host(name.to_owned(), error);
        let mut kernel = Connection::open().map_err(host)?;
        let pair = VethPair {
            name,
            mac: HOST_MAC,
            group: link_group(name),
            peer_name: pod.interface,
            peer_mac: pod_mac(pod.addresses),
            peer_netns: pod.netns,
            mtu: pod.mtu,
        };
        if kernel.link(name).map_err(host)?.is_some() {
            delete(&mut kernel, name)?;
        }
        kernel.create_veth(&pair).map_err(host)?;
        let made = configure_host(name).and_then(|()| {
            netns::within(pod.netns, || configure_pod(pod)).map_err(PodNetworkError::Netns)?
        });
        match made {
            Ok(routes) => Ok(Attached { host_mac: HOST_MAC, pod_mac: pair.peer_mac, routes }),
            Err(error) => {
                if let Err(undo) = delete(&mut kernel, name) {
                    tracing::warn!(interface = name, error = %undo, "could not undo an attachment");
                }
                Err(error)
            }
        }
    }

    /// Sets the host side up, once the endpoint's policy is enforced (K37). The routes to the pod
    /// are the [`RouteTable`](crate::RouteTable)'s, which waits for this.
    ///
    /// # Errors
    /// The kernel refused, or the interface is gone.
    pub fn enable(
        &self,
        host_interface: &str,
        addresses: &[IpAddr],
    ) -> Result<(), PodNetworkError> {
        let host = |error| PodNetworkError::Host(host_interface.to_owned(), error);
        let mut kernel = Connection::open().map_err(host)?;
        let link = kernel.link(host_interface).map_err(host)?;
        let link = link.ok_or_else(|| missing("interface", host_interface))?;
        let mac = pod_mac(addresses);
        // In this order: an interface that goes up forgets its neighbours.
        let up = (!link.up).then(|| Change::set_up(link.index));
        let neighbours = addresses.iter().map(|addr| Change::set_neighbour(link.index, *addr, mac));
        kernel.apply(up.into_iter().chain(neighbours).collect()).map_err(host)
    }

    /// Gives an interface that an earlier agent made, or that somebody changed, the group by which
    /// the dataplane knows it; until then the dataplane drops what the pod sends (K37). An absent
    /// interface is a success.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn mark(&self, host_interface: &str) -> Result<(), PodNetworkError> {
        let host = |error| PodNetworkError::Host(host_interface.to_owned(), error);
        let mut kernel = Connection::open().map_err(host)?;
        let group = link_group(host_interface);
        match kernel.link(host_interface).map_err(host)? {
            Some(link) if link.group != group => {
                tracing::warn!(interface = host_interface, link.group, "setting its group");
                kernel.apply(vec![Change::set_group(link.index, group)]).map_err(host)
            }
            _ => Ok(()),
        }
    }

    /// Removes the host interface, and with it its peer, routes and neighbours. An absent one is
    /// a success.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn detach(&self, host_interface: &str) -> Result<(), PodNetworkError> {
        let host = |error| PodNetworkError::Host(host_interface.to_owned(), error);
        delete(&mut Connection::open().map_err(host)?, host_interface)
    }

    /// Compares what the kernel holds with what [`attach`](Self::attach) and
    /// [`enable`](Self::enable) made, and the routes to the pod.
    ///
    /// # Errors
    /// The first thing that is missing, by name; or the kernel could not be read.
    pub fn check(&self, pod: &Attachment<'_>) -> Result<(), PodNetworkError> {
        let name = pod.host_interface;
        let host = |error| PodNetworkError::Host(name.to_owned(), error);
        let mut kernel = Connection::open().map_err(host)?;
        let link = kernel.link(name).map_err(host)?;
        let link =
            link.filter(|link| link.up).ok_or_else(|| missing("interface that is up:", name))?;
        if link.group != link_group(name) {
            return Err(missing("interface group that policy knows:", name));
        }
        for addr in pod.addresses {
            let found = kernel.look_up(*addr).map_err(host)?;
            let to_pod = found.is_some_and(|f| f.interface == link.index && f.gateway.is_none());
            if !to_pod {
                return Err(missing("route to the pod's address", addr));
            }
        }
        netns::within(pod.netns, || check_pod(pod)).map_err(PodNetworkError::Netns)?
    }

    /// All interfaces of this namespace whose name begins with [`HOST_INTERFACE_PREFIX`].
    ///
    /// # Errors
    /// The kernel could not be read.
    pub fn host_interfaces(&self) -> Result<BTreeSet<Name>, PodNetworkError> {
        let host = |error| PodNetworkError::Host("interfaces".to_owned(), error);
        let links = Connection::open().and_then(|mut kernel| kernel.links()).map_err(host)?;
        let names = links.into_iter().map(|link| link.name);
        Ok(names.filter(|name| name.starts_with(HOST_INTERFACE_PREFIX)).map(Name::from).collect())
    }
}

/// A hardware address that shows the pod's address: locally administered, `62` for ours, then the
/// IPv4 address or the end of the IPv6 one.
fn pod_mac(addresses: &[IpAddr]) -> MacAddr {
    let last = match addresses.iter().min() {
        Some(IpAddr::V4(addr)) => addr.octets(),
        Some(IpAddr::V6(addr)) => {
            let [.., a, b, c, d] = addr.octets();
            [a, b, c, d]
        }
        None => [0; 4],
    };
    let [a, b, c, d] = last;
    MacAddr([0x02, 0x62, a, b, c, d])
}

fn delete(kernel: &mut Connection, name: &str) -> Result<(), PodNetworkError> {
    match kernel.delete_link(name) {
        Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(()),
        result => result.map_err(|error| PodNetworkError::Host(name.to_owned(), error)),
    }
}

/// The node must not learn anything from a pod: no router advertisements, no redirects. The source
/// address is checked by policy, for both families (C41), so the reverse path filter, which knows
/// only IPv4 and costs a route look-up a packet, is left out.
///
/// A node that forwards makes interfaces that do; writing that setting anyway would let thirty pods
/// at once spin on the kernel's one lock for links for a second ([`sysctl::set`] reads first).
fn configure_host(name: &str) -> Result<(), PodNetworkError> {
    let setting = |error| PodNetworkError::Setting(name.to_owned(), error);
    for (key, value) in [
        (format!("ipv4/conf/{name}/rp_filter"), "0"),
        (format!("ipv4/conf/{name}/forwarding"), "1"),
        (format!("ipv4/conf/{name}/accept_redirects"), "0"),
        (format!("ipv4/conf/{name}/send_redirects"), "0"),
        (format!("ipv6/conf/{name}/accept_ra"), "0"),
        (format!("ipv6/conf/{name}/accept_redirects"), "0"),
        (format!("ipv6/conf/{name}/accept_dad"), "0"),
    ] {
        sysctl::set(&key, value).map_err(setting)?;
    }
    Ok(())
}

fn configure_pod(pod: &Attachment<'_>) -> Result<Vec<PodRoute>, PodNetworkError> {
    let name = pod.interface;
    let setting = |error| PodNetworkError::Setting(name.to_owned(), error);
    let failed = |error| PodNetworkError::Pod(name.to_owned(), error);
    if pod.addresses.iter().any(IpAddr::is_ipv6) {
        // Some runtimes make pods with IPv6 switched off.
        sysctl::set(&format!("ipv6/conf/{name}/disable_ipv6"), "0").map_err(setting)?;
        sysctl::set(&format!("ipv6/conf/{name}/accept_ra"), "0").map_err(setting)?;
        sysctl::set(&format!("ipv6/conf/{name}/accept_dad"), "0").map_err(setting)?;
    }
    let mut kernel = Connection::open().map_err(failed)?;
    let link = kernel.link(name).map_err(failed)?.ok_or_else(|| missing("interface", name))?;
    let mut changes = vec![Change::set_up(LOOPBACK), Change::set_up(link.index)];
    let mut made = Vec::new();
    for addr in pod.addresses {
        changes.push(Change::add_host_address(link.index, *addr));
        changes.push(Change::set_neighbour(link.index, gateway_of(*addr), HOST_MAC));
        let routes = pod_routes(Family::of(*addr));
        for route in &routes {
            let target = match route.gateway {
                None => RouteTarget::OnLink(link.index),
                Some(gateway) => {
                    let interface = Some(link.index);
                    RouteTarget::Via(BTreeSet::from([NextHop { gateway, interface }]))
                }
            };
            let (destination, protocol) = (route.destination, RTPROT_BOOT);
            let route = Route { destination, target, protocol, metric: POD_ROUTE_METRIC };
            changes.push(Change::set_route(&route));
        }
        made.extend(routes);
    }
    kernel.apply(changes).map_err(failed)?;
    Ok(made)
}

/// Metric of routes in pods; 0 means the family's default (0 for IPv4, 1024 for IPv6).
const POD_ROUTE_METRIC: u32 = 0;

fn check_pod(pod: &Attachment<'_>) -> Result<(), PodNetworkError> {
    let name = pod.interface;
    let failed = |error| PodNetworkError::Pod(name.to_owned(), error);
    let mut kernel = Connection::open().map_err(failed)?;
    let link = kernel.link(name).map_err(failed)?;
    let link = link.filter(|link| link.up);
    let link = link.ok_or_else(|| missing("interface in the pod that is up:", name))?;
    let held = kernel.global_addresses().map_err(failed)?;
    let neighbours = kernel.neighbours(link.index).map_err(failed)?;
    let routes = kernel.all_routes().map_err(failed)?;
    for addr in pod.addresses {
        if !held.iter().any(|(index, net)| *index == link.index && net.addr() == *addr) {
            return Err(missing("address in the pod:", addr));
        }
        let gateway = gateway_of(*addr);
        if !neighbours.contains(&(gateway, HOST_MAC)) {
            return Err(missing("neighbour in the pod:", gateway));
        }
        for wanted in pod_routes(Family::of(*addr)) {
            let there = routes.iter().any(|route| {
                route.destination == wanted.destination
                    && match (&route.target, wanted.gateway) {
                        (RouteTarget::OnLink(index), None) => *index == link.index,
                        (RouteTarget::Via(hops), Some(gateway)) => {
                            hops.iter().any(|hop| hop.gateway == gateway)
                        }
                        _ => false,
                    }
            });
            if !there {
                return Err(missing("route in the pod to", wanted.destination));
            }
        }
    }
    Ok(())
}

fn gateway_of(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => GATEWAY_V4.into(),
        IpAddr::V6(_) => GATEWAY_V6.into(),
    }
}

fn pod_routes(family: Family) -> [PodRoute; 2] {
    let (gateway, host, default): (IpAddr, IpNet, IpNet) = match family {
        Family::V4 => {
            (GATEWAY_V4.into(), Ipv4Net::from(GATEWAY_V4).into(), Ipv4Net::default().into())
        }
        Family::V6 => {
            (GATEWAY_V6.into(), Ipv6Net::from(GATEWAY_V6).into(), Ipv6Net::default().into())
        }
    };
    [
        PodRoute { destination: host, gateway: None },
        PodRoute { destination: default, gateway: Some(gateway) },
    ]
}

fn missing(kind: &str, what: impl std::fmt::Display) -> PodNetworkError {
    PodNetworkError::Missing(format!("{kind} {what}"))
}

#[cfg(test)]
#[path = "pod_network/tests.rs"]
mod tests;
