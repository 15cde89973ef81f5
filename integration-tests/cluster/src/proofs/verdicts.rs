//! Time from the API server's answer to a write of a policy to the first packet with the new verdict.
//!
//! A policy of one pod is changed back and forth; every half millisecond a new flow knocks. The answer's
//! time is the API server's own, of its log. The packet's is the kernel's, where it is one that arrived,
//! and that of its sending, where it is the first that did not: all are of one clock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use brindle_lab::knocks::{Knocks, Path};
use brindle_lab::process::wait_until;
use serde_json::{Value, json};

use super::api::Api;
use super::audit::Audit;
use super::figures::Figures;
use super::pods::{Group, Wanted, policy};
use super::{Row, Stage};

const NAMESPACE: &str = "proof-verdicts";
const PACE: Duration = Duration::from_micros(500);
const PORT: u16 = 9300;
/// Changes of the policy, for each load.
const CHANGES: usize = 200;
/// Knocks in a row that must stay without an answer before a path counts as closed.
const QUIET: usize = 60;
/// How long a change may take before it counts as missed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pods of the cluster beside the two that knock and are knocked at.
const OTHERS: usize = 98;

/// Label changes that may be under way at a time: one alone waits for each answer.
const AT_A_TIME: u32 = 4;

/// What happens beside, and how long a verdict may take then.
struct Load {
    what: &'static str,
    /// Label changes a second.
    rate: u32,
    p50: f64,
    p99: f64,
    must: &'static str,
}

const LOADS: [Load; 3] = [
    Load { what: "100 pods, idle", rate: 0, p50: 4.0, p99: 10.0, must: "p50 ≤ 4, p99 ≤ 10 ms" },
    Load {
        what: "20 label changes a second beside",
        rate: 20,
        p50: 5.0,
        p99: 20.0,
        must: "p50 ≤ 5, p99 ≤ 20 ms",
    },
    Load {
        what: "100 label changes a second beside",
        rate: 100,
        p50: f64::INFINITY,
        p99: 30.0,
        must: "p99 ≤ 30 ms",
    },
];

/// Measures under each load.
///
/// # Errors
/// A verdict never comes.
pub fn run(stage: &Stage<'_>) -> Result<Vec<Row>> {
    let count = stage.nodes().count();
    let mut pods = vec![wanted("knocker", 1), wanted("door", 2.min(count))];
    pods.extend((0..OTHERS).map(|number| wanted(&format!("other-{number}"), number % count + 1)));
    let group = Group::start(&stage.kubectl, NAMESPACE, policies(), &pods)?;
    let (from, to) = (group.site("knocker")?, group.site("door")?);
    let address = to.address(stage.shape.families.primary())?;
    let api = Api::start(&stage.kubectl, &stage.paths.logs())?;
    let mut rows = Vec::new();
    for load in LOADS {
        let knocks =
            Knocks::start(Path { from: &from.netns, to: &to.netns, address, port: PORT }, PACE)?;
        let (figures, rate) = beside(&api, load.rate, || measure(stage, &api, &knocks))?;
        let ended = knocks.end()?;
        eprintln!("    {}: {rate:.0}/s, {} knocks", load.what, ended.sent);
        if load.rate > 0 {
            let least = f64::from(load.rate) * 0.9;
            let measured = format!("{rate:.0}/s");
            let what = format!("{}: label changes that went through", load.what);
            rows.push(Row::verdict(what, &format!("≥ {least:.0}/s"), measured, rate >= least));
        }
        for (which, figures) in ["allowed", "denied"].iter().zip(&figures) {
            let holds = figures.percentile(50) <= load.p50 && figures.percentile(99) <= load.p99;
            let what = format!("{}: until the first packet is {which}", load.what);
            rows.push(Row::verdict(what, load.must, figures.text(), holds));
        }
    }
    Ok(rows)
}

/// Changes the policy, to allow and to deny in turn; the figures of either.
fn measure(stage: &Stage<'_>, api: &Api, knocks: &Knocks) -> Result<[Figures; 2]> {
    let mut audit = Audit::from_now(stage.paths)?;
    let mut figures = [Figures::default(), Figures::default()];
    let all_closed =
        || Ok(knocks.quiet_since(knocks.next().saturating_sub(QUIET), QUIET).is_some());
    wait_until(PATIENCE, "the door to be closed at first", all_closed)?;
    for change in 0..CHANGES {
        let allow = change % 2 == 0;
        let from = knocks.next();
        let ingress = if allow { open() } else { json!([]) };
        let answer =
            Api::inside(|| api.merge(&path("door"), &json!({"spec": {"ingress": ingress}})))?;
        let id = answer.header("Audit-Id").context("an answer has an identity")?;
        let mut turned = None;
        wait_until(PATIENCE, &format!("the verdict of change {change}"), || {
            turned =
                if allow { knocks.first_arrival(from) } else { knocks.quiet_since(from, QUIET) };
            Ok(turned.is_some())
        })?;
        let (turned, answered) = (turned.context("it was seen")?, audit.answered(id)?);
        figures[usize::from(!allow)].add(signed_ms(answered, turned));
        // So that an open path has been open, and changes meet every phase of what runs beside.
        let more = knocks.next() + QUIET + change * 7 % 50;
        wait_until(PATIENCE, "knocks between two changes", || Ok(knocks.next() >= more))?;
    }
    Ok(figures)
}

/// From one moment to another, negative if that was before.
fn signed_ms(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(after) => after.as_secs_f64() * 1000.0,
        Err(before) => -before.duration().as_secs_f64() * 1000.0,
    }
}

/// Runs `work` while labels of pods change `rate` times a second; returns what it returned and the rate
/// that was reached.
fn beside<T>(api: &Api, rate: u32, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    if rate == 0 {
        return Ok((work()?, 0.0));
    }
    let (stop, changed) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let start = Instant::now();
        let churners: Vec<_> = (0..AT_A_TIME)
            .map(|first| {
                let (stop, changed) = (&stop, &changed);
                scope.spawn(move || {
                    Api::inside(|| churn(api, first, AT_A_TIME, rate, start, stop, changed))
                })
            })
            .collect();
        let done = work();
        let rate = f64::from(u32::try_from(changed.load(Ordering::Relaxed))?)
            / start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        for churner in churners {
            churner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok((done?, rate))
    })
}

/// Changes labels number `first`, `first + step`, ... each at its time.
fn churn(
    api: &Api,
    first: u32,
    step: u32,
    rate: u32,
    start: Instant,
    stop: &AtomicBool,
    changed: &AtomicUsize,
) -> Result<()> {
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        let due = start + Duration::from_secs(1) * number / rate;
        // A pace, not a wait for something to happen.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let pod = usize::try_from(number)? % OTHERS;
        let round = usize::try_from(number)? / OTHERS;
        let word = if round.is_multiple_of(2) { "yes" } else { "no" };
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/other-{pod}");
        api.merge(&path, &json!({"metadata": {"labels": {"guest": word}}}))?;
        changed.fetch_add(1, Ordering::Relaxed);
        number += step;
    }
    Ok(())
}

fn path(policy: &str) -> String {
    format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies/{policy}")
}

fn wanted(name: &str, node: usize) -> Wanted {
    Wanted { name: name.to_owned(), node, labels: json!({"name": name}) }
}

fn open() -> Value {
    json!([{"from": [{"podSelector": {"matchLabels": {"name": "knocker"}}}]}])
}

/// The one that is changed; and one for whose sake label changes matter to the door's node.
fn policies() -> Vec<Value> {
    let door = json!({"matchLabels": {"name": "door"}});
    let guests = json!({"podSelector": {"matchLabels": {"guest": "yes"}}});
    vec![
        policy("door", &json!({"podSelector": door, "policyTypes": ["Ingress"], "ingress": []})),
        policy(
            "guests",
            &json!({
                "podSelector": door,
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [guests], "ports": [{"port": 1, "protocol": "TCP"}]}],
            }),
        ),
    ]
}
