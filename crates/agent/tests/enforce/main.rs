//! The agent, whole: a folder in, enforced policy and reachable pods out, through restarts and
//! deaths.

mod bgp;
mod hosts;
mod node;
mod router;
mod services;
mod settings;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;

use brindle_model::admin::{Hits, PacketReport, Packets};
use brindle_model::packet::Transport;
use brindle_model::verdict::DecisionId;
use nix::sys::signal::Signal;
use node::Node;

const ONLY_80: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 80}]
";

#[test]
fn policy_is_enforced_and_follows_the_folder() {
    let mut node = Node::new();
    node.start();
    let (client, other, web) = (node.pod("client"), node.pod("other"), node.pod("web"));
    client.reaches(&web, 80, true);
    client.reaches(&web, 81, true);

    node.write("web.yaml", ONLY_80);
    node.sync();
    client.reaches(&web, 80, true);
    client.reaches(&web, 81, false);
    other.reaches(&web, 80, false);
    web.reaches(&other, 80, true);

    node.write("web.yaml", &ONLY_80.replace("port: 80", "port: 81"));
    node.sync();
    client.reaches(&web, 80, false);
    client.reaches(&web, 81, true);

    let status = fs::read_to_string(node.path("status/NetworkPolicy/shop/web.yaml")).unwrap();
    assert!(status.contains("n1"), "{status}");
    let status = node.status();
    assert!(status.ready && status.problems.is_empty(), "{status:?}");
    assert_eq!(status.compiled.endpoints, 3);
    assert_eq!((status.blocks, status.addresses), (2, 6));
    assert_eq!(status.applied, status.generation);

    fs::remove_file(node.path("objects/web.yaml")).unwrap();
    node.sync();
    other.reaches(&web, 80, true);
    node.end(Signal::SIGTERM);
}

/// The kernel itself says why it denies a packet, and how often each rule decided.
#[test]
fn denied_packets_are_told_with_their_decision() {
    let mut node = Node::new();
    node.start();
    let (client, web) = (node.pod("client"), node.pod("web"));
    node.write("web.yaml", ONLY_80);
    node.sync();
    client.reaches(&web, 80, true);
    client.reaches(&web, 81, false);

    let to_81 = |report: &PacketReport| match report.packet.map(|p| p.transport) {
        Some(Transport::Tcp { destination, .. }) => destination == 81,
        _ => false,
    };
    // One of each family at least: a retry of a SYN is denied, too.
    let mut drops = Packets::default();
    node.wait("both families to be told of", |node| {
        drops = node.get("/drops");
        let of = |v4| drops.packets.iter().any(|r| r.packet.unwrap().source.is_ipv4() == v4);
        of(true) && of(false)
    });
    assert_eq!((drops.problem, drops.lost, drops.per_second), (None, 0, 5));
    for report in &drops.packets {
        assert!(to_81(report), "{report:?}");
        assert_eq!(report.decision, Some(DecisionId::TierEnd { tier: "default".into() }));
        assert_eq!(report.from_pod.as_deref(), Some("shop/client"));
        assert_eq!(report.to_pod.as_deref(), Some("shop/web"));
        assert_eq!(report.hook, "forward");
    }
    let last = drops.packets.last().unwrap().number;
    let later: Packets = node.get(&format!("/drops?after={last}"));
    assert!(later.packets.iter().all(|report| report.number > last), "{later:?}");
    assert!(node.get::<Packets>("/logged").packets.is_empty());

    let hits: Hits = node.get("/hits");
    let hit = |words: &str| hits.decisions.iter().find(|hit| hit.words == words).expect(words);
    let admitted = hit("NetworkPolicy shop/web ingress rule 0");
    // A connection of each family.
    assert_eq!((admitted.packets, &*admitted.action), (2, "allow"));
    let denied = hit("end of tier default");
    assert!(denied.packets >= drops.packets.len() as u64 && denied.action == "deny", "{denied:?}");
    assert_eq!(hits.left_out, 0);
    node.end(Signal::SIGTERM);
}

#[test]
fn a_dead_agent_is_not_noticed_and_its_successor_writes_nothing() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut node = Node::new();
        node.start();
        let (client, web) = (node.pod("client"), node.pod("web"));
        node.write("web.yaml", ONLY_80);
        node.sync();
        let before = node.kernel();

        node.end(signal);
        assert_eq!(node.kernel(), before, "{signal} changes nothing");
        client.reaches(&web, 80, true);
        client.reaches(&web, 81, false);

        node.start();
        assert_eq!(node.kernel(), before);
        let status = node.status();
        assert_eq!((status.dataplane.writes, status.routes.writes), (0, 0), "{status:?}");
        client.reaches(&web, 80, true);
        client.reaches(&web, 81, false);

        // The successor is in charge: it goes on where the other ended.
        node.write("web.yaml", &ONLY_80.replace("port: 80", "port: 81"));
        node.sync();
        client.reaches(&web, 81, true);
        client.reaches(&web, 80, false);
        node.end(Signal::SIGTERM);
    }
}

#[test]
fn a_second_agent_is_refused_and_the_first_unharmed() {
    let mut node = Node::new();
    node.start();
    let before = node.kernel();
    let arguments = node.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let second = node.binary(&arguments).unwrap().wait_with_output().unwrap();
    assert!(!second.status.success());
    assert!(node.log().contains("another agent (process "), "{}", node.log());
    assert_eq!(node.kernel(), before);
    node.sync();
    let (client, web) = (node.pod("client"), node.pod("web"));
    client.reaches(&web, 80, true);
    let run = node.path("run").display().to_string();
    let uninstall = node.binary(&["uninstall", "--run-dir", &run]).unwrap();
    assert!(!uninstall.wait_with_output().unwrap().status.success(), "an agent runs");
    client.reaches(&web, 80, true);
    node.end(Signal::SIGTERM);
}

#[test]
fn damage_is_repaired_without_a_restart() {
    let mut node = Node::new();
    node.start();
    let (client, web) = (node.pod("client"), node.pod("web"));
    node.write("web.yaml", ONLY_80);
    node.sync();
    let before = node.kernel();
    node.run("nft flush ruleset");
    // Whatever is written next finds the damage, whether or not it touches the same objects.
    node.write("web.yaml", &ONLY_80.replace("port: 80", "port: 81"));
    node.sync();
    node.write("web.yaml", ONLY_80);
    node.sync();
    client.reaches(&web, 81, false);
    client.reaches(&web, 80, true);
    // The kernel lists chains in the order in which they were made.
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&node.kernel()), sorted(&before));
    node.end(Signal::SIGTERM);
}

#[test]
fn uninstall_leaves_nothing() {
    let mut node = Node::new();
    let before = node.kernel();
    node.start();
    let pods = [node.pod("client"), node.pod("web")];
    node.end(Signal::SIGTERM);
    let (state, run) = (node.path("state"), node.path("run"));
    let arguments = [
        "uninstall".to_owned(),
        format!("--state-dir={}", state.display()),
        format!("--run-dir={}", run.display()),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let uninstall = node.binary(&arguments).unwrap().wait_with_output().unwrap();
    assert!(uninstall.status.success(), "{}", node.log());
    assert_eq!(node.kernel(), before);
    assert!(!state.exists() && !run.exists());
    drop(pods);
}

#[test]
fn a_probe_tells_what_the_kernel_offers_and_touches_nothing() {
    let node = Node::new();
    let before = node.kernel();
    let mut probe = node.binary(&["probe"]).unwrap();
    let mut text = String::new();
    probe.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(probe.wait().unwrap().success(), "{text}");
    assert!(text.contains("dataplane: nftables"), "{text}");
    assert_eq!(node.kernel(), before);
}

#[test]
fn every_dump_is_sorted_json_and_every_mistake_has_an_answer() {
    let mut node = Node::new();
    node.start();
    let _pods = [node.pod("client"), node.pod("web")];
    node.write("web.yaml", ONLY_80);
    node.sync();
    for dump in ["ruleset", "sets", "endpoints", "routing", "routes", "bgp", "ipam", "deltas"] {
        let (code, body) = node.request("GET", &format!("/debug/{dump}")).unwrap();
        assert_eq!(code, 200, "{dump}: {body}");
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(!value.is_null());
        if dump != "bgp" {
            assert_eq!(node.request("GET", &format!("/debug/{dump}")).unwrap().1, body);
        }
    }
    let (_, metrics) = node.request("GET", "/metrics").unwrap();
    assert!(metrics.contains("brindle_endpoints 2"), "{metrics}");
    assert_eq!(node.request("GET", "/healthz").unwrap().0, 200);
    assert_eq!(node.request("POST", "/sync?timeout=-1").unwrap().0, 400);
    assert_eq!(node.request("GET", "/nothing").unwrap().0, 404);
    node.end(Signal::SIGTERM);
}
