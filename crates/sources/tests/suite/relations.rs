//! What objects are to each other: ties and tiers, in every order of arrival.

use std::path::Path;

use brindle_sources::directory::Store;
use brindle_sources::event::Changes;

use super::line;

fn object(kind: &str, name: &str, spec: &str) -> String {
    let version = match kind {
        "ClusterNetworkPolicy" => "policy.networking.k8s.io/v1alpha2",
        _ => "brindle.io/v1alpha1",
    };
    format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn put(store: &mut Store, path: &str, text: &str) -> Changes {
    store.put(Path::new(path), text.as_bytes());
    store.flush()
}

/// Reports that have changed, as `object: problems`.
fn reports(changes: &Changes) -> Vec<String> {
    let reports = changes.objects.iter().map(|(key, report)| match report {
        Some(report) => {
            let problems: Vec<_> = report.problems.iter().map(line).collect();
            format!("{key}: {}", problems.join("; "))
        }
        None => format!("{key} gone"),
    });
    reports.collect()
}

#[test]
fn tiers_of_equal_order() {
    let mut store = Store::default();
    put(&mut store, "a.yaml", &object("Tier", "a", "{order: 10}"));
    let changes =
        put(&mut store, "b.yaml", &object("Tier", "b", "{order: 10, defaultAction: Pass}"));
    assert_eq!(
        reports(&changes),
        [
            "Tier a: warning: spec.order: is also that of Tier b; names decide which is first",
            "Tier b: warning: spec.order: is also that of Tier a; names decide which is first",
        ]
    );
    assert!(changes.objects.iter().all(|(_, r)| r.as_ref().unwrap().is_accepted()));
    assert_eq!(changes.updates.len(), 1, "both count");
    let changes = put(&mut store, "b.yaml", &object("Tier", "b", "{order: 11}"));
    assert_eq!(reports(&changes), ["Tier a: ", "Tier b: "]);
    let changes = put(&mut store, "c.yaml", &object("Tier", "c", "{order: 1000000}"));
    assert_eq!(
        reports(&changes),
        ["Tier c: warning: spec.order: is also that of Tier default; names decide which is first"]
    );
}

#[test]
fn cluster_policies_of_equal_priority() {
    let policy = |name, tier, priority| {
        let spec = format!("{{tier: {tier}, priority: {priority}, subject: {{namespaces: {{}}}}}}");
        object("ClusterNetworkPolicy", name, &spec)
    };
    let mut store = Store::default();
    put(&mut store, "a.yaml", &policy("a", "Admin", 5));
    assert_eq!(
        reports(&put(&mut store, "c.yaml", &policy("c", "Baseline", 5))),
        ["ClusterNetworkPolicy c: "],
        "another tier is another place"
    );
    let place = "warning: spec.priority: is also that of ClusterNetworkPolicy";
    assert_eq!(
        reports(&put(&mut store, "b.yaml", &policy("b", "Admin", 5))),
        [
            format!("ClusterNetworkPolicy a: {place} b; names decide which is first"),
            format!("ClusterNetworkPolicy b: {place} a; names decide which is first"),
        ],
        "A6"
    );
    store.remove(Path::new("a.yaml"));
    assert_eq!(
        reports(&store.flush()),
        ["ClusterNetworkPolicy a gone", "ClusterNetworkPolicy b: "]
    );
}

#[test]
fn a_policy_in_a_tier_that_is_not_there() {
    let missing = "warning: spec.tier: there is no tier `t`: the policy stands behind all tiers, with Deny as the end";
    let mut store = Store::default();
    let policies = ["GlobalNetworkPolicy", "NetworkPolicy", "StagedNetworkPolicy"];
    let policies = policies.map(|kind| object(kind, "p", "{tier: t}")).join("---\n");
    let text = policies + "---\n" + &object("GlobalNetworkPolicy", "q", "{tier: kube-admin}");
    let changes = put(&mut store, "p.yaml", &text);
    let expected = [
        format!("NetworkPolicy.brindle.io default/p: {missing}"),
        format!("GlobalNetworkPolicy p: {missing}"),
        "GlobalNetworkPolicy q: ".to_owned(),
        format!("StagedNetworkPolicy default/p: {missing}"),
    ];
    assert_eq!(reports(&changes), expected, "C3");
    assert_eq!(changes.updates.len(), 4, "accepted even so");

    let changes = put(&mut store, "t.yaml", &object("Tier", "t", "{}"));
    assert_eq!(reports(&changes).len(), 4, "the tier and those in it: {changes:?}");
    assert!(reports(&changes).iter().all(|report| !report.contains("there is no tier")));
    assert_eq!(changes.updates.len(), 1, "only the tier");
    let changes = put(&mut store, "t.yaml", &object("Tier", "t", "{defaultAction: Allow}"));
    assert_eq!(
        reports(&changes).iter().filter(|report| report.ends_with(missing)).count(),
        3,
        "a broken tier is none: {changes:?}"
    );
}
