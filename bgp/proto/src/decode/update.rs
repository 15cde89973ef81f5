//! UPDATE: three fields, and what remains of them after RFC 7606 (RFC 4271 §4.3, §6.3).

use std::sync::Arc;

use ipnet::IpNet;

use super::attribute::collect;
use super::nlri;
use super::reader::Reader;
use crate::family::Family;
use crate::message::{Notification, NotificationCode, Reach, Update};
use crate::negotiated::Negotiated;

pub(super) fn decode(body: &[u8], session: &Negotiated) -> Result<Update, Notification> {
    let fields = Fields::new(body)?;
    if fields.withdrawn.is_empty() && fields.attributes.is_empty() && fields.nlri.is_empty() {
        let family = Some(Family::Ipv4Unicast).filter(|family| session.families.contains(*family));
        return Ok(Update { end_of_rib: family, ..Update::default() });
    }
    let mut withdrawn = ipv4_prefixes(fields.withdrawn)?;
    let mut prefixes = ipv4_prefixes(fields.nlri)?;
    let mut collected = collect(fields.attributes, session)?;
    collected.require_mandatory(!prefixes.is_empty());

    let announces = !prefixes.is_empty() || collected.has_reach;
    if !session.families.contains(Family::Ipv4Unicast) {
        withdrawn.clear();
        prefixes.clear();
    }
    if !announces && let Some(notification) = collected.reset_without_nlri() {
        return Err(notification);
    }
    let end_of_rib = collected.end_of_rib.filter(|_| {
        withdrawn.is_empty() && prefixes.is_empty() && collected.only_multiprotocol_unreach
    });
    withdrawn.append(&mut collected.unreach);
    let mut reach: Vec<Reach> = collected.reach.take().into_iter().collect();
    match collected.next_hop {
        Some(next_hop) if !prefixes.is_empty() => {
            reach.push(Reach { family: Family::Ipv4Unicast, next_hop, prefixes });
        }
        // No prefixes, or no usable NEXT_HOP, which stands among the errors then.
        _ => withdrawn.extend(prefixes),
    }
    if collected.withdraws() {
        withdrawn.extend(reach.drain(..).flat_map(|reach| reach.prefixes));
    }
    reach.retain(|reach| !collected.disables(reach.family));
    Ok(Update {
        withdrawn,
        reach,
        attributes: Arc::new(collected.attributes),
        end_of_rib,
        errors: collected.errors,
    })
}

/// The three fields as octets.
struct Fields<'a> {
    withdrawn: &'a [u8],
    attributes: &'a [u8],
    nlri: &'a [u8],
}

impl<'a> Fields<'a> {
    /// A length that runs over the message leaves nothing to rely on: session reset
    /// (RFC 7606 §3 b).
    fn new(body: &'a [u8]) -> Result<Self, Notification> {
        let mut body = Reader::new(body);
        let mut field = || {
            let len = body.u16()?;
            body.take(usize::from(len))
        };
        match (field(), field()) {
            (Some(withdrawn), Some(attributes)) => {
                Ok(Self { withdrawn, attributes, nlri: body.rest() })
            }
            _ => Err(NotificationCode::MalformedAttributeList.empty()),
        }
    }
}

/// A syntax error in either IPv4 field resets the session (RFC 7606 §3 i and j, §5.3).
fn ipv4_prefixes(field: &[u8]) -> Result<Vec<IpNet>, Notification> {
    let mut prefixes = Vec::new();
    match nlri::decode(field, Family::Ipv4Unicast, &mut prefixes) {
        true => Ok(prefixes),
        false => Err(NotificationCode::InvalidNetworkField.empty()),
    }
}
