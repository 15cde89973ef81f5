//! The BGP speaker as its neighbours see it, over TCP between two namespaces, with BIRD on the same
//! input in the same run.
//!
//! ```text
//!   gen  senders ──► ┐                  ┌ ──► sink   dut: our speaker in a process of its own, or BIRD
//!                    └──► dut (passive) ┘
//! ```
//! The generator writes messages that were encoded before; the clock starts with the first octet.
//! Processor time and memory are those of the process that is measured.

mod child;
mod crowd;
mod feed;
mod reflection;
mod service;
mod session;
mod subject;
mod tables;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use brindle_lab::netns::{Netns, veth};
use brindle_lab::process::wait_until;

pub use child::run as child;
use feed::Feed;
use session::{Session, Sink};
use subject::{Plan, Subject};

use crate::row::Row;

/// Runs of what takes no time; the best counts.
const RUNS: usize = 3;
/// What anything may take at most.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sessions of the herd.
const HERD: usize = 1_000;

/// Everything about the speaker.
///
/// # Errors
/// Not root, BIRD is not installed, or somebody does not hold what was sent.
pub fn bgp() -> Result<Vec<Row>> {
    let mut rows = tables::tables()?;
    let lab = Lab::new()?;
    rows.extend(fabric(&lab)?);
    rows.extend(full_table(&lab)?);
    rows.push(herd(&lab)?);
    rows.extend(reflection::reflection(&lab)?);
    rows.extend(service::service(&lab)?);
    Ok(rows)
}

/// Two namespaces, and a folder for what daemons write.
struct Lab {
    dut: Netns,
    outside: Netns,
    dir: std::path::PathBuf,
}

impl Lab {
    fn new() -> Result<Self> {
        let (dut, outside) = (Netns::create("brd-bgp-dut")?, Netns::create("brd-bgp-gen")?);
        veth((&dut, "eth0"), (&outside, "eth0"))?;
        dut.ip(&["addr", "add", "10.99.0.1/16", "dev", "eth0"])?;
        let dir = std::path::PathBuf::from("/run/brd-bgp");
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let all = dir.join("addresses");
        let lines = (0..HERD + 10).map(|i| format!("addr add {}/16 dev eth0\n", address(i)));
        std::fs::write(&all, lines.collect::<String>())?;
        outside.ip(&["-batch", &all.display().to_string()])?;
        Ok(Self { dut, outside, dir })
    }
}

/// The address of a session of the generator.
fn address(session: usize) -> std::net::Ipv4Addr {
    let [.., high, low] = u32::try_from(session + 2).unwrap_or(0).to_be_bytes();
    [10, 99, high, low].into()
}

/// What one run took.
struct Run {
    /// Until the sink had everything, seconds.
    sink: f64,
    /// Until it had nothing any more, seconds.
    withdrawn: f64,
    /// Processor time of all that, seconds.
    cpu: f64,
    /// Memory with all routes, beyond that without, MiB.
    memory: f64,
    /// The longest time in which a neighbour heard nothing, seconds.
    silence: f64,
}

/// Some senders of the same routes and a sink.
fn run(lab: &Lab, mut subject: Subject, feeds: &[Feed]) -> Result<Run> {
    let mut senders = (0..feeds.len())
        .map(|i| Session::open(&lab.outside, i, subject::sender_as(i)))
        .collect::<Result<Vec<_>>>()?;
    let sink = Session::open(&lab.outside, feeds.len(), subject::SINK_AS)?;
    let sink = Sink::start(sink, feeds[0].base, feeds[0].shift)?;
    let listeners = senders.iter_mut().map(Session::listen).collect::<Result<Vec<_>>>()?;
    subject.settle()?;
    let (memory, cpu) = (subject.memory()?, subject.cpu()?);

    let prefixes = feeds[0].prefixes;
    let told = |feed: fn(&Feed) -> &[Vec<u8>]| -> Result<Instant> {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let sent: Vec<_> = senders
                .iter()
                .zip(feeds)
                .map(|(sender, routes)| scope.spawn(move || sender.write(feed(routes))))
                .collect();
            sent.into_iter().try_for_each(|sent| sent.join().expect("a writer does not panic"))
        })?;
        Ok(start)
    };
    let start = told(|feed| &feed.announcements)?;
    sink.until(prefixes, PATIENCE)?;
    let converged = start.elapsed().as_secs_f64();
    subject.settle()?;
    let grown = subject.memory()? - memory;
    let silence = listeners.iter().map(|l| l.silence()).chain([sink.silence()]).fold(0.0, f64::max);
    let start = told(|feed| &feed.withdrawals)?;
    sink.until(0, PATIENCE)?;
    let withdrawn = start.elapsed().as_secs_f64();
    Ok(Run { sink: converged, withdrawn, cpu: subject.cpu()? - cpu, memory: grown, silence })
}

/// Two top-of-rack routers with the blocks of 5,000 nodes.
fn fabric(lab: &Lab) -> Result<Vec<Row>> {
    let feeds: Vec<Feed> = (0..2).map(Feed::fabric).collect::<Result<_>>()?;
    let plan = Plan { senders: 2, sink: true, ..Plan::default() };
    let (mut ours, mut birds) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(run(lab, Subject::speaker(lab, &plan)?, &feeds)?);
        birds.push(run(lab, Subject::bird(lab, &plan)?, &feeds)?);
    }
    let alone = Plan { senders: 2, ..Plan::default() };
    let (mut learned, mut gone, mut kernel, mut memory) = (vec![], vec![], vec![], vec![]);
    let mut bird_kernel = Vec::new();
    for _ in 0..RUNS {
        let told = to_loc_rib(lab, &alone, &feeds)?;
        learned.push(told.0);
        gone.push(told.1);
        memory.push(told.2);
        let in_kernel = Plan { kernel: true, ..alone.clone() };
        kernel.push(to_kernel(lab, Subject::speaker(lab, &in_kernel)?, &feeds)?);
        bird_kernel.push(to_kernel(lab, Subject::bird(lab, &in_kernel)?, &feeds)?);
    }
    let of = |runs: &[Run], field: fn(&Run) -> f64| best(runs.iter().map(field));
    let pair = |case: &str, field: fn(&Run) -> f64, scale: f64, unit| {
        let (ours, birds) = (of(&ours, field) * scale, of(&birds, field) * scale);
        Row::paired(case, ours, unit, birds, ours / birds)
    };
    let [kernel, birds_kernel] = [kernel, bird_kernel].map(|all| best(all.into_iter()) * 1000.0);
    Ok(vec![
        Row::absolute("2 x 20000 to loc-rib", best(learned.into_iter()) * 1000.0, "ms"),
        Row::absolute("2 x 20000, memory", best(memory.into_iter()), "MiB"),
        Row::absolute("2 x 20000 withdrawn", best(gone.into_iter()) * 1000.0, "ms"),
        Row::absolute("2 x 20000 to the kernel, two next hops", kernel, "ms"),
        Row::paired("the same beside BIRD", kernel, "ms", birds_kernel, kernel / birds_kernel),
        pair("2 x 20000 through to a peer, beside BIRD", |run| run.sink, 1000.0, "ms"),
        pair("the same withdrawn, beside BIRD", |run| run.withdrawn, 1000.0, "ms"),
        pair("processor time of both, beside BIRD", |run| run.cpu, 1000.0, "ms"),
    ])
}

/// Seconds until the speaker told of all routes, and of none any more; MiB that they take.
fn to_loc_rib(lab: &Lab, plan: &Plan, feeds: &[Feed]) -> Result<(f64, f64, f64)> {
    let plan = Plan { expect: feeds[0].prefixes, ..plan.clone() };
    let mut subject = Subject::speaker(lab, &plan)?;
    let senders = (0..plan.senders)
        .map(|i| Session::open(&lab.outside, i, subject::sender_as(i)))
        .collect::<Result<Vec<_>>>()?;
    let before = subject.memory()?;
    let write = |feed: fn(&Feed) -> &[Vec<u8>]| {
        senders.iter().zip(feeds).try_for_each(|(sender, routes)| sender.write(feed(routes)))
    };
    let start = Instant::now();
    write(|feed| &feed.announcements)?;
    subject.line("full")?;
    let learned = start.elapsed().as_secs_f64();
    let grown = subject.memory()? - before;
    let start = Instant::now();
    write(|feed| &feed.withdrawals)?;
    subject.line("empty")?;
    Ok((learned, start.elapsed().as_secs_f64(), grown))
}

/// Seconds until the kernel has all routes.
fn to_kernel(lab: &Lab, subject: Subject, feeds: &[Feed]) -> Result<f64> {
    // Those of a process before this one: it was killed. Twenty thousand may be more than the socket
    // of one `ip` takes at a time.
    wait_until(PATIENCE, "earlier routes to go", || {
        Ok(lab.dut.ip(&["-4", "route", "flush", "proto", subject.protocol()]).is_ok())
    })?;
    let senders = (0..feeds.len())
        .map(|i| Session::open(&lab.outside, i, subject::sender_as(i)))
        .collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    for (sender, feed) in senders.iter().zip(feeds) {
        sender.write(&feed.announcements)?;
    }
    loop {
        // A line a route, and one for each of its next hops.
        let routes = lab.dut.ip(&["-4", "route", "show", "proto", subject.protocol()])?;
        let elapsed = start.elapsed();
        let hops = routes.lines().filter(|line| line.contains("nexthop")).count();
        if hops == feeds.len() * feeds[0].prefixes {
            return Ok(elapsed.as_secs_f64());
        }
        ensure!(elapsed < PATIENCE, "{hops} next hops in the kernel");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One neighbour with a full table.
fn full_table(lab: &Lab) -> Result<Vec<Row>> {
    let feeds = [Feed::full()?];
    let alone = Plan { senders: 1, ..Plan::default() };
    let (learned, _, memory) = to_loc_rib(lab, &alone, &feeds)?;
    let plan = Plan { senders: 1, sink: true, ..Plan::default() };
    let ours = run(lab, Subject::speaker(lab, &plan)?, &feeds)?;
    let bird = run(lab, Subject::bird(lab, &plan)?, &feeds)?;
    let pair = |case: &str, field: fn(&Run) -> f64, unit| {
        let (ours, bird) = (field(&ours), field(&bird));
        Row::paired(case, ours, unit, bird, ours / bird)
    };
    Ok(vec![
        Row::absolute("1000000 prefixes to loc-rib", learned, "s"),
        Row::absolute("1000000 prefixes, memory", memory, "MiB"),
        Row::absolute("1000000 prefixes, longest silence at hold 3 s", ours.silence, "s"),
        pair("1000000 prefixes through to a peer, beside BIRD", |run| run.sink, "s"),
        pair("their memory, beside BIRD", |run| run.memory, "MiB"),
        pair("the same withdrawn, beside BIRD", |run| run.withdrawn, "s"),
        pair("longest silence at hold 3 s, beside BIRD", |run| run.silence, "s"),
    ])
}

/// Every neighbour connects at the same moment.
fn herd(lab: &Lab) -> Result<Row> {
    let plan = Plan { senders: HERD, ..Plan::default() };
    let mut subject = Subject::speaker(lab, &plan)?;
    let start = Instant::now();
    let sessions = Session::open_all(&lab.outside, HERD, subject::sender_as)?;
    let up = start.elapsed().as_secs_f64();
    ensure!(sessions.len() == HERD, "{} of {HERD} sessions", sessions.len());
    subject.settle()?;
    Ok(Row::absolute("1000 connects at once, all up", up, "s"))
}

fn best(figures: impl Iterator<Item = f64>) -> f64 {
    figures.fold(f64::INFINITY, f64::min)
}
