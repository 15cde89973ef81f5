//! The value of each attribute we know, apart from the multiprotocol ones.

use std::net::Ipv4Addr;

use super::{Collected, Raw};
use crate::attribute::{Aggregator, Community, LargeCommunity, Origin, kind};
use crate::decode::as_path;
use crate::decode::multiprotocol::is_host_v4;
use crate::decode::reader::Reader;
use crate::message::{NextHop, NotificationCode};
use crate::negotiated::{Negotiated, PeerKind};

use NotificationCode::{
    AttributeLengthError, InvalidNextHop, InvalidOrigin, MalformedAsPath, OptionalAttributeError,
};

impl Collected {
    /// Stores the value; on a fault nothing is stored and the code says what it was.
    pub(super) fn value(
        &mut self,
        raw: &Raw<'_>,
        session: &Negotiated,
    ) -> Result<(), NotificationCode> {
        let value = raw.value;
        let to = &mut self.attributes;
        match raw.kind {
            kind::ORIGIN => to.origin = origin(value)?,
            kind::AS_PATH => {
                let path = as_path::decode(value, session.four_octet_as);
                let path = path.ok_or(MalformedAsPath)?;
                // We are in no confederation that an external peer could be in (RFC 5065 §5).
                let confederation = path.segments.iter().any(|s| s.kind.is_confederation());
                if confederation && session.peer_kind() == PeerKind::External {
                    return Err(MalformedAsPath);
                }
                to.as_path = path;
            }
            kind::NEXT_HOP => self.next_hop = Some(next_hop(value)?),
            kind::MULTI_EXIT_DISC => to.med = Some(u32::from_be_bytes(exactly(value)?)),
            kind::LOCAL_PREF => to.local_pref = Some(u32::from_be_bytes(exactly(value)?)),
            kind::ATOMIC_AGGREGATE => {
                exactly::<0>(value)?;
                to.atomic_aggregate = true;
            }
            kind::AGGREGATOR => to.aggregator = Some(aggregator(value, session.four_octet_as)?),
            kind::COMMUNITIES => {
                to.communities = list(value, |octets| Community(u32::from_be_bytes(octets)))?;
            }
            kind::ORIGINATOR_ID => to.originator_id = Some(exactly::<4>(value)?.into()),
            kind::CLUSTER_LIST => to.cluster_list = list(value, |octets: [u8; 4]| octets.into())?,
            kind::EXTENDED_COMMUNITIES => to.extended_communities = list(value, |octets| octets)?,
            kind::LARGE_COMMUNITY => to.large_communities = list(value, large_community)?,
            kind::ONLY_TO_CUSTOMER => to.only_to_customer = Some(only_to_customer(value)?),
            kind::AS4_PATH => {
                self.as4_path = Some(as_path::decode_as4(value).ok_or(OptionalAttributeError)?);
            }
            kind::AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(value, true)?),
            _ => unreachable!("every attribute with a rule has a value"),
        }
        Ok(())
    }
}

fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], NotificationCode> {
    value.try_into().map_err(|_| AttributeLengthError)
}

/// One or more elements of N octets.
fn list<const N: usize, T>(
    value: &[u8],
    element: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, NotificationCode> {
    match value.as_chunks::<N>() {
        ([], _) => Err(AttributeLengthError),
        (elements, []) => Ok(elements.iter().map(|octets| element(*octets)).collect()),
        (_, _) => Err(AttributeLengthError),
    }
}

fn origin(value: &[u8]) -> Result<Origin, NotificationCode> {
    match exactly(value)? {
        [0] => Ok(Origin::Igp),
        [1] => Ok(Origin::Egp),
        [2] => Ok(Origin::Incomplete),
        [_] => Err(InvalidOrigin),
    }
}

fn next_hop(value: &[u8]) -> Result<NextHop, NotificationCode> {
    let address = Ipv4Addr::from(exactly::<4>(value)?);
    if is_host_v4(address) { Ok(NextHop::V4(address)) } else { Err(InvalidNextHop) }
}

/// AS 0 aggregates nothing (RFC 7607 §2).
fn aggregator(value: &[u8], four_octets: bool) -> Result<Aggregator, NotificationCode> {
    let mut octets = Reader::new(value);
    let as_number = match four_octets {
        true => octets.u32(),
        false => octets.u16().map(u32::from),
    };
    match (as_number, octets.ipv4()) {
        (Some(0), _) => Err(OptionalAttributeError),
        (Some(as_number), Some(router_id)) if octets.is_empty() => {
            Ok(Aggregator { as_number, router_id })
        }
        _ => Err(AttributeLengthError),
    }
}

fn large_community(octets: [u8; 12]) -> LargeCommunity {
    let mut octets = Reader::new(&octets);
    let mut word = || octets.u32().unwrap_or_default();
    LargeCommunity { global: word(), local1: word(), local2: word() }
}

fn only_to_customer(value: &[u8]) -> Result<u32, NotificationCode> {
    exactly(value).map(u32::from_be_bytes)
}
