//! §2.4: criteria on packets, ports and nets, and rules that cannot be read.

use brindle_model::verdict::Direction::{Egress, Ingress};

use crate::table::{check, world_of};

fn global(rules: &str) -> String {
    format!("kind: GlobalNetworkPolicy\nmetadata: {{name: g}}\nspec: {rules}")
}

/// Whether the one rule with these criteria allows each of these flows.
fn allows(criteria: &str, rows: &[(&str, bool)]) {
    let w = world_of(&global(&format!("{{ingress: [{{action: Allow, {criteria}}}]}}")));
    for (text, allowed) in rows {
        check(&w, Ingress, &[(*text, if *allowed { "allow g:0" } else { "end" })]);
    }
}

#[test]
fn c18_protocols() {
    let (tcp, udp) = ("y/a > x/a tcp/80", "y/a > x/a udp/80");
    let (icmp, icmp6) = ("y/a > x/a icmp/8", "y/a >6 x/a icmp/128");
    allows("protocol: TCP", &[(tcp, true), (udp, false), (icmp, false)]);
    allows("protocol: 6", &[(tcp, true), (udp, false)]);
    allows("notProtocol: TCP", &[(tcp, false), (udp, true), (icmp, true), (icmp6, true)]);
    allows("protocol: ICMP", &[(icmp, true), (icmp6, false)]);
    allows("protocol: ICMPv6", &[(icmp, false), (icmp6, true)]);
    allows("protocol: 47", &[("y/a > x/a proto/47", true), (tcp, false)]);
    allows("protocol: UDPLite", &[("y/a > x/a proto/136", true), (udp, false)]);
    allows("protocol: TCP, notProtocol: TCP", &[(tcp, false), (udp, false)]);
}

#[test]
fn c19_numbers_and_c20_names() {
    allows(
        "protocol: TCP, destination: {ports: [79, '81:82', web]}",
        &[
            ("y/a > x/a tcp/79", true),
            ("y/a > x/a tcp/82", true),
            ("y/a > x/a tcp/83", false),
            // The name is the subject's own.
            ("y/a > x/a tcp/80", true),
            ("y/a > x/a tcp/8080", false),
            ("y/a > x/a udp/79", false),
        ],
    );
    // Names alone need no protocol: the container port's decides.
    allows(
        "destination: {ports: [web, dns]}",
        &[
            ("y/a > x/a tcp/80", true),
            ("y/a > x/a udp/53", true),
            ("y/a > x/a tcp/53", false),
            ("y/a > x/a icmp/8", false),
        ],
    );
    allows(
        "destination: {notPorts: [web]}",
        &[("y/a > x/a tcp/80", false), ("y/a > x/a udp/80", true), ("y/a > x/a icmp/8", true)],
    );
    allows("protocol: TCP, source: {ports: [40000]}", &[("y/a > x/a tcp/1", true)]);
    allows("protocol: TCP, source: {notPorts: ['39999:40001']}", &[("y/a > x/a tcp/1", false)]);
}

#[test]
fn c20_names_resolve_over_the_selector_else_over_all() {
    let rule = |destination: &str| {
        format!(
            "kind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\n\
             spec: {{egress: [{{action: Allow, protocol: TCP, destination: {destination}}}]}}"
        )
    };
    // Without a selector: every pod of the cluster, in a NetworkPolicy too.
    check(
        &world_of(&rule("{ports: [web]}")),
        Egress,
        &[
            ("x/a > x/b tcp/8080", "allow p:0"),
            ("x/b > y/a tcp/80", "allow p:0"),
            ("x/b > y/a tcp/8080", "end"),
            ("x/b > 192.0.2.1 tcp/80", "end"),
        ],
    );
    check(
        &world_of(&rule("{selector: all(), ports: [web, 443]}")),
        Egress,
        &[
            ("x/a > x/b tcp/8080", "allow p:0"),
            ("x/a > x/b tcp/443", "allow p:0"),
            ("x/b > y/a tcp/80", "end"),
        ],
    );
    // An address that is a pod's and a network set's: the name is of the pods that are picked.
    let set = "kind: NetworkSet\nmetadata: {name: s, namespace: x, labels: {net: s}}\n\
               spec: {nets: [10.0.1.0/24]}\n---\n";
    let w = world_of(&(set.to_owned() + &rule("{selector: net == 's', ports: [web, 443]}")));
    check(&w, Egress, &[("x/b > y/a tcp/80", "end"), ("x/b > y/a tcp/443", "allow p:0")]);
}

#[test]
fn c21_nets_and_icmp() {
    let (echo, unreachable) = ("y/a > x/a icmp/8", "y/a > x/a icmp/3");
    allows(
        "source: {nets: [10.0.0.0/24, 192.0.2.7], notNets: [10.0.0.2/32]}",
        &[
            ("x/a > x/b tcp/1", true),
            ("x/b > x/a tcp/1", false),
            ("192.0.2.7 > x/a tcp/1", true),
            ("192.0.2.8 > x/a tcp/1", false),
            ("x/b >6 x/a tcp/1", false),
        ],
    );
    allows("protocol: ICMP, icmp: {type: 8}", &[(echo, true), (unreachable, false)]);
    allows("protocol: ICMP, icmp: {type: 8, code: 0}", &[(echo, true)]);
    allows("protocol: ICMP, icmp: {type: 8, code: 1}", &[(echo, false)]);
    allows("protocol: ICMP, notICMP: {type: 8}", &[(echo, false), (unreachable, true)]);
}

#[test]
fn c22_a_rule_is_for_a_family_only_if_every_list_is() {
    allows(
        "source: {notNets: [192.0.2.0/24]}",
        &[("y/a > x/a tcp/1", true), ("192.0.2.1 > x/a tcp/1", false), ("y/a >6 x/a tcp/1", false)],
    );
    allows("ipVersion: 6", &[("y/a > x/a tcp/1", false), ("y/a >6 x/a tcp/1", true)]);
    allows("destination: {notNets: ['2001:db8::/32']}", &[("y/a > x/a tcp/1", false)]);
}

#[test]
fn broken_rules_fail_closed() {
    let many = format!("source: {{nets: [{}]}}", ["10.0.0.0/8"; 257].join(", "));
    let ports = format!("protocol: TCP, source: {{ports: [{}]}}", ["80"; 51].join(", "));
    let long = format!("source: {{selector: \"app == '{}'\"}}", "a".repeat(1024));
    for criteria in [
        "ipVersion: 5",
        "protocol: tcp",
        "protocol: 0",
        "notProtocol: 256",
        "protocol: TCP, icmp: {type: 8}",
        "icmp: {type: 8}",
        "protocol: ICMP, icmp: {type: 255}",
        "protocol: ICMP, icmp: {code: 0}",
        "protocol: ICMP, notICMP: {type: 8, code: 256}",
        "destination: {ports: [80]}",
        "protocol: ICMP, destination: {ports: [80]}",
        "protocol: UDPLite, destination: {ports: [80]}",
        "protocol: ICMP, destination: {ports: [web]}",
        "protocol: TCP, destination: {ports: ['90:80']}",
        "protocol: TCP, destination: {notPorts: [65536]}",
        "protocol: TCP, destination: {ports: [Web]}",
        "source: {nets: [10.0.0.0/33]}",
        "source: {nets: [10.0.0.0/8, 'fd00::/8']}",
        "source: {nets: [10.0.0.0/8]}, destination: {notNets: ['fd00::/8']}",
        "source: {notNets: [0.0.0.0/0]}",
        "ipVersion: 6, source: {nets: [10.0.0.0/8]}",
        "ipVersion: 4, protocol: ICMPv6",
        "source: {selector: app}",
        "source: {selector: global()}",
        "source: {notSelector: app ==}",
        "source: {namespaceSelector: '!global()'}",
        "source: {serviceAccounts: {}}",
        "source: {serviceAccounts: {names: [a], selector: 'has (x)'}}",
        "source: {serviceAccounts: {names: [A]}}",
        "destination: {services: {name: s, namespace: x}}",
        "source: {services: {name: s}}",
        "source: {services: {name: '', namespace: x}}",
        "source: {services: {name: s, namespace: x}, nets: [10.0.0.0/8]}",
        "http: {methods: [GET]}",
        &many,
        &ports,
        &long,
    ] {
        let rules = |action: &str| {
            global(&format!("{{ingress: [{{action: {action}, {criteria}}}, {{action: Allow}}]}}"))
        };
        let row = |decision| [("y/a > x/a tcp/80", decision)];
        check(&world_of(&rules("Allow")), Ingress, &row("allow g:1"));
        check(&world_of(&rules("Log")), Ingress, &row("allow g:1"));
        check(&world_of(&rules("Deny")), Ingress, &row("deny g:0"));
        check(&world_of(&rules("Pass")), Ingress, &row("deny g:0"));
    }
    let w = world_of(&global("{ingress: [{action: Reject}, {action: Allow}]}"));
    check(&w, Ingress, &[("y/a > x/a tcp/80", "deny g:0")]);
    let rules = vec!["{action: Allow}"; 1025].join(", ");
    let w = world_of(&global(&format!("{{ingress: [{rules}]}}")));
    check(&w, Ingress, &[("y/a > x/a tcp/80", "deny g:0")]);
}
