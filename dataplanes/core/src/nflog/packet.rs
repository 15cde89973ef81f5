//! The first bytes of an IP packet, read as far as policy cares.

use std::net::{Ipv4Addr, Ipv6Addr};

use brindle_model::net::{Family, Protocol};
use brindle_model::packet::{Packet, Transport};

/// Reads a packet that may be cut anywhere. `None` if there is no whole IP header. Where the
/// upper-layer header is missing (a later fragment, a cut), only the protocol is known.
pub fn packet(bytes: &[u8]) -> Option<Packet> {
    match bytes.first()? >> 4 {
        4 => v4(bytes),
        6 => v6(bytes),
        _ => None,
    }
}

/// RFC 791 §3.1.
fn v4(bytes: &[u8]) -> Option<Packet> {
    let header = bytes.first_chunk::<20>()?;
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    let len = usize::from(header[0] & 0xf) * 4;
    let rest = if fragment || len < 20 { None } else { bytes.get(len..) };
    Some(Packet {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        transport: transport(Family::V4, header[9], rest.unwrap_or_default()),
    })
}

/// RFC 8200 §3 and §4.
fn v6(bytes: &[u8]) -> Option<Packet> {
    let (header, rest) = bytes.split_first_chunk::<40>()?;
    let address = |at: usize| -> Option<Ipv6Addr> {
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(header.get(at..at + 16)?).ok()?))
    };
    let (protocol, rest) = skip_extensions(header[6], rest);
    Some(Packet {
        source: address(8)?.into(),
        destination: address(24)?.into(),
        transport: transport(Family::V6, protocol, rest),
    })
}

/// The upper-layer protocol and header. Empty if that header is in another fragment or cut off.
fn skip_extensions(mut next: u8, mut bytes: &[u8]) -> (u8, &[u8]) {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    loop {
        let Some(&[following, len]) = bytes.first_chunk::<2>() else { return (next, &[]) };
        let len = match next {
            HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(len) + 1) * 8,
            // In units of four bytes, less two (RFC 4302 §2.2).
            AUTHENTICATION => (usize::from(len) + 2) * 4,
            FRAGMENT => 8,
            _ => return (next, bytes),
        };
        let later =
            next == FRAGMENT && bytes.get(2..4).is_none_or(|b| (b[0], b[1] & 0xf8) != (0, 0));
        next = following;
        match bytes.get(len..) {
            Some(rest) if !later => bytes = rest,
            _ => return (next, &[]),
        }
    }
}

fn transport(family: Family, protocol: u8, bytes: &[u8]) -> Transport {
    let icmp = match family {
        Family::V4 => Protocol::ICMP,
        Family::V6 => Protocol::ICMPV6,
    };
    let ports = bytes
        .first_chunk::<4>()
        .map(|[a, b, c, d]| (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])));
    match (Protocol(protocol), ports, bytes) {
        (Protocol::TCP, Some((source, destination)), _) => Transport::Tcp { source, destination },
        (Protocol::UDP, Some((source, destination)), _) => Transport::Udp { source, destination },
        (Protocol::SCTP, Some((source, destination)), _) => Transport::Sctp { source, destination },
        (protocol, _, [icmp_type, code, ..]) if protocol == icmp => {
            Transport::Icmp { icmp_type: *icmp_type, code: *code }
        }
        _ => Transport::Other(protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x46, 0, 0, 0, 0, 0];
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        // One word of options.
        bytes.extend([1, 1, 1, 1]);
        bytes.extend(rest);
        bytes
    }

    fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        bytes.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(rest);
        bytes
    }

    fn read(bytes: &[u8]) -> Transport {
        packet(bytes).expect("an IP header").transport
    }

    #[test]
    fn headers() {
        let tcp = Transport::Tcp { source: 258, destination: 80 };
        let header = [1, 2, 0, 80];
        let found = packet(&v4(6, 0, &header)).unwrap();
        assert_eq!(found.source, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(found.destination, Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(found.transport, tcp);
        let found = packet(&v6(6, &header)).unwrap();
        assert_eq!(found.source.to_string(), "fd00::1");
        assert_eq!(found.destination.to_string(), "fd00::2");
        assert_eq!(found.transport, tcp);
        assert_eq!(read(&v4(17, 0, &header)), Transport::Udp { source: 258, destination: 80 });
        assert_eq!(read(&v6(132, &header)), Transport::Sctp { source: 258, destination: 80 });
        assert_eq!(read(&v4(1, 0, &[8, 0])), Transport::Icmp { icmp_type: 8, code: 0 });
        assert_eq!(read(&v6(58, &[1, 4])), Transport::Icmp { icmp_type: 1, code: 4 });
        // ICMP of the other family is only a number.
        assert_eq!(read(&v6(1, &[8, 0])), Transport::Other(1));
        assert_eq!(read(&v4(47, 0, &header)), Transport::Other(47));
    }

    #[test]
    fn what_is_missing_is_not_guessed() {
        assert_eq!(
            read(&v4(6, 0x2000, &[1, 2, 0, 80])),
            Transport::Tcp { source: 258, destination: 80 }
        );
        assert_eq!(read(&v4(6, 1, &[1, 2, 0, 80])), Transport::Other(6), "a later fragment");
        assert_eq!(read(&v4(6, 0, &[1, 2, 0])), Transport::Other(6), "cut");
        assert_eq!(packet(&v4(6, 0, &[])[..19]), None);
        assert_eq!(packet(&v6(6, &[])[..39]), None);
        assert_eq!(packet(&[0x50; 60]), None);
        assert_eq!(packet(&[]), None);
    }

    #[test]
    fn extension_headers_are_skipped() {
        let mut rest = vec![43, 0, 0, 0, 0, 0, 0, 0];
        rest.extend([60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        rest.extend([51, 0, 0, 0, 0, 0, 0, 0]);
        rest.extend([44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        rest.extend([17, 0, 0, 1, 0, 0, 0, 9]);
        rest.extend([1, 2, 0, 80]);
        assert_eq!(read(&v6(0, &rest)), Transport::Udp { source: 258, destination: 80 });
        let later = [17, 0, 0, 0x08, 0, 0, 0, 9, 1, 2, 0, 80];
        assert_eq!(read(&v6(44, &later)), Transport::Other(17));
        assert_eq!(read(&v6(60, &[17, 255, 0, 0, 0, 0, 0, 0])), Transport::Other(17));
    }
}
