//! UPDATE, packed: withdrawals and each next hop's prefixes in messages of their own, the
//! multiprotocol attribute first (RFC 7606 §5.1), each as full as the session allows.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::attribute::{self, put_header};
use super::{EncodeError, length_field, write};
use crate::attribute::{Attributes, kind as attribute_kind};
use crate::decode::flags::OPTIONAL;
use crate::decode::kind;
use crate::family::Family;
use crate::message::{HEADER_LEN, NextHop, Reach, Update};
use crate::negotiated::Negotiated;

/// Header and the two length fields.
const FIXED_LEN: usize = HEADER_LEN + 4;
/// Flags, type and extended length of a multiprotocol attribute, then AFI and SAFI.
const MP_UNREACH_LEN: usize = 4 + 3;

/// Octets of a prefix on the wire.
pub(crate) fn prefix_len(prefix: &IpNet) -> usize {
    1 + usize::from(prefix.prefix_len()).div_ceil(8)
}

/// Octets that prefixes of a family may take in one UPDATE with these attributes and next hop.
///
/// # Errors
/// [`EncodeError::AttributesTooLong`] if not even the longest prefix of the family fits;
/// [`EncodeError::NextHopFamily`] if the session does not allow the next hop.
pub fn room_for_prefixes(
    attributes: &Attributes,
    next_hop: &NextHop,
    family: Family,
    session: &Negotiated,
) -> Result<usize, EncodeError> {
    Announcement::new(attributes, next_hop, family, session).map(|announcement| announcement.room)
}

/// Octets that withdrawn prefixes of either family may take in one UPDATE.
pub(crate) fn room_for_withdrawals(session: &Negotiated) -> usize {
    session.max_message_len() - FIXED_LEN - MP_UNREACH_LEN
}

pub(super) fn encode(
    update: &Update,
    session: &Negotiated,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    for family in Family::ALL {
        let of_family = |prefix: &&IpNet| Family::of(prefix) == family;
        let prefixes: Vec<IpNet> = update.withdrawn.iter().filter(of_family).copied().collect();
        for chunk in chunks(&prefixes, room_for_withdrawals(session)) {
            encode_withdrawal(family, chunk, out);
        }
    }
    for reach in &update.reach {
        encode_reach(reach, &update.attributes, session, out)?;
    }
    match update.end_of_rib {
        Some(Family::Ipv4Unicast) => encode_ipv4_withdrawal(&[], out),
        Some(Family::Ipv6Unicast) => encode_withdrawal(Family::Ipv6Unicast, &[], out),
        None => {}
    }
    Ok(())
}

/// Cuts a list of prefixes into pieces of at most `room` octets; `room` holds any one prefix.
fn chunks(mut prefixes: &[IpNet], room: usize) -> impl Iterator<Item = &[IpNet]> {
    std::iter::from_fn(move || {
        let mut left = room;
        let fits = |prefix: &&IpNet| {
            let fits = left.checked_sub(prefix_len(prefix));
            left = fits.unwrap_or_default();
            fits.is_some()
        };
        let count = prefixes.iter().take_while(fits).count();
        let (chunk, rest) = prefixes.split_at(count);
        prefixes = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn encode_withdrawal(family: Family, prefixes: &[IpNet], out: &mut Vec<u8>) {
    match family {
        Family::Ipv4Unicast => encode_ipv4_withdrawal(prefixes, out),
        Family::Ipv6Unicast => write(out, kind::UPDATE, |out| {
            let len = 3 + octets(prefixes);
            let mut attribute = Vec::with_capacity(4 + len);
            put_header(attribute_kind::MP_UNREACH_NLRI, OPTIONAL, len, &mut attribute);
            put_family(family, &mut attribute);
            prefixes.iter().for_each(|prefix| put_prefix(prefix, &mut attribute));
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&length_field(attribute.len()));
            out.extend_from_slice(&attribute);
        }),
    }
}

fn encode_ipv4_withdrawal(prefixes: &[IpNet], out: &mut Vec<u8>) {
    write(out, kind::UPDATE, |out| {
        out.extend_from_slice(&length_field(octets(prefixes)));
        prefixes.iter().for_each(|prefix| put_prefix(prefix, out));
        out.extend_from_slice(&[0, 0]);
    });
}

fn encode_reach(
    reach: &Reach,
    attributes: &Attributes,
    session: &Negotiated,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if let Some(other) = reach.prefixes.iter().find(|prefix| Family::of(prefix) != reach.family) {
        return Err(EncodeError::PrefixFamily(*other));
    }
    let announcement = Announcement::new(attributes, &reach.next_hop, reach.family, session)?;
    for chunk in chunks(&reach.prefixes, announcement.room) {
        announcement.encode(chunk, out);
    }
    Ok(())
}

/// All of an UPDATE that announces but its prefixes.
struct Announcement {
    /// Attributes apart from MP_REACH_NLRI, encoded.
    attributes: Vec<u8>,
    /// MP_REACH_NLRI up to its prefixes, without flags, type and length; `None` where they go
    /// into the NLRI field.
    multiprotocol: Option<Vec<u8>>,
    room: usize,
}

impl Announcement {
    fn new(
        attributes: &Attributes,
        next_hop: &NextHop,
        family: Family,
        session: &Negotiated,
    ) -> Result<Self, EncodeError> {
        let (ipv4, multiprotocol) = split_next_hop(next_hop, family, session)?;
        let mut encoded = Vec::with_capacity(128);
        attribute::encode(attributes, ipv4, session, &mut encoded);
        let len = encoded.len() + multiprotocol.as_ref().map_or(0, |head| 4 + head.len());
        let max = session.max_message_len();
        let longest = match family {
            Family::Ipv4Unicast => 5,
            Family::Ipv6Unicast => 17,
        };
        match max.checked_sub(FIXED_LEN + len) {
            Some(room) if room >= longest => Ok(Self { attributes: encoded, multiprotocol, room }),
            _ => Err(EncodeError::AttributesTooLong { len, max }),
        }
    }

    fn encode(&self, prefixes: &[IpNet], out: &mut Vec<u8>) {
        write(out, kind::UPDATE, |out| {
            out.extend_from_slice(&[0, 0]);
            let Some(head) = &self.multiprotocol else {
                out.extend_from_slice(&length_field(self.attributes.len()));
                out.extend_from_slice(&self.attributes);
                prefixes.iter().for_each(|prefix| put_prefix(prefix, out));
                return;
            };
            let field = out.len();
            out.extend_from_slice(&[0, 0]);
            let len = head.len() + octets(prefixes);
            put_header(attribute_kind::MP_REACH_NLRI, OPTIONAL, len, out);
            out.extend_from_slice(head);
            prefixes.iter().for_each(|prefix| put_prefix(prefix, out));
            out.extend_from_slice(&self.attributes);
            let len = length_field(out.len() - field - 2);
            out[field..field + 2].copy_from_slice(&len);
        });
    }
}

/// Where the next hop stands: in NEXT_HOP, or in MP_REACH_NLRI (whose head is returned).
fn split_next_hop(
    next_hop: &NextHop,
    family: Family,
    session: &Negotiated,
) -> Result<(Option<Ipv4Addr>, Option<Vec<u8>>), EncodeError> {
    match (*next_hop, family) {
        (NextHop::V4(address), Family::Ipv4Unicast) => Ok((Some(address), None)),
        (NextHop::V6 { global, link_local }, _)
            if family == Family::Ipv6Unicast || session.extended_next_hop =>
        {
            let mut head = Vec::with_capacity(37);
            put_family(family, &mut head);
            head.push(if link_local.is_some() { 32 } else { 16 });
            head.extend_from_slice(&global.octets());
            link_local.iter().for_each(|address| head.extend_from_slice(&address.octets()));
            head.push(0);
            Ok((None, Some(head)))
        }
        _ => Err(EncodeError::NextHopFamily { next_hop: next_hop.address(), family }),
    }
}

fn put_family(family: Family, out: &mut Vec<u8>) {
    out.extend_from_slice(&family.afi_safi().afi.to_be_bytes());
    out.push(family.afi_safi().safi);
}

fn octets(prefixes: &[IpNet]) -> usize {
    prefixes.iter().map(prefix_len).sum()
}

fn put_prefix(prefix: &IpNet, out: &mut Vec<u8>) {
    out.push(prefix.prefix_len());
    let significant = prefix_len(prefix) - 1;
    match prefix.network() {
        std::net::IpAddr::V4(address) => out.extend_from_slice(&address.octets()[..significant]),
        std::net::IpAddr::V6(address) => out.extend_from_slice(&address.octets()[..significant]),
    }
}
