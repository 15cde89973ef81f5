//! §1.2: peers.

use brindle_model::verdict::Direction::{Egress, Ingress};

use crate::table::{check, documents, policy, world};

/// Who of the fixed world may reach x/a under one `from` list.
fn admitted(from: &str) -> Vec<&'static str> {
    let w = world(&policy(&format!("{{ingress: [{{from: {from}}}]}}")));
    let everybody =
        ["x/b", "y/a", "y/b", "z/c", "node n2", "10.0.0.9", "192.0.2.1", "198.51.100.1"];
    let reaches = |who: &&str| {
        let flow = crate::table::flow(&w, &format!("{who} > x/a tcp/80"));
        brindle_oracle::judge(&w, &flow).delivered
    };
    everybody.into_iter().filter(reaches).collect()
}

#[test]
fn k10_nil_and_empty_selectors() {
    for (from, expected) in [
        ("[{podSelector: {}}]", vec!["x/b"]),
        ("[{podSelector: {matchLabels: {app: b}}}]", vec!["x/b"]),
        ("[{podSelector: {matchLabels: {app: a}}}]", vec![]),
        ("[{namespaceSelector: {}}]", vec!["x/b", "y/a", "y/b", "z/c"]),
        ("[{namespaceSelector: {matchLabels: {team: blue}}}]", vec!["y/a", "y/b"]),
        ("[{namespaceSelector: {}, podSelector: {}}]", vec!["x/b", "y/a", "y/b", "z/c"]),
        (
            "[{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: b}}}]",
            vec!["y/b"],
        ),
        (
            "[{namespaceSelector: {matchLabels: {team: blue}}}, {podSelector: {matchLabels: {app: b}}}]",
            vec!["x/b", "y/a", "y/b"],
        ),
        ("[{}]", vec![]),
        ("[{ipBlock: {cidr: 0.0.0.0/0}, podSelector: {}}]", vec![]),
        ("[{ipBlock: {cidr: 0.0.0.0/0}, namespaceSelector: {}}]", vec![]),
        ("[{}, {podSelector: {}}]", vec!["x/b"]),
    ] {
        assert_eq!(admitted(from), expected, "{from}");
    }
}

#[test]
fn k11_operators() {
    let by = |requirement: &str| {
        admitted(&format!(
            "[{{namespaceSelector: {{}}, podSelector: {{matchExpressions: [{requirement}]}}}}]"
        ))
    };
    for (requirement, expected) in [
        ("{key: app, operator: In, values: [b, c]}", vec!["x/b", "y/b"]),
        ("{key: app, operator: NotIn, values: [b]}", vec!["y/a", "z/c"]),
        ("{key: app, operator: Exists}", vec!["x/b", "y/a", "y/b"]),
        ("{key: app, operator: DoesNotExist}", vec!["z/c"]),
        ("{key: app, operator: In, values: [a]}, {key: app, operator: NotIn, values: [a]}", vec![]),
        // Broken ones match nothing, negative operators included.
        ("{key: app, operator: NotIn}", vec![]),
        ("{key: app, operator: DoesNotExist, values: [q]}", vec![]),
        ("{key: 'a/b/c', operator: DoesNotExist}", vec![]),
        ("{key: app, operator: notin, values: [b]}", vec![]),
    ] {
        assert_eq!(by(requirement), expected, "{requirement}");
    }
    // A key with an empty value is present, and differs from absence.
    let w = world(&policy("{podSelector: {matchLabels: {env: ''}}}"));
    check(&w, Ingress, &[("y/a > x/a tcp/80", "end"), ("y/a > x/b tcp/80", "open")]);
    let w = world(&policy(
        "{podSelector: {matchExpressions: [{key: env, operator: NotIn, values: ['']}]}}",
    ));
    check(&w, Ingress, &[("y/a > x/a tcp/80", "open"), ("y/a > x/b tcp/80", "end")]);
}

#[test]
fn k12_namespaces_without_labels_and_by_name() {
    for (selector, expected) in [
        (
            "{matchExpressions: [{key: team, operator: NotIn, values: [red]}]}",
            vec!["y/a", "y/b", "z/c"],
        ),
        ("{matchExpressions: [{key: team, operator: DoesNotExist}]}", vec!["z/c"]),
        ("{matchLabels: {kubernetes.io/metadata.name: z}}", vec!["z/c"]),
        (
            "{matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [x, z]}]}",
            vec!["y/a", "y/b"],
        ),
    ] {
        assert_eq!(
            admitted(&format!("[{{namespaceSelector: {selector}}}]")),
            expected,
            "{selector}"
        );
    }
    // The name is not the user's to choose.
    let mut w = world(&policy(
        "{ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: y}}}]}]}",
    ));
    w.namespaces = documents(
        "metadata: {name: z, labels: {kubernetes.io/metadata.name: y}}
---
metadata: {name: y}
---
metadata: {name: x}",
    );
    check(&w, Ingress, &[("z/c > x/a tcp/80", "end"), ("y/a > x/a tcp/80", "p:0")]);
}

#[test]
fn c12_system_labels_override_the_users() {
    let mut w = world(&policy(
        "{ingress: [
            {from: [{namespaceSelector: {}, podSelector: {matchLabels: {projectcalico.org/namespace: y}}}]},
            {from: [{namespaceSelector: {}, podSelector: {matchLabels: {pcns.team: red}}}]},
            {from: [{namespaceSelector: {}, podSelector: {matchLabels: {pcsa.role: dba}}}]}]}",
    ));
    for pod in &mut w.pods {
        let labels = pod.metadata.labels.get_or_insert_default();
        for (key, value) in
            [("projectcalico.org/namespace", "y"), ("pcns.team", "red"), ("pcsa.role", "dba")]
        {
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    check(&w, Ingress, &[("y/a > x/a tcp/80", "p:0"), ("z/c > x/a tcp/80", "end")]);
}

#[test]
fn k13_blocks_match_whoever_holds_the_address() {
    for (cidr, expected) in [
        ("10.0.1.1/32", vec!["y/a"]),
        ("10.0.0.0/16", vec!["x/b", "y/a", "y/b", "z/c", "10.0.0.9"]),
        ("10.1.0.0/16", vec!["node n2"]),
        ("192.0.2.0/24", vec!["192.0.2.1"]),
    ] {
        assert_eq!(admitted(&format!("[{{ipBlock: {{cidr: {cidr}}}}}]")), expected, "{cidr}");
    }
}

#[test]
fn k14_except_subtracts_within_its_peer() {
    let inside = ["x/b", "y/a", "y/b", "z/c", "10.0.0.9"];
    for (from, expected) in [
        ("[{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.1.0/24]}}]", vec!["x/b", "z/c", "10.0.0.9"]),
        (
            "[{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.1.2/32, 10.0.2.0/23]}}]",
            vec!["x/b", "y/a", "10.0.0.9"],
        ),
        (
            "[{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.1.0/24, 10.0.1.2/32]}}]",
            vec!["x/b", "z/c", "10.0.0.9"],
        ),
        (
            "[{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.1.0/24]}}, {ipBlock: {cidr: 10.0.1.2/32}}]",
            vec!["x/b", "y/b", "z/c", "10.0.0.9"],
        ),
        (
            "[{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.1.0/24]}}, {namespaceSelector: {matchLabels: {team: blue}}}]",
            inside.to_vec(),
        ),
        // Broken: not inside, not longer, another family, no CIDR. That entry is gone as a whole.
        ("[{ipBlock: {cidr: 10.0.0.0/16, except: [10.2.0.0/24]}}]", vec![]),
        ("[{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.0.0/16]}}]", vec![]),
        ("[{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.0.0/8]}}]", vec![]),
        ("[{ipBlock: {cidr: 10.0.0.0/16, except: ['fd00::/64']}}]", vec![]),
        ("[{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.1.0]}}]", vec![]),
        (
            "[{ipBlock: {cidr: 10.0.0.0/16, except: [10.2.0.0/24]}}, {ipBlock: {cidr: 10.0.1.2/32}}]",
            vec!["y/b"],
        ),
    ] {
        assert_eq!(admitted(from), expected, "{from}");
    }
}

#[test]
fn k15_the_block_sees_what_the_hook_sees() {
    // A client behind source NAT is whoever the packet says.
    let w = world(&policy("{ingress: [{from: [{ipBlock: {cidr: 192.0.2.1/32}}]}]}"));
    check(
        &w,
        Ingress,
        &[("node n2 as 192.0.2.1 > x/a tcp/80", "p:0"), ("node n2 > x/a tcp/80", "end")],
    );
}

#[test]
fn k16_families_and_spellings() {
    let all_v4 = world(&policy("{ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"));
    check(&all_v4, Ingress, &[("y/a > x/a tcp/80", "p:0"), ("y/a >6 x/a tcp/80", "end")]);
    let all_v6 = world(&policy("{ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}"));
    check(&all_v6, Ingress, &[("y/a > x/a tcp/80", "end"), ("y/a >6 x/a tcp/80", "p:0")]);
    for (cidr, expected) in [
        ("10.0.1.7/24", vec!["y/a", "y/b"]),
        ("010.000.001.002/32", vec!["y/b"]),
        ("10.0.1.2", vec![]),
        ("10.0.1.0/33", vec![]),
        ("nonsense", vec![]),
        ("''", vec![]),
    ] {
        assert_eq!(admitted(&format!("[{{ipBlock: {{cidr: {cidr}}}}}]")), expected, "{cidr}");
    }
}

#[test]
fn k3_peers_of_egress() {
    let w = world(&policy(
        "{policyTypes: [Egress], egress: [
            {to: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: b}}}]},
            {to: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}]}]}",
    ));
    check(
        &w,
        Egress,
        &[
            ("x/a > y/b tcp/80", "p:0"),
            ("x/a >6 y/b tcp/80", "p:0"),
            ("x/a > y/a tcp/80", "end"),
            ("x/a > 192.0.2.127 tcp/80", "p:1"),
            ("x/a > 192.0.2.128 tcp/80", "end"),
        ],
    );
}
