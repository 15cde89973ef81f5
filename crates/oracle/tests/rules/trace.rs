//! The trace says which rule number decided, and which rule came closest.

use brindle_oracle::{judge, nearest_miss};

use crate::table::{flow, policy, world};

#[test]
fn nearest_miss_prefers_the_rule_that_fails_on_ports_only() {
    let w = world(&policy(
        "{ingress: [
            {from: [{podSelector: {matchLabels: {app: c}}}], ports: [{port: 8080}]},
            {from: [{podSelector: {matchLabels: {app: c}}}], ports: [{port: 80}]},
            {from: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: 81}, {port: web}]}]}",
    ));
    let outcome = judge(&w, &flow(&w, "x/b > x/a tcp/8080"));
    let miss = nearest_miss(&outcome.hops[1].trace).expect("three rules were asked");
    assert_eq!(miss.rule, 2);
    let failed: Vec<_> = miss.failed.iter().map(ToString::to_string).collect();
    assert_eq!(
        failed,
        [
            "K19 NetworkPolicy x/p rule 2 ports[0]: no: 8080 is not in 81",
            "K20 NetworkPolicy x/p rule 2 ports[1]: no: port \"web\" of pod a is [80, 81], not 8080",
        ]
    );
    let outcome = judge(&w, &flow(&w, "y/b > x/a tcp/80"));
    let miss = nearest_miss(&outcome.hops[1].trace).expect("three rules were asked");
    // Rules 1 and 2 both fail on their peers only; the first of them is named.
    assert_eq!(miss.rule, 1);
    let failed: Vec<_> = miss.failed.iter().map(ToString::to_string).collect();
    assert_eq!(
        failed,
        ["K10 NetworkPolicy x/p rule 1 peers[0]: no: the pod is in namespace y, not x"]
    );
}

#[test]
fn no_miss_where_no_rule_was_asked() {
    let w = world("");
    let outcome = judge(&w, &flow(&w, "x/b > x/a tcp/80"));
    assert_eq!(nearest_miss(&outcome.hops[1].trace), None);
    let last = outcome.hops[1].trace.last().map(ToString::to_string);
    assert_eq!(last.as_deref(), Some("K2 hop: yes: no policy isolates the pod for ingress"));
}
