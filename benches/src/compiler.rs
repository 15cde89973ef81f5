//! The policy engine: what the first compile of a large cluster takes in time and heap, what each
//! kind of change costs, how fast selectors are read and packets judged.
//!
//! Every case is measured at three sizes, a tenth of the next, so that its growth can be read off;
//! the case is named after the size. Time is of one thread; the heap is counted
//! ([`crate::heap`]), inputs and shared strings included, as an agent holds them too.

mod changes;
mod cluster;
mod first;
mod objects;
mod selectors;
mod shapes;
mod verdicts;

use std::time::Duration;

use anyhow::Result;

use crate::heap::Heap;
use crate::row::Row;

/// All rows.
///
/// # Errors
/// A world did not compile to what it should, so a figure would be of something else.
pub fn compiler() -> Result<Vec<Row>> {
    let parts = [first::rows, cluster::rows, changes::rows, selectors::rows, verdicts::rows];
    let mut rows = Vec::new();
    for part in parts {
        let found = part()?;
        // It takes a minute, so what is known is told.
        found.iter().for_each(|row| eprintln!("  {}: {} {}", row.case, row.value, row.unit));
        rows.extend(found);
    }
    Ok(rows)
}

/// A size in words, as in `250k`.
fn size(n: usize) -> String {
    match n {
        n if n >= 1_000 && n % 1_000 == 0 => format!("{}k", n / 1_000),
        n if n >= 1_000 && n % 100 == 0 => format!("{}.{}k", n / 1_000, n % 1_000 / 100),
        n => n.to_string(),
    }
}

/// What one run of something took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    time: Duration,
    allocations: u64,
}

impl Cost {
    /// Runs something, and hands its result back beside the cost.
    fn of<T>(run: impl FnOnce() -> T) -> (T, Self) {
        let heap = Heap::now();
        let (result, time) = crate::cpu::time(run);
        (result, Self { time, allocations: heap.allocations_since() })
    }

    /// Rows of the medians: microseconds, and allocations.
    fn rows(case: &str, costs: &mut [Self]) -> [Row; 2] {
        let middle = costs.len() / 2;
        costs.sort_unstable_by_key(|cost| cost.time);
        let time = costs[middle].time.as_secs_f64() * 1e6;
        costs.sort_unstable_by_key(|cost| cost.allocations);
        let allocations = costs[middle].allocations as f64;
        [
            Row::absolute(case, time, "us"),
            Row::absolute(format!("{case}: allocations"), allocations, "allocs"),
        ]
    }
}
