//! Reading selectors: what each policy and peer of a source costs once.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use brindle_model::selector::Selector;

use crate::row::Row;

const BATCHES: usize = 101;
const A_BATCH: usize = 2_000;

/// Selectors as users write them, short and long.
const TEXTS: [(&str, &str); 2] = [
    ("parse: one label", "role == 'frontend'"),
    (
        "parse: four terms",
        "projectcalico.org/namespace == 'shop' && tier in {'web', 'api'} && !has(quarantine) && env != 'test'",
    ),
];

/// Rows: the median batch, per selector.
///
/// # Errors
/// A text is no selector.
pub fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (case, text) in TEXTS {
        let mut times = Vec::with_capacity(BATCHES);
        for _ in 0..BATCHES {
            let started = Instant::now();
            for _ in 0..A_BATCH {
                black_box(Selector::parse(black_box(text)).context(case)?);
            }
            times.push(started.elapsed());
        }
        times.sort_unstable();
        let median = times[BATCHES / 2].as_secs_f64() * 1e6 / A_BATCH as f64;
        rows.push(Row::absolute(case, median, "us"));
    }
    Ok(rows)
}
