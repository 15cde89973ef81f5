//! ip_set: sets that were made by `ipset restore`, and whether a packet is in one
//! (`net/netfilter/ipset/ip_set_hash_*.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;

use super::skb::Skb;

/// All sets, by name.
#[derive(Clone, Debug, Default)]
pub struct IpSets(BTreeMap<String, IpSet>);

/// What a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ip,
    Net,
    IpPort,
    NetIface,
}

#[derive(Clone, Debug)]
struct IpSet {
    kind: Kind,
    v6: bool,
    room: usize,
    elements: BTreeSet<Element>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Element {
    Net(IpNet),
    Port(IpAddr, u8, u16),
    Iface(IpNet, String),
}

impl IpSets {
    /// Carries out the lines of `ipset restore`.
    ///
    /// # Errors
    /// The kernel would refuse one, or it has something that is not known here.
    pub fn restore(&mut self, script: &str) -> Result<()> {
        for line in script.lines() {
            self.line(line).with_context(|| format!("ipset: {line}"))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<()> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["create", name, kind, "family", family, "hashsize", _, "maxelem", room] => {
                ensure!(name.len() < 32, "a name of more than 31 bytes");
                let kind = match kind {
                    "hash:ip" => Kind::Ip,
                    "hash:net" => Kind::Net,
                    "hash:ip,port" => Kind::IpPort,
                    "hash:net,iface" => Kind::NetIface,
                    other => bail!("type {other}"),
                };
                let v6 = match family {
                    "inet" => false,
                    "inet6" => true,
                    other => bail!("family {other}"),
                };
                let set = IpSet { kind, v6, room: room.parse()?, elements: BTreeSet::new() };
                ensure!(self.0.insert(name.to_owned(), set).is_none(), "a set twice");
            }
            ["add", name, element] => {
                let set = self.0.get_mut(name).context("no such set")?;
                let element = set.kind.element(element)?;
                ensure!(element.is_v6() == set.v6, "an element of the other family");
                set.elements.insert(element);
                ensure!(set.elements.len() <= set.room, "the set is full");
            }
            _ => bail!("another command"),
        }
        Ok(())
    }

    /// Whether there is such a set.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether a set holds a packet, asked as `-m set --match-set` says: one word of `src` and
    /// `dst` for each field. A packet of the other family, and one without what is asked for, is in
    /// no set.
    ///
    /// # Errors
    /// There is no such set, or it is asked for another number of fields.
    pub fn test(&self, name: &str, fields: &str, skb: &Skb) -> Result<bool> {
        let set = self.0.get(name).with_context(|| format!("no set {name}"))?;
        let fields: Vec<usize> = fields
            .split(',')
            .map(|word| match word {
                "src" => Ok(0),
                "dst" => Ok(1),
                other => bail!("field {other}"),
            })
            .collect::<Result<_>>()?;
        let wanted = if matches!(set.kind, Kind::Ip | Kind::Net) { 1 } else { 2 };
        ensure!(fields.len() == wanted, "set {name} is asked for {} fields", fields.len());
        if set.v6 != skb.is_v6() {
            return Ok(false);
        }
        let address = skb.addresses()[fields[0]];
        Ok(match set.kind {
            Kind::Ip | Kind::Net => set.elements.iter().any(|element| match element {
                Element::Net(net) => net.contains(&address),
                _ => false,
            }),
            Kind::IpPort => match port(skb, fields[1]) {
                Some(port) => set.elements.contains(&Element::Port(address, skb.protocol, port)),
                None => false,
            },
            Kind::NetIface => {
                let device = if fields[1] == 0 { &skb.input } else { &skb.output };
                device.as_ref().is_some_and(|device| {
                    set.elements.iter().any(|element| match element {
                        Element::Iface(net, name) => net.contains(&address) && *name == device.name,
                        _ => false,
                    })
                })
            }
        })
    }
}

/// `ip_set_get_ip_port`: ICMP has type and code where others have a port.
fn port(skb: &Skb, side: usize) -> Option<u16> {
    match skb.protocol {
        6 | 17 | 132 | 136 => Some(skb.port_bytes()[side]),
        1 | 58 => Some(skb.port_bytes()[0]),
        _ => None,
    }
}

impl Kind {
    fn element(self, text: &str) -> Result<Element> {
        let address = |text: &str| -> Result<IpNet> { Ok(text.parse::<IpAddr>()?.into()) };
        let prefix = |text: &str| -> Result<IpNet> {
            let net: IpNet = if text.contains('/') { text.parse()? } else { address(text)? };
            ensure!(net.prefix_len() > 0, "a prefix of length 0");
            Ok(net.trunc())
        };
        Ok(match self {
            Self::Ip => Element::Net(address(text)?),
            Self::Net => Element::Net(prefix(text)?),
            Self::IpPort => {
                let (address, port) = text.split_once(',').context("no port")?;
                let (protocol, port) = port.split_once(':').context("no protocol")?;
                Element::Port(address.parse()?, protocol_number(protocol)?, port.parse()?)
            }
            Self::NetIface => {
                let (net, iface) = text.split_once(',').context("no interface")?;
                Element::Iface(prefix(net)?, iface.to_owned())
            }
        })
    }
}

impl Element {
    fn is_v6(&self) -> bool {
        match self {
            Self::Net(net) | Self::Iface(net, _) => net.addr().is_ipv6(),
            Self::Port(address, ..) => address.is_ipv6(),
        }
    }
}

/// A protocol as the tools read it: a number, or a name of `/etc/protocols`.
///
/// # Errors
/// A name that is not known here.
pub fn protocol_number(text: &str) -> Result<u8> {
    Ok(match text {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "ipv6-icmp" | "icmpv6" => 58,
        "sctp" => 132,
        "udplite" => 136,
        number => number.parse().with_context(|| format!("protocol {number}"))?,
    })
}
