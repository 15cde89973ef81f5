//! Every mistake of [`mistakes::all`] is found by level 0, and soon: what no world shows, nobody would
//! have seen.
//!
//! `cargo test -p brindle-integration-tests --test mistakes -- --nocapture` prints which world found
//! which.

use anyhow::{Context, Result};
use brindle_integration_tests::worlds::compare::{Mismatch, compare};
use brindle_integration_tests::worlds::compiled::{Fabric, inputs};
use brindle_integration_tests::worlds::mistakes::{self, Mistake};
use brindle_integration_tests::worlds::{choose, generate, yaml};
use brindle_oracle::judge;

/// A tenth of the worlds that a run of level 0 asks; the rest is its margin.
const WORLDS: u64 = 3_000;
const FLOWS: usize = 50;

#[test]
fn every_mistake_is_found() -> Result<()> {
    let mut left = mistakes::all();
    assert!(left.len() >= 60, "{} mistakes", left.len());
    for seed in 0..WORLDS {
        if left.is_empty() {
            break;
        }
        let world = generate(seed);
        let inputs =
            inputs(&yaml::write(&world)?, &world).with_context(|| format!("seed {seed}"))?;
        let flows = choose(&world, seed, FLOWS);
        let outcomes: Vec<_> = flows.iter().map(|flow| (flow, judge(&world, flow))).collect();
        let fabric = Fabric::of(&world);
        let found = |mistake: &Mistake| -> Option<Mismatch> {
            let rulesets = mistake.compile(inputs.clone(), &world);
            let rulesets: Vec<_> = rulesets.iter().collect();
            let mut asked = outcomes.iter();
            asked.find_map(|(flow, outcome)| {
                compare(outcome, &mistake.judge(&fabric, &rulesets, flow))
            })
        };
        left.retain(|mistake| match found(mistake) {
            Some(mismatch) => {
                println!("{seed:5}  {}: {:?}", mistake.name, mismatch.kind);
                false
            }
            None => true,
        });
    }
    let left: Vec<_> = left.iter().map(|mistake| mistake.name).collect();
    assert!(left.is_empty(), "{WORLDS} worlds do not show: {left:#?}");
    Ok(())
}
