//! Level 0 (policy-semantics §7.3): the oracle against the ruleset's evaluator, over the whole way
//! from YAML through sources and compiler.
//!
//! `BRINDLE_L0_WORLDS` sets the number of worlds, `BRINDLE_L0_SEED` the first seed.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use anyhow::{Context, Result, bail};
use brindle_integration_tests::case;
use brindle_integration_tests::worlds::compare::{
    Evaluator, Kind, Pipeline, compare_all, first_mismatch,
};
use brindle_integration_tests::worlds::compiled::Answer;
use brindle_integration_tests::worlds::shrink::{Failure, shrink};
use brindle_integration_tests::worlds::{choose, generate, yaml};
use brindle_model::packet::Flow;
use brindle_oracle::{World, judge};

/// What the release build asks; the slower one asks a tenth, so that `cargo test` stays quick.
const WORLDS: u64 = if cfg!(debug_assertions) { 3_000 } else { 30_000 };
const FLOWS: usize = 50;

#[test]
fn oracle_and_ruleset_agree() -> Result<()> {
    let worlds = from_environment("BRINDLE_L0_WORLDS")?.unwrap_or(WORLDS);
    let first = from_environment("BRINDLE_L0_SEED")?.unwrap_or(0);
    let next = AtomicU64::new(first);
    let asked = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let ask = || -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= first + worlds {
                return Ok(());
            }
            let world = generate(seed);
            let flows = choose(&world, seed, FLOWS);
            let found = compare_all(&Pipeline, &world, &flows)
                .with_context(|| format!("seed {seed} cannot be taken in"))?;
            for (asked, agreed) in asked.iter().zip(found.agreed) {
                asked.fetch_add(agreed, Relaxed);
            }
            if let Some((flow, mismatch)) = found.mismatch {
                next.store(first + worlds, Relaxed);
                let failure = Failure { flow: flow.clone(), mismatch, world };
                bail!(report(&format!("l0-seed-{seed}"), &Pipeline, failure)?);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(ask)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    let [denied, delivered] = asked.map(AtomicUsize::into_inner);
    println!("{worlds} worlds, {denied} flows denied, {delivered} delivered");
    // A dead network, or an open one, would agree with anything.
    let share = delivered as f64 / (denied + delivered) as f64;
    assert!((0.4..=0.6).contains(&share), "{share:.2} of the flows were delivered");
    Ok(())
}

fn from_environment(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text.parse().with_context(|| format!("{name}={text}"))?)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => bail!("{name}: {error}"),
    }
}

/// Shrinks a failure, keeps it as a case directory, and says what it is and where.
fn report(name: &str, evaluator: &impl Evaluator, failure: Failure) -> Result<String> {
    let Failure { world, flow, mismatch } = shrink(evaluator, failure);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    case::write(&directory, &world, std::slice::from_ref(&flow))?;
    let mut text = format!("{mismatch}\n{}\n", case::flow::format(&flow));
    let outcome = judge(&world, &flow);
    let pods = outcome.hops.iter().map(|hop| &hop.trace);
    let traces = pods.chain(outcome.hosts.iter().map(|hop| &hop.trace));
    for (Answer { at, direction, verdict, decision, .. }, trace) in
        Answer::all(&outcome).iter().zip(traces)
    {
        text += &format!("{at} {direction}: {verdict} {decision}\n");
        trace.iter().for_each(|step| text += &format!("  {step}\n"));
    }
    text += &yaml::write(&world)?;
    Ok(format!("{text}kept in {}", directory.display()))
}

/// An evaluator with a fault: the oracle, on a world that lost its except lists.
struct WithoutExcept;

impl Evaluator for WithoutExcept {
    type Prepared = World;

    fn prepare(&self, world: &World) -> Result<World> {
        let mut world = world.clone();
        for policy in &mut world.network_policies {
            let spec = policy.spec.as_mut();
            let rules = spec.into_iter().flat_map(|spec| spec.ingress.iter_mut().flatten());
            let peers = rules.flat_map(|rule| rule.from.iter_mut().flatten());
            peers.filter_map(|peer| peer.ip_block.as_mut()).for_each(|block| block.except = None);
        }
        Ok(world)
    }

    fn answer(&self, world: &World, flow: &Flow) -> Vec<Answer> {
        Answer::all(&judge(world, flow))
    }
}

#[test]
fn a_fault_is_found_and_made_small() -> Result<()> {
    let found = (0..2_000).find_map(|seed| {
        let world = generate(seed);
        let flows = choose(&world, seed, FLOWS);
        let (flow, mismatch) = first_mismatch(&WithoutExcept, &world, &flows).ok()??;
        let flow = flow.clone();
        (mismatch.kind == Kind::FalseAllow).then_some(Failure { world, flow, mismatch })
    });
    let failure = found.context("some world has an address in a hole of a block")?;
    assert!(failure.world.pods.len() > 2, "there is something to shrink");
    let text = report("l0-injected-fault", &WithoutExcept, failure)?;
    // What was kept is a case: it is read back, fails still, and is small.
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("l0-injected-fault");
    let world = yaml::read(&std::fs::read_to_string(directory.join("objects.yaml"))?)?;
    let packets = case::read_packets(&directory.join("packets.yaml"))?;
    let [packet] = packets.as_slice() else { bail!("one flow is kept, not {}", packets.len()) };
    let flow = case::flow::parse(&world, &packet.flow)?;
    let found = first_mismatch(&WithoutExcept, &world, std::slice::from_ref(&flow))?;
    assert_eq!(found.map(|(_, m)| m.kind), Some(Kind::FalseAllow), "{text}");
    assert_eq!(packet.ingress.as_deref(), Some("deny end of tier default"), "{text}");
    assert_eq!((world.network_policies.len(), world.namespaces.len()), (1, 1), "{text}");
    assert!(world.pods.len() <= 2, "{text}");
    let spec = world.network_policies[0].spec.as_ref().context("a policy with rules")?;
    let [rule] = spec.ingress.as_deref().unwrap_or_default() else { bail!("one rule: {text}") };
    assert_eq!((rule.from.as_ref().map(Vec::len), &rule.ports), (Some(1), &None), "{text}");
    assert_eq!(
        (&spec.egress, &spec.pod_selector, &spec.policy_types),
        (&None, &None, &None),
        "{text}"
    );
    Ok(())
}
