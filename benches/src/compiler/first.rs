//! The first compile: everything at once, as an agent has it when it starts.

use anyhow::{Result, ensure};
use brindle_compiler::Compiler;

use super::objects::Maker;
use super::shapes::{self, Shape};
use super::{Cost, size};
use crate::heap::Heap;
use crate::row::Row;

/// Three shapes at three sizes.
pub fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for divisor in [100, 10, 1] {
        let (endpoints, policies) = (250_000 / divisor, 10_000 / divisor);
        let case = format!(
            "label policies, {} endpoints x {} policies, 200 local",
            size(endpoints),
            size(policies)
        );
        rows.extend(measure(&case, |maker| {
            shapes::label_policies(maker, endpoints, policies, 200)
        })?);
    }
    for policies in [100, 1_000, 10_000] {
        let case = format!("network sets, 10k endpoints x {} policies, 200 local", size(policies));
        rows.extend(measure(&case, |maker| shapes::network_sets(maker, 10_000, policies, 200))?);
    }
    for customers in [1_000, 10_000, 100_000] {
        let case = format!("isolated customers, {} namespaces, 100 local", size(customers));
        rows.extend(measure(&case, |maker| shapes::customers(maker, customers, 100))?);
    }
    Ok(rows)
}

/// Seconds from the first update to the end of the flush, the heap that is live then, and how often
/// it was asked. Making the inputs is a source's work: it is in the heap and not in the time.
fn measure(case: &str, shape: impl FnOnce(&mut Maker) -> Shape) -> Result<[Row; 3]> {
    let heap = Heap::now();
    let mut maker = Maker::default();
    let Shape { updates, local, policies } = shape(&mut maker);
    let mut compiler = Compiler::new("n0".into());
    let ((), cost) = Cost::of(|| {
        updates.into_iter().for_each(|update| compiler.apply(update));
        drop(compiler.flush());
    });
    let live = heap.megabytes_since();
    let ruleset = compiler.ruleset();
    let found = (ruleset.endpoints.len(), ruleset.policies.len());
    ensure!(found == (local, policies), "{case}: {found:?} are in force");
    Ok([
        Row::absolute(format!("{case}: first compile"), cost.time.as_secs_f64(), "s"),
        Row::absolute(format!("{case}: live heap"), live, "MB"),
        Row::absolute(format!("{case}: allocations"), cost.allocations as f64, "allocs"),
    ])
}
