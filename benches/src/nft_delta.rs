//! What one more pod costs in a set of 100,000: nothing but its element is written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use brindle_dataplane_core::{Backend, Commit};
use brindle_dataplane_nftables::Nftables;
use brindle_model::NamespacedName;
use brindle_model::cluster::EndpointId;
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::DEFAULT_TIER;
use brindle_model::ruleset::Stage;
use brindle_model::ruleset::{
    Action, Endpoint, Match, Member, PolicyRules, PortMatch, Program, Rule, Ruleset, RulesetDelta,
    Set, SetDef, SetDelta, SetId, Side, TierEnd, TierStep,
};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};
use nix::sched::{CloneFlags, unshare};

use crate::row::Row;

const MEMBERS: u32 = 100_000;
const TURNS: u32 = 500;

/// The bench.
pub fn nft_delta() -> Result<Vec<Row>> {
    let measured = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            measure()
        });
        thread.join()
    });
    measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn measure() -> Result<Vec<Row>> {
    let ruleset = ruleset();
    let id = *ruleset.sets.keys().next().expect("one set");
    let mut backend = Nftables::open()?;
    backend.resync()?;
    backend.stage(&RulesetDelta::between(&Ruleset::default(), &ruleset));
    let load = timed(|| backend.commit())?;

    let mut rows = vec![Row::absolute("load of 100k members", load.as_secs_f64() * 1e3, "ms")];
    let (add, remove) = (changes(&mut backend, id, true)?, changes(&mut backend, id, false)?);
    for (case, [stage, commit]) in [("+1 member of 100k", add), ("-1 member of 100k", remove)] {
        rows.push(Row::absolute(format!("{case}, commit"), commit, "ms"));
        rows.push(Row::absolute(format!("{case}, event to commit"), stage + commit, "ms"));
    }
    rows.push(Row::absolute(
        "new endpoint with a known program",
        endpoints(&mut backend, &ruleset)?,
        "ms",
    ));

    let resync = timed(|| backend.resync())?;
    rows.push(Row::absolute("resync of 100k members", resync.as_secs_f64() * 1e3, "ms"));
    ensure!(backend.commit()? == Commit { writes: 0 }, "a resync without drift writes nothing");
    Ok(rows)
}

fn timed<T, E>(run: impl FnOnce() -> Result<T, E>) -> Result<Duration, E> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

/// Median milliseconds of stage and commit; each turn must write one element.
fn changes(backend: &mut Nftables, id: SetId, add: bool) -> Result<[f64; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..TURNS {
        let member = BTreeSet::from([Member::Addr(address(MEMBERS + turn))]);
        let (added, removed) =
            if add { (member, BTreeSet::new()) } else { (BTreeSet::new(), member) };
        let sets_changed = BTreeMap::from([(id, SetDelta { added, removed })]);
        let delta = RulesetDelta { sets_changed, ..RulesetDelta::default() };
        let start = Instant::now();
        backend.stage(&delta);
        times[0].push(start.elapsed());
        let start = Instant::now();
        let written = backend.commit()?;
        times[1].push(start.elapsed());
        ensure!(written == Commit { writes: 1 }, "{written:?}: one element and nothing else");
    }
    Ok(times.map(median))
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// Median milliseconds of a commit that adds a pod whose program is there: an element of each
/// direction's map, its address as a source, and its known flows, established and related.
fn endpoints(backend: &mut Nftables, ruleset: &Ruleset) -> Result<f64> {
    let [ingress, egress] = [Direction::Ingress, Direction::Egress].map(|direction| {
        let of =
            |(id, program): (&_, &Arc<Program>)| (program.direction == direction).then_some(*id);
        ruleset.programs.iter().find_map(of).expect("a program each way")
    });
    let mut times = Vec::new();
    for turn in 0..100 {
        let id = EndpointId {
            pod: NamespacedName::new("bench", format!("pod-{turn}")),
            container_id: "bench".into(),
            interface: "eth0".into(),
        };
        let endpoint = Endpoint {
            host_interface: format!("brdbench{turn}").into(),
            addresses: vec![address(turn)],
            ingress,
            egress,
        };
        let endpoints = BTreeMap::from([(id, Arc::new(endpoint))]);
        backend.stage(&RulesetDelta { endpoints, ..RulesetDelta::default() });
        let start = Instant::now();
        let written = backend.commit()?;
        times.push(start.elapsed());
        ensure!(written == Commit { writes: 5 }, "{written:?}: two programs, a source, two flows");
    }
    Ok(median(times))
}

/// One policy that admits a set of 100,000 pods.
fn ruleset() -> Ruleset {
    let def = SetDef::Selector(Selector::All);
    let set = def.id();
    let members = (0..MEMBERS).map(|n| Member::Addr(address(n))).collect();
    let policy = PolicyId::network_policy(&NamespacedName::new("bench", "all"));
    let rule = |direction| {
        let ports = [PortMatch::Range(PortRange::single(80))].into();
        let peer = Side { sets: [set].into(), ..Side::default() };
        let port = Side { ports, ..Side::default() };
        let matches = Match {
            protocol: Some(Protocol::TCP),
            source: peer,
            destination: port,
            ..Match::default()
        };
        let decision = DecisionId::Rule { policy: policy.clone(), direction, index: 0 };
        Rule { decision, matches, action: Action::Allow }
    };
    let body = PolicyRules {
        ingress: vec![rule(Direction::Ingress)].into(),
        egress: vec![rule(Direction::Egress)].into(),
    };
    let programs = Direction::ALL.map(|direction| {
        let (tier, policies) = (DEFAULT_TIER.into(), vec![policy.clone()]);
        let step = TierStep { tier, policies, end: TierEnd::Drop };
        let end = (Verdict::Deny, DecisionId::Profile { name: "kns.bench".into() });
        let program = Program { stage: Stage::Normal, direction, steps: vec![step].into(), end };
        (program.id(), Arc::new(program))
    });
    Ruleset {
        sets: BTreeMap::from([(set, Set { def, members })]),
        policies: BTreeMap::from([(policy.clone(), Arc::new(body))]),
        programs: BTreeMap::from(programs),
        ..Ruleset::default()
    }
}
