//! Prefixes: a length in bits and as many octets as it needs (RFC 4271 §4.3, RFC 4760 §5).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::reader::Reader;
use crate::family::Family;

/// Appends the prefixes of a field, bits past the length cleared. `false` if the field is not a
/// list of prefixes: a length over that of the address, or octets missing.
pub(super) fn decode(octets: &[u8], family: Family, into: &mut Vec<IpNet>) -> bool {
    let mut octets = Reader::new(octets);
    while !octets.is_empty() {
        match prefix(&mut octets, family) {
            Some(prefix) => into.push(prefix),
            None => return false,
        }
    }
    true
}

fn prefix(octets: &mut Reader<'_>, family: Family) -> Option<IpNet> {
    let bits = octets.u8()?;
    let significant = octets.take(usize::from(bits).div_ceil(8))?;
    Some(match family {
        Family::Ipv4Unicast => {
            let address = Ipv4Addr::from(padded::<4>(significant)?);
            Ipv4Net::new(address, bits).ok()?.trunc().into()
        }
        Family::Ipv6Unicast => {
            let address = Ipv6Addr::from(padded::<16>(significant)?);
            Ipv6Net::new(address, bits).ok()?.trunc().into()
        }
    })
}

fn padded<const N: usize>(significant: &[u8]) -> Option<[u8; N]> {
    let mut octets = [0; N];
    octets.get_mut(..significant.len())?.copy_from_slice(significant);
    Some(octets)
}
