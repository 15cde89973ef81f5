//! §2.1 and §2.2: the order of evaluation, and whom a policy governs.

use brindle_model::verdict::Direction::{Egress, Ingress};
use brindle_oracle::judge;

use crate::table::{check, flow, world_of};

const KUBERNETES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np, namespace: x}
spec: {ingress: [{ports: [{port: 80}]}]}
---
";

#[test]
fn c1_a_tier_counts_for_one_direction_of_one_endpoint() {
    let w = world_of(
        "
kind: Tier
metadata: {name: t}
spec: {order: 1}
---
kind: NetworkPolicy
metadata: {name: p, namespace: x}
spec: {tier: t, selector: app == 'a', egress: [{action: Allow, destination: {nets: [10.0.0.2/32]}}]}
",
    );
    check(
        &w,
        Egress,
        &[
            ("x/a > x/b tcp/80", "allow p:0"),
            ("x/a > y/a tcp/80", "deny end of tier t"),
            ("x/b > x/a tcp/80", "open"),
        ],
    );
    check(&w, Ingress, &[("x/b > x/a tcp/80", "open")]);
}

#[test]
fn c1_types_default_to_the_directions_that_have_rules() {
    let rule = "[{action: Allow, destination: {nets: [203.0.113.0/24]}}]";
    for (spec, ingress, egress) in [
        ("{}".to_owned(), "end", "open"),
        (format!("{{ingress: {rule}}}"), "end", "open"),
        (format!("{{egress: {rule}}}"), "open", "end"),
        (format!("{{ingress: {rule}, egress: {rule}}}"), "end", "end"),
        (format!("{{types: [Egress], ingress: {rule}}}"), "open", "end"),
        (format!("{{types: [], egress: {rule}}}"), "open", "end"),
        // What cannot be read may have meant either.
        (format!("{{types: [Ingress, out], ingress: {rule}}}"), "end", "end"),
    ] {
        let w =
            world_of(&format!("kind: GlobalNetworkPolicy\nmetadata: {{name: g}}\nspec: {spec}"));
        check(&w, Ingress, &[("192.0.2.1 > x/a tcp/80", ingress)]);
        check(&w, Egress, &[("x/a > 192.0.2.1 tcp/80", egress)]);
    }
}

/// A policy of namespace x, or a global one, with one ingress rule.
fn policy(kind: &str, name: &str, order: &str, action: &str) -> String {
    let namespace = if kind == "NetworkPolicy" { ", namespace: x" } else { "" };
    format!(
        "kind: {kind}\nmetadata: {{name: {name}{namespace}}}\n\
         spec: {{{order}ingress: [{{action: {action}}}]}}\n---\n"
    )
}

#[test]
fn c2_order_then_name_then_namespace_then_kind() {
    let own = |name, order, action| policy("NetworkPolicy", name, order, action);
    let global = |name, order, action| policy("GlobalNetworkPolicy", name, order, action);
    for (objects, decision) in [
        (own("b", "order: 1, ", "Allow") + &own("a", "order: 2, ", "Deny"), "allow b:0"),
        (own("b", "order: 1, ", "Allow") + &own("a", "order: 1, ", "Deny"), "deny a:0"),
        // No order is behind every order, and ties with none.
        (own("b", "order: 1e9, ", "Allow") + &own("a", "", "Deny"), "allow b:0"),
        (own("b", "", "Allow") + &own("a", "", "Deny"), "deny a:0"),
        (own("a", "order: -1, ", "Allow") + &own("b", "order: -2, ", "Deny"), "deny b:0"),
        // No namespace is before every namespace.
        (own("a", "", "Allow") + &global("a", "", "Deny"), "deny a:0"),
        // Equal names of one namespace: KubernetesNetworkPolicy before NetworkPolicy.
        (KUBERNETES.to_owned() + &own("np", "order: 1000, ", "Deny"), "np:0"),
    ] {
        check(&world_of(&objects), Ingress, &[("y/a > x/a tcp/80", decision)]);
    }
}

#[test]
fn c3_tiers_existing_first_then_order_then_name() {
    let tier = |name: &str, spec: &str| {
        format!(
            "kind: Tier\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n\
             kind: GlobalNetworkPolicy\nmetadata: {{name: in-{name}}}\n\
             spec: {{tier: {name}, ingress: [{{action: Allow}}]}}\n---\n"
        )
    };
    let missing = "kind: GlobalNetworkPolicy\nmetadata: {name: in-missing}\n\
                   spec: {tier: missing, types: [Ingress]}\n---\n";
    for (objects, decision) in [
        (tier("b", "{order: 1}") + &tier("a", "{order: 2}"), "allow in-b:0"),
        (tier("b", "{order: 1}") + &tier("a", "{order: 1}"), "allow in-a:0"),
        (tier("a", "{}") + &tier("b", "{order: 99999999}"), "allow in-b:0"),
        (missing.to_owned() + &tier("z", "{}"), "allow in-z:0"),
        (missing.to_owned(), "deny end of tier missing"),
        // A tier that says what nobody knows is not there.
        (tier("broken", "{order: 1, defaultAction: Allow}") + &tier("z", "{}"), "allow in-z:0"),
        // The built-in ones are what they are.
        (tier("default", "{order: 1}") + &tier("a", "{order: 2}"), "allow in-a:0"),
        // A name with a dot is no tier's: the policy is not applied.
        (missing.replace("tier: missing", "tier: a.b"), "open"),
    ] {
        check(&world_of(&objects), Ingress, &[("y/a > x/a tcp/80", decision)]);
    }
}

#[test]
fn c3_the_end_of_a_tier() {
    for (end, decision) in [
        ("{order: 1}", "deny end of tier t"),
        ("{order: 1, defaultAction: Deny}", "deny end of tier t"),
        ("{order: 1, defaultAction: Pass}", "end"),
    ] {
        let objects = format!(
            "{KUBERNETES}kind: Tier\nmetadata: {{name: t}}\nspec: {end}\n---\n\
             kind: GlobalNetworkPolicy\nmetadata: {{name: g}}\n\
             spec: {{tier: t, types: [Ingress], ingress: [{{action: Log}}]}}"
        );
        check(&world_of(&objects), Ingress, &[("y/a > x/a tcp/81", decision)]);
    }
}

#[test]
fn c4_pass_leaves_the_tier() {
    let objects = KUBERNETES.to_owned()
        + "
kind: Tier
metadata: {name: t}
spec: {order: 1}
---
kind: GlobalNetworkPolicy
metadata: {name: g}
spec: {tier: t, order: 1, ingress: [{action: Pass, source: {nets: [10.0.0.0/8]}}]}
---
kind: GlobalNetworkPolicy
metadata: {name: h}
spec: {tier: t, order: 2, ingress: [{action: Deny}]}
";
    check(
        &world_of(&objects),
        Ingress,
        &[
            ("y/a > x/a tcp/80", "np:0"),
            ("y/a > x/a tcp/81", "end"),
            ("192.0.2.1 > x/a tcp/80", "deny h:0"),
            // In the last tier that counts: on to the profile.
            ("x/a > y/a tcp/80", "open"),
        ],
    );
}

#[test]
fn c5_log_goes_on_and_c7_staged_never_decides() {
    let w = world_of(
        "
kind: GlobalNetworkPolicy
metadata: {name: g}
spec: {order: 1, ingress: [{action: Log}, {action: Log, source: {nets: [192.0.2.0/24]}}]}
---
kind: StagedGlobalNetworkPolicy
metadata: {name: s}
spec: {order: 2, ingress: [{action: Log}, {action: Deny}]}
---
kind: StagedNetworkPolicy
metadata: {name: ignored, namespace: x}
spec: {stagedAction: Ignore, order: 2, ingress: [{action: Deny}]}
---
kind: StagedKubernetesNetworkPolicy
metadata: {name: k, namespace: x}
spec: {ingress: [{ports: [{port: 81}]}, {}]}
---
kind: NetworkPolicy
metadata: {name: p, namespace: x}
spec: {ingress: [{action: Allow}, {action: Log}]}
---
kind: StagedGlobalNetworkPolicy
metadata: {name: late}
spec: {tier: missing, ingress: [{action: Deny}]}
",
    );
    let outcome = judge(&w, &flow(&w, "y/a > x/a tcp/80"));
    let hop = outcome.hops.iter().find(|hop| hop.direction == Ingress).expect("a hop");
    let shown = |list: &[_]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(hop.decision.to_string(), "NetworkPolicy.brindle.io x/p ingress rule 0");
    assert_eq!(shown(&hop.logged), ["GlobalNetworkPolicy g ingress rule 0"]);
    assert_eq!(
        shown(&hop.staged),
        [
            "StagedGlobalNetworkPolicy s ingress rule 1",
            "StagedKubernetesNetworkPolicy x/k ingress rule 1",
        ]
    );
    // A tier with staged policies alone is not there.
    let staged = "kind: StagedGlobalNetworkPolicy\nmetadata: {name: s}\nspec: {types: [Ingress]}";
    check(&world_of(staged), Ingress, &[("y/a > x/a tcp/80", "open")]);
}

#[test]
fn c10_subjects() {
    let (own, global) = ("NetworkPolicy", "GlobalNetworkPolicy");
    for (kind, spec, selected) in [
        (own, "", ["x/a", "x/b"].as_slice()),
        (own, "selector: app == 'a'", &["x/a"]),
        (own, "serviceAccountSelector: all()", &["x/a", "x/b"]),
        (own, "serviceAccountSelector: role == 'db'", &["x/b"]),
        (own, "serviceAccountSelector: projectcalico.org/name == 's'", &["x/b"]),
        (global, "", &["x/a", "x/b", "y/a", "y/b", "z/c"]),
        (global, "selector: app == 'a'", &["x/a", "y/a"]),
        (global, "namespaceSelector: team == 'red'", &["x/a", "x/b"]),
        (global, "namespaceSelector: team != 'red', selector: has(app)", &["y/a", "y/b"]),
        (global, "namespaceSelector: projectcalico.org/name == 'z'", &["z/c"]),
        (global, "selector: pcns.team == 'red' && app == 'a'", &["x/a"]),
        (global, "selector: projectcalico.org/namespace == 'z'", &["z/c"]),
        (global, "selector: projectcalico.org/orchestrator != 'k8s'", &[]),
        (global, "selector: pcsa.role != 'db'", &["x/a", "y/a", "y/b", "z/c"]),
        // C16, C37: not applied.
        (global, "selector: app = 'a'", &[]),
        (global, "namespaceSelector: global()", &[]),
        (own, "serviceAccountSelector: has (x)", &[]),
        // C37: the first two contradict themselves, the next two are for other stages.
        (global, "preDNAT: true", &[]),
        (global, "doNotTrack: true", &[]),
        (global, "applyOnForward: true, preDNAT: true", &[]),
        (global, "applyOnForward: true, doNotTrack: true", &[]),
        (global, "applyOnForward: true", &["x/a", "x/b", "y/a", "y/b", "z/c"]),
    ] {
        let namespace = if kind == own { ", namespace: x" } else { "" };
        let comma = if spec.is_empty() { "" } else { ", " };
        let mut w = world_of(&format!(
            "kind: ServiceAccount\nmetadata: {{name: s, namespace: x, labels: {{role: db}}}}\n\
             ---\nkind: {kind}\nmetadata: {{name: p{namespace}}}\n\
             spec: {{{}{comma}ingress: [{{action: Deny}}]}}",
            spec,
        ));
        let b = w.pods.iter_mut().find(|p| {
            p.metadata.name.as_deref() == Some("b") && p.metadata.namespace.as_deref() == Some("x")
        });
        let spec_of_b = b.and_then(|pod| pod.spec.as_mut()).expect("x/b has a spec");
        spec_of_b.service_account_name = Some("s".to_owned());
        for pod in ["x/a", "x/b", "y/a", "y/b", "z/c"] {
            let text = format!("192.0.2.1 > {pod} tcp/80");
            let expected = if selected.contains(&pod) { "deny p:0" } else { "open" };
            check(&w, Ingress, &[(text.as_str(), expected)]);
        }
    }
}

#[test]
fn c30_kubernetes_policies_stand_at_1000() {
    for (order, on_80, on_81) in [
        ("order: 999, ", "deny g:0", "deny g:0"),
        ("order: 1001, ", "np:0", "deny g:0"),
        ("", "np:0", "deny g:0"),
        // The tie is by name: g before np.
        ("order: 1000, ", "deny g:0", "deny g:0"),
    ] {
        let objects = KUBERNETES.to_owned() + &policy("GlobalNetworkPolicy", "g", order, "Deny");
        let w = world_of(&objects);
        check(&w, Ingress, &[("y/a > x/a tcp/80", on_80), ("y/a > x/a tcp/81", on_81)]);
    }
}
