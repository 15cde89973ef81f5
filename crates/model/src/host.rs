//! Host endpoints as inputs: interfaces of nodes that are policed (policy-semantics §2.6), and the
//! ports that stay open on them whatever policy says.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::Name;
use crate::cluster::NamedPort;
use crate::labels::Labels;
use crate::net::{Family, Protocol};
use crate::packet::Packet;

/// The one profile that there is: it allows everything, both ways (C35).
pub const DEFAULT_ALLOW_PROFILE: &str = "projectcalico-default-allow";

/// A HostEndpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEndpoint {
    /// The node whose interfaces it means.
    pub node: Name,
    /// Which of them.
    pub interfaces: HostInterfaces,
    /// Addresses by which selectors of rules know it (C34).
    pub expected_addresses: Vec<IpAddr>,
    /// Its own labels, system prefixes stripped (C13).
    pub labels: Labels,
    /// Its profiles, in order; one that does not exist denies (C35).
    pub profiles: Vec<Name>,
    /// Its named ports.
    pub ports: Vec<NamedPort>,
}

/// Which interfaces of a node a host endpoint means (C34).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostInterfaces {
    /// The one of this name, whether or not it is there yet.
    Named(Name),
    /// Those that hold one of the expected addresses.
    ByAddress,
    /// All that no other host endpoint means; never those of pods, nor the loopback.
    All,
}

/// An interface of the compiler's own node that is no pod's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLink {
    /// The addresses it holds, of either family.
    pub addresses: Vec<IpAddr>,
}

/// A port that stays open (C36).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Failsafe {
    /// A protocol that has ports.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// The only peers for whom it does; everybody if `None`.
    pub net: Option<IpNet>,
}

/// The ports that stay open on every host endpoint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Failsafes {
    /// Ports of the node, for packets to it.
    pub inbound: Vec<Failsafe>,
    /// Ports of others, for packets from it.
    pub outbound: Vec<Failsafe>,
}

impl Default for Failsafes {
    /// Calico's: SSH, DHCP, BGP, etcd, Typha, the API server; outbound DNS too.
    fn default() -> Self {
        let list = |ports: &[(Protocol, u16)]| {
            ports.iter().map(|(protocol, port)| Failsafe::anywhere(*protocol, *port)).collect()
        };
        let (tcp, udp) = (Protocol::TCP, Protocol::UDP);
        let shared = [179, 2379, 2380, 5473, 6443, 6666, 6667].map(|port| (tcp, port));
        Self {
            inbound: list(&[&[(tcp, 22), (udp, 68)][..], &shared].concat()),
            outbound: list(&[&[(udp, 53), (udp, 67)][..], &shared].concat()),
        }
    }
}

impl Failsafe {
    /// A port that is open for everybody.
    pub fn anywhere(protocol: Protocol, port: u16) -> Self {
        Self { protocol, port, net: None }
    }

    /// The only family for which it is open; both if `None`.
    pub fn family(&self) -> Option<Family> {
        self.net.map(Family::of_net)
    }

    /// Whether `packet` is to this port, with a peer at `peer`.
    pub fn admits(&self, packet: &Packet, peer: IpAddr) -> bool {
        self.port_is(packet, peer, |(_, destination)| destination)
    }

    /// Whether `packet` is from this port: a reply, where connections are not tracked.
    pub fn admits_reply(&self, packet: &Packet, peer: IpAddr) -> bool {
        self.port_is(packet, peer, |(source, _)| source)
    }

    fn port_is(&self, packet: &Packet, peer: IpAddr, of: fn((u16, u16)) -> u16) -> bool {
        packet.protocol() == self.protocol
            && packet.ports().map(of) == Some(self.port)
            && self.net.is_none_or(|net| net.contains(&peer))
    }
}

/// `tcp:22`, `udp:68@10.0.0.0/8`.
impl fmt::Display for Failsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol, self.port)?;
        self.net.map_or(Ok(()), |net| write!(f, "@{net}"))
    }
}

/// What cannot be read as a failsafe port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseFailsafeError(String);

impl fmt::Display for ParseFailsafeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no failsafe port; write tcp:22, udp:68, or tcp:22@10.0.0.0/8", self.0)
    }
}

impl std::error::Error for ParseFailsafeError {}

impl FromStr for Failsafe {
    type Err = ParseFailsafeError;

    fn from_str(text: &str) -> Result<Self, ParseFailsafeError> {
        let read = || {
            let (protocol, rest) = text.split_once(':')?;
            let protocol = match protocol {
                "tcp" => Protocol::TCP,
                "udp" => Protocol::UDP,
                "sctp" => Protocol::SCTP,
                _ => return None,
            };
            let (port, net) = match rest.split_once('@') {
                Some((port, net)) => (port, Some(net.parse::<IpNet>().ok()?.trunc())),
                None => (rest, None),
            };
            let digits = port.bytes().all(|c| c.is_ascii_digit());
            let port = port.parse().ok().filter(|port| digits && *port > 0)?;
            Some(Self { protocol, port, net })
        };
        read().ok_or_else(|| ParseFailsafeError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failsafe_ports_are_read_as_they_are_written() {
        let all = Failsafes::default();
        assert_eq!((all.inbound.len(), all.outbound.len()), (9, 9));
        let some = ["tcp:22@10.0.0.0/8", "sctp:1@fd00::/8"].map(|text| text.parse().unwrap());
        for failsafe in all.inbound.iter().chain(&all.outbound).chain(&some) {
            assert_eq!(failsafe.to_string().parse().as_ref(), Ok(failsafe));
        }
        for wrong in ["", "22", "tcp", "tcp:", "tcp:0", "tcp:+1", "icmp:8", "tcp:22@nowhere"] {
            assert!(wrong.parse::<Failsafe>().is_err(), "{wrong}");
        }
    }
}
