//! NetworkPolicy and GlobalNetworkPolicy of `brindle.io`: where they stand, whom they govern, and
//! their staged forms.

use brindle_model::ruleset::Stage;
use brindle_sources::convert::Input;

use super::{convert, rendered};

const SHOP: &str = "projectcalico.org/namespace == \"shop\"";

/// Converts a policy `p` (namespaced ones in `shop`) with this spec: its place, subject and rules
/// as text, or `absent`; and the problems.
pub fn policy(kind: &str, spec: &str) -> (String, Vec<String>) {
    let spec: String = spec.lines().fold(String::new(), |all, line| all + "  " + line + "\n");
    let head = format!("apiVersion: brindle.io/v1alpha1\nkind: {kind}\n");
    let (input, problems) =
        convert(&format!("{head}metadata: {{name: p, namespace: shop}}\nspec:\n{spec}"));
    let text = match input {
        Some(Input::Policy(policy)) => {
            format!("{}/{} {}", policy.tier, policy.order, rendered::policy(&policy))
        }
        None => "absent".into(),
        other => panic!("{other:?} of {spec}"),
    };
    (text.replace(SHOP, "SHOP"), problems)
}

/// Runs cases of (what, spec, expected policy, expected problems).
pub fn check(kind: &str, cases: &[(&str, &str, &str, &[&str])]) {
    for (what, spec, expected, problems) in cases {
        let (text, found) = policy(kind, spec);
        assert_eq!(
            (text.as_str(), found),
            (*expected, problems.iter().map(ToString::to_string).collect()),
            "{what}: {spec}"
        );
    }
}

#[test]
fn directions_and_place() {
    check(
        "NetworkPolicy",
        &[
            ("C1: nothing said", "{}", "default/last subject SHOP; ingress", &[]),
            (
                "C1: egress alone",
                "egress: [{action: Deny}]",
                "default/last subject SHOP; egress 0: Deny",
                &[],
            ),
            (
                "C1: ingress alone",
                "ingress: [{action: Pass}]",
                "default/last subject SHOP; ingress 0: Pass",
                &[],
            ),
            (
                "C1: both",
                "ingress: [{action: Log}]\negress: [{action: Allow}]",
                "default/last subject SHOP; ingress 0: Log; egress 0: Allow",
                &[],
            ),
            (
                "C1: explicit, without rules",
                "types: [Ingress, Egress]",
                "default/last subject SHOP; ingress; egress",
                &[],
            ),
            (
                "C1: an empty list is none",
                "types: []\negress: [{action: Deny}]",
                "default/last subject SHOP; egress 0: Deny",
                &[],
            ),
            (
                "C1: rules of a direction that types leave out",
                "types: [Egress]\ningress: [{action: Allow}]",
                "default/last subject SHOP; egress",
                &["warning: spec.ingress: has no effect: spec.types does not name Ingress"],
            ),
            ("C2: order", "tier: net-sec\norder: -1.5", "net-sec/-1.5 subject SHOP; ingress", &[]),
            ("C2: no order is last", "order: null", "default/last subject SHOP; ingress", &[]),
            (
                "C4: Pass in a user tier",
                "tier: net-sec\ningress: [{action: Pass}]",
                "net-sec/last subject SHOP; ingress 0: Pass",
                &[],
            ),
        ],
    );
}

#[test]
fn subjects() {
    check(
        "NetworkPolicy",
        &[
            (
                "C10: all of the namespace",
                "selector: all()",
                "default/last subject SHOP; ingress",
                &[],
            ),
            ("§2.3: blank is all", "selector: ' '", "default/last subject SHOP; ingress", &[]),
            (
                "C10: joined",
                "selector: role == 'db'\nserviceAccountSelector: team == 'a'",
                "default/last subject (pcsa.team == \"a\" && SHOP && role == \"db\"); ingress",
                &[],
            ),
            (
                "C10, C11: service accounts",
                "serviceAccountSelector: projectcalico.org/name == 'robot'",
                "default/last subject (pcsa.projectcalico.org/name == \"robot\" && SHOP); ingress",
                &[],
            ),
            (
                "C10: any service account",
                "serviceAccountSelector: all()",
                "default/last subject (has(projectcalico.org/serviceaccount) && SHOP); ingress",
                &[],
            ),
        ],
    );
    check(
        "GlobalNetworkPolicy",
        &[
            ("C10: everything", "{}", "default/last subject all(); ingress", &[]),
            (
                "C10: a selector alone",
                "selector: has(role)",
                "default/last subject has(role); ingress",
                &[],
            ),
            (
                "C10: whatever has a namespace",
                "namespaceSelector: all()",
                "default/last subject has(projectcalico.org/namespace); ingress",
                &[],
            ),
            (
                "C11, C14: a literal is no function",
                "namespaceSelector: x == 'all()'",
                "default/last subject pcns.x == \"all()\"; ingress",
                &[],
            ),
            (
                "C10: joined",
                "selector: has(role)\nnamespaceSelector: \"projectcalico.org/name == 'x'\"\nserviceAccountSelector: '!has(a)'",
                "default/last subject (has(projectcalico.org/serviceaccount) && has(role) && pcns.projectcalico.org/name == \"x\" && !(has(pcsa.a))); ingress",
                &[],
            ),
        ],
    );
}

#[test]
fn what_says_whom_or_where_must_be_readable() {
    check(
        "NetworkPolicy",
        &[
            (
                "C16: the selector",
                "selector: role = 'db'\ningress: [{action: Allow}]",
                "absent",
                &[
                    "spec.selector: character 6: expected an operator: ==, !=, in, not in, contains, starts with or ends with, found `=`",
                ],
            ),
            (
                "C16: the selector of service accounts",
                "serviceAccountSelector: has (a)",
                "absent",
                &[
                    "spec.serviceAccountSelector: character 5: expected an operator: ==, !=, in, not in, contains, starts with or ends with, found `(`",
                ],
            ),
            (
                "a selector of another type",
                "selector: {a: b}",
                "absent",
                &["spec.selector: invalid type: map, expected a string"],
            ),
            (
                "C3: a tier with a dot",
                "tier: a.b",
                "absent",
                &["spec.tier: `a.b` is not a tier's name"],
            ),
            (
                "a tier of another type",
                "tier: 7",
                "absent",
                &["spec.tier: invalid type: integer `7`, expected a string"],
            ),
            (
                "an order that is none",
                "order: first",
                "absent",
                &["spec.order: invalid type: string \"first\", expected f64"],
            ),
            (
                "a misspelt field",
                "selektor: has(a)",
                "absent",
                &[
                    "spec.selektor: unknown field `selektor`, expected one of `tier`, `order`, `selector`, `serviceAccountSelector`, `types`, `ingress`, `egress`",
                ],
            ),
            ("not a mapping", "[1]", "absent", &["spec: this is not a mapping"]),
            ("nothing", "", "absent", &["spec: is missing"]),
        ],
    );
    check(
        "GlobalNetworkPolicy",
        &[
            (
                "global() is for peers",
                "namespaceSelector: global()",
                "absent",
                &[
                    "spec.namespaceSelector: character 1: global() may only be the whole namespaceSelector of a rule's source or destination",
                ],
            ),
            (
                "C8: a selector that is too long",
                &format!("selector: k == '{}'", "v".repeat(1020)),
                "absent",
                &["spec.selector: character 1025: a selector has at most 1024 characters"],
            ),
        ],
    );
}

#[test]
fn types_that_cannot_be_read_are_both() {
    check(
        "NetworkPolicy",
        &[
            (
                "unknown",
                "types: [ingress]\ningress: [{action: Allow}]",
                "default/last subject SHOP; ingress 0: Allow; egress",
                &["spec.types[0]: `ingress` is not one of Ingress, Egress"],
            ),
            (
                "not a list",
                "types: Egress",
                "default/last subject SHOP; ingress; egress",
                &["spec.types: invalid type: string \"Egress\", expected a sequence"],
            ),
        ],
    );
}

#[test]
fn lists_of_rules_that_cannot_be_read_deny_everything() {
    let rules = |n| format!("ingress: [{}]\nselector: has(a)", "{action: Allow}, ".repeat(n));
    let (text, problems) = policy("NetworkPolicy", &rules(1024));
    assert!(text.contains(" 1023: Allow") && problems.is_empty(), "C8: {problems:?}");
    let closed = "default/last subject (has(a) && SHOP); ingress 0: Deny";
    check(
        "NetworkPolicy",
        &[
            (
                "C8: 1,025 rules",
                &rules(1025),
                closed,
                &["spec.ingress: 1025 rules, 1024 are the most: denies everything instead"],
            ),
            (
                "not a list",
                "ingress: {action: Allow}\nselector: has(a)",
                closed,
                &[
                    "spec.ingress: this is not a list",
                    "spec.ingress[0]: cannot be read, so it denies everything",
                ],
            ),
        ],
    );
}

/// A policy belongs to one stage; flags that do not go together make it absent.
#[test]
fn c37_stages_of_host_endpoints() {
    let stage = |spec: &str| {
        let head = "apiVersion: brindle.io/v1alpha1\nkind: GlobalNetworkPolicy\n";
        let (input, problems) = convert(&format!("{head}metadata: {{name: p}}\nspec: {{{spec}}}"));
        let stage = input.map(|input| match input {
            Input::Policy(policy) => policy.stage,
            other => panic!("{other:?}"),
        });
        (stage, problems)
    };
    for (spec, expected) in [
        ("doNotTrack: false, preDNAT: false, applyOnForward: false", Stage::Normal),
        ("applyOnForward: true", Stage::Forward),
        ("applyOnForward: true, doNotTrack: true, egress: [{action: Deny}]", Stage::Untracked),
        ("applyOnForward: true, preDNAT: true, types: [Ingress]", Stage::PreDnat),
    ] {
        assert_eq!(stage(spec), (Some(expected), vec![]), "{spec}");
    }
    for (spec, problems) in [
        ("doNotTrack: true", &["spec.doNotTrack: doNotTrack needs applyOnForward: true"][..]),
        ("preDNAT: true", &["spec.preDNAT: preDNAT needs applyOnForward: true"]),
        (
            "applyOnForward: true, doNotTrack: true, preDNAT: true",
            &["spec.preDNAT: doNotTrack and preDNAT exclude each other"],
        ),
        (
            "applyOnForward: true, preDNAT: true, egress: [{action: Deny}]",
            &["spec.egress: a policy before DNAT has ingress rules only"],
        ),
        (
            "applyOnForward: true, preDNAT: true, types: [Ingress, Egress]",
            &["spec.types: a policy before DNAT governs Ingress only"],
        ),
    ] {
        let problems = problems.iter().map(ToString::to_string).collect();
        assert_eq!(stage(spec), (None, problems), "{spec}");
    }
}

#[test]
fn staged_policies() {
    let spec = "order: 5\nselector: has(a)\ningress: [{action: Allow}]";
    for kind in ["StagedNetworkPolicy", "StagedGlobalNetworkPolicy"] {
        let (enforced, _) = policy(kind.strip_prefix("Staged").unwrap(), spec);
        for action in ["", "\nstagedAction: Set"] {
            assert_eq!(policy(kind, &format!("{spec}{action}")), (enforced.clone(), vec![]), "C7");
        }
        check(
            kind,
            &[
                ("C7: Ignore is absence", &format!("{spec}\nstagedAction: Ignore"), "absent", &[]),
                (
                    "C7: Delete",
                    &format!("{spec}\nstagedAction: Delete"),
                    "absent",
                    &[
                        "spec.stagedAction: Delete is not supported: only what would be added is judged",
                    ],
                ),
                (
                    "C7: Learn",
                    "stagedAction: Learn",
                    "absent",
                    &[
                        "spec.stagedAction: Learn is not supported: only what would be added is judged",
                    ],
                ),
                (
                    "C7: another",
                    "stagedAction: Add",
                    "absent",
                    &["spec.stagedAction: `Add` is not one of Set, Ignore"],
                ),
                (
                    "no action",
                    "stagedAction: 1",
                    "absent",
                    &["spec.stagedAction: invalid type: integer `1`, expected a string"],
                ),
            ],
        );
        let (text, problems) = policy(kind, &format!("{spec}\nordr: 7"));
        assert_eq!(text, "absent");
        assert!(problems[0].starts_with("spec.ordr: unknown field"), "{problems:?}");
    }
    check(
        "StagedKubernetesNetworkPolicy",
        &[
            (
                "as a Kubernetes policy",
                "podSelector: {matchLabels: {a: b}}\ningress: [{from: [{podSelector: {}}]}]\nstagedAction: Set",
                "default/1000 subject (a == \"b\" && SHOP); ingress 0: peers [SHOP]",
                &[],
            ),
            (
                "broken as one",
                "podSelector: {}\nfoo: 1\ningress: [{from: [{}]}]",
                "default/1000 subject SHOP; ingress 0: peers []; egress",
                &[
                    "spec.foo: unknown field",
                    "spec.ingress[0].from[0]: names no podSelector, namespaceSelector or ipBlock",
                ],
            ),
            ("C7: Ignore", "stagedAction: Ignore", "absent", &[]),
        ],
    );
}

#[test]
fn kinds_of_one_name_are_told_apart() {
    use brindle_sources::object::Kind;
    for kind in Kind::ALL {
        assert_eq!(Kind::of(kind.api_version(), kind.name()), Some(kind));
        let same = Kind::ALL.into_iter().filter(|other| other.to_string() == kind.to_string());
        assert_eq!(same.count(), 1, "{kind}");
    }
    let decoded = brindle_sources::decode_stream(
        b"{apiVersion: brindle.io/v1alpha1, kind: NetworkPolicy, metadata: {name: p}, spec: {}}",
    );
    assert_eq!(decoded[0].0.to_string(), "NetworkPolicy.brindle.io default/p");
}
