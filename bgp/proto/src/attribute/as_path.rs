//! AS_PATH (RFC 4271 §4.3, §5.1.2; RFC 5065 §3 for confederation segments).

use std::fmt;

/// A path of AS numbers in segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AsPath {
    /// Segments, nearest AS first; none is empty or longer than 255.
    pub segments: Vec<Segment>,
}

/// One segment of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment {
    /// How to read it.
    pub kind: SegmentKind,
    /// The AS numbers: 1 to 255.
    pub numbers: Vec<u32>,
}

/// The type of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SegmentKind {
    /// Unordered, from aggregation (deprecated by RFC 9774).
    Set,
    /// Ordered.
    Sequence,
    /// Ordered, member ASes of a confederation.
    ConfedSequence,
    /// Unordered, member ASes of a confederation.
    ConfedSet,
}

/// Most AS numbers in one segment: its count is one octet.
pub const MAX_SEGMENT: usize = 255;

impl SegmentKind {
    /// The octet of the wire.
    pub fn octet(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Sequence => 2,
            Self::ConfedSequence => 3,
            Self::ConfedSet => 4,
        }
    }

    /// From the octet of the wire.
    pub fn from_octet(octet: u8) -> Option<Self> {
        [Self::Set, Self::Sequence, Self::ConfedSequence, Self::ConfedSet]
            .into_iter()
            .find(|kind| kind.octet() == octet)
    }

    /// Whether RFC 5065 defines it.
    pub fn is_confederation(self) -> bool {
        matches!(self, Self::ConfedSequence | Self::ConfedSet)
    }
}

impl AsPath {
    /// One sequence of these numbers, cut into segments of 255.
    pub fn sequence(numbers: impl IntoIterator<Item = u32>) -> Self {
        let numbers: Vec<u32> = numbers.into_iter().collect();
        let segment =
            |chunk: &[u32]| Segment { kind: SegmentKind::Sequence, numbers: chunk.to_vec() };
        Self { segments: numbers.chunks(MAX_SEGMENT).map(segment).collect() }
    }

    /// Whether there is no AS at all: a route from within.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Every AS number in order of appearance.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.segments.iter().flat_map(|segment| segment.numbers.iter().copied())
    }

    /// Length for comparing paths: a set counts one (RFC 4271 §9.1.2.2 a), confederation
    /// segments nothing (RFC 5065 §5.3).
    pub fn length(&self) -> usize {
        let length = |segment: &Segment| match segment.kind {
            SegmentKind::Sequence => segment.numbers.len(),
            SegmentKind::Set => 1,
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
        };
        self.segments.iter().map(length).sum()
    }

    /// The neighbouring AS: the first of a leading sequence, confederation segments skipped
    /// (RFC 4271 §9.1.2.2 c); `None` for an empty path or one that starts with a set.
    pub fn neighbor(&self) -> Option<u32> {
        let first = self.segments.iter().find(|segment| !segment.kind.is_confederation())?;
        match first.kind {
            SegmentKind::Sequence => first.numbers.first().copied(),
            _ => None,
        }
    }

    /// Whether any AS_SET or AS_CONFED_SET is in it (RFC 9774).
    pub fn has_set(&self) -> bool {
        let set = |kind| matches!(kind, SegmentKind::Set | SegmentKind::ConfedSet);
        self.segments.iter().any(|segment| set(segment.kind))
    }

    /// Puts an AS in front (RFC 4271 §5.1.2 b).
    pub fn prepend(&mut self, number: u32) {
        match self.segments.first_mut() {
            Some(Segment { kind: SegmentKind::Sequence, numbers })
                if numbers.len() < MAX_SEGMENT =>
            {
                numbers.insert(0, number);
            }
            _ => {
                let segment = Segment { kind: SegmentKind::Sequence, numbers: vec![number] };
                self.segments.insert(0, segment);
            }
        }
    }
}

impl fmt::Display for AsPath {
    /// As routers print it: `65001 65002 {65003 65004} (65005)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            let (open, close) = match segment.kind {
                SegmentKind::Sequence => ("", ""),
                SegmentKind::Set => ("{", "}"),
                SegmentKind::ConfedSequence => ("(", ")"),
                SegmentKind::ConfedSet => ("[", "]"),
            };
            f.write_str(open)?;
            for (j, number) in segment.numbers.iter().enumerate() {
                write!(f, "{}{number}", if j > 0 { " " } else { "" })?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}
