//! Judging packets: by the ruleset's evaluator, which judges connections again after a change, and
//! by the oracle, which decides how many worlds a test run can afford.

use std::hint::black_box;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use brindle_compiler::Compiler;
use brindle_model::NamespacedName;
use brindle_model::cluster::Update;
use brindle_model::net::{PortRange, Protocol};
use brindle_model::packet::{ConnState, Flow, Origin, Packet, Transport};
use brindle_model::policy::{Peer, Port, PortSpec, Rule};
use brindle_model::ruleset::evaluate;
use brindle_model::verdict::{PolicyKind, Verdict};
use brindle_oracle::{World, judge};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::objects::{Maker, address, governs};
use crate::cpu;
use crate::row::Row;

/// Rules of each policy.
const RULES: usize = 68;
/// Pods that send.
const SENDERS: usize = 1_000;
/// Workloads, each of which rules name.
const WORKLOADS: usize = 100;
const FLOWS: usize = 400;
/// Runs; the best counts.
const RUNS: usize = 5;

/// Both, at three sizes.
pub fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for policies in [3, 29, 294] {
        rows.push(evaluator(policies)?);
    }
    for policies in [1, 10, 100] {
        rows.push(oracle(policies)?);
    }
    Ok(rows)
}

/// Seconds of the best run.
fn best(mut run: impl FnMut()) -> f64 {
    let runs = (0..RUNS).map(|_| cpu::time(&mut run).1.as_secs_f64());
    runs.fold(f64::INFINITY, f64::min)
}

/// A pod that all policies select, and flows from pods of every workload to ports of which one in
/// three is in some rule: most are asked all rules, and denied.
fn evaluator(policies: usize) -> Result<Row> {
    let mut maker = Maker::default();
    let mut compiler = Compiler::new("n0".into());
    compiler.apply(maker.namespace::<&str>("shop", None));
    for i in 0..=SENDERS {
        let id = maker.pod_name("shop", format!("pod-{i}"));
        if i == SENDERS {
            compiler.apply(maker.endpoint(&id, 0, &[address(i)]));
        }
        let labels = maker.labels([("app", format!("app{}", i % WORKLOADS))]);
        compiler.apply(Update::Pod(id, Some(maker.pod(labels, vec![address(i)]).into())));
    }
    for i in 0..policies {
        let rules = (0..RULES).map(|j| {
            let peer = match j % 10 {
                0 => Peer::IpBlock {
                    cidr: format!("172.16.{}.0/24", i % 256).parse().expect("a prefix"),
                    except: Vec::new(),
                },
                _ => Peer::Pods(maker.selector(&format!("app == 'app{}'", (i + j) % WORKLOADS))),
            };
            let port = PortSpec::Range(PortRange::single(8_000 + j as u16));
            let port = Port { protocol: Some(Protocol::TCP), port };
            Rule::allow(j as u32, Some(vec![peer]), Some(vec![port]))
        });
        let rules = rules.collect();
        let subject = maker.selector("projectcalico.org/namespace == 'shop'");
        let policy = maker.policy(subject, rules, Vec::new());
        let namespace = Some(maker.name("shop"));
        let kind = PolicyKind::KubernetesNetworkPolicy;
        compiler.apply(governs(kind, namespace, format!("policy-{i}"), policy));
    }
    compiler.flush();
    let ruleset = compiler.ruleset();
    let endpoint = ruleset.endpoints.values().next().context("one endpoint")?;
    let program = &ruleset.programs[&endpoint.ingress];
    let rules: usize = ruleset.policies.values().map(|policy| policy.ingress.len()).sum();
    ensure!(rules == policies * RULES, "{rules} rules");
    let packets: Vec<_> = (0..FLOWS)
        .map(|i| Packet {
            source: address(i * 7 % SENDERS),
            destination: address(SENDERS),
            transport: Transport::Tcp {
                source: 40_000,
                destination: 8_000 + (i % (3 * RULES)) as u16,
            },
        })
        .collect();
    let denied = { packets.iter() }
        .filter(|packet| evaluate(ruleset, program, packet).verdict == Verdict::Deny)
        .count();
    ensure!(denied >= FLOWS / 2, "{denied} of {FLOWS} flows are asked all rules");
    let time = best(|| {
        packets.iter().for_each(|packet| drop(black_box(evaluate(ruleset, program, packet))));
    });
    let case = format!("evaluator, {policies} policies x {RULES} rules");
    Ok(Row::absolute(case, time * 1e6 / FLOWS as f64, "us"))
}

/// Thirty pods in three namespaces on two nodes, and policies of three rules each.
fn oracle(policies: usize) -> Result<Row> {
    let mut world = World::default();
    for namespace in 0..3 {
        let name = format!("ns{namespace}");
        world.namespaces.push(object(json!({
            "metadata": {"name": name, "labels": {"team": format!("team{}", namespace % 2)}},
        }))?);
        for pod in 0..10 {
            let address = address(namespace * 256 + pod).to_string();
            world.pods.push(object(json!({
                "metadata": {
                    "namespace": name,
                    "name": format!("pod-{pod}"),
                    "labels": {"app": format!("app{}", pod % 4), "role": format!("role{}", pod % 3)},
                },
                "spec": {
                    "nodeName": format!("n{}", pod % 2),
                    "containers": [{"name": "main", "ports": [{"name": "http", "containerPort": 80}]}],
                },
                "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
            }))?);
        }
    }
    for node in 0..2 {
        world.nodes.push(object(json!({
            "metadata": {"name": format!("n{node}")},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("192.0.2.{node}")}]},
        }))?);
    }
    for policy in 0..policies {
        world.network_policies.push(object(json!({
            "metadata": {"namespace": format!("ns{}", policy % 3), "name": format!("policy-{policy}")},
            "spec": {
                "podSelector": {"matchLabels": {"app": format!("app{}", policy % 4)}},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {"from": [{"podSelector": {"matchLabels": {"role": format!("role{}", policy % 3)}}}],
                     "ports": [{"port": "http"}, {"port": 443}]},
                    {"from": [{"namespaceSelector": {"matchLabels": {"team": "team1"}}}],
                     "ports": [{"port": 8_000, "endPort": 8_100}]},
                ],
                "egress": [
                    {"to": [{"ipBlock": {"cidr": "10.0.0.0/23", "except": ["10.0.1.0/28"]}}]},
                ],
            },
        }))?);
    }
    let addresses: Vec<(IpAddr, String)> = (0..30)
        .map(|i| (address(i / 10 * 256 + i % 10), format!("ns{}/pod-{}", i / 10, i % 10)))
        .collect();
    let flows = (0..FLOWS).map(|i| {
        let ((source, sender), (destination, _)) = (&addresses[i % 30], &addresses[i * 7 % 30]);
        let (namespace, name) = sender.split_once('/').context("a namespace and a name")?;
        let port = [80, 443, 8_050, 22][i % 4];
        let transport = Transport::Tcp { source: 40_000, destination: port };
        let packet = Packet { source: *source, destination: *destination, transport };
        let origin = Origin::Pod(NamespacedName::new(namespace, name));
        Ok(Flow { packet, origin, state: ConnState::New })
    });
    let flows = flows.collect::<Result<Vec<Flow>>>()?;
    let verdicts: usize = flows.iter().map(|flow| judge(&world, flow).hops.len()).sum();
    ensure!(verdicts > FLOWS, "most flows have two hops");
    let time = best(|| flows.iter().for_each(|flow| drop(black_box(judge(&world, flow)))));
    let case = format!("oracle, {policies} policies");
    // As milliseconds for a thousand verdicts, so that less is better, as everywhere.
    Ok(Row::absolute(case, time * 1e6 / verdicts as f64, "ms/1k"))
}

fn object<T: DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).context("an object of its kind")
}
