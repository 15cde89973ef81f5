//! OPEN and its capabilities (RFC 4271 §4.2, §6.2; RFC 5492; RFC 9072).

use std::net::Ipv4Addr;

use super::reader::Reader;
use crate::capability::{
    Capability, ExtendedNextHop, GracefulRestart, LongLivedFamily, RestartFamily, Role, code,
};
use crate::family::AfiSafi;
use crate::message::{Notification, NotificationCode, Open};

const VERSION: u8 = 4;
/// Optional parameter type: capabilities (RFC 5492 §4).
const CAPABILITIES: u8 = 2;
/// Optional parameter type that announces extended lengths (RFC 9072 §2).
const EXTENDED_LENGTH: u8 = 255;

pub(super) fn decode(body: &[u8]) -> Result<Open, Notification> {
    let mut body = Reader::new(body);
    let malformed = || NotificationCode::OpenUnspecific.empty();
    let version = body.u8().ok_or_else(malformed)?;
    if version != VERSION {
        return Err(NotificationCode::UnsupportedVersion.with_data([0, VERSION]));
    }
    let short_as = body.u16().ok_or_else(malformed)?;
    let hold_time = body.u16().ok_or_else(malformed)?;
    let router_id = body.ipv4().ok_or_else(malformed)?;
    let parameters_len = body.u8().ok_or_else(malformed)?;
    let parameters = Parameters::new(parameters_len, body.rest()).ok_or_else(malformed)?;
    let capabilities = parameters.capabilities()?;

    let open = Open {
        as_number: four_octet_as(&capabilities).unwrap_or_else(|| short_as.into()),
        hold_time,
        router_id,
        capabilities,
    };
    check_fields(&open)?;
    Ok(open)
}

/// RFC 4271 §6.2 as far as it needs no configuration; RFC 6286 §2.1, RFC 7607 §2.
fn check_fields(open: &Open) -> Result<(), Notification> {
    if open.as_number == 0 {
        return Err(NotificationCode::BadPeerAs.empty());
    }
    if open.router_id == Ipv4Addr::UNSPECIFIED {
        return Err(NotificationCode::BadBgpIdentifier.empty());
    }
    if matches!(open.hold_time, 1 | 2) {
        return Err(NotificationCode::UnacceptableHoldTime.empty());
    }
    Ok(())
}

fn four_octet_as(capabilities: &[Capability]) -> Option<u32> {
    capabilities.iter().find_map(|capability| match capability {
        Capability::FourOctetAs(number) => Some(*number),
        _ => None,
    })
}

/// The optional parameters with the width of their length fields.
struct Parameters<'a> {
    octets: Reader<'a>,
    extended: bool,
}

impl<'a> Parameters<'a> {
    /// `None` if the length field does not tell the number of octets that follow it.
    fn new(len: u8, octets: &'a [u8]) -> Option<Self> {
        let extended = len != 0 && octets.first() == Some(&EXTENDED_LENGTH);
        let mut octets = Reader::new(octets);
        let declared = if extended {
            octets.u8()?;
            usize::from(octets.u16()?)
        } else {
            usize::from(len)
        };
        (octets.rest().len() == declared).then_some(Self { octets, extended })
    }

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let kind = self.octets.u8()?;
        let len = match self.extended {
            true => usize::from(self.octets.u16()?),
            false => usize::from(self.octets.u8()?),
        };
        Some((kind, self.octets.take(len)?))
    }

    fn capabilities(mut self) -> Result<Vec<Capability>, Notification> {
        let mut capabilities = Vec::new();
        while !self.octets.is_empty() {
            match self.next() {
                Some((CAPABILITIES, value)) => decode_capabilities(value, &mut capabilities)?,
                Some(_) => return Err(NotificationCode::UnsupportedOptionalParameter.empty()),
                None => return Err(NotificationCode::OpenUnspecific.empty()),
            }
        }
        Ok(capabilities)
    }
}

fn decode_capabilities(value: &[u8], into: &mut Vec<Capability>) -> Result<(), Notification> {
    let mut octets = Reader::new(value);
    while !octets.is_empty() {
        let whole = octets.rest();
        let value = octets.u8().zip(octets.u8()).and_then(|(code, len)| {
            let value = octets.take(usize::from(len))?;
            capability(code, value)
        });
        let malformed = || NotificationCode::OpenUnspecific.with_data(whole);
        into.push(value.ok_or_else(malformed)?);
    }
    Ok(())
}

/// `None` if a capability we know has a length that it cannot have.
fn capability(code: u8, value: &[u8]) -> Option<Capability> {
    let mut octets = Reader::new(value);
    let capability = match code {
        code::MULTIPROTOCOL => Capability::Multiprotocol(multiprotocol(&mut octets)?),
        code::ROUTE_REFRESH => Capability::RouteRefresh,
        code::EXTENDED_NEXT_HOP => Capability::ExtendedNextHop(many(&mut octets, next_hop)?),
        code::EXTENDED_MESSAGE => Capability::ExtendedMessage,
        code::ROLE => Capability::Role(Role::from_octet(octets.u8()?)),
        code::GRACEFUL_RESTART => Capability::GracefulRestart(graceful_restart(&mut octets)?),
        code::FOUR_OCTET_AS => Capability::FourOctetAs(octets.u32()?),
        code::ENHANCED_ROUTE_REFRESH => Capability::EnhancedRouteRefresh,
        code::LONG_LIVED_GRACEFUL_RESTART => {
            Capability::LongLivedGracefulRestart(many(&mut octets, long_lived)?)
        }
        code::FQDN => Capability::Fqdn { host: name(&mut octets)?, domain: name(&mut octets)? },
        _ => return Some(Capability::Unknown { code, value: value.to_vec() }),
    };
    octets.is_empty().then_some(capability)
}

/// As many elements as there are octets for; an element consumes at least one.
fn many<'a, T>(
    octets: &mut Reader<'a>,
    element: impl Fn(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut all = Vec::new();
    while !octets.is_empty() {
        all.push(element(octets)?);
    }
    Some(all)
}

/// AFI, reserved octet, SAFI (RFC 4760 §8).
fn multiprotocol(octets: &mut Reader<'_>) -> Option<AfiSafi> {
    let afi = octets.u16()?;
    octets.u8()?;
    Some(AfiSafi { afi, safi: octets.u8()? })
}

fn afi_safi(octets: &mut Reader<'_>) -> Option<AfiSafi> {
    Some(AfiSafi { afi: octets.u16()?, safi: octets.u8()? })
}

/// AFI, two-octet SAFI, next hop AFI (RFC 8950 §4).
fn next_hop(octets: &mut Reader<'_>) -> Option<ExtendedNextHop> {
    let (afi, safi) = (octets.u16()?, octets.u16()?);
    // A SAFI is one octet everywhere else: a larger one names nothing that we could know.
    let safi = u8::try_from(safi).unwrap_or(u8::MAX);
    Some(ExtendedNextHop { family: AfiSafi { afi, safi }, next_hop_afi: octets.u16()? })
}

/// Flags and time in two octets, then a family and its flags each (RFC 4724 §3). A family that
/// stands twice counts once: the last one.
fn graceful_restart(octets: &mut Reader<'_>) -> Option<GracefulRestart> {
    let head = octets.u16()?;
    let listed = many(octets, |octets| {
        let family = afi_safi(octets)?;
        Some(RestartFamily { family, forwarding: octets.u8()? & 0x80 != 0 })
    })?;
    let mut families: Vec<RestartFamily> = Vec::new();
    for entry in listed {
        match families.iter_mut().find(|known| known.family == entry.family) {
            Some(known) => *known = entry,
            None => families.push(entry),
        }
    }
    Some(GracefulRestart {
        restarted: head & 0x8000 != 0,
        notification: head & 0x4000 != 0,
        restart_time: head & 0x0fff,
        families,
    })
}

/// AFI, SAFI, flags, 24-bit stale time (RFC 9494 §3.1).
fn long_lived(octets: &mut Reader<'_>) -> Option<LongLivedFamily> {
    let family = afi_safi(octets)?;
    let forwarding = octets.u8()? & 0x80 != 0;
    let [high, mid, low] = octets.array()?;
    Some(LongLivedFamily {
        family,
        forwarding,
        stale_time: u32::from_be_bytes([0, high, mid, low]),
    })
}

fn name(octets: &mut Reader<'_>) -> Option<Vec<u8>> {
    let len = octets.u8()?;
    octets.take(usize::from(len)).map(<[u8]>::to_vec)
}
