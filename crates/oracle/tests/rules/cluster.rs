//! §3: ClusterNetworkPolicy.

use brindle_model::verdict::Direction::{Egress, Ingress};

use crate::table::{check, world_of};

fn policy(name: &str, spec: &str) -> String {
    format!("kind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n")
}

const ALL: &str = "{namespaces: {}}";

/// One Admin policy for every pod with these ingress rules.
fn ingress(rules: &str) -> String {
    policy("c", &format!("tier: Admin, priority: 1, subject: {ALL}, ingress: [{rules}]"))
}

fn egress(rules: &str) -> String {
    policy("c", &format!("tier: Admin, priority: 1, subject: {ALL}, egress: [{rules}]"))
}

const KUBERNETES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np, namespace: x}
spec: {podSelector: {matchLabels: {app: a}}, ingress: [{ports: [{port: 80}]}]}
---
";

#[test]
fn a1_a3_admin_then_network_policies_then_baseline() {
    let rule = |tier: &str, port: u16| {
        format!(
            "tier: {tier}, priority: 5, subject: {ALL}, ingress: [{{action: Deny, from: [{ALL}], \
             protocols: [{{tcp: {{destinationPort: {{number: {port}}}}}}}]}}]"
        )
    };
    let objects = KUBERNETES.to_owned()
        + &policy("admin", &rule("Admin", 81))
        + &policy("base", &rule("Baseline", 80));
    check(
        &world_of(&objects),
        Ingress,
        &[
            ("y/a > x/a tcp/81", "deny admin:0"),
            ("y/a > x/a tcp/80", "np:0"),
            // A3: isolated by a NetworkPolicy: Baseline is not asked.
            ("y/a > x/a tcp/82", "end"),
            ("y/a > x/b tcp/80", "deny base:0"),
            ("y/a > x/b tcp/82", "open"),
        ],
    );
}

#[test]
fn a2_first_match_and_pass_to_the_next_tier() {
    let rule = |action: &str| format!("{{action: {action}, from: [{ALL}]}}");
    let admin = |name: &str, priority: u16, action: &str| {
        let rule = rule(action);
        policy(
            name,
            &format!("tier: Admin, priority: {priority}, subject: {ALL}, ingress: [{rule}]"),
        )
    };
    let rules = rule("Pass") + ", " + &rule("Deny");
    let base =
        policy("base", &format!("tier: Baseline, priority: 0, subject: {ALL}, ingress: [{rules}]"));
    let row = |decision| [("y/a > x/a tcp/80", decision)];
    let w = world_of(&(admin("b", 1, "Pass") + &admin("a", 2, "Deny") + &base));
    check(&w, Ingress, &row("open"));
    let w = world_of(&(admin("b", 1, "Accept") + &admin("a", 2, "Deny")));
    check(&w, Ingress, &row("allow b:0"));
    // A6: equal priorities by name.
    let w = world_of(&(admin("b", 1, "Accept") + &admin("a", 1, "Deny")));
    check(&w, Ingress, &row("deny a:0"));
    // A4: no rules, no effect.
    check(&world_of(&ingress("")), Ingress, &row("open"));
}

#[test]
fn a5_subjects() {
    for (subject, selected) in [
        ("{namespaces: {}}", ["x/a", "x/b", "y/a"].as_slice()),
        ("{namespaces: {matchLabels: {team: red}}}", &["x/a", "x/b"]),
        ("{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: a}}}}", &["x/a", "y/a"]),
        // C33, C16: not applied.
        ("{}", &[]),
        ("{namespaces: {}, pods: {podSelector: {}, namespaceSelector: {}}}", &[]),
        ("{namespaces: {matchExpressions: [{key: team, operator: Near}]}}", &[]),
    ] {
        let rules = format!("ingress: [{{action: Deny, from: [{ALL}]}}]");
        let spec = format!("tier: Admin, priority: 1, subject: {subject}, {rules}");
        let w = world_of(&policy("c", &spec));
        for pod in ["x/a", "x/b", "y/a"] {
            let expected = if selected.contains(&pod) { "deny c:0" } else { "open" };
            check(&w, Ingress, &[(format!("y/b > {pod} tcp/80").as_str(), expected)]);
        }
    }
    for place in
        ["tier: Edge, priority: 1", "tier: Admin, priority: 1001", "tier: Admin, priority: -1"]
    {
        let spec = format!("{place}, subject: {ALL}, ingress: [{{action: Deny, from: [{ALL}]}}]");
        check(&world_of(&policy("c", &spec)), Ingress, &[("y/b > x/a tcp/80", "open")]);
    }
}

#[test]
fn a8_a11_protocols() {
    let w = world_of(&egress(&format!(
        "{{action: Deny, to: [{ALL}], protocols: [\
         {{tcp: {{destinationPort: {{range: {{start: 90, end: 91}}}}}}}}, {{udp: {{}}}}, \
         {{destinationNamedPort: web}}]}}"
    )));
    check(
        &w,
        Egress,
        &[
            ("x/b > x/a tcp/90", "deny c:0"),
            ("x/b > x/a tcp/91", "deny c:0"),
            ("x/b > x/a tcp/92", "open"),
            ("x/b > x/a udp/9", "deny c:0"),
            ("x/b > x/a sctp/90", "open"),
            ("x/b > x/a icmp/8", "open"),
            // A11: the peer's, whatever its protocol.
            ("x/b > x/a tcp/80", "deny c:0"),
            ("x/b > z/c tcp/80", "open"),
            ("x/b > 192.0.2.1 udp/9", "open"),
        ],
    );
    let w = world_of(&egress(&format!("{{action: Deny, to: [{ALL}]}}")));
    check(&w, Egress, &[("x/b > x/a proto/47", "deny c:0"), ("x/b > x/a icmp/8", "deny c:0")]);
}

#[test]
fn a9_a10_networks_and_nodes() {
    let mut w = world_of(&egress(
        "{action: Deny, to: [{networks: [192.0.2.0/24, 'fd00::100/120', 10.0.0.2/32]}]}, \
         {action: Accept, to: [{nodes: {matchLabels: {zone: a}}}]}, \
         {action: Deny, to: [{nodes: {}}]}",
    ));
    check(
        &w,
        Egress,
        &[
            ("x/a > 192.0.2.9 icmp/8", "deny c:0"),
            ("x/a > x/b tcp/80", "deny c:0"),
            ("x/a >6 y/a tcp/80", "deny c:0"),
            ("x/a > y/a tcp/80", "open"),
            ("x/a > node n2 tcp/80", "deny c:2"),
        ],
    );
    w.nodes[1].metadata.labels = Some([("zone".to_owned(), "a".to_owned())].into());
    let accepted = "allow c:1";
    check(&w, Egress, &[("x/a > node n2 tcp/80", accepted), ("x/a >6 node n2 tcp/80", accepted)]);
}

#[test]
fn a13_broken_entries_fail_closed() {
    for entry in [
        "to: [{}, {networks: [10.0.0.0/8]}]",
        "to: [{domainNames: [a.example]}, {networks: [10.0.0.0/8]}]",
        "to: [{namespaces: {}, nodes: {}}, {networks: [10.0.0.0/8]}]",
        "to: [{networks: []}, {networks: [10.0.0.0/8]}]",
        "to: [{networks: [nowhere, 10.0.0.0/8]}]",
        "to: [{namespaces: {matchExpressions: [{key: a, operator: In}]}}, {networks: [10.0.0.0/8]}]",
    ] {
        let rules = |action: &str| world_of(&egress(&format!("{{action: {action}, {entry}}}")));
        let (inside, outside) = ("x/a > x/b tcp/80", "x/a > 192.0.2.1 tcp/80");
        // Under Accept the entry matches nothing and leaves the others.
        check(&rules("Accept"), Egress, &[(inside, "allow c:0"), (outside, "open")]);
        check(&rules("Deny"), Egress, &[(inside, "deny c:0"), (outside, "deny c:0")]);
        check(&rules("Pass"), Egress, &[(inside, "deny c:0"), (outside, "deny c:0")]);
    }
    for protocols in [
        "[{}, {tcp: {}}]",
        "[{tcp: {destinationPort: {}}}, {tcp: {}}]",
        "[{tcp: {destinationPort: {number: 0}}}, {tcp: {}}]",
        "[{udp: {destinationPort: {range: {start: 81, end: 81}}}}, {tcp: {}}]",
        "[{tcp: {}, udp: {}}, {tcp: {}}]",
        "[{destinationNamedPort: No}, {tcp: {}}]",
    ] {
        let rules = |action: &str| {
            let rule = format!("{{action: {action}, from: [{ALL}], protocols: {protocols}}}");
            world_of(&ingress(&rule))
        };
        let (tcp, sctp) = ("x/b > x/a tcp/1", "x/b > x/a sctp/1");
        check(&rules("Accept"), Ingress, &[(tcp, "allow c:0"), (sctp, "open")]);
        check(&rules("Deny"), Ingress, &[("192.0.2.1 > x/a sctp/1", "deny c:0")]);
    }
    // What is left of these rules under Accept is nothing.
    for rule in [
        format!("from: [{ALL}], protocols: []"),
        "from: []".to_owned(),
        format!("from: [{}]", [ALL; 26].join(", ")),
    ] {
        let rules = |action: &str| world_of(&ingress(&format!("{{action: {action}, {rule}}}")));
        check(&rules("Accept"), Ingress, &[("x/b > x/a tcp/1", "open")]);
        check(&rules("Pass"), Ingress, &[("x/b > x/a tcp/1", "deny c:0")]);
    }
    // A11: names beside peers that have none.
    let named = "to: [{nodes: {}}, {namespaces: {}}], protocols: [{destinationNamedPort: web}]";
    let rules = |action: &str| world_of(&egress(&format!("{{action: {action}, {named}}}")));
    check(&rules("Accept"), Egress, &[("x/b > x/a tcp/80", "open")]);
    check(&rules("Deny"), Egress, &[("x/b > x/a tcp/7", "deny c:0")]);
    let w = world_of(&ingress(&format!("{{action: Allow, from: [{ALL}]}}")));
    check(&w, Ingress, &[("192.0.2.1 > x/a tcp/80", "deny c:0")]);
}
