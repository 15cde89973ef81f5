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
fn c34_host_endpoints_of_one_interface() {
    let host = |name, spec| object("HostEndpoint", name, spec);
    let mut store = Store::default();
    put(&mut store, "a.yaml", &host("a", "{node: n1, interfaceName: eth0}"));
    assert_eq!(
        reports(&put(&mut store, "c.yaml", &host("c", "{node: n2, interfaceName: eth0}"))),
        ["HostEndpoint c: "],
        "another node has another interface"
    );
    let place = "warning: spec.interfaceName: is also that of HostEndpoint";
    assert_eq!(
        reports(&put(&mut store, "b.yaml", &host("b", "{node: n1, interfaceName: eth0}"))),
        [
            format!("HostEndpoint a: {place} b: the first by name has it"),
            format!("HostEndpoint b: {place} a: the first by name has it"),
        ]
    );
    store.remove(Path::new("a.yaml"));
    assert_eq!(reports(&store.flush()), ["HostEndpoint a gone", "HostEndpoint b: "]);
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

fn meta(kind: &str, version: &str, metadata: &str, rest: &str) -> String {
    format!("apiVersion: {version}\nkind: {kind}\nmetadata: {metadata}\n{rest}\n")
}

/// A GlobalNetworkPolicy with one ingress rule.
fn rule(name: &str, rule: &str) -> String {
    object("GlobalNetworkPolicy", name, &format!("{{ingress: [{rule}]}}"))
}

#[test]
fn a_service_that_has_no_slice() {
    let missing = "GlobalNetworkPolicy p: warning: spec.ingress[0].source: Service shop/db has no endpoint slice: it is no address";
    let slice = |name: &str| {
        let labels = "labels: {kubernetes.io/service-name: db}";
        let metadata = format!("{{name: {name}, namespace: shop, {labels}}}");
        let rest = "addressType: IPv4\nendpoints: []";
        meta("EndpointSlice", "discovery.k8s.io/v1", &metadata, rest)
    };
    let mut store = Store::default();
    let policy = rule("p", "{action: Deny, source: {services: {name: db, namespace: shop}}}");
    assert_eq!(reports(&put(&mut store, "p.yaml", &policy)), [missing]);
    assert_eq!(reports(&put(&mut store, "a.yaml", &slice("a"))), ["GlobalNetworkPolicy p: "]);
    assert_eq!(reports(&put(&mut store, "b.yaml", &slice("b"))), [""; 0]);
    store.remove(Path::new("a.yaml"));
    assert_eq!(reports(&store.flush()), [""; 0], "the other one is still there");
    store.remove(Path::new("b.yaml"));
    assert_eq!(reports(&store.flush()), [missing]);
    store.remove(Path::new("p.yaml"));
    put(&mut store, "a.yaml", &slice("a"));
    assert_eq!(reports(&put(&mut store, "p.yaml", &policy)), ["GlobalNetworkPolicy p: "]);
}

#[test]
fn a_service_account_that_is_not_there() {
    let mut store = Store::default();
    let global = rule("g", "{action: Allow, source: {serviceAccounts: {names: [bot, web]}}}");
    let own = "{ingress: [{action: Allow, source: {serviceAccounts: {names: [bot]}}}]}";
    let own = object("NetworkPolicy", "n", own);
    let named = "spec.ingress[0].source: service account";
    let nowhere =
        |name: &str| format!("warning: {named} `{name}` is in no namespace, and no pod runs as it");
    let not_here = format!(
        "NetworkPolicy.brindle.io default/n: warning: {named} default/bot is not there, and no pod runs as it"
    );
    let (bot, web) = (nowhere("bot"), nowhere("web"));
    assert_eq!(
        reports(&put(&mut store, "p.yaml", &(global + "---\n" + &own))),
        [not_here.clone(), format!("GlobalNetworkPolicy g: {bot}; {web}")]
    );
    let account = |metadata| meta("ServiceAccount", "v1", metadata, "");
    assert_eq!(
        reports(&put(&mut store, "a.yaml", &account("{name: bot, namespace: other}"))),
        [format!("GlobalNetworkPolicy g: {web}")],
        "in another namespace than the NetworkPolicy's"
    );
    let pod = "spec: {serviceAccountName: bot, containers: []}";
    let pod = meta("Pod", "v1", "{name: a, namespace: default}", pod);
    assert_eq!(
        reports(&put(&mut store, "pod.yaml", &pod)),
        ["NetworkPolicy.brindle.io default/n: "],
        "a pod runs as it"
    );
    store.remove(Path::new("pod.yaml"));
    assert_eq!(reports(&store.flush()), [not_here]);
}

#[test]
fn who_denies_everybody_for_a_set_that_cannot_be_read_whole() {
    const WHOLE: &str =
        "spec.nets: cannot be read whole: rules that deny by this set deny everybody";
    let set = |labels: &str, nets: &str| {
        let metadata = format!("{{name: bad, labels: {{{labels}}}}}");
        let rest = format!("spec: {{nets: [{nets}]}}");
        meta("GlobalNetworkSet", "brindle.io/v1alpha1", &metadata, &rest)
    };
    let mut store = Store::default();
    let policies = [
        rule("allow", "{action: Allow, source: {selector: list == 'bad'}}"),
        rule("deny", "{action: Deny, source: {selector: list == 'bad'}}"),
        rule("not", "{action: Allow, source: {notSelector: has(list)}}"),
        rule("other", "{action: Deny, source: {selector: list == 'good'}}"),
        rule("pass", "{action: Pass, source: {selector: has(list)}}"),
    ];
    put(&mut store, "p.yaml", &policies.join("---\n"));
    put(&mut store, "s.yaml", &set("list: bad", "10.0.0.0/8"));
    let at = "warning: spec.ingress[0].source: GlobalNetworkSet bad cannot be read whole: the rule";
    let of_set = format!(
        "GlobalNetworkSet bad: spec.nets[1]: `x` is not a CIDR such as 10.0.0.0/8 or fd00::/8; {WHOLE}"
    );
    let for_it = "warning: spec.nets: rules that deny everybody for it:";
    assert_eq!(
        reports(&put(&mut store, "s.yaml", &set("list: bad", "10.0.0.0/8, x"))),
        [
            format!("GlobalNetworkPolicy deny: {at} denies everybody"),
            format!("GlobalNetworkPolicy not: {at} matches nothing"),
            format!("GlobalNetworkPolicy pass: {at} denies everybody"),
            format!("{of_set}; {for_it} GlobalNetworkPolicy deny, GlobalNetworkPolicy pass"),
        ]
    );
    store.put(Path::new("p.yaml"), policies[1].as_bytes());
    let changed = reports(&store.flush());
    let left = format!("{of_set}; {for_it} GlobalNetworkPolicy deny");
    assert!(changed.contains(&left), "{changed:?}");
    assert_eq!(
        reports(&put(&mut store, "s.yaml", &set("list: good", "10.0.0.0/8, x"))),
        ["GlobalNetworkPolicy deny: ".to_owned(), of_set]
    );
    store.remove(Path::new("s.yaml"));
    assert_eq!(reports(&store.flush()), ["GlobalNetworkSet bad gone"]);
}

#[test]
fn a_set_of_a_namespace_puts_in_doubt_what_its_namespaces_labels_pick() {
    let mut store = Store::default();
    let policy =
        rule("p", "{action: Deny, source: {selector: all(), namespaceSelector: team == 'red'}}");
    put(&mut store, "p.yaml", &policy);
    let metadata = "{name: bad, namespace: shop}";
    let set = meta("NetworkSet", "brindle.io/v1alpha1", metadata, "spec: {nets: [x]}");
    assert_eq!(reports(&put(&mut store, "s.yaml", &set)).len(), 1, "0009: the set alone");
    let namespace = |team: &str| {
        meta("Namespace", "v1", &format!("{{name: shop, labels: {{team: {team}}}}}"), "")
    };
    let doubt = "GlobalNetworkPolicy p: warning: spec.ingress[0].source: NetworkSet shop/bad cannot be read whole: the rule denies everybody";
    let red = reports(&put(&mut store, "n.yaml", &namespace("red")));
    assert!(red.contains(&doubt.to_owned()), "{red:?}");
    let blue = reports(&put(&mut store, "n.yaml", &namespace("blue")));
    assert!(blue.contains(&"GlobalNetworkPolicy p: ".to_owned()), "{blue:?}");
}

#[test]
fn services_and_nodes_that_cannot_be_read_whole() {
    let mut store = Store::default();
    let cluster = "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {matchLabels: {rack: a}}}]}]}";
    let policies = [
        object("ClusterNetworkPolicy", "c", cluster),
        rule("p", "{action: Deny, source: {services: {name: db, namespace: shop}}}"),
    ];
    put(&mut store, "p.yaml", &policies.join("---\n"));
    let metadata = "{name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}";
    let rest = "addressType: IPv4\nendpoints: [{addresses: [here]}]";
    let slice = meta("EndpointSlice", "discovery.k8s.io/v1", metadata, rest);
    assert_eq!(
        reports(&put(&mut store, "s.yaml", &slice)),
        [
            "GlobalNetworkPolicy p: warning: spec.ingress[0].source: EndpointSlice shop/db-1 cannot be read whole: the rule denies everybody"
        ]
    );
    let rest = "status: {addresses: [{type: ExternalIP, address: here}]}";
    let node = meta("Node", "v1", "{name: n1, labels: {rack: a}}", rest);
    assert_eq!(
        reports(&put(&mut store, "n.yaml", &node)),
        [
            "ClusterNetworkPolicy c: warning: spec.egress[0].to: Node n1 cannot be read whole: the rule denies everybody"
        ]
    );
}
