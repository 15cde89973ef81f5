//! Path attributes in ascending order of type (RFC 4271 §5), two-octet peers served
//! (RFC 6793 §4.2.2).

use std::net::Ipv4Addr;

use crate::attribute::{AsPath, Attributes, MAX_SEGMENT, SegmentKind, UnknownAttribute, kind};
use crate::decode::flags::{EXTENDED_LENGTH, OPTIONAL, PARTIAL, TRANSITIVE};
use crate::message::AS_TRANS;
use crate::negotiated::Negotiated;

/// Writes attributes and, between them in order, those that only pass through.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    unknown: &'a [UnknownAttribute],
}

impl Writer<'_> {
    fn put(&mut self, kind: u8, flags: u8, value: &[u8]) {
        let before = self.unknown.partition_point(|other| other.kind < kind);
        let (before, rest) = self.unknown.split_at(before);
        self.unknown = rest;
        for other in before {
            // Partial: we handed it on without reading it (RFC 4271 §5).
            let flags = OPTIONAL | TRANSITIVE | PARTIAL;
            put_attribute(other.kind, flags, &other.value, self.out);
        }
        if kind != END {
            put_attribute(kind, flags, value, self.out);
        }
    }

    /// A list attribute; an absent one is empty.
    fn put_list<const N: usize>(
        &mut self,
        kind: u8,
        flags: u8,
        list: impl Iterator<Item = [u8; N]>,
    ) {
        let value: Vec<u8> = list.flatten().collect();
        if !value.is_empty() {
            self.put(kind, flags, &value);
        }
    }
}

/// A type past every known one: writes only what passes through.
const END: u8 = u8::MAX;

/// Appends one attribute; a value over 255 octets takes the extended length.
pub(super) fn put_attribute(kind: u8, flags: u8, value: &[u8], out: &mut Vec<u8>) {
    put_header(kind, flags, value.len(), out);
    out.extend_from_slice(value);
}

/// Appends flags, type and length. A length over 65535 is cut: the whole is measured before it
/// is sent, and is too long then.
pub(super) fn put_header(kind: u8, flags: u8, len: usize, out: &mut Vec<u8>) {
    match u8::try_from(len) {
        Ok(short) => out.extend_from_slice(&[flags, kind, short]),
        Err(_) => {
            out.extend_from_slice(&[flags | EXTENDED_LENGTH, kind]);
            out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
}

/// Appends every attribute but the multiprotocol ones. `next_hop` is that of the NLRI field.
pub(super) fn encode(
    attributes: &Attributes,
    next_hop: Option<Ipv4Addr>,
    session: &Negotiated,
    out: &mut Vec<u8>,
) {
    const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;
    let four_octets = session.four_octet_as;
    let a = attributes;
    let mut w = Writer { out, unknown: &a.unknown };
    w.put(kind::ORIGIN, TRANSITIVE, &[a.origin as u8]);
    w.put(kind::AS_PATH, TRANSITIVE, &encode_path(&a.as_path, four_octets));
    if let Some(address) = next_hop {
        w.put(kind::NEXT_HOP, TRANSITIVE, &address.octets());
    }
    if let Some(med) = a.med {
        w.put(kind::MULTI_EXIT_DISC, OPTIONAL, &med.to_be_bytes());
    }
    if let Some(preference) = a.local_pref {
        w.put(kind::LOCAL_PREF, TRANSITIVE, &preference.to_be_bytes());
    }
    if a.atomic_aggregate {
        w.put(kind::ATOMIC_AGGREGATE, TRANSITIVE, &[]);
    }
    if let Some(aggregator) = a.aggregator {
        let mut value = Vec::with_capacity(8);
        put_number(aggregator.as_number, four_octets, &mut value);
        value.extend_from_slice(&aggregator.router_id.octets());
        w.put(kind::AGGREGATOR, OPTIONAL_TRANSITIVE, &value);
    }
    let communities = a.communities.iter().map(|community| community.0.to_be_bytes());
    w.put_list(kind::COMMUNITIES, OPTIONAL_TRANSITIVE, communities);
    if let Some(originator) = a.originator_id {
        w.put(kind::ORIGINATOR_ID, OPTIONAL, &originator.octets());
    }
    w.put_list(kind::CLUSTER_LIST, OPTIONAL, a.cluster_list.iter().map(Ipv4Addr::octets));
    let extended = a.extended_communities.iter().copied();
    w.put_list(kind::EXTENDED_COMMUNITIES, OPTIONAL_TRANSITIVE, extended);
    if !four_octets {
        as4(attributes, &mut w);
    }
    let words = a.large_communities.iter().flat_map(|c| [c.global, c.local1, c.local2]);
    w.put_list(kind::LARGE_COMMUNITY, OPTIONAL_TRANSITIVE, words.map(u32::to_be_bytes));
    if let Some(number) = a.only_to_customer {
        w.put(kind::ONLY_TO_CUSTOMER, OPTIONAL_TRANSITIVE, &number.to_be_bytes());
    }
    w.put(END, 0, &[]);
}

/// What a two-octet peer hands on unread, so that the next four-octet speaker has the numbers
/// that [`AS_TRANS`] stands for. Only where some number does not fit.
fn as4(attributes: &Attributes, w: &mut Writer<'_>) {
    const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;
    let long = |number: u32| u16::try_from(number).is_err();
    let mut path = attributes.as_path.clone();
    path.segments.retain(|segment| !segment.kind.is_confederation());
    if path.numbers().any(long) {
        w.put(kind::AS4_PATH, OPTIONAL_TRANSITIVE, &encode_path(&path, true));
    }
    if let Some(aggregator) = attributes.aggregator.filter(|a| long(a.as_number)) {
        let mut value = aggregator.as_number.to_be_bytes().to_vec();
        value.extend_from_slice(&aggregator.router_id.octets());
        w.put(kind::AS4_AGGREGATOR, OPTIONAL_TRANSITIVE, &value);
    }
}

/// Segments of at most 255 numbers; a longer sequence is cut into several, which means the same.
fn encode_path(path: &AsPath, four_octets: bool) -> Vec<u8> {
    let mut value = Vec::with_capacity(2 + 4 * path.numbers().count());
    for segment in &path.segments {
        debug_assert!(
            segment.kind == SegmentKind::Sequence || segment.numbers.len() <= MAX_SEGMENT,
            "only a sequence can be cut"
        );
        for numbers in segment.numbers.chunks(MAX_SEGMENT) {
            value.extend_from_slice(&[segment.kind.octet(), numbers.len() as u8]);
            numbers.iter().for_each(|number| put_number(*number, four_octets, &mut value));
        }
    }
    value
}

fn put_number(number: u32, four_octets: bool, out: &mut Vec<u8>) {
    match four_octets {
        true => out.extend_from_slice(&number.to_be_bytes()),
        false => {
            out.extend_from_slice(&u16::try_from(number).unwrap_or(AS_TRANS).to_be_bytes());
        }
    }
}
