//! What one change costs, from `apply` to the end of `flush`, where all that it may touch is in
//! force: by how many selectors there are, how many pods it is about, how many run it.

use anyhow::{Result, ensure};
use brindle_compiler::Compiler;
use brindle_model::cluster::Update;
use brindle_model::net::PortRange;
use brindle_model::policy::{Peer, Port, PortSpec, Rule};
use brindle_model::selector::Selector;
use brindle_model::verdict::PolicyKind;

use super::objects::{Maker, address, governs};
use super::{Cost, size};
use crate::row::Row;

/// Times that each change is made, each time the other way round.
const ROUNDS: usize = 41;
/// Rules of the policy that is edited.
const EDITED_RULES: usize = 100;

/// All kinds of change.
pub fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for selectors in [10, 100, 1_000, 10_000] {
        rows.extend(pod_labels(selectors)?);
    }
    for pods in [100, 1_000, 10_000] {
        rows.extend(namespace_labels(pods)?);
    }
    for pods in [1_000, 10_000, 100_000] {
        rows.extend(new_policy(pods)?);
    }
    for local in [2, 20, 200] {
        rows.extend(policy_edit(local)?);
    }
    Ok(rows)
}

/// Makes a change and its reverse in turns. Both must change the ruleset, or nothing was measured.
fn measure(
    case: &str,
    compiler: &mut Compiler,
    mut change: impl FnMut(usize) -> Update,
) -> Result<[Row; 2]> {
    let mut costs = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let update = change(round);
        let (batch, cost) = Cost::of(|| {
            compiler.apply(update);
            compiler.flush()
        });
        ensure!(!batch.ruleset.is_empty(), "{case}: round {round} changes nothing");
        costs.push(cost);
    }
    Ok(Cost::rows(case, &mut costs))
}

fn peers(index: usize, selector: Selector) -> Rule {
    Rule::allow(index as u32, Some(vec![Peer::Pods(selector)]), None)
}

fn add_policy(maker: &mut Maker, name: &str, rules: Vec<Rule>) -> Update {
    let namespace = maker.name("shop");
    let subject = maker.selector("projectcalico.org/namespace == 'shop'");
    let policy = maker.policy(subject, rules, Vec::new());
    governs(PolicyKind::KubernetesNetworkPolicy, Some(namespace), name, policy)
}

/// Pods of `shop`, the first of them on this node.
fn add_pods(
    maker: &mut Maker,
    compiler: &mut Compiler,
    pods: usize,
    local: usize,
    labels: impl Fn(usize) -> Vec<(&'static str, String)>,
) {
    compiler.apply(maker.namespace("shop", Some(("team", "red"))));
    for i in 0..pods {
        if i < local {
            let id = maker.pod_name("shop", format!("pod-{i}"));
            compiler.apply(maker.endpoint(&id, i, &[address(i)]));
        }
        compiler.apply(pod(maker, i, labels(i)));
    }
}

fn pod(maker: &mut Maker, i: usize, labels: Vec<(&'static str, String)>) -> Update {
    let id = maker.pod_name("shop", format!("pod-{i}"));
    let labels = maker.labels(labels);
    Update::Pod(id, Some(maker.pod(labels, vec![address(i)]).into()))
}

/// A pod of a thousand moves from one workload to another. Of the selectors ten speak of each
/// workload, so the change touches twenty, however many there are.
fn pod_labels(selectors: usize) -> Result<[Row; 2]> {
    let mut maker = Maker::default();
    let mut compiler = Compiler::new("n0".into());
    let workloads = selectors / 10;
    let of = |i: usize, workload: usize| {
        let names = [("tier", format!("t{}", i % 3)), ("track", "stable".to_owned())];
        names.into_iter().chain([("app", format!("app{workload}"))]).collect::<Vec<_>>()
    };
    add_pods(&mut maker, &mut compiler, 1_000, 1, |i| of(i, i % workloads));
    for workload in 0..workloads {
        let rules = (0..10).map(|j| {
            let app = format!("app == 'app{workload}'");
            let text = match j {
                0..4 => format!("{app} && one-of-ten != '{j}'"),
                4 => app,
                5 => format!("{app} && tier in {{'t0', 't1', 't2'}}"),
                6 => format!("app in {{'app{workload}', 'none{workload}'}}"),
                7 => format!("{app} || team == 'team{workload}'"),
                8 => format!("has(track) && {app}"),
                _ => format!("pcns.team == 'red' && {app}"),
            };
            peers(j, maker.selector(&text))
        });
        let rules = rules.collect();
        compiler.apply(add_policy(&mut maker, &format!("workload-{workload}"), rules));
    }
    compiler.flush();
    let sets = compiler.ruleset().sets.len();
    ensure!(sets == selectors, "{sets} sets of {selectors} are in force");
    let case = format!("pod label change, {} selectors", size(selectors));
    // Where there is one workload, the pod leaves it and comes back.
    measure(&case, &mut compiler, |round| pod(&mut maker, 500, of(500, (round + 1) % 2)))
}

/// The namespace of pods moves to another team, so that all of them leave a set and enter one, and
/// each of twenty workloads likewise.
fn namespace_labels(pods: usize) -> Result<[Row; 2]> {
    let mut maker = Maker::default();
    let mut compiler = Compiler::new("n0".into());
    add_pods(&mut maker, &mut compiler, pods, 1, |i| vec![("app", format!("app{}", i % 20))]);
    for team in ["red", "blue"] {
        let mut rules = vec![peers(0, maker.selector(&format!("pcns.team == '{team}'")))];
        for app in 0..20 {
            let text = format!("pcns.team == '{team}' && app == 'app{app}'");
            rules.push(peers(1 + app, maker.selector(&text)));
        }
        compiler.apply(add_policy(&mut maker, team, rules));
    }
    compiler.flush();
    let case = format!("namespace label change, {} pods", size(pods));
    let teams = ["blue", "red"];
    measure(&case, &mut compiler, |round| maker.namespace("shop", Some(("team", teams[round % 2]))))
}

/// A policy comes that selects pods, two hundred of them here, and admits them to each other.
fn new_policy(pods: usize) -> Result<[Row; 2]> {
    let mut maker = Maker::default();
    let mut compiler = Compiler::new("n0".into());
    add_pods(&mut maker, &mut compiler, pods, 200, |i| {
        vec![("app", format!("app{}", i % 20)), ("group", "all".to_owned())]
    });
    compiler.flush();
    let case = format!("new policy selecting {} pods", size(pods));
    let mut costs = Vec::new();
    for _ in 0..ROUNDS / 2 {
        let subject = maker.selector("group == 'all'");
        let rules = vec![peers(0, subject.clone())];
        let policy = maker.policy(subject, rules, Vec::new());
        let come = governs(PolicyKind::GlobalNetworkPolicy, None, "new", policy);
        let go = come.absence();
        let (batch, cost) = Cost::of(|| {
            compiler.apply(come);
            compiler.flush()
        });
        let members = batch.ruleset.sets_added.values().map(|set| set.members.len());
        ensure!(members.sum::<usize>() == pods, "{case}: its set has another size");
        costs.push(cost);
        compiler.apply(go);
        compiler.flush();
    }
    Ok(Cost::rows(&case, &mut costs))
}

/// One rule of a hundred gets another port, in a policy that selects pods of this node.
fn policy_edit(local: usize) -> Result<[Row; 2]> {
    let mut maker = Maker::default();
    let mut compiler = Compiler::new("n0".into());
    add_pods(&mut maker, &mut compiler, 1_000, local, |i| vec![("app", format!("app{}", i % 100))]);
    let edited = |maker: &mut Maker, port: u16| {
        let rules = (0..EDITED_RULES).map(|i| {
            let port = if i == EDITED_RULES / 2 { port } else { 80 + i as u16 };
            let port = PortSpec::Range(PortRange::single(port));
            let ports = vec![Port { protocol: Some(brindle_model::net::Protocol::TCP), port }];
            let selector = maker.selector(&format!("app == 'app{i}'"));
            Rule::allow(i as u32, Some(vec![Peer::Pods(selector)]), Some(ports))
        });
        let rules = rules.collect();
        add_policy(maker, "edited", rules)
    };
    compiler.apply(edited(&mut maker, 1));
    compiler.flush();
    let endpoints = compiler.ruleset().endpoints.len();
    ensure!(endpoints == local, "{endpoints} endpoints of {local}");
    let case = format!("policy edit, 1 rule of 100, {local} local pods");
    measure(&case, &mut compiler, |round| edited(&mut maker, 2 + (round % 2) as u16))
}
