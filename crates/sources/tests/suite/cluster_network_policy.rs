//! ClusterNetworkPolicy, rule by rule of A1–A13, and how it closes (C32, C33).

use brindle_sources::convert::Input;

use super::{convert, rendered};

fn policy(spec: &str) -> (String, Vec<String>) {
    let spec: String = spec.lines().fold(String::new(), |all, line| all + "  " + line + "\n");
    let head = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n";
    let (input, problems) = convert(&format!("{head}metadata: {{name: p}}\nspec:\n{spec}"));
    match input {
        Some(Input::Policy(policy)) => {
            (format!("{}/{} {}", policy.tier, policy.order, rendered::policy(&policy)), problems)
        }
        None => ("absent".into(), problems),
        other => panic!("{other:?} of {spec}"),
    }
}

const HEAD: &str = "tier: Admin\npriority: 5\nsubject: {namespaces: {}}\n";

/// One egress rule with these fields, as text.
fn rule(action: &str, fields: &str) -> (String, Vec<String>) {
    let (text, problems) = policy(&format!("{HEAD}egress: [{{action: {action}, {fields}}}]"));
    let rule = text.strip_prefix("kube-admin/5 subject all(); egress").expect(&text).trim_start();
    (rule.to_owned(), problems)
}

#[test]
fn place_and_subject() {
    for (what, spec, expected) in [
        ("A1", "tier: Admin\npriority: 0\nsubject: {namespaces: {}}", "kube-admin/0 subject all()"),
        (
            "A1, A5",
            "tier: Baseline\npriority: 1000\nsubject: {namespaces: {matchLabels: {t: a}}}",
            "kube-baseline/1000 subject pcns.t == \"a\"",
        ),
        (
            "A5",
            "tier: Admin\npriority: 1\nsubject: {pods: {namespaceSelector: {matchLabels: {t: a}}, podSelector: {matchExpressions: [{key: x, operator: DoesNotExist}]}}}",
            "kube-admin/1 subject (pcns.t == \"a\" && !(has(x)))",
        ),
        (
            "A5: every namespace",
            "tier: Admin\npriority: 1\nsubject: {pods: {podSelector: {}}}",
            "kube-admin/1 subject all()",
        ),
        ("A4", &format!("{HEAD}ingress: []\negress: null"), "kube-admin/5 subject all()"),
        (
            "C32: directions that have rules",
            &format!("{HEAD}ingress: [{{action: Pass, from: [{{namespaces: {{}}}}]}}]"),
            "kube-admin/5 subject all(); ingress 0: Pass peers [all()]",
        ),
    ] {
        assert_eq!(policy(spec), (expected.into(), vec![]), "{what}: {spec}");
    }
}

#[test]
fn without_a_place_or_subject_there_is_no_policy() {
    let rules = "\negress: [{action: Accept, to: [{networks: [0.0.0.0/0]}]}]";
    for (spec, problem) in [
        (
            "tier: Middle\npriority: 1\nsubject: {namespaces: {}}",
            "spec.tier: `Middle` is not one of Admin, Baseline",
        ),
        ("priority: 1\nsubject: {namespaces: {}}", "spec.tier: is missing"),
        ("tier: Admin\nsubject: {namespaces: {}}", "spec.priority: is missing"),
        (
            "tier: Admin\npriority: 1001\nsubject: {namespaces: {}}",
            "spec.priority: 1001 is not a priority: 0 to 1000 are",
        ),
        (
            "tier: Admin\npriority: -1\nsubject: {namespaces: {}}",
            "spec.priority: -1 is not a priority: 0 to 1000 are",
        ),
        (
            "tier: Admin\npriority: high\nsubject: {namespaces: {}}",
            "spec.priority: invalid type: string \"high\", expected i32",
        ),
        ("tier: Admin\npriority: 1", "spec.subject: is missing"),
        ("tier: Admin\npriority: 1\nsubject: {}", "spec.subject: must be one of namespaces, pods"),
        (
            "tier: Admin\npriority: 1\nsubject: {namespaces: {}, pods: {podSelector: {}}}",
            "spec.subject: must be one of namespaces, pods",
        ),
        ("tier: Admin\npriority: 1\nsubject: {nodes: {}}", "spec.subject.nodes: unknown field"),
        (
            "tier: Admin\npriority: 1\nsubject: {pods: {namespaceSelector: {}}}",
            "spec.subject.pods: missing field `podSelector`",
        ),
        (
            "tier: Admin\npriority: 1\nsubject: {namespaces: {matchExpressions: [{key: a, operator: Near}]}}",
            "spec.subject.namespaces.matchExpressions[0].operator: `Near` is not one of In, NotIn, Exists, DoesNotExist",
        ),
        (
            "tier: Admin\npriority: 1\nsubject: {namespaces: {}}\nsubjects: []",
            "spec.subjects: unknown field",
        ),
    ] {
        assert_eq!(
            policy(&format!("{spec}{rules}")),
            ("absent".into(), vec![problem.into()]),
            "C33: {spec}"
        );
    }
    assert_eq!(policy(""), ("absent".into(), vec!["spec: is missing".into()]));
    assert_eq!(policy("[1]"), ("absent".into(), vec!["spec: this is not a mapping".into()]));
}

#[test]
fn rules() {
    for (what, fields, expected) in [
        ("A8: everything", "to: [{namespaces: {}}]", "peers [all()]"),
        (
            "A8: peers are OR",
            "to: [{namespaces: {matchLabels: {t: a}}}, {pods: {namespaceSelector: {}, podSelector: {matchLabels: {x: y}}}}]",
            "peers [pcns.t == \"a\", x == \"y\"]",
        ),
        (
            "A9: both families",
            "to: [{networks: [10.0.0.0/8, 'fd00::/8']}]",
            "peers [10.0.0.0/8, fd00::/8]",
        ),
        ("A10", "to: [{nodes: {matchLabels: {pcns.r: x}}}]", "peers [nodes pcns.r == \"x\"]"),
        (
            "A8: all ports",
            "to: [{namespaces: {}}], protocols: [{tcp: {}}, {sctp: {}}]",
            "peers [all()] ports [tcp, sctp]",
        ),
        (
            "A8: numbers and ranges",
            "to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}, {udp: {destinationPort: {range: {start: 1, end: 65535}}}}]",
            "peers [all()] ports [80/tcp, 1-65535/udp]",
        ),
        (
            "A11",
            "to: [{namespaces: {}}], protocols: [{destinationNamedPort: http}]",
            "peers [all()] ports [http/any]",
        ),
        ("a name for people", "name: anything at all, to: [{namespaces: {}}]", "peers [all()]"),
    ] {
        for (action, word) in [("Accept", ""), ("Deny", "Deny "), ("Pass", "Pass ")] {
            assert_eq!(
                rule(action, fields),
                (format!("0: {word}{expected}"), vec![]),
                "A2, {what}"
            );
        }
    }
}

#[test]
fn broken_entries_close() {
    let many = |entry: &str| vec![entry; 26].join(", ");
    // Fields, what is left of an Accept, the problem.
    let good = "{namespaces: {}}";
    for (fields, accept, problem) in [
        ("to: [{}]".to_owned(), "0: peers []", ".to[0]: names no peer that this version knows"),
        (
            format!("to: [{{serviceAccounts: {{}}}}, {good}]"),
            "0: peers [all()]",
            ".to[0].serviceAccounts: unknown field",
        ),
        (
            format!("to: [{{namespaces: {{}}, sameLabels: [a]}}, {good}]"),
            "0: peers [all()]",
            ".to[0].sameLabels: unknown field",
        ),
        (
            "to: [{namespaces: {matchLabel: {a: b}}}]".into(),
            "0: peers []",
            ".to[0].namespaces.matchLabel: unknown field",
        ),
        (
            "to: [{namespaces: {}, nodes: {}}]".into(),
            "0: peers []",
            ".to[0]: names more than one kind of peer",
        ),
        ("to: [{pods: {}}]".into(), "0: peers []", ".to[0].pods: missing field `podSelector`"),
        (
            format!("to: [{{domainNames: [kubernetes.io]}}, {good}]"),
            "0: peers [all()]",
            ".to[0].domainNames: domain names are not supported",
        ),
        (
            "to: [{networks: [ten, 10.0.0.0/8]}]".into(),
            "0: peers [10.0.0.0/8]",
            ".to[0].networks[0]: `ten` is not a CIDR such as 10.0.0.0/8 or fd00::/8",
        ),
        ("to: [{networks: []}]".into(), "0: peers []", ".to[0].networks: needs at least one entry"),
        (
            format!("to: [{{networks: [{}]}}]", many("10.0.0.0/8")),
            "0: peers []",
            ".to[0].networks: 26 entries, 25 are the most",
        ),
        ("to: []".into(), "0: peers []", ".to: needs at least one entry"),
        (
            "protocols: [{tcp: {}}]".into(),
            "0: peers [] ports [tcp]",
            ".to: needs at least one entry",
        ),
        (format!("to: [{}]", many(good)), "0: peers []", ".to: 26 entries, 25 are the most"),
        (format!("to: {good}"), "0: peers []", ".to: this is not a list"),
        (format!("to: [{good}], from: []"), "0: peers []", ".from: unknown field"),
        (
            format!("to: [{good}], protocols: []"),
            "0: peers [all()] ports []",
            ".protocols: needs at least one entry",
        ),
        (
            format!("to: [{good}], protocols: [{{}}]"),
            "0: peers [all()] ports []",
            ".protocols[0]: names no protocol that this version knows",
        ),
        (
            format!("to: [{good}], protocols: [{{icmp: {{}}}}, {{tcp: {{}}}}]"),
            "0: peers [all()] ports [tcp]",
            ".protocols[0].icmp: unknown field",
        ),
        (
            format!("to: [{good}], protocols: [{{tcp: {{sourcePort: 1}}}}]"),
            "0: peers [all()] ports []",
            ".protocols[0].tcp.sourcePort: unknown field",
        ),
        (
            format!("to: [{good}], protocols: [{{tcp: {{}}, udp: {{}}}}]"),
            "0: peers [all()] ports []",
            ".protocols[0]: names more than one protocol",
        ),
        (
            format!("to: [{good}], protocols: [{{destinationNamedPort: '80'}}]"),
            "0: peers [all()] ports []",
            ".protocols[0].destinationNamedPort: `80` is not a valid port name",
        ),
        (
            format!("to: [{good}], protocols: [{{tcp: {{destinationPort: {{}}}}}}]"),
            "0: peers [all()] ports []",
            ".protocols[0].tcp.destinationPort: must be one of number, range",
        ),
        (
            format!("to: [{good}], protocols: [{{tcp: {{destinationPort: {{number: 0}}}}}}]"),
            "0: peers [all()] ports []",
            ".protocols[0].tcp.destinationPort.number: 0 is not a port: 1 to 65535 are",
        ),
        (
            format!(
                "to: [{good}], protocols: [{{tcp: {{destinationPort: {{range: {{start: 80, end: 80}}}}}}}}]"
            ),
            "0: peers [all()] ports []",
            ".protocols[0].tcp.destinationPort.range.end: 80 is not above 80",
        ),
        (
            "to: [{nodes: {}}], protocols: [{destinationNamedPort: http}]".into(),
            "",
            ".protocols: names a container port beside peers that have none",
        ),
        (
            "to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: http}]".into(),
            "",
            ".protocols: names a container port beside peers that have none",
        ),
    ] {
        let problem = format!("spec.egress[0]{problem}");
        assert_eq!(
            rule("Accept", &fields),
            (accept.into(), vec![problem.clone()]),
            "A13: {fields}"
        );
        let closed = "spec.egress[0]: cannot be read, so it denies everything".to_owned();
        for action in ["Deny", "Pass"] {
            let expected = ("0: Deny".into(), vec![problem.clone(), closed.clone()]);
            assert_eq!(rule(action, &fields), expected, "A13: {fields}");
        }
    }
    for action in ["Allow", "accept", "''"] {
        let (text, problems) = rule(action, "to: [{namespaces: {}}]");
        assert_eq!(text, "0: Deny", "A13: an action that nobody knows");
        assert!(problems[0].ends_with("is not one of Accept, Deny, Pass"), "{problems:?}");
    }
}

#[test]
fn broken_lists_of_rules_deny_everything() {
    let rule = "{action: Accept, from: [{namespaces: {}}]}, ";
    let text = |n: usize| policy(&format!("{HEAD}ingress: [{}]", rule.repeat(n)));
    assert!(text(25).1.is_empty());
    assert_eq!(
        text(26),
        (
            "kube-admin/5 subject all(); ingress 0: Deny".into(),
            vec!["spec.ingress: 26 rules, 25 are the most: denies everything instead".into()]
        )
    );
    for rules in ["{action: Accept}", "[1]", "[null]"] {
        let (text, problems) = policy(&format!("{HEAD}ingress: {rules}"));
        assert_eq!(text, "kube-admin/5 subject all(); ingress 0: Deny", "{problems:?}");
        assert_eq!(
            problems.last().unwrap(),
            "spec.ingress[0]: cannot be read, so it denies everything"
        );
    }
}

#[test]
fn an_ingress_peer_is_a_pod() {
    let spec = format!("{HEAD}ingress: [{{action: Deny, from: [{{networks: [10.0.0.0/8]}}]}}]");
    let (text, problems) = policy(&spec);
    assert_eq!(text, "kube-admin/5 subject all(); ingress 0: Deny");
    assert_eq!(problems[0], "spec.ingress[0].from[0].networks: unknown field");
}
