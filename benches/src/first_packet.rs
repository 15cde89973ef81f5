//! Time from the write of a policy's file to the first packet with the new verdict: a real agent beside a
//! hundred pods, while others' policies change.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use brindle_lab::fabric::Fabric;
use brindle_lab::knocks::{Knocks, Path as Way};
use brindle_lab::objects;
use brindle_lab::pod::Pod;
use brindle_lab::process::wait_until;

use crate::row::Row;

/// Pods beside the two between which packets go.
const OTHERS: u32 = 98;
/// Policies of others that change in a second.
const RATES: [u32; 3] = [1, 10, 100];
/// How long each rate is kept.
const SPAN: Duration = Duration::from_secs(30);
/// Time between two packets.
const PACE: Duration = Duration::from_micros(500);
const PORT: u16 = 9300;
/// Packets in a row that must be lost before the path counts as closed.
const QUIET: usize = 60;
/// How long a change may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bench.
pub fn first_packet() -> Result<Vec<Row>> {
    let fabric = Fabric::build("brd-first", Path::new("/run/brd-first"), 1)?;
    fabric.write("namespaces.yaml", &objects::namespace("shop", "retail"))?;
    fabric.write("policies/door.yaml", &door(false))?;
    let pod = |name: &str| {
        Pod::create(&fabric, 0, "shop", name, |addresses| {
            objects::pod("shop", name, name, "n1", addresses)
        })
    };
    let (knocker, door) = (pod("knocker")?, pod("door")?);
    let others: Vec<Pod> =
        (0..OTHERS).map(|n| pod(&format!("other-{n}"))).collect::<Result<_>>()?;
    let agent = fabric.nodes[0].agent.as_ref().context("the agent does not run")?;
    agent.barrier()?;
    let mut rows = Vec::new();
    for rate in RATES {
        let way = Way {
            from: &knocker.netns,
            to: &door.netns,
            address: door.address(false)?,
            port: PORT,
        };
        let knocks = Knocks::start(way, PACE)?;
        let (mut times, changed) = beside(&fabric, rate, || measure(&fabric, &knocks))?;
        knocks.end()?;
        let wanted = f64::from(rate) * SPAN.as_secs_f64();
        ensure!(changed >= 0.9 * wanted, "{changed} changes of {wanted}");
        times.sort_by(f64::total_cmp);
        for percentile in [50, 99] {
            let case = format!("beside {rate} changes/s, p{percentile}");
            let at = (times.len() * percentile).div_ceil(100).saturating_sub(1);
            rows.push(Row::absolute(case, times[at], "ms"));
        }
        rows.push(Row::absolute(
            format!("beside {rate} changes/s, policies changed"),
            times.len() as f64,
            "",
        ));
    }
    for pod in others.into_iter().chain([knocker, door]) {
        pod.delete(&fabric)?;
    }
    Ok(rows)
}

/// Opens and closes the door for the span; milliseconds of each change.
fn measure(fabric: &Fabric, knocks: &Knocks) -> Result<Vec<f64>> {
    let closed = || Ok(knocks.quiet_since(knocks.next().saturating_sub(QUIET), QUIET).is_some());
    wait_until(PATIENCE, "the door to be closed at first", closed)?;
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < SPAN || times.len() % 2 == 1 {
        let open = times.len() % 2 == 0;
        let (from, written) = (knocks.next(), SystemTime::now());
        fabric.write("policies/door.yaml", &door(open))?;
        let mut turned = None;
        wait_until(PATIENCE, "the new verdict", || {
            turned =
                if open { knocks.first_arrival(from) } else { knocks.quiet_since(from, QUIET) };
            Ok(turned.is_some())
        })?;
        let turned = turned.context("it was seen")?;
        // The first packet may have been sent, and judged as before, just before the write.
        times.push(turned.duration_since(written).unwrap_or_default().as_secs_f64() * 1e3);
        // So that an open path has been open, and changes meet every phase of what runs beside.
        let more = knocks.next() + QUIET + times.len() * 7 % 50;
        wait_until(PATIENCE, "packets between two changes", || Ok(knocks.next() >= more))?;
    }
    Ok(times)
}

fn door(open: bool) -> String {
    let from =
        if open { "[{from: [{podSelector: {matchLabels: {role: knocker}}}]}]" } else { "[]" };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: door, namespace: shop}}\n\
         spec: {{podSelector: {{matchLabels: {{role: door}}}}, ingress: {from}}}\n"
    )
}

/// The policy of another pod; its port changes.
fn other(number: u32, port: u32) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: other-{number}, namespace: shop}}\n\
         spec: {{podSelector: {{matchLabels: {{role: other-{number}}}}}, \
         ingress: [{{from: [{{podSelector: {{}}}}], ports: [{{port: {port}}}]}}]}}\n"
    )
}

/// Does something while so many policies of others change each second. Returns how many did.
fn beside<T>(fabric: &Fabric, rate: u32, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let churner = scope.spawn(move || -> Result<u32> {
            let (start, mut number) = (Instant::now(), 0);
            while !stop.load(Ordering::Relaxed) {
                let due = start + Duration::from_secs(1) * number / rate;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let who = number % OTHERS;
                let path = fabric.objects().join(format!("policies/other-{who}.yaml"));
                let next = fabric.dir.join("other.tmp");
                std::fs::write(&next, other(who, 1000 + number))?;
                std::fs::rename(next, path)?;
                number += 1;
            }
            Ok(number)
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        let changed = churner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((done?, f64::from(changed)))
    })
}
