//! Case directories through the whole pipeline: `objects.yaml` is read, converted, compiled and
//! lowered; `packets.yaml` is put to both evaluators; `ruleset.golden`, `nft.golden` and
//! `iptables.golden` hold what came out. Every case also runs in other orders of events.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use brindle_integration_tests::case::{self, Expectation, expand, golden};
use brindle_integration_tests::worlds::compare::compare;
use brindle_integration_tests::worlds::compiled::{Compiled, inputs};
use brindle_integration_tests::worlds::yaml;
use brindle_oracle::{World, judge};

#[test]
fn cases() -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut cases: Vec<PathBuf> = fs::read_dir(&directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()
        .with_context(|| format!("listing {directory:?}"))?;
    cases.sort();
    ensure!(cases.len() >= 25, "only {} cases in {directory:?}", cases.len());
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {:#}", case.display(), check(case).err()?)))
        .collect();
    ensure!(failed.is_empty(), "{} of {} fail\n{}", failed.len(), cases.len(), failed.join("\n"));
    Ok(())
}

fn check(case: &Path) -> Result<()> {
    let text = fs::read_to_string(case.join("objects.yaml")).context("objects.yaml")?;
    let world = yaml::read(&text)?;
    let compiled = Compiled::of(&text, &world)?;
    let packets = case::read_packets(&case.join("packets.yaml"))?;
    ensure!(!packets.is_empty(), "packets.yaml has no flows");
    for expected in &packets {
        check_packet(&world, &compiled, expected)?;
    }
    for inputs in inputs(&text, &world)? {
        expand::check(&inputs.node, &inputs.updates)?;
    }
    let names = world.nodes.iter().map(|n| n.metadata.name.clone().unwrap_or_default());
    let nodes: Vec<_> = names.zip(compiled.nodes()).collect();
    golden::check(&case.join("ruleset.golden"), &golden::ruleset(&nodes)?)?;
    golden::check(&case.join("nft.golden"), &golden::nft(&nodes))?;
    golden::check(&case.join("iptables.golden"), &golden::iptables(&nodes))
}

fn check_packet(world: &World, compiled: &Compiled, expected: &Expectation) -> Result<()> {
    let flow = case::flow::parse(world, &expected.flow)?;
    let outcome = judge(world, &flow);
    let found = Expectation::of(expected.flow.clone(), &outcome);
    ensure!(found == *expected, "the oracle says {found:?}, expected was {expected:?}");
    match compare(&outcome, &compiled.judge(&flow)) {
        None => Ok(()),
        Some(mismatch) => anyhow::bail!("{}: {mismatch}", expected.flow),
    }
}
