//! The kernel agrees with the oracle: generated worlds, enforced by each backend on two nodes and
//! probed with real packets (policy-semantics §7.3, L2b), and after each step of walks of edits (L3).
//! Worlds and probes are the same for all.
//!
//! `BRINDLE_KERNEL_WORLDS` sets the number of worlds, `BRINDLE_SEED` the first seed.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use brindle_dataplane_core::Backend;
use brindle_dataplane_iptables::{Iptables, Options, Variant};
use brindle_dataplane_nftables::Nftables;
use brindle_integration_tests::rig::{Loaded, Rig};
use brindle_integration_tests::worlds::compiled::Answer;
use brindle_integration_tests::worlds::edit::edit;
use brindle_integration_tests::worlds::random::Random;
use brindle_integration_tests::worlds::{self, yaml};
use brindle_lab::ports;
use brindle_model::packet::{Flow, Transport};
use brindle_oracle::{Outcome, World, judge};

#[path = "kernel/machines.rs"]
mod machines;

/// Flows that are chosen for a world; what cannot be sent here is left out of them.
const FLOWS: usize = 680;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |v| v.parse().expect("a number"))
}

/// What was asked of all worlds, so that a dead network is not mistaken for a policy.
#[derive(Debug, Default)]
struct Tally {
    probes: usize,
    delivered: usize,
}

/// Worlds for each backend.
const WORLDS: u64 = 60;
/// Walks of edits for nftables; a fifth of them for each variant of iptables.
const WALKS: u64 = 50;
const EDITS: usize = 3;
/// Flows that are chosen after each step.
const FLOWS_OF_A_STEP: usize = 60;

#[test]
fn verdicts_of_the_kernel_are_the_oracles() -> Result<()> {
    let (first, worlds) = (number("BRINDLE_SEED", 1), number("BRINDLE_KERNEL_WORLDS", WORLDS));
    agree("brd-kernel", first..first + worlds, || Ok(Nftables::open()?))
}

#[test]
fn verdicts_of_iptables_nft_are_the_oracles() -> Result<()> {
    let (first, worlds) = (number("BRINDLE_SEED", 1), number("BRINDLE_KERNEL_WORLDS", WORLDS));
    let open = || Ok(Iptables::open(Variant::Nft, Options::default())?);
    agree("brd-ipt-n", first..first + worlds, open)
}

#[test]
fn verdicts_of_iptables_legacy_are_the_oracles() -> Result<()> {
    let (first, worlds) = (number("BRINDLE_SEED", 1), number("BRINDLE_KERNEL_WORLDS", WORLDS));
    let open = || Ok(Iptables::open(Variant::Legacy, Options::default())?);
    agree("brd-ipt-l", first..first + worlds, open)
}

fn agree<B: Backend>(
    name: &str,
    seeds: Range<u64>,
    open: impl Fn() -> Result<B> + Sync,
) -> Result<()> {
    raise_open_files()?;
    let mut rig = Rig::build(name, open)?;
    let mut tally = Tally::default();

    let worlds = seeds.end - seeds.start;
    let mut control = tracked_alone(worlds::generate(seeds.start));
    control.network_policies.clear();
    check(&mut rig, &control, seeds.start, &mut Tally::default())
        .context("the control world, which has no policy")?;

    for seed in seeds {
        check(&mut rig, &tracked_alone(worlds::generate(seed)), seed, &mut tally)?;
    }
    let (probes, share) = (tally.probes, tally.delivered * 100 / tally.probes.max(1));
    println!("{name}: {worlds} worlds, {probes} probes, {share} % delivered");
    ensure!(tally.probes >= usize::try_from(worlds)? * 200, "too few probes: {tally:?}");
    ensure!((25..=75).contains(&share), "one-sided: {tally:?}");
    Ok(())
}

/// Without untracked policy: what that admits has no replies, and a probe waits for one (C39). It has
/// kernel tests of its own.
fn tracked_alone(mut world: World) -> World {
    world.global_network_policies.retain(|policy| !policy.spec.do_not_track);
    world.staged_global_network_policies.retain(|policy| !policy.spec.policy.do_not_track);
    world
}

fn check<B: Backend>(rig: &mut Rig<B>, world: &World, seed: u64, tally: &mut Tally) -> Result<()> {
    let text = yaml::write(world)?;
    let loaded = rig.load(&text, world).with_context(|| format!("load world {seed}"))?;
    probe(rig, &loaded, (&text, world), seed, FLOWS, tally)?;
    rig.unload(loaded)
}

/// Probes what is loaded, and counts.
fn probe<B: Backend>(
    rig: &Rig<B>,
    loaded: &Loaded,
    (text, world): (&str, &World),
    seed: u64,
    flows: usize,
    tally: &mut Tally,
) -> Result<()> {
    let flows = worlds::choose(world, seed, flows);
    let (planned, sites) = rig.plan(loaded, &flows)?;
    let delivered = rig.probe(&planned, &sites)?;
    for (plan, delivered) in planned.iter().zip(delivered) {
        let flow = &as_sent(&flows[plan.flow]);
        let outcome = judge(world, flow);
        let expected = outcome.delivered && !rig.is_ghost(loaded, flow.packet.destination);
        tally.probes += 1;
        tally.delivered += usize::from(expected);
        if delivered != expected {
            report(rig, text, seed, flow, &outcome, delivered)?;
        }
    }
    Ok(())
}

#[test]
fn verdicts_follow_edits() -> Result<()> {
    walk("brd-walk", WALKS, || Ok(Nftables::open()?))
}

#[test]
fn verdicts_of_iptables_nft_follow_edits() -> Result<()> {
    let open = || Ok(Iptables::open(Variant::Nft, Options::default())?);
    walk("brd-walk-n", WALKS / 5, open)
}

#[test]
fn verdicts_of_iptables_legacy_follow_edits() -> Result<()> {
    let open = || Ok(Iptables::open(Variant::Legacy, Options::default())?);
    walk("brd-walk-l", WALKS / 5, open)
}

/// Walks of edits, each of which begins at a world of its own. What the edits bring comes from the
/// worlds of other seeds.
fn walk<B: Backend>(name: &str, walks: u64, open: impl Fn() -> Result<B> + Sync) -> Result<()> {
    raise_open_files()?;
    let mut rig = Rig::build(name, open)?;
    let mut tally = Tally::default();
    let mut changed = 0;
    for seed in 0..walks {
        let mut random = Random::new(seed ^ 0x3a1c);
        let mut world = tracked_alone(worlds::generate(seed));
        let loaded = rig.load(&yaml::write(&world)?, &world)?;
        for step in 0..EDITS {
            let before = yaml::write(&world)?;
            let other = tracked_alone(worlds::generate(random.bits()));
            edit(&mut random, &mut world, &other);
            let text = yaml::write(&world)?;
            changed += usize::from(text != before);
            let context = || format!("walk {seed}, step {step}");
            rig.change(&text, &world).with_context(context)?;
            let place = seed << 8 | step as u64;
            probe(&rig, &loaded, (&text, &world), place, FLOWS_OF_A_STEP, &mut tally)
                .with_context(context)?;
        }
        rig.unload(loaded)?;
    }
    let (probes, share) = (tally.probes, tally.delivered * 100 / tally.probes.max(1));
    println!("{name}: {walks} walks, {changed} edits, {probes} probes, {share} % delivered");
    ensure!(changed > walks as usize * EDITS * 3 / 4, "most edits change nothing");
    ensure!(probes >= walks as usize * EDITS * 15, "too few probes: {tally:?}");
    ensure!((20..=80).contains(&share), "one-sided: {tally:?}");
    Ok(())
}

/// The flow with a source port like those that probes have: each one's own, and none that a rule
/// names.
fn as_sent(flow: &Flow) -> Flow {
    let mut flow = flow.clone();
    match &mut flow.packet.transport {
        Transport::Tcp { source, .. } | Transport::Udp { source, .. } => *source = ports::FIRST,
        Transport::Sctp { .. } | Transport::Icmp { .. } | Transport::Other(_) => {}
    }
    flow
}

/// Where worlds are left that disagree.
fn evidence() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernel")
}

/// Leaves the world and the kernel's tables where one can look at them.
fn report<B: Backend>(
    rig: &Rig<B>,
    text: &str,
    seed: u64,
    flow: &Flow,
    outcome: &Outcome,
    delivered: bool,
) -> Result<()> {
    let dir = evidence().join(seed.to_string());
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("objects.yaml"), text)?;
    fs::write(dir.join("kernel.txt"), rig.dump()?)?;
    let kind = if delivered { "FALSE ALLOW" } else { "false deny" };
    let hops: Vec<String> = Answer::all(outcome)
        .iter()
        .map(|h| format!("{} {} {}: {}", h.at, h.direction, h.verdict, h.decision))
        .collect();
    bail!(
        "{kind} in world {seed}, see {}\n  flow {flow:?}\n  oracle: {}",
        dir.display(),
        hops.join("; ")
    )
}

/// Every site listens on every port.
fn raise_open_files() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit of open files")
}
