//! Two codecs by other hands must read what we write, and fault what we fault.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use brindle_bgp_proto::attribute::{
    Aggregator, Attributes, Community, LargeCommunity, Origin, Outcome, SegmentKind,
    UnknownAttribute,
};
use brindle_bgp_proto::decode::frame;
use brindle_bgp_proto::encode::encode;
use brindle_bgp_proto::message::{Message, NextHop, Update};
use brindle_bgp_proto::negotiated::{Negotiated, PeerKind};
use bytes::Bytes;
use ipnet::IpNet;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::prelude::*;
use rustbgpd_wire as other;

use crate::fuzz::{Random, mutate, seeds};
use crate::generate;
use crate::roundtrip::{read_all, session_and_update};
use crate::wire::{decode_update, ebgp, ibgp};

/// What an UPDATE says, without regard to its form.
#[derive(Debug, Default, PartialEq)]
struct Meaning {
    withdrawn: BTreeSet<IpNet>,
    reach: BTreeSet<(NextHop, IpNet)>,
    attributes: Option<Attributes>,
}

fn ours(update: &Update) -> Meaning {
    let each = |reach: &brindle_bgp_proto::message::Reach| {
        let hop = reach.next_hop;
        reach.prefixes.iter().map(move |prefix| (hop, *prefix)).collect::<Vec<_>>()
    };
    let reach: BTreeSet<_> = update.reach.iter().flat_map(each).collect();
    let attributes = (!reach.is_empty()).then(|| (*update.attributes).clone());
    Meaning { withdrawn: update.withdrawn.iter().copied().collect(), reach, attributes }
}

/// rustbgpd's reading, and its verdict; `Err` resets the session.
fn theirs(octets: &[u8], session: &Negotiated) -> Result<other::RevisedParsedUpdate, String> {
    let max = u16::try_from(session.max_message_len()).expect("65535 at most");
    let message = other::decode_message(&mut Bytes::copy_from_slice(octets), max);
    let update = match message.map_err(|error| error.to_string())? {
        other::Message::Update(update) => update,
        message => panic!("an UPDATE was read as {message:?}"),
    };
    let internal = session.peer_kind() == PeerKind::Internal;
    update.parse_revised(session.four_octet_as, internal, false, &[]).map_err(|e| e.to_string())
}

fn v4(prefix: &other::Ipv4Prefix) -> IpNet {
    IpNet::new(prefix.addr.into(), prefix.len).expect("a prefix")
}

fn prefix(prefix: &other::Prefix) -> IpNet {
    match prefix {
        other::Prefix::V4(prefix) => v4(prefix),
        other::Prefix::V6(prefix) => {
            IpNet::new(IpAddr::V6(prefix.addr), prefix.len).expect("a prefix")
        }
    }
}

/// Their attributes in our terms.
fn translate(update: &other::ParsedUpdate) -> Meaning {
    use other::PathAttribute as P;
    let mut a = Attributes::default();
    let mut next_hop = None;
    let mut meaning = Meaning {
        withdrawn: update.withdrawn.iter().map(|entry| v4(&entry.prefix)).collect(),
        ..Meaning::default()
    };
    for attribute in &update.attributes {
        match attribute {
            P::Origin(origin) => {
                a.origin = match origin {
                    other::Origin::Igp => Origin::Igp,
                    other::Origin::Egp => Origin::Egp,
                    other::Origin::Incomplete => Origin::Incomplete,
                }
            }
            P::AsPath(path) => {
                for segment in &path.segments {
                    let (kind, numbers) = match segment {
                        other::AsPathSegment::AsSet(numbers) => (SegmentKind::Set, numbers),
                        other::AsPathSegment::AsSequence(n) => (SegmentKind::Sequence, n),
                    };
                    let numbers = numbers.clone();
                    let segment = brindle_bgp_proto::attribute::Segment { kind, numbers };
                    a.as_path.segments.push(segment);
                }
            }
            P::NextHop(address) => next_hop = Some(*address),
            P::Med(med) => a.med = Some(*med),
            P::LocalPref(preference) => a.local_pref = Some(*preference),
            P::AtomicAggregate => a.atomic_aggregate = true,
            P::Aggregator(by) => {
                a.aggregator = Some(Aggregator { as_number: by.asn, router_id: by.router_id });
            }
            P::Communities(all) | P::CommunitiesPartial(all) => {
                a.communities = all.iter().copied().map(Community).collect();
            }
            P::ExtendedCommunities(all) | P::ExtendedCommunitiesPartial(all) => {
                a.extended_communities = all.iter().map(|c| c.as_u64().to_be_bytes()).collect();
            }
            P::LargeCommunities(all) | P::LargeCommunitiesPartial(all) => {
                let large = |c: &other::LargeCommunity| LargeCommunity {
                    global: c.global_admin,
                    local1: c.local_data1,
                    local2: c.local_data2,
                };
                a.large_communities = all.iter().map(large).collect();
            }
            P::OriginatorId(id) => a.originator_id = Some(*id),
            P::ClusterList(ids) => a.cluster_list.clone_from(ids),
            P::OnlyToCustomer(number) | P::OnlyToCustomerPartial(number) => {
                a.only_to_customer = Some(*number);
            }
            P::MpReachNlri(reach) => {
                let hop = match reach.next_hop {
                    IpAddr::V4(address) => NextHop::V4(address),
                    IpAddr::V6(global) => {
                        NextHop::V6 { global, link_local: reach.link_local_next_hop }
                    }
                };
                let each = reach.announced.iter().map(|entry| (hop, prefix(&entry.prefix)));
                meaning.reach.extend(each);
            }
            P::MpUnreachNlri(unreach) => {
                let each = unreach.withdrawn.iter().map(|entry| prefix(&entry.prefix));
                meaning.withdrawn.extend(each);
            }
            P::Unknown(raw) => {
                a.unknown.push(UnknownAttribute { kind: raw.type_code, value: raw.data.to_vec() })
            }
            unexpected => panic!("not generated: {unexpected:?}"),
        }
    }
    if let Some(hop) = next_hop {
        let hop = NextHop::V4(hop);
        meaning.reach.extend(update.announced.iter().map(|entry| (hop, v4(&entry.prefix))));
    }
    meaning.attributes = (!meaning.reach.is_empty()).then_some(a);
    meaning
}

/// Takes out what the others have other opinions on: attributes that they implement and we do
/// not, sets and confederations in paths (rustbgpd), prefixes that are no unicast (netgauze).
fn in_common(mut update: Update) -> Update {
    let attributes = Arc::make_mut(&mut update.attributes);
    attributes.unknown.retain(|unknown| !matches!(unknown.kind, 11..=63 | 128));
    attributes.as_path.segments.retain(|segment| segment.kind == SegmentKind::Sequence);
    let unicast = |prefix: &IpNet| match prefix.network() {
        IpAddr::V4(address) => address.octets()[0] < 224,
        IpAddr::V6(address) => address.octets()[0] < 0xfe,
    };
    update.withdrawn.retain(unicast);
    update.reach.iter_mut().for_each(|reach| reach.prefixes.retain(unicast));
    update
}

/// Parses with netgauze and writes again.
fn netgauze(octets: &[u8], four_octets: bool) -> Result<(BgpMessage, Vec<u8>), String> {
    let mut context = BgpParsingContext::asn2_default();
    context.set_asn4(four_octets);
    let message = BgpMessage::parse(&mut SliceReader::new(octets), &mut context)
        .map_err(|error| format!("{error:?}"))?;
    let mut written = Vec::new();
    message.write(&mut written).map_err(|error| format!("{error:?}"))?;
    Ok((message, written))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn rustbgpd_reads_what_we_write((session, update) in session_and_update()) {
        let mut octets = Vec::new();
        prop_assume!(encode(&Message::Update(in_common(update)), &session, &mut octets).is_ok());
        let mut rest = &octets[..];
        for own in read_all(&octets, &session) {
            let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            let read = theirs(&rest[..len], &session);
            let read = read.map_err(TestCaseError::fail)?;
            prop_assert_eq!(&read.malformed, &[]);
            prop_assert_eq!(translate(&read.update), ours(&own));
            rest = &rest[len..];
        }
    }

    #[test]
    fn netgauze_writes_what_we_write((session, update) in session_and_update()) {
        prop_assume!(!session.extended_messages);
        let mut octets = Vec::new();
        prop_assume!(encode(&Message::Update(in_common(update)), &session, &mut octets).is_ok());
        let mut rest = &octets[..];
        while !rest.is_empty() {
            let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            let (_, written) = netgauze(&rest[..len], true).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&written[..], &rest[..len]);
            rest = &rest[len..];
        }
    }

    #[test]
    fn both_read_our_opens(open in generate::open()) {
        let mut octets = Vec::new();
        encode(&Message::Open(open.clone()), &Negotiated::before_open(1), &mut octets)
            .expect("fits");
        let message = other::decode_message(&mut Bytes::copy_from_slice(&octets), 4096);
        let Ok(other::Message::Open(read)) = message else {
            return Err(TestCaseError::fail(format!("{message:?}")));
        };
        prop_assert_eq!(read.four_byte_as(), open.as_number);
        prop_assert_eq!((read.hold_time, read.bgp_identifier), (open.hold_time, open.router_id));
        prop_assert_eq!(read.capabilities.len(), open.capabilities.len());
    }
}

/// The verdicts that both have, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Accept,
    Discard,
    Withdraw,
    Reset,
}

fn our_verdict(octets: &[u8], session: &Negotiated) -> Verdict {
    match decode_update(octets, session) {
        Err(_) => Verdict::Reset,
        Ok(update) => match update.errors.iter().map(|error| error.outcome).max() {
            None => Verdict::Accept,
            Some(Outcome::AttributeDiscard) => Verdict::Discard,
            Some(_) => Verdict::Withdraw,
        },
    }
}

fn verdict(fault: &other::MalformedAttribute) -> Verdict {
    match fault.disposition {
        other::ErrorDisposition::AttributeDiscard => Verdict::Discard,
        other::ErrorDisposition::TreatAsWithdraw => Verdict::Withdraw,
        other::ErrorDisposition::SessionReset => Verdict::Reset,
    }
}

fn their_verdict(octets: &[u8], session: &Negotiated) -> Verdict {
    match theirs(octets, session) {
        Err(_) => Verdict::Reset,
        Ok(update) => update.malformed.iter().map(verdict).max().unwrap_or(Verdict::Accept),
    }
}

/// What they fault and we do not, and why that is right.
fn known_to_be_stricter(own: Verdict, octets: &[u8], session: &Negotiated) -> bool {
    let confederation = decode_update(octets, session).is_ok_and(|update| {
        update.attributes.as_path.segments.iter().any(|segment| segment.kind.is_confederation())
    });
    match theirs(octets, session) {
        // RFC 7606 §3 c: flags alone do not hide the prefixes.
        Err(error) => error.contains("type 14 flags") || error.contains("type 15 flags"),
        Ok(update) => {
            update.malformed.iter().filter(|f| verdict(f) > own).all(|f| match f.type_code {
                // RFC 7606 §3 f is stronger than §3 c for these, RFC 6793 §6 says the same.
                6 | 7 | 17 | 18 => true,
                // RFC 7606 §7.5, §7.9, §7.10: from outside discarded, well-formed or not.
                5 | 9 | 10 => session.peer_kind() == PeerKind::External,
                // RFC 9774 §3 is our RIB's policy; confederations are unknown there.
                2 => confederation || matches!(f.error, other::DecodeError::ProhibitedAsSet { .. }),
                // Attributes that we do not implement cannot be malformed to us.
                1..=8 | 14..=16 | 32 | 35 => false,
                _ => true,
            })
        }
    }
}

/// Whether a multiprotocol attribute is of a family that the session does not carry: ignored
/// whole (RFC 4760 §3), where rustbgpd reads it.
fn of_foreign_family(octets: &[u8]) -> bool {
    let withdrawn = usize::from(u16::from_be_bytes([octets[19], octets[20]]));
    let mut rest = octets.get(23 + withdrawn..).unwrap_or_default();
    while let [flags, kind, tail @ ..] = rest {
        let wide = flags & 0x10 != 0;
        let (len, value) = match (wide, tail) {
            (false, [len, value @ ..]) => (usize::from(*len), value),
            (true, [high, low, value @ ..]) => (usize::from(*high) << 8 | usize::from(*low), value),
            _ => return false,
        };
        if matches!(kind, 14 | 15) && !matches!(value, [0, 1 | 2, 1, ..]) {
            return true;
        }
        rest = value.get(len..).unwrap_or_default();
    }
    false
}

/// On mutated messages we are never laxer than rustbgpd, but for what is known. We may be
/// stricter: RFC 7606 §5.2, missing attributes and impossible next hops are judged elsewhere
/// there.
#[test]
fn we_fault_what_rustbgpd_faults() {
    let mut random = Random(0x0123_4567_89ab_cdef);
    let seeds: Vec<_> = seeds().into_iter().filter(|seed| seed[18] == 2).collect();
    let (mut compared, mut equal) = (0, 0);
    for session in [ebgp(), ibgp()] {
        let session = Negotiated { extended_next_hop: true, ..session };
        for _ in 0..20_000 {
            let octets = mutate(&seeds[random.below(seeds.len())], &mut random);
            let whole = frame(&octets, &session) == Ok(Some(octets.len()));
            if !whole || octets[18] != 2 || of_foreign_family(&octets) {
                continue;
            }
            let (own, other) = (our_verdict(&octets, &session), their_verdict(&octets, &session));
            compared += 1;
            equal += usize::from(own == other);
            if own < other {
                let known = known_to_be_stricter(own, &octets, &session);
                assert!(
                    known,
                    "{own:?}, not {other:?}: {octets:?} {:?}",
                    theirs(&octets, &session)
                );
            }
        }
    }
    assert!(compared > 20_000 && equal * 2 > compared, "{equal} of {compared} alike");
}
