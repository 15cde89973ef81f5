//! Reading selectors: what each policy and peer of a source costs once.

use std::hint::black_box;

use anyhow::{Context, Result};
use brindle_model::selector::Selector;

use super::Cost;
use crate::row::Row;

const BATCHES: usize = 101;
const A_BATCH: usize = 500;

/// Short and long as users write them, and as long as the language allows.
pub fn rows() -> Result<Vec<Row>> {
    let one = "role == 'frontend'".to_owned();
    let four = "projectcalico.org/namespace == 'shop' && tier in {'web', 'api'} && \
                !has(quarantine) && env != 'test'";
    let forty: Vec<_> = (0..30).map(|i| format!("label-{i:02} == 'value-{i:02}'")).collect();
    let mut rows = Vec::new();
    for (case, text) in [
        ("selector parse, 1 term", one),
        ("selector parse, 4 terms", four.to_owned()),
        ("selector parse, 30 terms", forty.join(" && ")),
    ] {
        rows.extend(measure(case, &text)?);
    }
    Ok(rows)
}

/// The median batch, for one selector.
fn measure(case: &str, text: &str) -> Result<[Row; 2]> {
    Selector::parse(text).context("the text is a selector")?;
    let run = || {
        let ((), mut cost) = Cost::of(|| {
            for _ in 0..A_BATCH {
                drop(black_box(Selector::parse(black_box(text))));
            }
        });
        cost.allocations /= A_BATCH as u64;
        cost
    };
    let mut costs: Vec<_> = (0..BATCHES).map(|_| run()).collect();
    let [mut time, allocations] = Cost::rows(case, &mut costs);
    time.value /= A_BATCH as f64;
    Ok([time, allocations])
}
