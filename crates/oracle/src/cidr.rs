//! CIDRs as stored objects may spell them (K16).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A prefix as a masked number. Deliberately not the prefix type that the compiler uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    v6: bool,
    /// Left-aligned in 128 bits, host bits masked.
    bits: u128,
    len: u32,
}

impl Cidr {
    /// Reads a CIDR leniently: leading zeros are decimal, host bits are masked (K16).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (addr, len) = text.split_once('/')?;
        let (v6, bits) = match parse_v4(addr) {
            Some(v4) => (false, u128::from(u32::from(v4)) << 96),
            None => (true, u128::from(addr.parse::<Ipv6Addr>().ok()?)),
        };
        let len = decimal(len).filter(|len| *len <= if v6 { 128 } else { 32 })?;
        Some(Self { v6, bits: bits & mask(len), len })
    }

    /// Reads a CIDR, or an address as the CIDR that holds it alone.
    pub(crate) fn parse_net(text: &str) -> Option<Self> {
        let whole = if text.contains(':') { 128 } else { 32 };
        Self::parse(text).or_else(|| Self::parse(&format!("{text}/{whole}")))
    }

    /// Whether an address lies within; never one of the other family.
    pub(crate) fn contains(self, addr: IpAddr) -> bool {
        let (v6, bits) = match addr {
            IpAddr::V4(v4) => (false, u128::from(u32::from(v4)) << 96),
            IpAddr::V6(v6) => (true, u128::from(v6)),
        };
        self.v6 == v6 && bits & mask(self.len) == self.bits
    }

    /// Whether another lies within and is longer (K14).
    pub(crate) fn strictly_covers(self, other: Self) -> bool {
        self.v6 == other.v6 && other.len > self.len && other.bits & mask(self.len) == self.bits
    }

    /// Whether this is an IPv6 prefix.
    pub(crate) fn is_v6(self) -> bool {
        self.v6
    }

    /// Whether it holds every address of its family.
    pub(crate) fn is_catch_all(self) -> bool {
        self.len == 0
    }

    /// Whether this is of the address's family.
    pub(crate) fn same_family(self, addr: IpAddr) -> bool {
        self.v6 == addr.is_ipv6()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.v6 {
            write!(f, "{}/{}", Ipv6Addr::from(self.bits), self.len)
        } else {
            write!(f, "{}/{}", Ipv4Addr::from((self.bits >> 96) as u32), self.len)
        }
    }
}

fn mask(len: u32) -> u128 {
    u128::MAX.checked_shl(128 - len).unwrap_or(0)
}

fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut parts = text.split('.').map(|part| decimal(part).filter(|n| *n <= 255));
    let octets = [parts.next()??, parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then(|| octets.map(|n| n as u8).into())
}

/// Digits only: no sign, no blank, at least one.
fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k16_spellings() {
        for (text, canonical) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("010.001.0.0/016", Some("10.1.0.0/16")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.1/32", Some("10.0.0.1/32")),
            ("fd00::1/64", Some("fd00::/64")),
            ("FD00::1/128", Some("fd00::1/128")),
            ("::/0", Some("::/0")),
            ("::/000", Some("::/0")),
            ("10.0.0.0", None),
            ("10.0.0.0/33", None),
            ("fd00::/129", None),
            ("10.0.0/8", None),
            ("10.0.0.0.0/8", None),
            ("10.0.0.256/8", None),
            ("10.0.0.0/-1", None),
            ("10.0.0.0/+8", None),
            (" 10.0.0.0/8", None),
            ("10.0.0.0/8 ", None),
            ("10.0.0.0/", None),
            ("/8", None),
            ("", None),
        ] {
            assert_eq!(Cidr::parse(text).map(|c| c.to_string()).as_deref(), canonical, "{text}");
        }
    }

    #[test]
    fn k16_families_are_apart() {
        let all_v4 = Cidr::parse("0.0.0.0/0").expect("a CIDR");
        assert!(all_v4.contains([255, 255, 255, 255].into()));
        assert!(!all_v4.contains("::1".parse().expect("an address")));
        let all_v6 = Cidr::parse("::/0").expect("a CIDR");
        assert!(!all_v6.contains([0, 0, 0, 0].into()));
    }
}
