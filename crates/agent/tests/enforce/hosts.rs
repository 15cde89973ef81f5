//! Host endpoints: an interface of the node that is policed, from before it is there until nobody
//! means it any more.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use brindle_dataplane_core::netns::Namespace;
use nix::sys::signal::Signal;

use crate::node::Node;

const HOST: &str = "\
apiVersion: brindle.io/v1alpha1
kind: HostEndpoint
metadata: {name: edge, labels: {role: edge}}
spec: {node: n1, interfaceName: ext0}
";

/// A global policy for the host endpoint that allows TCP to one port.
fn allow(name: &str, port: u16, rest: &str) -> String {
    format!(
        "apiVersion: brindle.io/v1alpha1\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{selector: role == 'edge', {rest}\
         ingress: [{{action: Allow, protocol: TCP, destination: {{ports: [{port}]}}}}]}}\n"
    )
}

/// Somebody beyond the node.
struct Outside(Namespace);

impl Outside {
    /// Hangs on a new interface of the node, `ext0`.
    fn new(node: &Node) -> Self {
        let netns = Namespace::create().expect("a network namespace");
        let at = format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
        node.run(&format!("ip link add ext0 type veth peer name out0 netns {at}"));
        for command in [
            "ip addr add 198.51.100.1/24 dev ext0",
            "ip addr add fd00:9::1/64 dev ext0 nodad",
            "ip link set ext0 up",
        ] {
            node.run(command);
        }
        for command in [
            "ip addr add 198.51.100.2/24 dev out0",
            "ip addr add fd00:9::2/64 dev out0 nodad",
            "ip link set out0 up",
            "ip route add default via 198.51.100.1",
            "ip -6 route add default via fd00:9::1",
        ] {
            let words: Vec<_> = command.split(' ').collect();
            let ran = netns.run(|| std::process::Command::new(words[0]).args(&words[1..]).output());
            assert!(ran.unwrap().unwrap().status.success(), "{command}");
        }
        Self(netns)
    }

    /// Whether a connection comes about to the node itself, over both families.
    fn reaches_node(&self, node: &Node, port: u16, expected: bool) {
        for address in ["198.51.100.1", "fd00:9::1"] {
            let target = SocketAddr::new(address.parse().unwrap(), port);
            let listener = node.netns().run(|| TcpListener::bind(target)).unwrap().unwrap();
            self.connects(target, expected);
            drop(listener);
        }
    }

    fn connects(&self, target: SocketAddr, expected: bool) {
        let timeout = if expected { Duration::from_secs(30) } else { Duration::from_millis(400) };
        let connected = self.0.run(|| TcpStream::connect_timeout(&target, timeout)).unwrap();
        assert_eq!(connected.is_ok(), expected, "to {target}: {connected:?}");
    }
}

fn remark(node: &Node) -> String {
    fs::read_to_string(node.path("status/HostEndpoint/edge.yaml")).unwrap_or_default()
}

#[test]
fn an_interface_of_the_node_is_policed() {
    let mut node = Node::new();
    node.start();
    let plain = node.kernel();
    assert!(!plain.contains("host-"), "a node without host endpoints has no rule for them");

    // It is in force before there is such an interface, and says that there is none.
    node.write("edge.yaml", HOST);
    node.sync();
    node.wait("the status to say what is missing", |node| {
        remark(node).contains("there is no interface ext0; policed as soon as there is")
    });
    let outside = Outside::new(&node);
    outside.reaches_node(&node, 8080, false);
    outside.reaches_node(&node, 22, true);
    node.wait("the status to say nothing more", |node| {
        let status = remark(node);
        status.contains("n1") && !status.contains("warnings")
    });

    // What is for the node, and what passes through, are asked about apart.
    let web = node.pod("web");
    let to_web = |expected| {
        for address in &web.addresses {
            let target = SocketAddr::new(*address, 80);
            let listener = web.netns().run(|| TcpListener::bind(target)).unwrap().unwrap();
            outside.connects(target, expected);
            drop(listener);
        }
    };
    node.write("admin.yaml", &allow("admin", 8080, ""));
    node.sync();
    outside.reaches_node(&node, 8080, true);
    outside.reaches_node(&node, 8081, false);
    to_web(true);
    node.write("through.yaml", &allow("through", 81, "applyOnForward: true, "));
    node.sync();
    to_web(false);
    node.write("through.yaml", &allow("through", 80, "applyOnForward: true, "));
    node.sync();
    to_web(true);

    // A successor finds everything in place.
    let before = node.kernel();
    node.end(Signal::SIGTERM);
    assert_eq!(node.kernel(), before);
    node.start();
    assert_eq!(node.status().dataplane.writes, 0);
    outside.reaches_node(&node, 8080, true);

    // A broken one goes on closing; one that is gone leaves nothing behind.
    node.write("edge.yaml", &HOST.replace("ext0}", "ext0, profile: open}"));
    node.sync();
    outside.reaches_node(&node, 8081, false);
    fs::remove_file(node.path("objects/edge.yaml")).unwrap();
    node.sync();
    outside.reaches_node(&node, 8081, true);
    assert!(!node.kernel().contains("host-"));
    node.end(Signal::SIGTERM);
}

#[test]
fn iptables_polices_an_interface_of_the_node() {
    for variant in ["iptables-nft", "iptables-legacy"] {
        let options = ["--dataplane", variant];
        let mut node = Node::new();
        node.write("edge.yaml", HOST);
        node.start_with(&options);
        node.sync();
        let outside = Outside::new(&node);
        outside.reaches_node(&node, 8080, false);
        outside.reaches_node(&node, 22, true);
        node.write("admin.yaml", &allow("admin", 8080, ""));
        node.sync();
        outside.reaches_node(&node, 8080, true);
        outside.reaches_node(&node, 8081, false);

        // A successor finds everything in place.
        node.end(Signal::SIGTERM);
        node.start_with(&options);
        assert_eq!(node.status().dataplane.writes, 0, "{variant}");
        outside.reaches_node(&node, 8081, false);

        fs::remove_file(node.path("objects/edge.yaml")).unwrap();
        node.sync();
        outside.reaches_node(&node, 8081, true);
        node.end(Signal::SIGTERM);
    }
}
