//! §1.5: lifecycle.

use brindle_model::verdict::Direction::{Egress, Ingress};
use k8s_openapi::api::core::v1::Pod;

use crate::table::{check, documents, policy, world};

#[test]
fn k37_unknown_endpoints_are_closed() {
    let w = world("");
    check(&w, Egress, &[("unknown x/new > y/a tcp/80", "deny unknown endpoint")]);
    // What it sends is still judged where it would arrive: as nobody's address.
    let w = world(&policy("{ingress: [{from: [{namespaceSelector: {}}]}]}"));
    check(&w, Ingress, &[("unknown x/new > x/a tcp/80", "end")]);
}

#[test]
fn k37_a_pod_is_known_once_its_namespace_is() {
    let mut w = world(
        "
metadata: {name: p, namespace: x}
spec: {policyTypes: [Ingress, Egress], ingress: [{from: [{namespaceSelector: {}}]}], egress: [{ports: [{port: web}]}]}
",
    );
    check(&w, Ingress, &[("y/a > x/a tcp/80", "p:0")]);
    check(&w, Egress, &[("x/a > y/a tcp/80", "p:0")]);
    w.namespaces.retain(|n| n.metadata.name.as_deref() != Some("y"));
    check(
        &w,
        Ingress,
        &[("y/a > x/a tcp/80", "end"), ("x/a > y/a tcp/80", "deny unknown endpoint")],
    );
    check(
        &w,
        Egress,
        &[("x/a > y/a tcp/80", "end"), ("y/a > x/a tcp/80", "deny unknown endpoint")],
    );
    check(&w, Ingress, &[("node n2 > y/a tcp/80", "allow own node")]);
}

#[test]
fn k38_finished_pods_own_nothing() {
    let w = world(&policy(
        "{policyTypes: [Ingress, Egress], egress: [{to: [{podSelector: {}}]}], ingress: [{from: [{podSelector: {}}]}]}",
    ));
    check(
        &w,
        Egress,
        &[("x/a > x/done tcp/80", "end"), ("x/done > x/a tcp/80", "deny unknown endpoint")],
    );
    check(&w, Ingress, &[("x/a > x/done tcp/80", "no hop"), ("10.0.0.9 > x/a tcp/80", "end")]);
    // A terminating pod is still one.
    let mut w = w;
    let terminating: Vec<Pod> = documents(
        "
metadata: {name: going, namespace: x, deletionTimestamp: '2026-01-01T00:00:00Z'}
spec: {nodeName: n1, containers: []}
status: {phase: Running, podIP: 10.0.0.10, podIPs: [{ip: 10.0.0.10}]}
",
    );
    w.pods.extend(terminating);
    check(&w, Ingress, &[("x/going > x/a tcp/80", "p:0"), ("y/a > x/going tcp/80", "end")]);
}

#[test]
fn k39_a_reused_address_is_the_new_pods() {
    let mut w = world(&policy("{ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}"));
    let successor: Vec<Pod> = documents(
        "
metadata: {name: next, namespace: y, labels: {app: a}}
spec: {nodeName: n2, containers: []}
status: {phase: Running, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}]}
",
    );
    w.pods.extend(successor);
    // x/done had these labels in x; the address is y/next's now.
    check(&w, Ingress, &[("y/next > x/b tcp/80", "end"), ("x/b > y/next tcp/80", "open")]);
}
