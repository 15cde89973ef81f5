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

const FILTER: &str = "\
apiVersion: brindle.io/v1alpha1
kind: BGPFilter
metadata: {name: edge}
spec:
  exportV4: [{cidr: 10.66.0.0/16, matchOperator: In, action: Reject}]
  importV6: [{cidr: 'fd51::/16', matchOperator: In, action: ACTION}]
";

#[test]
fn a_filter_counts_from_when_it_is_written_and_a_broken_one_closes() {
    let (mut node, router, _pod) = peered();
    let stopped_at = |node: &Node, prefix: &str, outward: bool| {
        let path = format!("/debug/bgp/why?prefix={prefix}&peer=router");
        let report: serde_json::Value = node.get(&path);
        let traces = &report[if outward { "outward" } else { "inward" }];
        let last = traces[0]["steps"].as_array().and_then(|steps| steps.last()).unwrap().clone();
        format!("{}: {}", last["step"].as_str().unwrap(), last["detail"].as_str().unwrap())
    };
    assert_eq!(stopped_at(&node, "10.66.0.1/32", true), "wire: sent");

    node.write("filter.yaml", &FILTER.replace("ACTION", "Reject"));
    node.write("bgp.yaml", &PEER.replace("asNumber: 64512", "asNumber: 64512, filters: [edge]"));
    node.wait("the filter to count", |node| {
        let heard = router.routes();
        !heard.contains("10.66.0.0/26")
            && heard.contains("fd66::/122")
            && !node.run("ip -6 route show proto 98").contains("fd51::/64")
    });
    assert!(node.run("ip route show proto 98").contains("198.51.100.0/24"));
    assert_eq!(
        stopped_at(&node, "10.66.0.0/26", true),
        "filters: BGPFilter edge, exportV4[0] rejects it"
    );
    assert_eq!(
        stopped_at(&node, "fd51::/64", false),
        "filters: BGPFilter edge, importV6[0] rejects it"
    );

    // One broken rule: the filter is absent, and nothing passes.
    node.write("filter.yaml", &FILTER.replace("ACTION", "Perhaps"));
    node.wait("everything to be closed", |node| {
        let learned = node.run("ip route show proto 98") + &node.run("ip -6 route show proto 98");
        router.routes().is_empty() && !learned.contains("via")
    });
    let report: serde_json::Value = node.get("/debug/bgp");
    let problem = report["speaker"]["peers"][0]["filter_problem"].as_str().unwrap();
    assert!(problem.contains("BGPFilter edge does not exist or was refused"), "{problem}");

    node.write("bgp.yaml", PEER);
    node.wait("everything to be back", |_| {
        let heard = router.routes();
        heard.contains("10.66.0.0/26") && heard.contains("fd66::/122")
    });
    let report: serde_json::Value = node.get("/debug/bgp");
    assert_eq!(report["speaker"]["peers"][0]["flaps"], 0, "no session was reset");
    node.end(Signal::SIGTERM);
}

#[test]
fn a_plan_says_what_edits_do_and_they_do_it() {
    let (mut node, router, _pod) = peered();
    let ask = |node: &Node, with: &str, without: &str| {
        let files = |text: &str| match text {
            "" => serde_json::json!([]),
            text => serde_json::json!([{ "name": "edit.yaml", "text": text }]),
        };
        let body = serde_json::json!({ "with": files(with), "without": files(without) });
        let (code, answer) = node.ask("POST", "/bgp/diff", &body.to_string()).unwrap();
        (code, serde_json::from_str::<serde_json::Value>(&answer).unwrap())
    };
    let plan = |node: &Node, with: &str| {
        let (code, plan) = ask(node, with, "");
        assert_eq!(code, 200, "{plan}");
        plan
    };
    assert_eq!(plan(&node, PEER)["peers"].as_array().map(Vec::len), Some(0));
    for (with, without, words) in [
        ("kind: [", "", "edit.yaml document 1"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", "", "no object of the files"),
        (&*PEER.replace("asNumber: 64512", "asNumber: 0"), "", "BGPPeer router would be refused"),
        ("", &*FILTER.replace("ACTION", "Reject"), "there is no BGPFilter edge"),
    ] {
        let (code, answer) = ask(&node, with, without);
        assert_eq!(code, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(words), "{answer}");
    }

    // A filter ends nothing, and takes away what the plan says.
    let filtered = PEER.replace("asNumber: 64512", "asNumber: 64512, filters: [edge]")
        + "---\n"
        + &FILTER.replace("ACTION", "Reject");
    let planned = plan(&node, &filtered);
    let peer = &planned["peers"][0];
    assert_eq!((&peer["name"], &peer["session"]), (&"router".into(), &"kept".into()), "{planned}");
    assert_eq!(peer["withdrawn"], serde_json::json!(["10.66.0.0/26"]));
    assert_eq!(planned["forwarding"].as_array().map(Vec::len), Some(1), "{planned}");
    assert_eq!(planned["forwarding"][0]["prefix"], "fd51::/64");
    assert!(router.routes().contains("10.66.0.0/26"), "a plan is no deed");
    node.write("bgp.yaml", &filtered);
    node.wait("what was planned", |node| {
        !router.routes().contains("10.66.0.0/26")
            && !node.run("ip -6 route show proto 98").contains("fd51::/64")
    });
    let report: serde_json::Value = node.get("/debug/bgp");
    assert_eq!(report["speaker"]["peers"][0]["flaps"], 0);

    // A password that cannot be read closes; another AS resets; without its object all is gone.
    let file = node.path("secret").display().to_string();
    let signed =
        PEER.replace("asNumber: 64512", &format!("asNumber: 64512, password: {{file: {file}}}"));
    let planned = plan(&node, &signed);
    assert_eq!(planned["peers"][0]["session"], "closed", "{planned}");
    let planned = plan(&node, &PEER.replace("asNumber: 64601", "asNumber: 64602"));
    assert_eq!(planned["peers"][0]["session"], "reset", "{planned}");
    assert_eq!(planned["identity"], serde_json::json!(["AS: resets every session"]));
    let (_, planned) = ask(&node, "", PEER.split_once("---\n").unwrap().1);
    assert_eq!(planned["peers"][0]["session"], "removed", "{planned}");
    node.end(Signal::SIGTERM);
}

#[test]
fn what_a_neighbour_cannot_be_is_in_its_status_and_its_session_stays_down() {
    let (mut node, router, _pod) = peered();
    let remark = |node: &Node| {
        std::fs::read_to_string(node.path("status/BGPPeer/router.yaml")).unwrap_or_default()
    };
    let external = "spec.routeReflectorClient is for internal neighbours";
    assert!(!remark(&node).contains(external));
    let client = "asNumber: 64512, routeReflectorClient: true";
    node.write("bgp.yaml", &PEER.replace("asNumber: 64512", client));
    node.wait("the status to say why there is no session", |node| {
        remark(node).contains(external) && router.routes().is_empty()
    });
    let report: serde_json::Value = node.get("/debug/bgp");
    let idle = report["speaker"]["peers"][0]["idle_because"].as_str().unwrap();
    assert!(idle.starts_with(external), "{idle}");

    node.write("bgp.yaml", PEER);
    node.wait("the session to be back", |node| {
        router.routes().contains("10.66.0.0/26") && !remark(node).contains(external)
    });
    node.end(Signal::SIGTERM);
}

#[test]
fn a_router_comes_from_a_range_while_somebody_looks_on() {
    let (mut node, router, _pod) = peered();
    let mut lines = node.lines("/debug/bgp/monitor");
    let mut until = |what: &[&str]| loop {
        let line = lines.next().expect("the stream goes on");
        if what.iter().all(|part| line.contains(part)) {
            return;
        }
    };
    let range = "peerRange: 192.0.2.0/24, maxPeers: 1, asNumber: 64512";
    node.write("bgp.yaml", &PEER.replace("peerIP: 192.0.2.2, asNumber: 64512", range));
    until(&["\"state\"", "\"router\"", "Established", "Idle"]);
    let guest = "\"router/192.0.2.2\"";
    until(&["\"received\"", guest, "OPEN", "64512"]);
    until(&["\"state\"", guest, "\"Established\""]);
    until(&["\"received\"", guest, "announced", "198.51.100.0/24", "192.0.2.2"]);
    node.wait("routes both ways", |node| {
        router.routes().contains("10.66.0.0/26")
            && node.run("ip route show proto 98").contains("198.51.100.0/24 via")
    });
    let report: serde_json::Value = node.get("/debug/bgp");
    let range = &report["speaker"]["ranges"][0];
    assert_eq!((&range["peers"], &range["max_peers"]), (&1.into(), &1.into()));
    assert_eq!(report["speaker"]["peers"][0]["range"], "router");
    node.end(Signal::SIGTERM);
}
