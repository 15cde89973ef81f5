//! The path attributes of an UPDATE, collected into one value under RFC 7606.

mod rules;
mod value;

use ipnet::IpNet;

use super::as_path;
use super::multiprotocol::{self, Fault};
use super::reader::Reader;
use crate::attribute::{
    Aggregator, AsPath, AttributeError, Attributes, Outcome, UnknownAttribute, kind,
};
use crate::family::Family;
use crate::message::{AS_TRANS, NextHop, Notification, NotificationCode, Reach};
use crate::negotiated::{Negotiated, NlriErrors};

use rules::{OnError, Rule};

/// Bits of the attribute flags octet (RFC 4271 §4.3).
pub(crate) mod flags {
    pub(crate) const OPTIONAL: u8 = 0x80;
    pub(crate) const TRANSITIVE: u8 = 0x40;
    pub(crate) const PARTIAL: u8 = 0x20;
    pub(crate) const EXTENDED_LENGTH: u8 = 0x10;
}

/// What the attributes of one message said.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) attributes: Attributes,
    /// NEXT_HOP, of the NLRI field.
    pub(super) next_hop: Option<NextHop>,
    /// MP_REACH_NLRI of a family of the session.
    pub(super) reach: Option<Reach>,
    /// An MP_REACH_NLRI was there, of any family.
    pub(super) has_reach: bool,
    /// Prefixes of MP_UNREACH_NLRI.
    pub(super) unreach: Vec<IpNet>,
    /// The family of an MP_UNREACH_NLRI without prefixes.
    pub(super) end_of_rib: Option<Family>,
    /// MP_UNREACH_NLRI was the only attribute.
    pub(super) only_multiprotocol_unreach: bool,
    pub(super) errors: Vec<AttributeError>,
    seen: Seen,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
    /// What to send if nothing can be treated as withdrawn (RFC 7606 §5.2).
    reset: Option<Notification>,
}

/// The attribute types that have occurred: bounds everything that is kept per type.
#[derive(Default)]
struct Seen([u64; 4]);

impl Seen {
    fn contains(&self, kind: u8) -> bool {
        self.0[usize::from(kind / 64)] & (1 << (kind % 64)) != 0
    }

    /// Whether it is new.
    fn insert(&mut self, kind: u8) -> bool {
        let new = !self.contains(kind);
        self.0[usize::from(kind / 64)] |= 1 << (kind % 64);
        new
    }

    fn is_only(&self, kind: u8) -> bool {
        self.contains(kind) && self.0.iter().map(|word| word.count_ones()).sum::<u32>() == 1
    }
}

/// One attribute as it stands on the wire.
struct Raw<'a> {
    flags: u8,
    kind: u8,
    value: &'a [u8],
    /// Flags, type, length and value: the data of a NOTIFICATION.
    whole: &'a [u8],
}

/// Reads the path attributes field.
///
/// # Errors
/// The faults that RFC 7606 does not soften: a second MP_REACH_NLRI or MP_UNREACH_NLRI (§3 g),
/// and one that hides its prefixes (§5.3, §7.11).
pub(super) fn collect(field: &[u8], session: &Negotiated) -> Result<Collected, Notification> {
    let mut collected = Collected::default();
    let mut octets = Reader::new(field);
    while !octets.is_empty() {
        let start = octets.rest();
        let Some(raw) = next(&mut octets) else {
            // RFC 7606 §4: the lengths are in conflict, the field's own is relied upon. Prefixes
            // of a multiprotocol attribute that runs over cannot be found, though (§5.3).
            let kind = start.get(1).copied().unwrap_or_default();
            let code = NotificationCode::AttributeLengthError;
            if matches!(kind, kind::MP_REACH_NLRI | kind::MP_UNREACH_NLRI) {
                return Err(code.with_data(start));
            }
            collected.fault(kind, code, Outcome::TreatAsWithdraw, start);
            break;
        };
        if collected.seen.insert(raw.kind) {
            collected.attribute(&raw, session)?;
        } else if matches!(raw.kind, kind::MP_REACH_NLRI | kind::MP_UNREACH_NLRI) {
            return Err(NotificationCode::MalformedAttributeList.empty());
        } else {
            collected.discard(raw.kind, NotificationCode::MalformedAttributeList);
        }
    }
    collected.only_multiprotocol_unreach = collected.seen.is_only(kind::MP_UNREACH_NLRI);
    collected.merge_as4();
    Ok(collected)
}

fn next<'a>(octets: &mut Reader<'a>) -> Option<Raw<'a>> {
    let start = octets.rest();
    let (flags, kind) = (octets.u8()?, octets.u8()?);
    let len = match flags & flags::EXTENDED_LENGTH {
        0 => usize::from(octets.u8()?),
        _ => usize::from(octets.u16()?),
    };
    let value = octets.take(len)?;
    let whole = &start[..start.len() - octets.rest().len()];
    Some(Raw { flags, kind, value, whole })
}

impl Collected {
    /// Whether the routes of the message are to be treated as withdrawn.
    pub(super) fn withdraws(&self) -> bool {
        self.reset.is_some()
    }

    /// Whether the message made this family unusable.
    pub(super) fn disables(&self, family: Family) -> bool {
        self.errors.iter().any(|error| error.outcome == Outcome::DisableFamily(family))
    }

    /// RFC 7606 §5.2: without reachable prefixes in the message an error that asks for more
    /// than discarding may hide which routes were meant.
    pub(super) fn reset_without_nlri(&mut self) -> Option<Notification> {
        self.reset.take()
    }

    /// Mandatory attributes that are missing: treat-as-withdraw (RFC 7606 §3 d).
    pub(super) fn require_mandatory(&mut self, has_nlri: bool) {
        let announces = has_nlri || self.has_reach;
        let mandatory =
            [(kind::ORIGIN, announces), (kind::AS_PATH, announces), (kind::NEXT_HOP, has_nlri)];
        for (kind, needed) in mandatory {
            if needed && !self.seen.contains(kind) {
                let code = NotificationCode::MissingWellKnownAttribute;
                self.fault(kind, code, Outcome::TreatAsWithdraw, &[kind]);
            }
        }
    }

    fn fault(&mut self, attribute: u8, code: NotificationCode, outcome: Outcome, data: &[u8]) {
        if outcome == Outcome::TreatAsWithdraw {
            self.reset.get_or_insert_with(|| code.with_data(data));
        }
        self.errors.push(AttributeError { attribute, code, outcome });
    }

    /// Told once for each type, however often it occurs.
    fn discard(&mut self, attribute: u8, code: NotificationCode) {
        let error = AttributeError { attribute, code, outcome: Outcome::AttributeDiscard };
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn attribute(&mut self, raw: &Raw<'_>, session: &Negotiated) -> Result<(), Notification> {
        let Some(rule) = Rule::of(raw.kind) else {
            self.unknown(raw);
            return Ok(());
        };
        let on_error = rule.on_error(session);
        if on_error == OnError::Unwanted {
            self.discard(raw.kind, NotificationCode::MalformedAttributeList);
            return Ok(());
        }
        if !rule.flags_agree(raw.flags) {
            self.malformed(raw, NotificationCode::AttributeFlagsError, on_error);
            if on_error == OnError::Discard {
                return Ok(());
            }
        }
        // With wrong flags the value is read all the same: its prefixes must be known.
        match raw.kind {
            kind::MP_REACH_NLRI | kind::MP_UNREACH_NLRI => self.multiprotocol(raw, session)?,
            _ => {
                if let Err(code) = self.value(raw, session) {
                    self.malformed(raw, code, on_error);
                }
            }
        }
        Ok(())
    }

    fn malformed(&mut self, raw: &Raw<'_>, code: NotificationCode, on_error: OnError) {
        match on_error {
            OnError::Withdraw => {
                self.fault(raw.kind, code, Outcome::TreatAsWithdraw, raw.whole);
            }
            OnError::Discard | OnError::Unwanted => self.discard(raw.kind, code),
        }
    }

    /// Optional transitive ones travel on, other optional ones end here; one that claims to be
    /// well-known and is not costs the routes (RFC 4271 §5, §6.3; RFC 7606 §3).
    fn unknown(&mut self, raw: &Raw<'_>) {
        if raw.flags & flags::OPTIONAL == 0 {
            let code = NotificationCode::UnrecognizedWellKnownAttribute;
            self.fault(raw.kind, code, Outcome::TreatAsWithdraw, raw.whole);
        } else if raw.flags & flags::TRANSITIVE != 0 {
            let kept = UnknownAttribute { kind: raw.kind, value: raw.value.to_vec() };
            let at = self.attributes.unknown.partition_point(|other| other.kind < kept.kind);
            self.attributes.unknown.insert(at, kept);
        }
    }

    fn multiprotocol(&mut self, raw: &Raw<'_>, session: &Negotiated) -> Result<(), Notification> {
        let result = if raw.kind == kind::MP_REACH_NLRI {
            self.has_reach = true;
            multiprotocol::reach(raw.value, session).map(|reach| self.reach = reach)
        } else {
            multiprotocol::unreach(raw.value, session).map(|unreach| {
                if let Some((family, prefixes)) = unreach {
                    self.end_of_rib = prefixes.is_empty().then_some(family);
                    self.unreach = prefixes;
                }
            })
        };
        let code = NotificationCode::OptionalAttributeError;
        match result {
            Ok(()) => Ok(()),
            Err(Fault::NextHop(prefixes)) => {
                self.unreach.extend(prefixes);
                self.fault(raw.kind, code, Outcome::TreatAsWithdraw, raw.whole);
                Ok(())
            }
            Err(Fault::Unreadable(Some(family))) if may_disable(session) => {
                self.fault(raw.kind, code, Outcome::DisableFamily(family), &[]);
                Ok(())
            }
            Err(Fault::Unreadable(_)) => Err(code.with_data(raw.whole)),
        }
    }

    /// RFC 6793 §4.2.3; only a two-octet peer leaves something to merge here. Both attributes
    /// are old if somebody who speaks two octets has aggregated since.
    fn merge_as4(&mut self) {
        let aggregator = self.attributes.aggregator.zip(self.as4_aggregator);
        if let Some((short, long)) = aggregator {
            if short.as_number != u32::from(AS_TRANS) {
                return;
            }
            self.attributes.aggregator = Some(long);
        }
        if let Some(long) = self.as4_path.take() {
            let short = std::mem::take(&mut self.attributes.as_path);
            self.attributes.as_path = as_path::merge(short, long);
        }
    }
}

/// Giving up one family only makes sense while another one is left.
fn may_disable(session: &Negotiated) -> bool {
    session.nlri_errors == NlriErrors::DisableFamily && session.families.iter().count() > 1
}
