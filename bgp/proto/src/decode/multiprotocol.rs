//! MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760 §3 and §4, RFC 2545 §3, RFC 8950 §3).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::nlri;
use super::reader::Reader;
use crate::family::{AfiSafi, Family};
use crate::message::{NextHop, Reach};
use crate::negotiated::Negotiated;

/// What can be wrong with one.
pub(super) enum Fault {
    /// The prefixes cannot be found; the family if at least that could be read.
    Unreadable(Option<Family>),
    /// The next hop is no host's address; these are the prefixes.
    NextHop(Vec<IpNet>),
}

/// `None` for a family that the session does not carry.
pub(super) fn reach(value: &[u8], session: &Negotiated) -> Result<Option<Reach>, Fault> {
    let mut octets = Reader::new(value);
    let pair = afi_safi(&mut octets)?;
    let Some(family) = carried(pair, session) else { return Ok(None) };
    let unreadable = || Fault::Unreadable(Some(family));
    let len = octets.u8().ok_or_else(unreadable)?;
    let next_hop = octets.take(usize::from(len)).ok_or_else(unreadable)?;
    octets.u8().ok_or_else(unreadable)?;
    let prefixes = prefixes(octets.rest(), family)?;
    let next_hop = decode_next_hop(next_hop, family, session).ok_or_else(unreadable)?;
    match is_host(&next_hop) {
        true => Ok(Some(Reach { family, next_hop, prefixes })),
        false => Err(Fault::NextHop(prefixes)),
    }
}

/// `None` for a family that the session does not carry.
pub(super) fn unreach(
    value: &[u8],
    session: &Negotiated,
) -> Result<Option<(Family, Vec<IpNet>)>, Fault> {
    let mut octets = Reader::new(value);
    let pair = afi_safi(&mut octets)?;
    let Some(family) = carried(pair, session) else { return Ok(None) };
    Ok(Some((family, prefixes(octets.rest(), family)?)))
}

fn afi_safi(octets: &mut Reader<'_>) -> Result<AfiSafi, Fault> {
    let fields = octets.u16().zip(octets.u8());
    fields.map(|(afi, safi)| AfiSafi { afi, safi }).ok_or(Fault::Unreadable(None))
}

fn carried(pair: AfiSafi, session: &Negotiated) -> Option<Family> {
    pair.family().filter(|family| session.families.contains(*family))
}

fn prefixes(field: &[u8], family: Family) -> Result<Vec<IpNet>, Fault> {
    let mut prefixes = Vec::new();
    match nlri::decode(field, family, &mut prefixes) {
        true => Ok(prefixes),
        false => Err(Fault::Unreadable(Some(family))),
    }
}

/// `None` if the length is not one that the family and the session allow (RFC 7606 §7.11).
fn decode_next_hop(octets: &[u8], family: Family, session: &Negotiated) -> Option<NextHop> {
    let ipv6 = family == Family::Ipv6Unicast || session.extended_next_hop;
    if let Ok(address) = <[u8; 4]>::try_from(octets) {
        return (family == Family::Ipv4Unicast).then(|| NextHop::V4(address.into()));
    }
    let mut octets = Reader::new(octets);
    let global = Ipv6Addr::from(octets.array::<16>().filter(|_| ipv6)?);
    let second = octets.array::<16>().map(Ipv6Addr::from);
    octets.is_empty().then(|| {
        let link_local = second.filter(Ipv6Addr::is_unicast_link_local);
        NextHop::V6 { global, link_local }
    })
}

fn is_host(next_hop: &NextHop) -> bool {
    match next_hop {
        NextHop::V4(address) => is_host_v4(*address),
        NextHop::V6 { global, .. } => {
            !(global.is_unspecified() || global.is_multicast() || global.is_loopback())
        }
    }
}

/// Whether an address can be a host's (RFC 4271 §6.3): not "this network", loopback, multicast,
/// reserved or broadcast (RFC 1122 §3.2.1.3).
pub(super) fn is_host_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}
