//! Addresses of Services, as the router hears them.

use nix::sys::signal::Signal;

use crate::node::Node;
use crate::router::Router;

const BGP: &str = "\
apiVersion: brindle.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  asNumber: 64601
  serviceClusterIPs: [{cidr: 10.96.0.0/16}, {cidr: 'fd96::/112'}]
  serviceLoadBalancerIPs: [{cidr: 203.0.113.0/24}, {cidr: 'fd11:3::/64'}]
  communities: [{name: edge, value: '64601:7'}]
  prefixAdvertisements: [{cidr: 203.0.113.0/24, communities: [edge, '64601:1:2']}]
---
apiVersion: brindle.io/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec: {node: n1, peerIP: 192.0.2.2, asNumber: 64512}
";

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIPs: [10.96.0.7, 'fd96::7']
  externalTrafficPolicy: Local
status: {loadBalancer: {ingress: [{ip: 203.0.113.7}, {ip: 'fd11:3::7'}]}}
";

/// Slices of both families with an endpoint on this node that is ready, or not.
fn slices(ready: bool) -> String {
    ["IPv4", "IPv6"]
        .map(|family| {
            let (name, address) = match family {
                "IPv4" => ("web-4", "10.66.0.1"),
                _ => ("web-6", "fd66::1"),
            };
            format!(
                "apiVersion: discovery.k8s.io/v1\n\
                 kind: EndpointSlice\n\
                 metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
                 addressType: {family}\n\
                 endpoints: [{{addresses: ['{address}'], nodeName: n1, conditions: {{ready: {ready}}}}}]\n"
            )
        })
        .join("---\n")
}

const RANGES: [&str; 4] = ["10.96.0.0/16", "fd96::/112", "203.0.113.0/24", "fd11:3::/64"];
const ADDRESSES: [&str; 2] = ["203.0.113.7/32", "fd11:3::7/128"];

#[test]
fn ranges_stay_and_local_addresses_follow_their_endpoints() {
    let mut node = Node::new();
    let router = Router::start(&node);
    node.write("bgp.yaml", BGP);
    node.write("service.yaml", SERVICE);
    node.write("slices.yaml", &slices(false));
    node.start();
    let hears = |prefixes: &[&str]| {
        let heard = router.routes();
        prefixes.iter().filter(|prefix| heard.contains(&format!("{prefix} "))).count()
    };
    node.wait("the ranges", |_| hears(&RANGES) == RANGES.len());
    assert_eq!(hears(&ADDRESSES), 0, "{}", router.routes());
    let remark = |node: &Node| {
        let why: serde_json::Value = node.get("/debug/bgp/why?prefix=203.0.113.7/32");
        why["remark"].as_str().map(str::to_owned)
    };
    let why = remark(&node).unwrap();
    assert!(why.ends_with("Local, and this node has no ready endpoint of it"), "{why}");

    node.write("slices.yaml", &slices(true));
    node.wait("the addresses", |_| hears(&ADDRESSES) == ADDRESSES.len());
    assert_eq!(remark(&node), None);
    let route = router.route("203.0.113.7/32");
    assert!(route.contains("BGP.community: (64601,7)"), "{route}");
    assert!(route.contains("BGP.large_community: (64601, 1, 2)"), "{route}");
    assert!(!router.route("10.96.0.0/16").contains("community"));
    let best: serde_json::Value = node.get("/debug/bgp/routes?table=best");
    let ours = |prefix: &str| {
        let routes = best["routes"].as_array().unwrap();
        let route = routes.iter().find(|route| route["prefix"] == prefix).unwrap();
        route["note"].as_str().unwrap().to_owned()
    };
    assert_eq!(ours("203.0.113.7/32"), "an address of Service shop/web");
    assert_eq!(ours("203.0.113.0/24"), "a range of Service addresses");
    let kernel = node.run("ip route show table all") + &node.run("ip -6 route show table all");
    for prefix in ["10.96.0.0/16", "203.0.113", "fd96::", "fd11:3::"] {
        assert!(!kernel.contains(prefix), "what the node sends to a Service is no blackhole's");
    }

    node.write("slices.yaml", &slices(false));
    node.wait("the addresses to go", |_| hears(&ADDRESSES) == 0);
    assert_eq!(hears(&RANGES), RANGES.len(), "{}", router.routes());
    node.write("bgp.yaml", &BGP.replace("serviceClusterIPs", "serviceExternalIPs"));
    node.write("slices.yaml", &slices(true));
    node.wait("the addresses again", |_| hears(&ADDRESSES) == ADDRESSES.len());
    node.write("service.yaml", &SERVICE.replace("externalTrafficPolicy: Local", "type: ClusterIP"));
    node.wait("the addresses to be within their ranges", |_| hears(&ADDRESSES) == 0);
    node.end(Signal::SIGTERM);
}
