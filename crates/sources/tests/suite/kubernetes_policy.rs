//! Kubernetes NetworkPolicy, rule by rule of K1–K24, and how broken ones close.

use brindle_model::policy::{NETWORK_POLICY_ORDER, Policy};
use brindle_sources::convert::Input;

use super::{convert, rendered};

const SHOP: &str = "projectcalico.org/namespace == \"shop\"";

/// Converts a NetworkPolicy `shop/p` with this spec; the result as text, and the problems.
fn policy(spec: &str) -> (String, Vec<String>) {
    let spec: String = spec.lines().fold(String::new(), |all, line| all + "  " + line + "\n");
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n";
    let yaml = format!("{head}metadata: {{name: p, namespace: shop}}\nspec:\n{spec}");
    match convert(&yaml) {
        (Some(Input::Policy(policy)), problems) => (render(&policy), problems),
        other => panic!("no policy but {other:?} of {yaml}"),
    }
}

fn render(policy: &Policy) -> String {
    assert_eq!((&*policy.tier, policy.order), ("default", NETWORK_POLICY_ORDER), "C30");
    rendered::policy(policy)
}

/// Runs cases of (what, spec, expected policy after the subject's namespace, expected problems).
fn check(cases: &[(&str, &str, &str, &[&str])]) {
    for (what, spec, expected, problems) in cases {
        let (text, found) = policy(spec);
        assert_eq!(text, expected.replace("SHOP", SHOP), "{what}: {spec}");
        assert_eq!(&found, problems, "{what}: {spec}");
    }
}

#[test]
fn directions_and_rules() {
    check(&[
        ("K4, K5: nothing said", "{}", "subject SHOP; ingress", &[]),
        ("K5: egress rules", "egress: [{}]", "subject SHOP; ingress; egress 0:", &[]),
        ("K5: empty egress", "egress: []", "subject SHOP; ingress", &[]),
        (
            "K5: empty types",
            "policyTypes: []\negress: [{}]",
            "subject SHOP; ingress; egress 0:",
            &[],
        ),
        ("K6: egress alone", "policyTypes: [Egress]\ningress: [{}]", "subject SHOP; egress", &[]),
        ("K6: both", "policyTypes: [Ingress, Egress]", "subject SHOP; ingress; egress", &[]),
        ("K7: everybody", "ingress: [{}]", "subject SHOP; ingress 0:", &[]),
        (
            "K8: empty lists mean any",
            "ingress: [{from: [], ports: []}, {from: null}]",
            "subject SHOP; ingress 0: 1:",
            &[],
        ),
        (
            "K8: both lists",
            "ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]",
            "subject SHOP; ingress 0: peers [SHOP] ports [80/tcp]",
            &[],
        ),
    ]);
}

#[test]
fn peers() {
    check(&[
        (
            "podSelector alone is of the own namespace",
            "ingress: [{from: [{podSelector: {matchLabels: {role: web}}}]}]",
            "subject SHOP; ingress 0: peers [(SHOP && role == \"web\")]",
            &[],
        ),
        (
            "K10: namespaceSelector alone",
            "ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}}]}]",
            "subject SHOP; ingress 0: peers [pcns.team == \"a\"]",
            &[],
        ),
        (
            "K10: all namespaces",
            "ingress: [{from: [{namespaceSelector: {}}]}]",
            "subject SHOP; ingress 0: peers [all()]",
            &[],
        ),
        (
            "both in one entry are AND",
            "egress: [{to: [{namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {role: web}}}]}]\npolicyTypes: [Egress]",
            "subject SHOP; egress 0: peers [(pcns.team == \"a\" && role == \"web\")]",
            &[],
        ),
        (
            "both as two entries are OR",
            "ingress: [{from: [{namespaceSelector: {}}, {podSelector: {}}]}]",
            "subject SHOP; ingress 0: peers [all(), SHOP]",
            &[],
        ),
        (
            "K11: operators",
            "podSelector: {matchExpressions: [{key: a, operator: In, values: [x, y]}, {key: b, operator: NotIn, values: ['']}, {key: c, operator: Exists}, {key: d, operator: DoesNotExist}]}",
            "subject (has(c) && a in {\"x\", \"y\"} && SHOP && !(has(d)) && !(b == \"\")); ingress",
            &[],
        ),
        (
            "K12: a namespace by name",
            "ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: x}}}]}]",
            "subject SHOP; ingress 0: peers [pcns.kubernetes.io/metadata.name == \"x\"]",
            &[],
        ),
        (
            "C12: a pod has no reserved label",
            "ingress: [{from: [{podSelector: {matchLabels: {pcns.team: a}}}, {podSelector: {matchExpressions: [{key: pcsa.x, operator: DoesNotExist}]}}]}]",
            "subject SHOP; ingress 0: peers [!all(), SHOP]",
            &[],
        ),
        (
            "K13, K14: a block with holes",
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.0/16]}}, {ipBlock: {cidr: 'fd00::/8'}}]}]",
            "subject SHOP; ingress 0: peers [10.0.0.0/8 - 10.1.0.0/16 - 10.2.0.0/16, fd00::/8]",
            &[],
        ),
        (
            "K16: host bits and leading zeros",
            "ingress: [{from: [{ipBlock: {cidr: 010.1.2.3/16, except: [10.1.2.3/24]}}]}]",
            "subject SHOP; ingress 0: peers [10.1.0.0/16 - 10.1.2.0/24]",
            &[
                "warning: spec.ingress[0].from[0].ipBlock.cidr: 010.1.2.3/16 has host bits, read as 10.1.0.0/16",
                "warning: spec.ingress[0].from[0].ipBlock.except[0]: 10.1.2.3/24 has host bits, read as 10.1.2.0/24",
            ],
        ),
    ]);
}

#[test]
fn ports() {
    check(&[
        (
            "K17: protocols",
            "ingress: [{ports: [{}, {protocol: UDP}, {port: 80}, {protocol: SCTP, port: 9}]}]",
            "subject SHOP; ingress 0: ports [tcp, udp, 80/tcp, 9/sctp]",
            &[],
        ),
        (
            "K18: ranges",
            "ingress: [{ports: [{port: 1, endPort: 65535}, {port: 80, endPort: 80}]}]",
            "subject SHOP; ingress 0: ports [1-65535/tcp, 80/tcp]",
            &[],
        ),
        (
            "K20: names",
            "ingress: [{ports: [{port: http}, {port: dns, protocol: UDP}]}]",
            "subject SHOP; ingress 0: ports [http/tcp, dns/udp]",
            &[],
        ),
    ]);
}

#[test]
fn broken_pieces_admit_nobody() {
    let at = "spec.ingress[0]";
    for (rule, expected, problem) in [
        (
            "{from: [{}]}",
            "peers []",
            ".from[0]: names no podSelector, namespaceSelector or ipBlock",
        ),
        ("{from: [null]}", "peers []", ".from[0]: this is empty"),
        ("{from: [{serviceSelector: {}}]}", "peers []", ".from[0].serviceSelector: unknown field"),
        (
            "{from: [{podSelector: {}, nodes: {}}, {podSelector: {}}]}",
            "peers [SHOP]",
            ".from[0].nodes: unknown field",
        ),
        (
            "{from: [{podSelector: {matchLabel: {a: b}}}]}",
            "peers []",
            ".from[0].podSelector.matchLabel: unknown field",
        ),
        (
            "{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}",
            "peers []",
            ".from[0]: ipBlock cannot be combined with a selector",
        ),
        (
            "{from: [{ipBlock: {cidr: 10.0.0.0/16, except: [10.1.0.0/24]}}]}",
            "peers []",
            ".from[0].ipBlock.except[0]: 10.1.0.0/24 does not lie within 10.0.0.0/16",
        ),
        ("{from: {podSelector: {}}}", "peers []", ".from: this is not a list"),
        (
            "{from: [{podSelector: {matchLabels: {a: 1}}}]}",
            "peers []",
            ".from[0].podSelector.matchLabels.a: invalid type: integer `1`, expected a string",
        ),
        (
            "{from: [{podSelector: {matchLabels: {a: 'b\" || x'}}}]}",
            "peers []",
            ".from[0].podSelector.matchLabels.a: `b\" || x` is not a valid label value",
        ),
        (
            "{from: [{podSelector: {matchLabels: {'a b': c}}}]}",
            "peers []",
            ".from[0].podSelector.matchLabels: `a b` is not a valid label key",
        ),
        ("{form: [{podSelector: {}}]}", "peers []", ".form: unknown field"),
        ("null", "peers []", ": this is not a mapping"),
        ("{ports: 80}", "ports []", ".ports: this is not a list"),
        (
            "{ports: [80]}",
            "ports []",
            ".ports[0]: invalid type: integer `80`, expected NetworkPolicyPort",
        ),
        (
            "{ports: [{port: 80, endport: 90}, {port: 1}]}",
            "ports [1/tcp]",
            ".ports[0].endport: unknown field",
        ),
        (
            "{ports: [{port: '80'}]}",
            "ports []",
            ".ports[0].port: `80` is not a valid port name; write a number without quotes",
        ),
        (
            "{ports: [{port: http, endPort: 90}]}",
            "ports []",
            ".ports[0].endPort: needs a numeric port, `http` is a name",
        ),
        (
            "{ports: [{endPort: 90}]}",
            "ports []",
            ".ports[0].endPort: needs a port that it is the end of",
        ),
        (
            "{ports: [{port: 80, endPort: 70000}]}",
            "ports []",
            ".ports[0].endPort: 70000 is not a port: 1 to 65535 are",
        ),
        ("{ports: [{port: -1}]}", "ports []", ".ports[0].port: -1 is not a port: 1 to 65535 are"),
        (
            "{ports: [{protocol: tcp}]}",
            "ports []",
            ".ports[0].protocol: `tcp` is not one of TCP, UDP, SCTP",
        ),
    ] {
        // The broken rule stands between two good ones, which stay and keep their places.
        let spec = format!("ingress: [{rule}, {{ports: [{{port: 7}}]}}]");
        let expected = format!("subject SHOP; ingress 0: {expected} 1: ports [7/tcp]");
        check(&[(rule, &spec, &expected, &[&format!("{at}{problem}")])]);
    }
}

#[test]
fn an_unreadable_subject_is_every_pod_and_admits_nobody() {
    let operator = "podSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}";
    let unknown = "spec.podSelector.matchExpressions[0].operator: `Gt` is not one of In, NotIn, Exists, DoesNotExist";
    let values = "podSelector: {matchExpressions: [{key: a, operator: In}]}";
    let none = "spec.podSelector.matchExpressions[0].values: In needs at least one value";
    let exists = "podSelector: {matchExpressions: [{key: a, operator: Exists, values: [x]}]}";
    let some = "spec.podSelector.matchExpressions[0].values: Exists takes no values";
    check(&[
        (
            "unknown operator",
            &format!("{operator}\ningress: [{{}}]\negress: [{{}}]\npolicyTypes: [Egress]"),
            "subject SHOP; egress",
            &[unknown],
        ),
        (
            "defaulted types",
            &format!("{operator}\negress: [{{}}]"),
            "subject SHOP; ingress; egress",
            &[unknown],
        ),
        (
            "In without values",
            &format!("{values}\ningress: [{{}}]"),
            "subject SHOP; ingress",
            &[none],
        ),
        (
            "Exists with values",
            &format!("{exists}\ningress: [{{}}]"),
            "subject SHOP; ingress",
            &[some],
        ),
        (
            "misspelt",
            "podSelector: {matchLabel: {a: b}}\ningress: [{}]",
            "subject SHOP; ingress",
            &["spec.podSelector.matchLabel: unknown field"],
        ),
        (
            "not a mapping",
            "podSelector: all\ningress: [{}]",
            "subject SHOP; ingress",
            &["spec.podSelector: invalid type: string \"all\", expected LabelSelector"],
        ),
    ]);
}

#[test]
fn unreadable_types_are_both() {
    check(&[
        (
            "unknown type",
            "policyTypes: [Ingres]\ningress: [{}]",
            "subject SHOP; ingress 0:; egress",
            &["spec.policyTypes[0]: `Ingres` is not one of Ingress, Egress"],
        ),
        (
            "not a list",
            "policyTypes: Ingress",
            "subject SHOP; ingress; egress",
            &["spec.policyTypes: invalid type: string \"Ingress\", expected a sequence"],
        ),
        (
            "a misspelt field may have been the egress rules",
            "egres: [{}]",
            "subject SHOP; ingress; egress",
            &["spec.egres: unknown field"],
        ),
        (
            "unless the types say so",
            "policyTypes: [Ingress]\negres: [{}]",
            "subject SHOP; ingress",
            &["spec.egres: unknown field"],
        ),
        (
            "rules that are no list",
            "ingress: {from: []}",
            "subject SHOP; ingress 0: peers []",
            &["spec.ingress: this is not a list"],
        ),
    ]);
}

#[test]
fn a_spec_of_another_shape_closes_the_namespace() {
    let yaml = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec: [1]\n";
    let (input, problems) = convert(yaml);
    let Some(Input::Policy(policy)) = input else { panic!("{problems:?}") };
    assert_eq!(render(&policy), format!("subject {SHOP}; ingress; egress"));
    assert_eq!(problems, ["spec: this is not a mapping"]);
}

#[test]
fn a_thousand_faults_are_counted_not_listed() {
    let peers = "{x: 1}, ".repeat(1000);
    let (_, problems) = policy(&format!("ingress: [{{from: [{peers}]}}]"));
    assert_eq!(problems.len(), 51);
    assert_eq!(problems[50], "950 more problems");
}
