//! §1.4: where packets are judged.

use brindle_model::verdict::Direction::{Egress, Ingress};
use brindle_model::verdict::Verdict;
use brindle_oracle::{ExistingConnections, World, judge, judge_behind_service, judge_packet};

use crate::table::{check, flow, policy, world};

const CLOSED: &str = "{policyTypes: [Ingress, Egress]}";

#[test]
fn k25_no_rule_for_a_service_address() {
    // After DNAT the ClusterIP is not in the packet; a rule for it has no effect.
    let w = world(&policy(
        "{policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.1/32}}]}]}",
    ));
    check(&w, Egress, &[("x/a > y/a tcp/80", "end")]);
}

#[test]
fn k26_a_masqueraded_client_is_its_node() {
    let w = world(&policy("{ingress: [{from: [{namespaceSelector: {}}]}]}"));
    check(&w, Ingress, &[("y/a > x/a tcp/80", "p:0"), ("y/a as 10.1.0.2 > x/a tcp/80", "end")]);
}

#[test]
fn k27_host_network_pods_are_node_addresses() {
    let w = world(&policy(
        "{policyTypes: [Ingress, Egress],
          ingress: [{from: [{namespaceSelector: {}}]}],
          egress: [{to: [{podSelector: {}}]}, {to: [{ipBlock: {cidr: 10.1.0.2/32}}]}]}",
    ));
    // Never a subject, never a peer by label; reaches the pods of its own node.
    check(&w, Egress, &[("x/host > y/a tcp/80", "no hop"), ("x/a > x/host tcp/80", "end")]);
    check(
        &w,
        Ingress,
        &[
            ("x/host > x/a tcp/80", "allow own node"),
            ("node n2 > x/a tcp/80", "end"),
            ("y/a > x/host tcp/80", "no hop"),
        ],
    );
    check(&w, Egress, &[("x/a > node n2 tcp/80", "p:1")]);
}

#[test]
fn k28_self_traffic_never_leaves_the_pod() {
    let w = world(&policy(CLOSED));
    for text in ["x/a > x/a tcp/80", "x/a >6 x/a udp/53", "x/a > x/a tcp/80 inv"] {
        let outcome = judge(&w, &flow(&w, text));
        assert!(outcome.delivered && outcome.hops.is_empty(), "{text}");
    }
}

#[test]
fn k29_back_to_itself_through_a_service_is_judged_in_both_directions() {
    let judged = |policies: &str| {
        let w = world(policies);
        let outcome = judge_behind_service(&w, &flow(&w, "x/a > x/a tcp/80"));
        let hops: Vec<_> = outcome.hops.iter().map(|hop| (hop.direction, hop.verdict)).collect();
        (outcome.delivered, hops)
    };
    let hops = |egress, ingress| vec![(Egress, egress), (Ingress, ingress)];
    assert_eq!(judged(""), (true, hops(Verdict::Allow, Verdict::Allow)));
    assert_eq!(judged(&policy(CLOSED)), (false, hops(Verdict::Deny, Verdict::Deny)));
    // The peer is the pod itself.
    let itself = "[{podSelector: {matchLabels: {app: a}}}]";
    let ingress = policy(&format!("{{ingress: [{{from: {itself}}}]}}"));
    assert_eq!(judged(&ingress), (true, hops(Verdict::Allow, Verdict::Allow)));
    let both = policy(&format!(
        "{{policyTypes: [Ingress, Egress], ingress: [{{from: {itself}}}], egress: [{{to: {itself}}}]}}"
    ));
    assert_eq!(judged(&both), (true, hops(Verdict::Allow, Verdict::Allow)));
    let other = policy("{ingress: [{from: [{podSelector: {matchLabels: {app: b}}}]}]}");
    assert_eq!(judged(&other), (false, hops(Verdict::Allow, Verdict::Deny)));
}

#[test]
fn k30_own_node_by_origin() {
    let w = world(&policy(CLOSED));
    check(
        &w,
        Ingress,
        &[
            ("node n1 > x/a tcp/80", "allow own node"),
            ("node n1 >6 x/a tcp/80", "allow own node"),
            ("node n1 as 192.0.2.1 > x/a tcp/80", "allow own node"),
            ("node n2 > x/a tcp/80", "end"),
            // A forwarded packet with the node's address is not the node's.
            ("10.1.0.1 > x/a tcp/80", "end"),
            ("y/a as 10.1.0.1 > x/a tcp/80", "end"),
        ],
    );
    check(&w, Egress, &[("x/a > node n1 tcp/80", "end"), ("x/a > node n2 tcp/80", "end")]);
    check(&world(""), Egress, &[("x/a > node n1 tcp/80", "open")]);
}

#[test]
fn k31_k32_c9_connection_state_comes_first() {
    let w = world(&policy(CLOSED));
    for direction in [Ingress, Egress] {
        let row = match direction {
            Ingress => "y/a > x/a tcp/80",
            Egress => "x/a > y/a tcp/80",
        };
        check(
            &w,
            direction,
            &[
                (format!("{row} est").as_str(), "allow established"),
                (format!("{row} rel").as_str(), "allow established"),
                (format!("{row} inv").as_str(), "deny invalid connection state"),
            ],
        );
    }
    check(&world(""), Ingress, &[("y/a > x/a tcp/80 inv", "deny invalid connection state")]);
}

#[test]
fn k33_a_new_flow_follows_the_new_policy() {
    check(&world(""), Ingress, &[("y/a > x/a tcp/80", "open")]);
    check(&world(&policy(CLOSED)), Ingress, &[("y/a > x/a tcp/80", "end")]);
}

#[test]
fn k33_a_connection_that_was_admitted() {
    use ExistingConnections::{Keep, Reevaluate};
    let open = world("");
    let closed = world(&policy("{ingress: [{from: [{ipBlock: {cidr: 10.0.1.2/32}}]}]}"));
    let shut = world(&policy("{policyTypes: [Egress]}"));
    let isolated = "deny end of tier default";
    // Objects before and after; the connection's first packet; a packet of it; the option; whether
    // it passes, and who decides at x/a.
    let rows: [(&World, &World, &str, &str, ExistingConnections, bool, &str); 15] = [
        (&open, &closed, "y/a > x/a tcp/80", "y/a > x/a tcp/80 est", Reevaluate, false, isolated),
        (&open, &closed, "y/a > x/a tcp/80", "x/a > y/a tcp/9 est", Reevaluate, false, isolated),
        (&open, &closed, "y/a > x/a tcp/80", "x/a > y/a icmp/3 rel", Reevaluate, false, isolated),
        (
            &open,
            &closed,
            "y/a > x/a tcp/80",
            "y/a > x/a tcp/80 est",
            Keep,
            true,
            "allow established",
        ),
        (
            &open,
            &closed,
            "y/a > x/a tcp/80",
            "x/a > y/a tcp/9 est",
            Keep,
            true,
            "allow established",
        ),
        // One that stays allowed, and one in the direction that no policy governs.
        (
            &open,
            &closed,
            "y/b > x/a tcp/80",
            "y/b > x/a tcp/80 est",
            Reevaluate,
            true,
            "allow established",
        ),
        (
            &open,
            &closed,
            "x/a > y/a tcp/80",
            "x/a > y/a tcp/80 est",
            Reevaluate,
            true,
            "allow established",
        ),
        (
            &open,
            &closed,
            "x/a > y/a tcp/80",
            "y/a > x/a tcp/9 est",
            Reevaluate,
            true,
            "allow established",
        ),
        (&open, &shut, "x/a > y/a udp/53", "x/a > y/a udp/53 est", Reevaluate, false, isolated),
        (&open, &shut, "x/a > y/a udp/53", "y/a > x/a udp/9 est", Reevaluate, false, isolated),
        // Admitted again.
        (
            &closed,
            &open,
            "y/b > x/a tcp/80",
            "x/a > y/b tcp/9 est",
            Reevaluate,
            true,
            "allow established",
        ),
        // It never was: what looks like a packet of it is a first one.
        (&closed, &closed, "y/a > x/a tcp/80", "y/a > x/a tcp/80 est", Keep, false, isolated),
        // K30, C41 and C9 come before.
        (
            &open,
            &shut,
            "x/a > node n1 tcp/80",
            "node n1 > x/a tcp/9 est",
            Reevaluate,
            true,
            "allow own node",
        ),
        (
            &open,
            &shut,
            "y/a > x/a tcp/80",
            "x/a as 192.0.2.1 > y/a tcp/9 est",
            Reevaluate,
            false,
            "deny spoofed source address",
        ),
        (
            &open,
            &closed,
            "y/a > x/a tcp/80",
            "y/a > x/a tcp/80 inv",
            Keep,
            false,
            "deny invalid connection state",
        ),
    ];
    for (before, now, tracked, packet, option, delivered, decision) in rows {
        let [first, next] = [tracked, packet].map(|text| flow(now, text));
        let outcome = judge_packet(before, now, &first, &next, option);
        let hop = outcome.hops.iter().find(|hop| *hop.pod.to_string() == *"x/a").expect("a hop");
        let said = format!("{} {}", hop.verdict, hop.decision);
        assert_eq!(
            (outcome.delivered, said.as_str()),
            (delivered, decision),
            "{packet} {option:?}"
        );
    }
}

#[test]
fn k34_neighbour_discovery_with_the_host_side() {
    let w = world(&policy(CLOSED));
    for icmp_type in [130, 131, 132, 133, 135, 136] {
        for row in [
            "x/a as fe80::2 >6 fe80::1",
            "x/a as fe80::2 >6 ff02::16",
            "x/a as :: >6 ff02::1:ff00:1",
            "x/a >6 ff02::1:ff00:1",
            "x/a >6 node n1",
        ] {
            let row = format!("{row} icmp/{icmp_type}");
            check(&w, Egress, &[(&row, "allow neighbour discovery")]);
        }
    }
    check(
        &w,
        Egress,
        &[
            ("x/a as fe80::2 >6 ff02::1 icmp/134", "deny spoofed source address"),
            ("x/a >6 ff02::1 icmp/134", "end"),
            ("x/a >6 fe80::1 icmp/128", "end"),
            ("x/a >6 y/a icmp/135", "end"),
            ("x/a >6 node n2 icmp/135", "end"),
            ("x/a as fd00::2 >6 fe80::1 icmp/135", "deny spoofed source address"),
            ("x/a as fe80::2 >6 fe80::1 udp/135", "deny spoofed source address"),
        ],
    );
    check(
        &w,
        Ingress,
        &[("y/a >6 x/a icmp/135", "end"), ("node n1 >6 x/a icmp/135", "allow own node")],
    );
}

#[test]
fn k35_all_addresses_belong_to_the_pod() {
    let w = world(&policy(
        "{ingress: [{from: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: web}]}]}",
    ));
    check(
        &w,
        Ingress,
        &[("x/b > x/a tcp/80", "p:0"), ("x/b >6 x/a tcp/80", "p:0"), ("y/b >6 x/a tcp/80", "end")],
    );
}

#[test]
fn c41_spoofed_sources() {
    let w = world("");
    check(
        &w,
        Egress,
        &[
            ("x/a as 10.0.0.2 > y/a tcp/80", "deny spoofed source address"),
            ("x/a as 10.0.0.2 > y/a tcp/80 est", "deny spoofed source address"),
            ("x/a as 192.0.2.1 > y/a tcp/80", "deny spoofed source address"),
            ("x/a > y/a tcp/80", "open"),
        ],
    );
}
