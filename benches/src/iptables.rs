//! What changes cost in both variants of iptables, beside what a user would do by hand: write all
//! rules again with `iptables-restore`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use brindle_dataplane_core::{Backend, Commit};
use brindle_dataplane_iptables::{Iptables, Options, Variant};
use brindle_model::NamespacedName;
use brindle_model::cluster::EndpointId;
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::DEFAULT_TIER;
use brindle_model::ruleset::{
    Action, Endpoint, Match, Member, PolicyRules, PortMatch, Program, Rule, Ruleset, RulesetDelta,
    Set, SetDef, SetDelta, SetId, Side, Stage, TierEnd, TierStep,
};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};
use nix::sched::{CloneFlags, unshare};

use crate::row::Row;

const POLICIES: u32 = 1_000;
const RULES: u32 = 10;
const PODS: u32 = 100;
const MEMBERS: u32 = 20_000;
const TURNS: u32 = 25;

/// The bench.
pub fn iptables() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for variant in Variant::ALL {
        let measured = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                measure(variant)
            });
            thread.join()
        });
        rows.extend(measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    }
    Ok(rows)
}

fn measure(variant: Variant) -> Result<Vec<Row>> {
    let ruleset = ruleset();
    let mut rows = Vec::new();
    let mut row =
        |case: &str, value| rows.push(Row::absolute(format!("{variant}: {case}"), value, "ms"));
    let mut backend = Iptables::open(variant, Options::default())?;
    backend.resync()?;
    backend.stage(&RulesetDelta::between(&Ruleset::default(), &ruleset));
    row("load of 10k rules", timed(|| backend.commit())?.0);

    let (mut policies, mut by_hand) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let id = policy_id(turn);
        let body = Arc::new(policy(turn, RULES + 1));
        let policies_changed = BTreeMap::from([(id, body)]);
        backend.stage(&RulesetDelta { policies: policies_changed, ..RulesetDelta::default() });
        let (time, written) = timed(|| backend.commit())?;
        ensure!((1..=2).contains(&written.writes), "{written:?}: a chain each family");
        policies.push(time);
    }
    let script = linear(&ruleset);
    for _ in 0..3 {
        by_hand.push(timed(|| restore(variant, &script))?.0);
    }
    row("change of one policy at 10k rules", median(policies));
    row("the same by hand: all rules again", median(by_hand));

    let id = set().id();
    for (case, add) in [("+1 member of 20k", true), ("-1 member of 20k", false)] {
        let mut times = Vec::new();
        for turn in 0..TURNS {
            let member = BTreeSet::from([Member::Addr(address(MEMBERS + turn))]);
            let none = BTreeSet::new();
            let (added, removed) = if add { (member, none) } else { (none, member) };
            let sets_changed = BTreeMap::from([(id, SetDelta { added, removed })]);
            backend.stage(&RulesetDelta { sets_changed, ..RulesetDelta::default() });
            let (time, written) = timed(|| backend.commit())?;
            ensure!(written == Commit { writes: 1 }, "{written:?}: one element and nothing else");
            times.push(time);
        }
        row(case, median(times));
    }
    row("resync of 10k rules and 20k members", timed(|| backend.resync())?.0);
    ensure!(backend.commit()? == Commit { writes: 0 }, "a resync without drift writes nothing");
    Ok(rows)
}

/// Milliseconds, and what came of it.
fn timed<T, E>(run: impl FnOnce() -> Result<T, E>) -> Result<(f64, T), E> {
    let start = Instant::now();
    let result = run()?;
    Ok((start.elapsed().as_secs_f64() * 1e3, result))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

fn set() -> SetDef {
    SetDef::Selector(Selector::All)
}

fn nets(n: u32) -> SetDef {
    let net = format!("172.{}.{}.0/24", 16 + n / 256 % 16, n % 256);
    SetDef::Cidrs(vec![net.parse().expect("a prefix")])
}

fn policy_id(n: u32) -> PolicyId {
    PolicyId::network_policy(&NamespacedName::new("bench", format!("policy-{n}")))
}

/// Rules that admit a prefix each to a port each; the last admits the pods of the set.
fn policy(n: u32, rules: u32) -> PolicyRules {
    let rule = |index: u32| {
        let set: SetId = if index == 0 { set().id() } else { nets(n * RULES + index).id() };
        let port = u16::try_from(1000 + (n + index) % 1000).unwrap_or(1000);
        let ports = [PortMatch::Range(PortRange::single(port))].into();
        let matches = Match {
            protocol: Some(Protocol::TCP),
            source: Side { sets: [set].into(), ..Side::default() },
            destination: Side { ports, ..Side::default() },
            ..Match::default()
        };
        let decision =
            DecisionId::Rule { policy: policy_id(n), direction: Direction::Ingress, index };
        Rule { decision, matches, action: Action::Allow }
    };
    PolicyRules { ingress: (0..rules).map(rule).collect(), ..PolicyRules::default() }
}

/// 1,000 policies of ten rules, ten of them for each of 100 pods.
fn ruleset() -> Ruleset {
    let mut ruleset = Ruleset::default();
    let members = (0..MEMBERS).map(|n| Member::Addr(address(n))).collect();
    ruleset.sets.insert(set().id(), Set { def: set(), members });
    for n in 0..=POLICIES * RULES {
        let def = nets(n);
        let SetDef::Cidrs(all) = &def else { continue };
        let members = all.iter().copied().map(Member::Net).collect();
        ruleset.sets.insert(def.id(), Set { def, members });
    }
    for n in 0..POLICIES {
        ruleset.policies.insert(policy_id(n), Arc::new(policy(n, RULES)));
    }
    let end = |verdict| (verdict, DecisionId::Profile { name: "kns.bench".into() });
    let open = Program {
        stage: Stage::Normal,
        direction: Direction::Egress,
        steps: Vec::new().into(),
        end: end(Verdict::Allow),
    };
    let egress = open.id();
    ruleset.programs.insert(egress, Arc::new(open));
    for pod in 0..PODS {
        let each = POLICIES / PODS;
        let policies = (pod * each..(pod + 1) * each).map(policy_id).collect();
        let step = TierStep { tier: DEFAULT_TIER.into(), policies, end: TierEnd::Drop };
        let direction = Direction::Ingress;
        let program = Program {
            stage: Stage::Normal,
            direction,
            steps: vec![step].into(),
            end: end(Verdict::Deny),
        };
        let ingress = program.id();
        ruleset.programs.insert(ingress, Arc::new(program));
        let id = EndpointId {
            pod: NamespacedName::new("bench", format!("pod-{pod}")),
            container_id: "bench".into(),
            interface: "eth0".into(),
        };
        let host_interface = format!("brdbench{pod}").into();
        let endpoint = Endpoint { host_interface, addresses: vec![address(pod)], ingress, egress };
        ruleset.endpoints.insert(id, Arc::new(endpoint));
    }
    ruleset
}

/// The same policy as rules in one chain, as one would write it.
fn linear(ruleset: &Ruleset) -> String {
    let mut script = "*filter\n:BY-HAND - [0:0]\n".to_owned();
    for n in 0..POLICIES {
        let pod = address(n / (POLICIES / PODS));
        for (index, rule) in ruleset.policies[&policy_id(n)].ingress.iter().enumerate() {
            let Some(PortMatch::Range(port)) = rule.matches.destination.ports.first() else {
                continue;
            };
            let net = if index == 0 {
                "10.0.0.0/8".to_owned()
            } else {
                nets_text(n * RULES + index as u32)
            };
            writeln!(
                script,
                "-A BY-HAND -s {net} -d {pod}/32 -p tcp -m tcp --dport {} -j ACCEPT",
                port.first
            )
            .expect("a String takes everything");
        }
    }
    script + "COMMIT\n"
}

fn nets_text(n: u32) -> String {
    match nets(n) {
        SetDef::Cidrs(all) => all[0].to_string(),
        other => other.to_string(),
    }
}

fn restore(variant: Variant, script: &str) -> Result<()> {
    let mut child = Command::new(format!("iptables-{variant}-restore"))
        .args(["--noflush", "-w", "10"])
        .stdin(Stdio::piped())
        .spawn()
        .context("start iptables-restore")?;
    child.stdin.take().context("no standard input")?.write_all(script.as_bytes())?;
    ensure!(child.wait()?.success(), "iptables-restore failed");
    Ok(())
}
