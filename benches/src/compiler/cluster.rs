//! The compiler in a cluster of twenty thousand pods and five hundred policies: what it holds in
//! memory, and what each kind of change costs.
//!
//! Every event is timed from `apply` to the end of `flush`. The same events run against a cluster
//! with a tenth of the pods, in turns: their ratio is near 1 if an event costs its own change and
//! not the cluster. The world is the hard case: every policy is in use on this node, every pod has a
//! label of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use brindle_compiler::Compiler;
use brindle_model::NamespacedName;
use brindle_model::cluster::{Attachment, EndpointId, NamedPort, Namespace, Node, Pod, Update};
use brindle_model::labels::NAMESPACE_NAME_LABEL;
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::{
    DEFAULT_TIER, NETWORK_POLICY_ORDER, Peer, Policy, Port, PortSpec, Rule,
};
use brindle_model::ruleset::Stage;
use brindle_model::selector::Selector;
use brindle_model::verdict::PolicyId;

use super::objects::Maker;
use crate::cpu;
use crate::heap::Heap;
use crate::row::Row;

const PODS: usize = 20_000;
const NAMESPACES: usize = 100;
const POLICIES_A_NAMESPACE: usize = 5;
const NODES: usize = 1_000;
/// Workloads of a namespace; pods carry their name in the label `app`.
const APPS: usize = 20;
const ROUNDS: usize = 300;

/// Rows: memory in full, then each event against a tenth of the cluster.
pub fn rows() -> Result<Vec<Row>> {
    let heap = Heap::now();
    let mut big = Compiler::new("n0".into());
    let mut names = Maker::default();
    load(PODS, &mut names, &mut big);
    big.flush();
    let memory = heap.megabytes_since();
    let ruleset = big.ruleset();
    let policies = NAMESPACES * POLICIES_A_NAMESPACE;
    ensure!(ruleset.policies.len() == policies, "every policy is in use on this node");
    let members: usize = ruleset.sets.values().map(|set| set.members.len()).sum();
    ensure!(members > 2 * PODS, "{members} members of all sets");
    let mut rows =
        vec![Row::absolute("20k pods with labels of their own: live heap", memory, "MB")];

    let mut small = Compiler::new("n0".into());
    load(PODS / 10, &mut Maker::default(), &mut small);
    small.flush();
    for event in EVENTS {
        rows.push(event.measure(&mut big, &mut small)?);
    }
    Ok(rows)
}

/// One kind of change: the updates that make it in round `n`.
struct Event {
    name: &'static str,
    updates: fn(&mut Maker, usize) -> Vec<Update>,
    /// Whether it must change the ruleset, so that the bench cannot measure nothing.
    changes: bool,
}

const EVENTS: &[Event] = &[
    Event {
        name: "remote pod comes or goes",
        updates: |names, n| {
            let pod = (n % 2 == 0).then(|| Arc::new(pod(names, PODS, 3)));
            vec![Update::Pod(pod_name(names, PODS), pod)]
        },
        changes: true,
    },
    Event {
        name: "remote pod changes its app label",
        updates: |names, n| {
            let pod = Arc::new(pod(names, 1_234, n % APPS));
            vec![Update::Pod(pod_name(names, 1_234), Some(pod))]
        },
        changes: true,
    },
    Event {
        name: "remote pod changes a label that nothing asks for",
        updates: |names, n| {
            let mut pod = pod(names, 1_235, (1_235 / NAMESPACES) % APPS);
            let revision = (names.name("revision"), names.name(format!("r{}", n % 2)));
            let labels = pod.labels.iter().map(|(k, v)| (k.clone(), v.clone()));
            pod.labels = labels.chain([revision]).collect();
            vec![Update::Pod(pod_name(names, 1_235), Some(Arc::new(pod)))]
        },
        changes: false,
    },
    Event {
        name: "policy changes a port",
        updates: |names, n| {
            let mut policy = policy(names, 7, 0);
            let port = PortSpec::Range(PortRange::single(1_000 + (n % 2) as u16));
            let ports = Some(vec![Port { protocol: Some(Protocol::TCP), port }]);
            let rule = &mut policy.ingress.as_mut().expect("it governs ingress")[0];
            *rule = Rule::allow(0, None, ports);
            vec![Update::Policy(policy_id(names, 7, 0), Some(Arc::new(policy)))]
        },
        changes: true,
    },
    Event {
        name: "policy comes or goes with a selector of its own",
        updates: |names, n| {
            let mut policy = policy(names, 8, 0);
            let app = app_selector(names, (n / 2) % APPS);
            let own = Selector::and([in_namespace(names, n % NAMESPACES), app]);
            let rule = &mut policy.ingress.as_mut().expect("it governs ingress")[0];
            *rule = Rule::allow(0, Some(vec![Peer::Pods(own)]), None);
            let id = policy_id(names, 8, POLICIES_A_NAMESPACE);
            vec![Update::Policy(id, (n % 2 == 0).then(|| Arc::new(policy)))]
        },
        changes: true,
    },
];

impl Event {
    fn measure(&self, big: &mut Compiler, small: &mut Compiler) -> Result<Row> {
        let mut names = Maker::default();
        let mut changed = false;
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for (compiler, times) in [&mut *big, &mut *small].into_iter().zip(&mut times) {
                let updates = (self.updates)(&mut names, round);
                let (batch, time) = cpu::time(|| {
                    updates.into_iter().for_each(|update| compiler.apply(update));
                    compiler.flush()
                });
                times.push(time);
                changed |= !batch.ruleset.is_empty();
            }
        }
        ensure!(changed == self.changes, "{}: the ruleset changed: {changed}", self.name);
        let [big, small] = times.map(median_us);
        Ok(Row::paired(self.name, big, "us", small, big / small))
    }
}

fn median_us(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn load(pods: usize, names: &mut Maker, compiler: &mut Compiler) {
    for index in 0..NODES {
        let addresses = vec![v4(192, index), v6(0xf0, index)];
        let node = Node { addresses, ..Node::default() };
        compiler.apply(Update::Node(format!("n{index}").into(), Some(Arc::new(node))));
    }
    for index in 0..NAMESPACES {
        let team = (names.name("team"), names.name(format!("team{}", index % 10)));
        let labels = [team].into_iter().collect();
        let name = names.name(format!("ns{index}"));
        compiler.apply(Update::Namespace(name, Some(Arc::new(Namespace { labels }))));
        for number in 0..POLICIES_A_NAMESPACE {
            let policy = Arc::new(policy(names, index, number));
            compiler.apply(Update::Policy(policy_id(names, index, number), Some(policy)));
        }
    }
    for index in 0..pods {
        let pod = pod(names, index, (index / NAMESPACES) % APPS);
        // The first pod of each namespace hangs on this node.
        if index < NAMESPACES {
            let id = EndpointId {
                pod: pod_name(names, index),
                container_id: format!("c{index}").into(),
                interface: names.name("eth0"),
            };
            let host_interface = format!("brd{index}").into();
            let attachment = Attachment { host_interface, addresses: pod.addresses.to_vec() };
            compiler.apply(Update::Endpoint(id, Some(Arc::new(attachment))));
        }
        compiler.apply(Update::Pod(pod_name(names, index), Some(Arc::new(pod))));
    }
}

fn v4(net: u8, index: usize) -> IpAddr {
    let [_, a, b, c] = (index as u32).to_be_bytes();
    IpAddr::from([net, a, b, c])
}

fn v6(net: u16, index: usize) -> IpAddr {
    IpAddr::from([0xfd00, net, 0, 0, 0, 0, (index >> 16) as u16, index as u16])
}

fn pod_name(names: &mut Maker, index: usize) -> NamespacedName {
    let namespace = names.name(format!("ns{}", index % NAMESPACES));
    NamespacedName { namespace, name: format!("pod-7d9f8c6b5-{index:05}").into() }
}

/// Six labels, one of them unlike any other pod's, two addresses, one named port.
fn pod(names: &mut Maker, index: usize, app: usize) -> Pod {
    let mut label = |key: &str, value: String| (names.name(key), names.name(value));
    let labels = [
        label("app", format!("app{app}")),
        label("app.kubernetes.io/part-of", format!("suite{}", app % 4)),
        label("pod-template-hash", format!("{:010x}", (index / 40) * 2_654_435_761)),
        label("tier", format!("tier{}", app % 3)),
        label("track", "stable".to_owned()),
        label("statefulset.kubernetes.io/pod-name", format!("pod-{index}")),
    ];
    Pod {
        uid: None,
        node: Some(names.name(format!("n{}", 1 + index % (NODES - 1)))),
        labels: labels.into_iter().collect(),
        service_account: Some(names.name("default")),
        addresses: vec![v4(10, index), v6(0x10, index)].into(),
        ports: [NamedPort {
            name: names.name("http"),
            protocol: Protocol::TCP,
            port: 8_000 + (app % 10) as u16,
        }]
        .into(),
    }
}

fn policy_id(names: &mut Maker, namespace: usize, number: usize) -> PolicyId {
    let namespace = names.name(format!("ns{namespace}"));
    PolicyId::network_policy(&NamespacedName { namespace, name: format!("policy{number}").into() })
}

fn in_namespace(names: &mut Maker, index: usize) -> Selector {
    Selector::equals(NAMESPACE_NAME_LABEL, names.name(format!("ns{index}")))
}

fn app_selector(names: &mut Maker, app: usize) -> Selector {
    Selector::equals("app", names.name(format!("app{app}")))
}

/// A policy for every pod of its namespace: two workloads of the same namespace on a port and a
/// named port, a workload of a team, and a block with an exception.
fn policy(names: &mut Maker, namespace: usize, number: usize) -> Policy {
    let own = in_namespace(names, namespace);
    let neighbours = [number * 2, number * 2 + 1]
        .map(|app| Peer::Pods(Selector::and([own.clone(), app_selector(names, app)])));
    let team = Selector::equals("pcns.team", names.name(format!("team{}", number % 10)));
    let of_team = Peer::Pods(Selector::and([team, app_selector(names, number + 10)]));
    let block = Peer::IpBlock {
        cidr: "172.16.0.0/12".parse().expect("a prefix"),
        except: vec![format!("172.16.{number}.0/24").parse().expect("a prefix")],
    };
    let tcp = |port| Port { protocol: Some(Protocol::TCP), port };
    let ports = vec![tcp(PortSpec::Range(80.into())), tcp(PortSpec::Named(names.name("http")))];
    let rule = |index, peers, ports| Rule::allow(index, Some(peers), ports);
    Policy {
        tier: names.name(DEFAULT_TIER),
        order: NETWORK_POLICY_ORDER,
        subject: names.share(own),
        stage: Stage::Normal,
        ingress: Some(vec![rule(0, neighbours.into(), Some(ports)), rule(1, vec![of_team], None)]),
        egress: Some(vec![rule(0, vec![block], None)]),
    }
}
