//! §1.1: isolation and rules.

use brindle_model::verdict::Direction::{Egress, Ingress};

use crate::table::{check, policy, world};

#[test]
fn k1_isolation_is_per_pod_and_direction() {
    let w = world(&policy("{podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress]}"));
    check(
        &w,
        Ingress,
        &[
            ("x/b > x/a tcp/80", "end"),
            ("y/a > x/a tcp/80", "end"),
            ("x/a > x/b tcp/80", "open"),
            // The same labels in another namespace are not selected.
            ("x/b > y/a tcp/80", "open"),
        ],
    );
    check(&w, Egress, &[("x/a > x/b tcp/80", "open")]);
    let w = world(&policy("{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]}"));
    check(&w, Egress, &[("x/a > x/b tcp/80", "end"), ("x/b > x/a tcp/80", "open")]);
    check(&w, Ingress, &[("x/b > x/a tcp/80", "open")]);
}

#[test]
fn k2_union_of_rules_and_order_only_names() {
    let w = world(
        "
metadata: {name: b, namespace: x}
spec: {ingress: [{ports: [{port: 80}]}]}
---
metadata: {name: a, namespace: x}
spec: {ingress: [{ports: [{port: 81}]}, {ports: [{port: 80, endPort: 82}]}]}
---
metadata: {name: c, namespace: x}
",
    );
    check(
        &w,
        Ingress,
        &[
            ("y/a > x/a tcp/80", "a:1"),
            ("y/a > x/a tcp/81", "a:0"),
            ("y/a > x/a tcp/82", "a:1"),
            ("y/a > x/a tcp/83", "end"),
        ],
    );
    let mut reversed = w.clone();
    reversed.network_policies.reverse();
    check(&reversed, Ingress, &[("y/a > x/a tcp/80", "a:1"), ("y/a > x/a tcp/83", "end")]);
}

#[test]
fn k3_both_sides_must_allow() {
    let w = world(
        "
metadata: {name: in, namespace: x}
spec: {podSelector: {matchLabels: {app: b}}, ingress: [{}]}
---
metadata: {name: out, namespace: x}
spec: {podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]}
",
    );
    check(&w, Ingress, &[("x/a > x/b tcp/80", "in:0")]);
    check(&w, Egress, &[("x/a > x/b tcp/80", "end")]);
    let outcome = brindle_oracle::judge(&w, &crate::table::flow(&w, "x/a > x/b tcp/80"));
    assert!(!outcome.delivered);
    let outcome = brindle_oracle::judge(&w, &crate::table::flow(&w, "y/a > x/b tcp/80"));
    assert!(outcome.delivered);
}

#[test]
fn k4_missing_pod_selector_is_every_pod() {
    for spec in ["{policyTypes: [Ingress]}", "{podSelector: {}, policyTypes: [Ingress]}", "{}"] {
        let w = world(&policy(spec));
        check(
            &w,
            Ingress,
            &[
                ("y/a > x/a tcp/80", "end"),
                ("y/a > x/b tcp/80", "end"),
                ("x/a > y/a tcp/80", "open"),
            ],
        );
    }
    check(&world("metadata: {name: p, namespace: x}"), Ingress, &[("y/a > x/a tcp/80", "end")]);
}

#[test]
fn k5_policy_types_default() {
    for (spec, ingress, egress) in [
        ("{}", "end", "open"),
        ("{policyTypes: []}", "end", "open"),
        ("{egress: []}", "end", "open"),
        ("{egress: [{}]}", "end", "p:0"),
        ("{egress: [{ports: [{port: 9}]}]}", "end", "end"),
        ("{ingress: [{}]}", "p:0", "open"),
        ("{policyTypes: [Egress], egress: []}", "open", "end"),
    ] {
        let w = world(&policy(spec));
        check(&w, Ingress, &[("y/a > x/a tcp/80", ingress)]);
        check(&w, Egress, &[("x/a > y/a tcp/80", egress)]);
    }
}

#[test]
fn k6_rules_of_other_directions_are_ignored() {
    let w = world(&policy("{policyTypes: [Egress], ingress: [], egress: [{}]}"));
    check(&w, Ingress, &[("y/a > x/a tcp/80", "open")]);
    check(&w, Egress, &[("x/a > y/a tcp/80", "p:0")]);
    let w = world(&policy("{policyTypes: [Ingress], egress: [{ports: [{port: 1}]}]}"));
    check(&w, Egress, &[("x/a > y/a tcp/80", "open")]);
}

#[test]
fn k6_unreadable_types_mean_both() {
    for types in ["[ingress]", "[Ingress, Sideways]", "['']"] {
        let w = world(&policy(&format!(
            "{{policyTypes: {types}, ingress: [{{ports: [{{port: 80}}]}}]}}"
        )));
        check(&w, Ingress, &[("y/a > x/a tcp/80", "p:0"), ("y/a > x/a tcp/81", "end")]);
        check(&w, Egress, &[("x/a > y/a tcp/80", "end")]);
    }
}

#[test]
fn k7_nobody_and_everybody() {
    for spec in ["{ingress: []}", "{policyTypes: [Ingress]}"] {
        let w = world(&policy(spec));
        check(&w, Ingress, &[("x/b > x/a tcp/80", "end"), ("192.0.2.1 > x/a proto/47", "end")]);
    }
    let w = world(&policy("{ingress: [{}]}"));
    check(
        &w,
        Ingress,
        &[
            ("x/b > x/a tcp/1", "p:0"),
            ("192.0.2.1 > x/a udp/65535", "p:0"),
            ("2001:db8::1 >6 x/a sctp/7", "p:0"),
            ("192.0.2.1 > x/a icmp/8", "p:0"),
            ("192.0.2.1 > x/a proto/47", "p:0"),
        ],
    );
}

#[test]
fn k8_peers_and_ports_are_a_conjunction_of_disjunctions() {
    let w = world(&policy(
        "{ingress: [{
            from: [{podSelector: {matchLabels: {app: b}}}, {ipBlock: {cidr: 192.0.2.0/24}}],
            ports: [{port: 80}, {port: 53, protocol: UDP}]}]}",
    ));
    check(
        &w,
        Ingress,
        &[
            ("x/b > x/a tcp/80", "p:0"),
            ("x/b > x/a udp/53", "p:0"),
            ("192.0.2.9 > x/a udp/53", "p:0"),
            ("x/b > x/a tcp/53", "end"),
            ("x/a > x/b tcp/80", "end"),
            ("198.51.100.1 > x/a tcp/80", "end"),
        ],
    );
    for from in ["", "from: [], ", "from: null, "] {
        let w = world(&policy(&format!("{{ingress: [{{{from}ports: [{{port: 80}}]}}]}}")));
        check(&w, Ingress, &[("198.51.100.1 > x/a tcp/80", "p:0"), ("x/b > x/a tcp/81", "end")]);
    }
    for ports in ["", ", ports: []"] {
        let w = world(&policy(&format!("{{ingress: [{{from: [{{podSelector: {{}}}}]{ports}}}]}}")));
        check(&w, Ingress, &[("x/b > x/a proto/47", "p:0"), ("y/b > x/a tcp/80", "end")]);
    }
}

#[test]
fn k9_last_policy_gone_or_labels_edited() {
    let mut w = world(&policy("{podSelector: {matchLabels: {app: a}}}"));
    check(&w, Ingress, &[("y/a > x/a tcp/80", "end"), ("y/a > x/b tcp/80", "open")]);
    for pod in w.pods.iter_mut().filter(|p| p.metadata.namespace.as_deref() == Some("x")) {
        let app = if pod.metadata.name.as_deref() == Some("b") { "a" } else { "b" };
        pod.metadata.labels = Some([("app".to_owned(), app.to_owned())].into());
    }
    check(&w, Ingress, &[("y/a > x/a tcp/80", "open"), ("y/a > x/b tcp/80", "end")]);
    w.network_policies.clear();
    check(&w, Ingress, &[("y/a > x/a tcp/80", "open"), ("y/a > x/b tcp/80", "open")]);
}

#[test]
fn unreadable_subject_isolates_the_namespace_and_admits_nobody() {
    for subject in [
        "{matchExpressions: [{key: app, operator: Near, values: [a]}]}",
        "{matchExpressions: [{key: app, operator: In}]}",
        "{matchExpressions: [{key: app, operator: NotIn, values: []}]}",
        "{matchExpressions: [{key: app, operator: Exists, values: [a]}]}",
        "{matchExpressions: [{key: 'no key', operator: DoesNotExist}]}",
        "{matchLabels: {app: 'a b'}}",
        "{matchLabels: {app: zzz}, matchExpressions: [{key: app, operator: '', values: [a]}]}",
    ] {
        let w = world(&policy(&format!("{{podSelector: {subject}, ingress: [{{}}]}}")));
        check(
            &w,
            Ingress,
            &[
                ("y/a > x/a tcp/80", "end"),
                ("y/a > x/b tcp/80", "end"),
                ("x/a > y/a tcp/80", "open"),
            ],
        );
        check(&w, Egress, &[("x/a > y/a tcp/80", "open")]);
        let w = world(&policy(&format!(
            "{{podSelector: {subject}, policyTypes: [Egress], egress: [{{}}]}}"
        )));
        check(&w, Egress, &[("x/a > y/a tcp/80", "end")]);
        check(&w, Ingress, &[("y/a > x/a tcp/80", "open")]);
        let w = world(&policy(&format!("{{podSelector: {subject}, policyTypes: [Sideways]}}")));
        check(&w, Egress, &[("x/a > y/a tcp/80", "end")]);
        check(&w, Ingress, &[("y/a > x/a tcp/80", "end")]);
    }
}
