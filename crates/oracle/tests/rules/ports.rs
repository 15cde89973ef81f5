//! §1.3: ports.

use brindle_model::verdict::Direction::{Egress, Ingress};

use crate::table::{check, policy, world};

fn ingress(ports: &str, rows: &[(&str, &str)]) {
    check(&world(&policy(&format!("{{ingress: [{{ports: {ports}}}]}}"))), Ingress, rows);
}

fn egress(rule: &str, rows: &[(&str, &str)]) {
    let spec = format!("{{policyTypes: [Egress], egress: [{rule}]}}");
    check(&world(&policy(&spec)), Egress, rows);
}

#[test]
fn k17_protocols() {
    ingress("[{port: 80}]", &[("y/a > x/a tcp/80", "p:0"), ("y/a > x/a udp/80", "end")]);
    ingress(
        "[{}]",
        &[("y/a > x/a tcp/1", "p:0"), ("y/a > x/a tcp/65535", "p:0"), ("y/a > x/a udp/1", "end")],
    );
    ingress("[{protocol: UDP}]", &[("y/a > x/a udp/1", "p:0"), ("y/a > x/a tcp/1", "end")]);
    ingress(
        "[{protocol: SCTP, port: 7}]",
        &[("y/a > x/a sctp/7", "p:0"), ("y/a > x/a sctp/8", "end")],
    );
    for unknown in ["ICMP", "tcp", "6", "''"] {
        ingress(
            &format!("[{{protocol: '{}'}}]", unknown.trim_matches('\'')),
            &[("y/a > x/a tcp/80", "end"), ("y/a > x/a icmp/8", "end")],
        );
    }
    ingress("[{protocol: ICMP}, {port: 80}]", &[("y/a > x/a tcp/80", "p:0")]);
}

#[test]
fn k18_ranges() {
    ingress(
        "[{port: 80, endPort: 81}]",
        &[
            ("y/a > x/a tcp/79", "end"),
            ("y/a > x/a tcp/80", "p:0"),
            ("y/a > x/a tcp/81", "p:0"),
            ("y/a > x/a tcp/82", "end"),
        ],
    );
    ingress(
        "[{port: 80, endPort: 80}]",
        &[("y/a > x/a tcp/80", "p:0"), ("y/a > x/a tcp/81", "end")],
    );
    ingress(
        "[{port: 1, endPort: 65535}]",
        &[("y/a > x/a tcp/1", "p:0"), ("y/a > x/a tcp/65535", "p:0")],
    );
    for broken in [
        "{port: 80, endPort: 79}",
        "{port: 0}",
        "{port: 0, endPort: 90}",
        "{port: -1, endPort: 90}",
        "{port: 70000}",
        "{port: 80, endPort: 70000}",
        "{port: web, endPort: 90}",
        "{endPort: 90}",
    ] {
        ingress(&format!("[{broken}]"), &[("y/a > x/a tcp/80", "end"), ("y/a > x/a tcp/0", "end")]);
        ingress(&format!("[{broken}, {{port: 80}}]"), &[("y/a > x/a tcp/80", "p:0")]);
    }
}

#[test]
fn k19_destination_port_only() {
    // The fixed flows send from port 40000.
    ingress("[{port: 40000}]", &[("y/a > x/a tcp/80", "end"), ("y/a > x/a tcp/40000", "p:0")]);
}

#[test]
fn k20_names_resolve_at_the_destination() {
    ingress(
        "[{port: web}]",
        &[
            ("y/a > x/a tcp/80", "p:0"),
            ("y/a > x/b tcp/8080", "p:0"),
            // Not widened over pods: 8080 is x/b's, 80 is x/a's.
            ("y/a > x/a tcp/8080", "end"),
            ("y/a > x/b tcp/80", "end"),
            ("y/a > x/a udp/80", "end"),
        ],
    );
    // The rule's protocol must be the container port's.
    ingress("[{port: dns}]", &[("y/a > x/a udp/53", "end"), ("y/a > x/a tcp/53", "end")]);
    ingress(
        "[{port: dns, protocol: UDP}]",
        &[("y/a > x/a udp/53", "p:0"), ("y/a > x/a tcp/53", "end")],
    );
    ingress("[{port: nowhere}]", &[("y/a > x/a tcp/80", "end")]);
    ingress("[{port: ''}]", &[("y/a > x/a tcp/80", "end")]);
    // A number in quotes is a name.
    ingress("[{port: '80'}]", &[("y/a > x/a tcp/80", "end")]);
    egress(
        "{to: [{namespaceSelector: {matchLabels: {team: blue}}}], ports: [{port: web}]}",
        &[
            ("x/b > y/a tcp/80", "p:0"),
            ("x/b > y/b tcp/80", "end"),
            // x/b's own `web` is 8080 and does not count.
            ("x/b > y/a tcp/8080", "end"),
            ("x/b > x/a tcp/80", "end"),
        ],
    );
}

#[test]
fn k21_names_on_egress_without_peer_and_with_block() {
    egress(
        "{ports: [{port: web}]}",
        &[
            ("x/b > x/a tcp/80", "p:0"),
            ("x/b >6 y/a tcp/80", "p:0"),
            ("x/b > z/c tcp/80", "end"),
            ("x/b > 192.0.2.1 tcp/80", "end"),
            ("x/b > node n1 tcp/80", "end"),
        ],
    );
    egress(
        "{to: [{ipBlock: {cidr: 10.0.0.0/24}}], ports: [{port: web}]}",
        &[
            ("x/b > x/a tcp/80", "p:0"),
            ("x/b > y/a tcp/80", "end"),
            ("x/b >6 x/a tcp/80", "end"),
            ("x/b > 10.0.0.77 tcp/80", "end"),
        ],
    );
    let w = world(&policy(
        "{ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: web}]}]}",
    ));
    check(&w, Ingress, &[("192.0.2.1 > x/a tcp/80", "p:0"), ("192.0.3.1 > x/a tcp/80", "end")]);
}

#[test]
fn k22_all_containers_count() {
    ingress("[{port: web}]", &[("y/a > x/a tcp/80", "p:0"), ("y/a > x/a tcp/81", "p:0")]);
    ingress("[{port: admin}]", &[("y/a > x/a tcp/15000", "p:0")]);
    // Host-network and finished pods have no named ports for policy.
    egress(
        "{ports: [{port: web}]}",
        &[("x/b > node n1 tcp/80", "end"), ("x/b > 10.0.0.9 tcp/80", "end")],
    );
}

#[test]
fn k23_sctp_isolates_and_admits_only_sctp() {
    ingress(
        "[{protocol: SCTP, port: 80}]",
        &[("y/a > x/a tcp/80", "end"), ("y/a > x/a udp/80", "end"), ("y/a > x/a sctp/80", "p:0")],
    );
}

#[test]
fn k24_other_protocols_need_a_rule_without_ports() {
    let w = world(&policy(
        "{ingress: [{ports: [{}, {protocol: UDP}, {protocol: SCTP}]}, {from: [{podSelector: {}}]}]}",
    ));
    check(
        &w,
        Ingress,
        &[
            ("y/a > x/a icmp/8", "end"),
            ("y/a >6 x/a icmp/128", "end"),
            ("y/a > x/a proto/47", "end"),
            ("x/b > x/a icmp/8", "p:1"),
            ("x/b >6 x/a icmp/128", "p:1"),
            ("x/b > x/a proto/47", "p:1"),
        ],
    );
}
