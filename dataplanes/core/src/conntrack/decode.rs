//! Dumped entries, decoded. Any bytes are legal: what is malformed gives no entry.

use std::net::IpAddr;

use brindle_model::net::{Family, Protocol};
use brindle_model::packet::{Packet, Transport};

use super::{Entry, Key, MSG_NEW, SUBSYSTEM, attr};
use crate::nfnetlink::{Message, NFGENMSG, attrs, be32, find, messages};

/// The entries of one datagram of a dump.
pub fn decode(datagram: &[u8]) -> impl Iterator<Item = Entry> {
    messages(datagram).filter_map(|message| entry(&message))
}

/// The entry that a message holds, if it holds one.
pub fn entry(message: &Message<'_>) -> Option<Entry> {
    if message.kind != (SUBSYSTEM << 8) | MSG_NEW {
        return None;
    }
    let (header, body) = message.payload.split_at_checked(NFGENMSG)?;
    let family = match i32::from(*header.first()?) {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        _ => return None,
    };
    let (mut tuple, mut reply, mut master, mut zone, mut mark) = (None, None, None, None, 0);
    for (kind, data) in attrs(body) {
        match kind {
            attr::TUPLE_ORIG => tuple = Some(data),
            attr::TUPLE_REPLY => reply = Some(data),
            attr::TUPLE_MASTER => master = Some(data),
            attr::ZONE => zone = Some(data.to_vec()),
            attr::MARK => mark = be32(data)?,
            _ => {}
        }
    }
    let key = |tuple: &[u8]| Key { family, tuple: tuple.to_vec(), zone: zone.clone() };
    let original = tuple?;
    Some(Entry {
        original: packet(family, original)?,
        reply: packet(family, reply?)?,
        master: master.map(key),
        key: key(original),
        mark,
    })
}

fn packet(family: Family, tuple: &[u8]) -> Option<Packet> {
    let addresses = find(tuple, attr::TUPLE_IP)?;
    let (source, destination) = match family {
        Family::V4 => (attr::IP_V4_SRC, attr::IP_V4_DST),
        Family::V6 => (attr::IP_V6_SRC, attr::IP_V6_DST),
    };
    let upper = find(tuple, attr::TUPLE_PROTO)?;
    Some(Packet {
        source: address(family, find(addresses, source)?)?,
        destination: address(family, find(addresses, destination)?)?,
        transport: transport(family, upper)?,
    })
}

fn address(family: Family, bytes: &[u8]) -> Option<IpAddr> {
    Some(match family {
        Family::V4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        Family::V6 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    })
}

fn transport(family: Family, upper: &[u8]) -> Option<Transport> {
    let byte = |kind| find(upper, kind)?.first().copied();
    let port = |kind| Some(u16::from_be_bytes(find(upper, kind)?.try_into().ok()?));
    let ports = || Some((port(attr::PROTO_SRC_PORT)?, port(attr::PROTO_DST_PORT)?));
    let number = byte(attr::PROTO_NUM)?;
    Some(match Protocol(number) {
        Protocol::TCP => {
            let (source, destination) = ports()?;
            Transport::Tcp { source, destination }
        }
        Protocol::UDP => {
            let (source, destination) = ports()?;
            Transport::Udp { source, destination }
        }
        Protocol::SCTP => {
            let (source, destination) = ports()?;
            Transport::Sctp { source, destination }
        }
        Protocol::ICMP if family == Family::V4 => Transport::Icmp {
            icmp_type: byte(attr::PROTO_ICMP_TYPE)?,
            code: byte(attr::PROTO_ICMP_CODE)?,
        },
        Protocol::ICMPV6 if family == Family::V6 => Transport::Icmp {
            icmp_type: byte(attr::PROTO_ICMPV6_TYPE)?,
            code: byte(attr::PROTO_ICMPV6_CODE)?,
        },
        Protocol(other) => Transport::Other(other),
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use brindle_model::net::Family;
    use brindle_model::packet::Transport;
    use proptest::prelude::*;

    use super::super::{MSG_NEW, SUBSYSTEM, attr};
    use super::decode;
    use crate::nfnetlink::Writer;

    /// A message as the kernel writes it.
    fn message(
        w: &mut Writer,
        [source, destination, backend]: [IpAddr; 3],
        number: u8,
        upper: &[(u16, &[u8])],
        back: &[(u16, &[u8])],
    ) {
        let family = match Family::of(source) {
            Family::V4 => libc::AF_INET as u8,
            Family::V6 => libc::AF_INET6 as u8,
        };
        let tuple = |w: &mut Writer, kind, from, to, upper: &[(u16, &[u8])]| {
            w.nest(kind, |w| {
                w.nest(attr::TUPLE_IP, |w| match (from, to) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        w.attr(attr::IP_V4_SRC, &from.octets());
                        w.attr(attr::IP_V4_DST, &to.octets());
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        w.attr(attr::IP_V6_SRC, &from.octets());
                        w.attr(attr::IP_V6_DST, &to.octets());
                    }
                    _ => unreachable!("one family"),
                });
                w.nest(attr::TUPLE_PROTO, |w| {
                    w.attr(attr::PROTO_NUM, &[number]);
                    upper.iter().for_each(|(kind, data)| w.attr(*kind, data));
                });
            });
        };
        w.message((SUBSYSTEM << 8) | MSG_NEW, 0, 1, family, 0, |w| {
            tuple(w, attr::TUPLE_ORIG, source, destination, upper);
            tuple(w, attr::TUPLE_REPLY, backend, source, back);
            w.u32(attr::MARK, 0x0012_2000);
        });
    }

    fn datagram() -> Vec<u8> {
        let mut w = Writer::default();
        let v4: [IpAddr; 3] = ["10.0.0.1", "10.96.0.1", "10.0.0.2"].map(|a| a.parse().unwrap());
        let v6: [IpAddr; 3] = ["fd00::1", "fd00::2", "fd00::2"].map(|a| a.parse().unwrap());
        let (high, service, backend) = (40_000u16, 80u16, 8080u16);
        let there = [
            (attr::PROTO_SRC_PORT, high.to_be_bytes()),
            (attr::PROTO_DST_PORT, service.to_be_bytes()),
        ];
        let back = [
            (attr::PROTO_SRC_PORT, backend.to_be_bytes()),
            (attr::PROTO_DST_PORT, high.to_be_bytes()),
        ];
        let there: Vec<(u16, &[u8])> = there.iter().map(|(k, d)| (*k, d.as_slice())).collect();
        let back: Vec<(u16, &[u8])> = back.iter().map(|(k, d)| (*k, d.as_slice())).collect();
        message(&mut w, v4, 6, &there, &back);
        let echo: [(u16, &[u8]); 2] =
            [(attr::PROTO_ICMPV6_TYPE, &[128]), (attr::PROTO_ICMPV6_CODE, &[0])];
        let reply: [(u16, &[u8]); 2] =
            [(attr::PROTO_ICMPV6_TYPE, &[129]), (attr::PROTO_ICMPV6_CODE, &[0])];
        message(&mut w, v6, 58, &echo, &reply);
        message(&mut w, v4, 47, &[], &[]);
        w.buffer
    }

    #[test]
    fn the_first_packet_is_read_after_dnat() {
        let bytes = datagram();
        let entries: Vec<_> = decode(&bytes).collect();
        let [tcp, echo, gre] = &entries[..] else { panic!("{entries:?}") };
        let first = tcp.first_packet();
        assert_eq!((first.source, first.destination), (tcp.original.source, tcp.reply.source));
        assert_eq!(first.transport, Transport::Tcp { source: 40_000, destination: 8080 });
        assert!(tcp.is_revoked());
        assert_eq!(echo.first_packet().icmp(), Some((128, 0)));
        assert_eq!(gre.first_packet().transport, Transport::Other(47));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            decode(&bytes).count();
        }

        #[test]
        fn no_damaged_reply_panics(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = datagram();
            for (at, value) in damage {
                *at.get_mut(&mut bytes) = value;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            for entry in decode(&bytes) {
                entry.first_packet();
            }
        }
    }
}
