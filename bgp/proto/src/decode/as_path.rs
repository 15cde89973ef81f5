//! AS_PATH and AS4_PATH, and how the two become one (RFC 4271 §4.3, RFC 6793 §4.2.3).

use super::reader::Reader;
use crate::attribute::{AsPath, MAX_SEGMENT, Segment, SegmentKind};

/// Most AS numbers in a path. No real path comes near; with extended messages a hostile one
/// could hold 16,000, and every later step costs by its length.
const MAX_AS_NUMBERS: usize = 2048;

/// `None` if the path is malformed (RFC 7606 §7.2; AS 0: RFC 7607 §2) or over the cap.
pub(super) fn decode(value: &[u8], four_octets: bool) -> Option<AsPath> {
    let mut octets = Reader::new(value);
    let mut segments = Vec::new();
    let mut total = 0;
    while !octets.is_empty() {
        let kind = SegmentKind::from_octet(octets.u8()?)?;
        let count = usize::from(octets.u8()?);
        total += count;
        if count == 0 || total > MAX_AS_NUMBERS {
            return None;
        }
        let mut numbers = Vec::with_capacity(count);
        for _ in 0..count {
            let number = if four_octets { octets.u32()? } else { octets.u16()?.into() };
            if number == 0 {
                return None;
            }
            numbers.push(number);
        }
        segments.push(Segment { kind, numbers });
    }
    Some(AsPath { segments })
}

/// AS4_PATH without confederation segments, which it must not carry (RFC 6793 §6).
pub(super) fn decode_as4(value: &[u8]) -> Option<AsPath> {
    let mut path = decode(value, true)?;
    path.segments.retain(|segment| !segment.kind.is_confederation());
    Some(path)
}

/// The leading part of the two-octet path that the four-octet one does not cover, then the
/// latter. A four-octet path longer than the other is ignored.
pub(super) fn merge(short: AsPath, long: AsPath) -> AsPath {
    let Some(mut missing) = short.length().checked_sub(long.length()) else { return short };
    let mut segments: Vec<Segment> = Vec::new();
    for segment in &short.segments {
        match segment.kind {
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => segments.push(segment.clone()),
            _ if missing == 0 => break,
            SegmentKind::Set => {
                missing -= 1;
                segments.push(segment.clone());
            }
            SegmentKind::Sequence => {
                let take = segment.numbers.len().min(missing);
                missing -= take;
                let numbers = segment.numbers[..take].to_vec();
                segments.push(Segment { kind: SegmentKind::Sequence, numbers });
            }
        }
    }
    for segment in long.segments {
        append(&mut segments, segment);
    }
    AsPath { segments }
}

/// Joins adjacent sequences where the result fits one segment, so that a path reads the same
/// whether or not it passed a two-octet speaker.
fn append(segments: &mut Vec<Segment>, segment: Segment) {
    match segments.last_mut() {
        Some(last)
            if last.kind == SegmentKind::Sequence
                && segment.kind == SegmentKind::Sequence
                && last.numbers.len() + segment.numbers.len() <= MAX_SEGMENT =>
        {
            last.numbers.extend(segment.numbers);
        }
        _ => segments.push(segment),
    }
}
