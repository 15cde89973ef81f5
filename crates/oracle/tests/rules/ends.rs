//! §2.4: who is at an end of a rule: selectors, network sets, service accounts, Services.

use brindle_model::verdict::Direction::{Egress, Ingress};

use crate::table::{check, world_of};

/// Network sets beside the pods: `s` in x, in y and in a namespace that there is not, and a global
/// one that would pass for a pod of x.
const SETS: &str = "
kind: NetworkSet
metadata: {name: s, namespace: x, labels: {net: s}}
spec: {nets: [192.0.2.0/25, 192.0.2.0/24]}
---
kind: NetworkSet
metadata: {name: s, namespace: y, labels: {net: s, pcns.team: red}}
spec: {nets: [198.51.100.0/24, 198.51.100.7]}
---
kind: NetworkSet
metadata: {name: s, namespace: unknown, labels: {net: s}}
spec: {nets: [203.0.113.128/25]}
---
kind: GlobalNetworkSet
metadata:
  name: g
  labels: {net: g, projectcalico.org/namespace: x, projectcalico.org/orchestrator: k8s}
spec: {nets: [203.0.113.0/25]}
---
";
const POD: &str = "x/b > x/a tcp/80";
const OTHER_POD: &str = "y/b > x/a tcp/80";
const X_SET: &str = "192.0.2.200 > x/a tcp/80";
const Y_SET: &str = "198.51.100.7 > x/a tcp/80";
const GLOBAL_SET: &str = "203.0.113.1 > x/a tcp/80";
const UNKNOWN_SET: &str = "203.0.113.200 > x/a tcp/80";
const OUTSIDE: &str = "8.8.8.8 > x/a tcp/80";
const ALL: [&str; 7] = [POD, OTHER_POD, X_SET, Y_SET, GLOBAL_SET, UNKNOWN_SET, OUTSIDE];

/// Checks whom one rule with this source allows, in a policy of namespace x and in a global one.
fn allows(source: &str, namespaced: &[&str], global: &[&str]) {
    for (kind, metadata, allowed) in [
        ("NetworkPolicy", "{name: p, namespace: x}", namespaced),
        ("GlobalNetworkPolicy", "{name: p}", global),
    ] {
        let w = world_of(&format!(
            "{SETS}kind: {kind}\nmetadata: {metadata}\n\
             spec: {{ingress: [{{action: Allow, source: {source}}}]}}"
        ));
        for text in ALL {
            let expected = if allowed.contains(&text) { "allow p:0" } else { "end" };
            check(&w, Ingress, &[(text, expected)]);
        }
    }
}

#[test]
fn c23_scope() {
    let known = [POD, OTHER_POD, X_SET, Y_SET, GLOBAL_SET];
    allows("{}", &ALL, &ALL);
    allows("{selector: all()}", &[POD, X_SET], &known);
    allows("{selector: ''}", &[POD, X_SET], &known);
    let namespaced = [POD, OTHER_POD, X_SET, Y_SET];
    allows("{namespaceSelector: all()}", &namespaced, &namespaced);
    allows("{namespaceSelector: global()}", &[GLOBAL_SET], &[GLOBAL_SET]);
    let blue = [OTHER_POD, Y_SET];
    allows("{namespaceSelector: team == 'blue'}", &blue, &blue);
    let named = "{namespaceSelector: projectcalico.org/name == 'y', selector: has(app)}";
    allows(named, &[OTHER_POD], &[OTHER_POD]);
    // C11, C13: a GlobalNetworkSet is in no namespace, so nothing said of namespaces holds of it.
    let not_red = [OTHER_POD, Y_SET];
    allows("{namespaceSelector: team != 'red'}", &not_red, &not_red);
}

#[test]
fn c13_c27_labels_of_network_sets() {
    allows("{selector: net == 's'}", &[X_SET], &[X_SET, Y_SET]);
    allows("{selector: pcns.team == 'red'}", &[POD, X_SET], &[POD, X_SET]);
    let own = "{selector: projectcalico.org/namespace == 'x'}";
    allows(own, &[POD, X_SET], &[POD, X_SET]);
    let pods = "{selector: has(projectcalico.org/orchestrator)}";
    allows(pods, &[POD], &[POD, OTHER_POD]);
}

#[test]
fn c24_not_selector() {
    let others = [OTHER_POD, X_SET, Y_SET, GLOBAL_SET, UNKNOWN_SET, OUTSIDE];
    allows("{notSelector: app == 'b' && pcns.team == 'red'}", &[X_SET], &others);
    allows("{selector: '!has(app)'}", &[X_SET], &[X_SET, Y_SET, GLOBAL_SET]);
    allows("{selector: has(net), notSelector: net == 's'}", &[], &[GLOBAL_SET]);
}

#[test]
fn c25_service_accounts() {
    allows("{serviceAccounts: {names: [default]}}", &[POD], &[POD, OTHER_POD]);
    allows("{serviceAccounts: {names: [other, s]}}", &[], &[]);
    // Only pods run as one, whatever the selector.
    allows("{serviceAccounts: {selector: '!has(x)'}}", &[POD], &[POD, OTHER_POD]);
    let elsewhere = "{serviceAccounts: {names: [default]}, namespaceSelector: team == 'blue'}";
    allows(elsewhere, &[OTHER_POD], &[OTHER_POD]);
}

#[test]
fn c26_services() {
    let policy = |rules: &str| {
        world_of(&format!(
            "
kind: EndpointSlice
metadata: {{name: s-1, namespace: y, labels: {{kubernetes.io/service-name: s}}}}
addressType: IPv4
endpoints: [{{addresses: [10.0.0.2], conditions: {{ready: false}}}}, {{addresses: [192.0.2.1]}}]
ports: [{{port: 8080}}, {{port: 53, protocol: UDP}}, {{name: nothing}}]
---
kind: EndpointSlice
metadata: {{name: s-2, namespace: y, labels: {{kubernetes.io/service-name: s}}}}
addressType: FQDN
endpoints: [{{addresses: [10.0.1.1]}}]
ports: [{{port: 8080}}]
---
kind: NetworkPolicy
metadata: {{name: p, namespace: x}}
spec: {rules}
"
        ))
    };
    let w = policy("{egress: [{action: Allow, destination: {services: {name: s, namespace: y}}}]}");
    check(
        &w,
        Egress,
        &[
            ("x/a > x/b tcp/8080", "allow p:0"),
            ("x/a > x/b udp/53", "allow p:0"),
            ("x/a > x/b tcp/53", "end"),
            ("x/a > 192.0.2.1 tcp/8080", "allow p:0"),
            ("x/a > y/a tcp/8080", "end"),
        ],
    );
    let w = policy("{ingress: [{action: Allow, source: {services: {name: s, namespace: y}}}]}");
    check(
        &w,
        Ingress,
        &[
            ("x/b > x/a tcp/1", "allow p:0"),
            ("x/b > x/a icmp/8", "allow p:0"),
            ("y/b > x/a tcp/1", "end"),
        ],
    );
    // The namespace is the policy's own unless said.
    let w = policy("{egress: [{action: Allow, destination: {services: {name: s}}}]}");
    check(&w, Egress, &[("x/a > x/b tcp/8080", "end")]);
}
