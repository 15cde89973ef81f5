//! AgentConfigurations, on a node: what a running agent takes at once, and what waits for a start.

use std::fs;

use brindle_model::admin::SettingReport;
use nix::sys::signal::Signal;

use crate::node::Node;

fn configuration(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: brindle.io/v1alpha1\nkind: AgentConfiguration\nmetadata: {{name: {name}}}\n\
         spec: {spec}\n"
    )
}

/// Value, origin and remark of a setting.
fn setting(node: &Node, name: &str) -> (String, String, Option<String>) {
    let all: Vec<SettingReport> = node.get("/settings");
    let found = all.into_iter().find(|setting| setting.setting == name).expect(name);
    (found.value, found.origin, found.remark)
}

fn said(value: &str, origin: &str) -> (String, String, Option<String>) {
    (value.to_owned(), origin.to_owned(), None)
}

#[test]
fn a_running_agent_takes_what_it_can_at_once() {
    let mut node = Node::new();
    node.start_with(&["--packets-kept", "9"]);
    assert_eq!(setting(&node, "packetsKept"), said("9", "start"));
    assert_eq!(setting(&node, "existingConnections"), said("Reevaluate", "built in"));
    let pod = node.pod("client");
    pod.reaches_node(&node, true);

    let default = "{existingConnections: Keep, defaultEndpointToHostAction: Drop, \
                   logLevel: Debug, packetsKept: 5}";
    node.write("settings.yaml", &configuration("default", default));
    node.sync();
    pod.reaches_node(&node, false);
    assert_eq!(setting(&node, "packetsKept"), said("5", "AgentConfiguration default"));
    assert_eq!(node.status().connections.existing, "keep");
    node.wait("the log to be more talkative", |node| node.log().contains("DEBUG"));

    // Of the node's own object only the field that it has.
    node.write("own.yaml", &configuration("node.n1", "{defaultEndpointToHostAction: Accept}"));
    node.write("other.yaml", &configuration("node.n2", "{packetsKept: 1}"));
    node.sync();
    pod.reaches_node(&node, true);
    assert_eq!(
        setting(&node, "defaultEndpointToHostAction"),
        said("Accept", "AgentConfiguration node.n1")
    );
    assert_eq!(setting(&node, "packetsKept"), said("5", "AgentConfiguration default"));

    for file in ["settings.yaml", "own.yaml"] {
        fs::remove_file(node.path("objects").join(file)).unwrap();
    }
    node.sync();
    assert_eq!(setting(&node, "packetsKept"), said("9", "start"));
    assert_eq!(node.status().connections.existing, "reevaluate");
    pod.reaches_node(&node, true);
    node.end(Signal::SIGTERM);
}

/// The start knows the objects before it makes anything.
#[test]
fn what_only_a_start_takes_is_said_to_wait() {
    let mut node = Node::new();
    let labels = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {rack: r1}}\n\
                  status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n";
    // It sorts before the Node object that there is.
    node.write("a.yaml", labels);
    node.write(
        "s.yaml",
        &configuration("rack", "{nodeSelector: {matchLabels: {rack: r1}}, dropsPerSecond: 3}"),
    );
    node.start();
    assert_eq!(setting(&node, "dropsPerSecond"), said("3", "AgentConfiguration rack"));
    assert_eq!(node.get::<brindle_model::admin::Packets>("/drops").per_second, 3);

    node.write("n.yaml", &configuration("node.n1", "{dropsPerSecond: 2}"));
    node.sync();
    let (value, origin, remark) = setting(&node, "dropsPerSecond");
    assert_eq!((&*value, &*origin), ("2", "AgentConfiguration node.n1"));
    assert_eq!(remark.as_deref(), Some("until the agent starts again: 3"));
    assert_eq!(node.get::<brindle_model::admin::Packets>("/drops").per_second, 3);
    node.wait("the object's status to say so", |node| {
        let status = node.path("status/AgentConfiguration/node.n1.yaml");
        let status = fs::read_to_string(status).unwrap_or_default();
        status.contains("dropsPerSecond counts on node n1 when its agent starts again")
    });

    node.end(Signal::SIGTERM);
    node.start();
    assert_eq!(setting(&node, "dropsPerSecond"), said("2", "AgentConfiguration node.n1"));
    assert_eq!(node.get::<brindle_model::admin::Packets>("/drops").per_second, 2);
    node.wait("the object's status to say no more", |node| {
        let status = node.path("status/AgentConfiguration/node.n1.yaml");
        fs::read_to_string(status).is_ok_and(|status| !status.contains("starts again"))
    });
    node.end(Signal::SIGTERM);
}

#[test]
fn an_emergency_wins_and_is_typed() {
    let mut node = Node::new();
    node.write("own.yaml", &configuration("node.n1", "{packetsKept: 4}"));
    node.environment("BRINDLE_AGENT_CONFIGURATION", "{packetsKept: 6}");
    node.start();
    assert_eq!(setting(&node, "packetsKept"), said("6", "BRINDLE_AGENT_CONFIGURATION"));
    node.end(Signal::SIGTERM);

    node.environment("BRINDLE_AGENT_CONFIGURATION", "{packetsCept: 6}");
    let arguments = node.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let status = node.binary(&arguments).unwrap().wait().unwrap();
    assert!(!status.success());
    assert!(node.log().contains("unknown field `packetsCept`"), "{}", node.log());
}
