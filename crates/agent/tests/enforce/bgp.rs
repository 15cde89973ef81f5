//! The node and its router: routes both ways, and restarts that the router does not notice.

use nix::sys::signal::Signal;

use crate::node::{Node, Pod};
use crate::router::{FABRIC, Router};

const PEER: &str = "\
apiVersion: brindle.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {asNumber: 64601}
---
apiVersion: brindle.io/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec: {node: n1, peerIP: 192.0.2.2, asNumber: 64512}
";

/// A node with a pod, whose blocks the router has, and which has the router's routes.
fn peered() -> (Node, Router, Pod) {
    let mut node = Node::new();
    let router = Router::start(&node);
    node.write("bgp.yaml", PEER);
    node.start();
    let pod = node.pod("web");
    node.wait("routes both ways", |node| {
        let learned = node.run("ip route show proto 98") + &node.run("ip -6 route show proto 98");
        let heard = router.routes();
        ["10.66.0.0/26", "fd66::/122"].iter().all(|block| heard.contains(block))
            && FABRIC.iter().all(|net| learned.contains(&format!("{net} via")))
    });
    (node, router, pod)
}

#[test]
fn blocks_go_out_and_the_fabric_comes_in() {
    let (mut node, router, _pod) = peered();
    let heard = router.routes();
    assert!(heard.contains("via 192.0.2.1 on fabric"), "{heard}");
    let status = node.status();
    assert_eq!((status.bgp.established, status.bgp.originated, status.bgp.learned), (1, 2, 2));
    let routes = node.run("ip route show proto 98");
    assert!(routes.contains("198.51.100.0/24 via 192.0.2.2 dev eth0"), "{routes}");

    // Without the peer its routes go, and ours go from the router.
    node.write("bgp.yaml", PEER.split_once("---").unwrap().0);
    node.wait("the routes to go", |node| {
        router.routes().is_empty() && !node.run("ip route show proto 98").contains("via")
    });
    node.end(Signal::SIGTERM);
}

#[test]
fn a_restart_is_graceful() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let (mut node, router, _pod) = peered();
        let (heard, before) = (router.routes(), node.kernel());

        node.end(signal);
        node.wait("the router to see the end", |_| !router.session().contains("Established"));
        assert_eq!(router.routes(), heard, "{signal}: the router keeps what it heard");
        assert_eq!(node.kernel(), before, "{signal}: the node keeps what it learned");

        node.start();
        node.wait("the session", |node| {
            assert_eq!(router.routes(), heard, "{signal}: no route is withdrawn in between");
            let learned = node.run("ip route show proto 98");
            assert!(learned.contains("198.51.100.0/24 via"), "{signal}: learned routes stay");
            let status = node.status().bgp;
            status.established == 1 && !status.restarting
        });
        assert_eq!(router.routes(), heard);
        assert_eq!(node.kernel(), before);
        let status = node.status();
        assert_eq!((status.dataplane.writes, status.routes.writes), (0, 0), "{status:?}");
        node.end(Signal::SIGTERM);
    }
}
