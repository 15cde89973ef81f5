//! Programs above a backend's limits: what is enforced of them admits no more than the whole would,
//! fits, and follows every edit as a fresh compile would.

use anyhow::{Context, Result};
use brindle_compiler::Compiler;
use brindle_dataplane_core::Backend;
use brindle_dataplane_core::fake::{FakeBackend, FakeKernel};
use brindle_integration_tests::worlds::compiled::{At, Fabric, Inputs, inputs};
use brindle_integration_tests::worlds::{choose, generate, yaml};
use brindle_model::ruleset::{Load, Ruleset};
use brindle_model::verdict::{DecisionId, Verdict};
use brindle_oracle::{World, judge};

const WORLDS: u64 = 400;
const FLOWS: usize = 40;

/// Small enough that worlds exceed them.
fn limits(seed: u64) -> Load {
    match seed % 3 {
        0 => Load { rules: 4, ..Load::UNBOUNDED },
        1 => Load { sets: 3, ..Load::UNBOUNDED },
        _ => Load { rules: 8, members: 10, ..Load::UNBOUNDED },
    }
}

fn compile(inputs: &Inputs, world: &World, limits: Load) -> Compiler {
    let compiler = Compiler::within(inputs.node.clone(), limits);
    let mut compiler =
        if world.drops_pods_to_node { compiler.dropping_pods_to_node() } else { compiler };
    inputs.updates.iter().cloned().for_each(|update| compiler.apply(update));
    compiler.flush();
    compiler
}

#[test]
fn a_cut_program_admits_no_more_than_the_whole() -> Result<()> {
    let (mut admitted, mut denied, mut cut, mut closed) = (0, 0, 0, 0);
    for seed in 0..WORLDS {
        let world = generate(seed);
        let limits = limits(seed);
        let inputs = inputs(&yaml::write(&world)?, &world)?;
        let compilers: Vec<_> =
            inputs.iter().map(|inputs| compile(inputs, &world, limits)).collect();
        let rulesets: Vec<&Ruleset> = compilers.iter().map(Compiler::ruleset).collect();
        for program in rulesets.iter().flat_map(|r| r.programs.values().map(move |p| (r, p))) {
            let load = program.0.load(program.1);
            assert!(load.fits(limits), "seed {seed}: {load}");
        }
        for program in compilers.iter().flat_map(|compiler| compiler.loads(101)) {
            cut += 1;
            closed += usize::from(program.lost.len() == program.policies.len());
            assert!(!program.lost.is_empty() && !program.load.fits(limits), "{program:?}");
            assert!(!program.load.beyond(100, limits).is_empty(), "{program:?}");
        }
        for flow in choose(&world, seed, FLOWS) {
            let outcome = judge(&world, &flow);
            for answer in Fabric::of(&world).judge(&rulesets, &flow) {
                let same = |hop: &&brindle_oracle::Hop| {
                    At::Pod(hop.pod.clone()) == answer.at && hop.direction == answer.direction
                };
                let Some(hop) = outcome.hops.iter().find(same) else { continue };
                let before_policy = !matches!(
                    hop.decision,
                    DecisionId::Rule { .. }
                        | DecisionId::TierEnd { .. }
                        | DecisionId::Profile { .. }
                        | DecisionId::UnknownEndpoint
                );
                if before_policy {
                    continue;
                }
                let false_allow = answer.verdict == Verdict::Allow && hop.verdict == Verdict::Deny;
                assert!(!false_allow, "seed {seed}: {flow:?} at {answer:?}, {hop:?}");
                admitted += usize::from(answer.verdict == Verdict::Allow);
                denied += usize::from(answer.decision == DecisionId::OverCapacity);
            }
        }
    }
    println!(
        "{cut} cut programs, {closed} of them closed; {admitted} admitted, {denied} for capacity"
    );
    assert!(cut > 100 && closed > 10 && cut > closed && admitted > 1_000 && denied > 100);
    Ok(())
}

#[test]
fn edits_over_and_under_a_limit_equal_a_fresh_compile() -> Result<()> {
    let mut crossed = 0;
    for seed in 0..60 {
        let world = generate(seed);
        let limits = limits(seed);
        let of_first_node = inputs(&yaml::write(&world)?, &world)?.into_iter().next();
        let Inputs { node, updates } = of_first_node.context("a node")?;
        let mut backend = FakeBackend::within(FakeKernel::default(), limits);
        let nothing = Inputs { node: node.clone(), updates: Vec::new() };
        let mut compiler = compile(&nothing, &world, limits);
        backend.resync()?;
        let mut was_cut = false;
        // All come, then half of them go again.
        let gone = updates.iter().step_by(2).map(|update| update.absence());
        let walk: Vec<_> = updates.iter().cloned().chain(gone).collect();
        for (at, update) in walk.iter().enumerate() {
            compiler.apply(update.clone());
            let batch = compiler.flush();
            backend.stage(&batch.ruleset);
            backend.commit().with_context(|| format!("seed {seed}, step {at}: {update:?}"))?;
            let is_cut = !compiler.loads(101).is_empty();
            crossed += usize::from(is_cut != was_cut);
            was_cut = is_cut;
            if at % 5 == 0 || at + 1 == walk.len() {
                let done = Inputs { node: node.clone(), updates: walk[..=at].to_vec() };
                let fresh = compile(&done, &world, limits);
                assert_eq!(fresh.ruleset(), compiler.ruleset(), "seed {seed}, step {at}");
            }
        }
    }
    assert!(crossed > 50, "limits were crossed {crossed} times");
    Ok(())
}
