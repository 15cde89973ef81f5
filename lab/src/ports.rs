//! Source ports that are not taken again while conntrack may remember them.
//!
//! A SYN on a tuple that was admitted and closed a moment ago passes as part of that connection
//! (10 s after a RST), so a probe with such a port would tell of the past. The range lies below the
//! one from which the kernel takes ports for everything else.

use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first of them.
pub const FIRST: u16 = RANGE.start;
const RANGE: Range<u16> = 10_000..32_768;

static NEXT: AtomicU16 = AtomicU16::new(RANGE.start);

/// The next port; all of them have been given out before one comes again.
pub fn fresh() -> u16 {
    let step = |port: u16| Some(if port + 1 == RANGE.end { RANGE.start } else { port + 1 });
    NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or(RANGE.start)
}
