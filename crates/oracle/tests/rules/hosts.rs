//! Host endpoints (C34–C40): which one, which stages in which order, and what decides without policy.

use brindle_model::verdict::DecisionId;
use brindle_oracle::{World, judge};

use super::table::{flow, world_of};

/// Checks rows of a flow, the host hops on its way, and whether it is delivered. A hop is
/// `ENDPOINT STAGE: VERDICT DECISION`, a rule `POLICY:INDEX`.
fn check(world: &World, rows: &[(&str, &[&str], bool)]) {
    for (text, expected, delivered) in rows {
        let outcome = judge(world, &flow(world, text));
        let hops = outcome.hosts.iter().map(|hop| {
            let decision = match &hop.decision {
                DecisionId::Rule { policy, index, .. } => format!("{}:{index}", policy.name),
                other => other.to_string(),
            };
            format!("{} {}: {} {decision}", hop.endpoint, hop.stage, hop.verdict)
        });
        assert_eq!(hops.collect::<Vec<_>>(), *expected, "{text}");
        assert_eq!(outcome.delivered, *delivered, "{text}");
    }
}

fn host(name: &str, spec: &str) -> String {
    format!(
        "kind: HostEndpoint\nmetadata: {{name: {name}, labels: {{role: edge}}}}\nspec: {spec}\n"
    )
}

fn global(name: &str, spec: &str) -> String {
    format!("kind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn world(objects: &[String]) -> World {
    world_of(&objects.join("---\n"))
}

#[test]
fn c34_which_host_endpoint() {
    for (hosts, expected) in [
        // By name, by address, or every interface that no other means.
        (&[("a", "{node: n1, interfaceName: eth0}")][..], Some("a")),
        (&[("a", "{node: n1, expectedIPs: [10.1.0.1]}")], Some("a")),
        (&[("a", "{node: n1, interfaceName: '', expectedIPs: ['fd01::1']}")], Some("a")),
        (&[("a", "{node: n1, interfaceName: '*'}")], Some("a")),
        (
            &[("a", "{node: n1, interfaceName: '*'}"), ("b", "{node: n1, interfaceName: eth0}")],
            Some("b"),
        ),
        // The first by name.
        (
            &[
                ("b", "{node: n1, interfaceName: eth0}"),
                ("a", "{node: n1, expectedIPs: [10.1.0.1]}"),
            ],
            Some("a"),
        ),
        // Another node, another interface, an address of another node.
        (&[("a", "{node: n2, interfaceName: eth0}")], None),
        (&[("a", "{node: n1, interfaceName: eth1}")], None),
        (&[("a", "{node: n1, expectedIPs: [10.1.0.2]}")], None),
    ] {
        let objects: Vec<_> = hosts.iter().map(|(name, spec)| host(name, spec)).collect();
        let w = world(&objects);
        let outcome = judge(&w, &flow(&w, "192.0.2.1 > node n1 tcp/80"));
        let met = outcome.hosts.first().map(|hop| hop.endpoint.to_string());
        assert_eq!(met.as_deref(), expected, "{hosts:?}");
    }
}

#[test]
fn c35_c36_closed_but_for_failsafe_ports() {
    let closed = world(&[host("h", "{node: n1, interfaceName: eth0}")]);
    check(
        &closed,
        &[
            ("192.0.2.1 > node n1 tcp/80", &["h normal: deny no profile"], false),
            ("192.0.2.1 > node n1 tcp/22", &["h normal: allow failsafe port"], true),
            ("192.0.2.1 > node n1 udp/22", &["h normal: deny no profile"], false),
            ("192.0.2.1 > node n1 udp/53", &["h normal: deny no profile"], false),
            ("node n1 > 192.0.2.1 udp/53", &["h normal: allow failsafe port"], true),
            ("node n1 > 192.0.2.1 tcp/22", &["h normal: deny no profile"], false),
            ("192.0.2.1 > node n1 tcp/80 est", &["h normal: allow established"], true),
            ("192.0.2.1 > node n1 tcp/80 inv", &["h normal: deny invalid connection state"], false),
            ("node n2 >6 node n1 icmp/135", &["h normal: allow neighbour discovery"], true),
            // C40: what stays on the node.
            ("node n1 > x/a tcp/80", &[], true),
            ("x/a > node n1 tcp/80", &[], true),
            // C37: nothing governs what is forwarded.
            ("192.0.2.1 > x/a tcp/80", &[], true),
            ("x/a > 192.0.2.1 tcp/80", &[], true),
        ],
    );
    for (profiles, expected, open) in [
        (
            "projectcalico-default-allow",
            "h normal: allow profile projectcalico-default-allow",
            true,
        ),
        ("missing, projectcalico-default-allow", "h normal: deny no profile", false),
    ] {
        let spec = format!("{{node: n1, interfaceName: eth0, profiles: [{profiles}]}}");
        check(&world(&[host("h", &spec)]), &[("192.0.2.1 > node n1 tcp/80", &[expected], open)]);
    }
    let mut narrow = closed;
    narrow.failsafes.inbound.retain(|failsafe| failsafe.port == 22);
    narrow.failsafes.inbound[0].net = Some("10.0.0.0/8".to_owned());
    check(
        &narrow,
        &[
            ("192.0.2.1 > node n1 tcp/22", &["h normal: deny no profile"], false),
            ("node n2 > node n1 tcp/22", &["h normal: allow failsafe port"], true),
        ],
    );
}

#[test]
fn c10_who_is_selected() {
    for (selectors, selected) in [
        ("", true),
        ("selector: role == 'edge', ", true),
        ("selector: role == 'core', ", false),
        ("namespaceSelector: all(), ", false),
        ("serviceAccountSelector: all(), ", false),
        ("selector: has(projectcalico.org/namespace), ", false),
    ] {
        let w = world(&[
            host("h", "{node: n1, interfaceName: eth0, profiles: [projectcalico-default-allow]}"),
            global("p", &format!("{{{selectors}ingress: [{{action: Deny}}]}}")),
        ]);
        let outcome = judge(&w, &flow(&w, "192.0.2.1 > node n1 tcp/80"));
        assert_eq!(outcome.delivered, !selected, "{selectors}");
    }
}

/// Each stage says the same of everything, so that the order shows.
#[test]
fn c37_c38_stages_in_order() {
    let stages = |untracked: &str, before: &str, normal: &str| {
        let rule = |action: &str| format!("[{{action: {action}}}]");
        world(&[
            host("h", "{node: n1, interfaceName: eth0}"),
            global(
                "raw",
                &format!(
                    "{{selector: has(role), applyOnForward: true, doNotTrack: true, ingress: {0}, egress: {0}}}",
                    rule(untracked)
                ),
            ),
            global(
                "pre",
                &format!(
                    "{{selector: has(role), applyOnForward: true, preDNAT: true, ingress: {}}}",
                    rule(before)
                ),
            ),
            global(
                "late",
                &format!(
                    "{{selector: has(role), applyOnForward: true, ingress: {0}, egress: {0}}}",
                    rule(normal)
                ),
            ),
        ])
    };
    let (to_host, through) = ("192.0.2.1 > node n1 tcp/80", "192.0.2.1 > x/a tcp/80");
    let (from_host, out) = ("node n1 > 192.0.2.1 tcp/80", "x/a > 192.0.2.1 tcp/80");
    // C39: neither of the early stages drops at the end of its tier.
    let silent = "Log";
    check(
        &stages(silent, silent, "Allow"),
        &[
            (
                to_host,
                &[
                    "h untracked: allow end of the stage",
                    "h pre-dnat: allow end of the stage",
                    "h normal: allow late:0",
                ],
                true,
            ),
            (
                through,
                &[
                    "h untracked: allow end of the stage",
                    "h pre-dnat: allow end of the stage",
                    "h forward: allow late:0",
                ],
                true,
            ),
            (from_host, &["h untracked: allow end of the stage", "h normal: allow late:0"], true),
            (out, &["h forward: allow late:0"], true),
        ],
    );
    // C37: in the forward and normal stages it does.
    check(
        &stages(silent, silent, silent),
        &[
            (
                through,
                &[
                    "h untracked: allow end of the stage",
                    "h pre-dnat: allow end of the stage",
                    "h forward: deny end of tier default",
                ],
                false,
            ),
            (out, &["h forward: deny end of tier default"], false),
        ],
    );
    // C38: an allow skips the later stages of its interface; a denial is final.
    check(
        &stages("Allow", "Deny", "Deny"),
        &[
            (to_host, &["h untracked: allow raw:0"], true),
            (through, &["h untracked: allow raw:0"], true),
            (from_host, &["h untracked: allow raw:0"], true),
            (out, &["h forward: deny late:0"], false),
        ],
    );
    check(
        &stages(silent, "Allow", "Deny"),
        &[(through, &["h untracked: allow end of the stage", "h pre-dnat: allow pre:0"], true)],
    );
    check(
        &stages("Deny", silent, "Allow"),
        &[
            (
                through,
                &[
                    "h untracked: deny raw:0",
                    "h pre-dnat: allow end of the stage",
                    "h forward: allow late:0",
                ],
                false,
            ),
            // C36: failsafe ports pass the stages of host traffic, not the way through.
            (
                "192.0.2.1 > node n1 tcp/22",
                &[
                    "h untracked: allow failsafe port",
                    "h pre-dnat: allow failsafe port",
                    "h normal: allow failsafe port",
                ],
                true,
            ),
        ],
    );
}

#[test]
fn c37_untracked_policy_is_not_for_every_interface() {
    let w = world(&[
        host("h", "{node: n1, interfaceName: '*', profiles: [projectcalico-default-allow]}"),
        global("raw", "{applyOnForward: true, doNotTrack: true, ingress: [{action: Deny}]}"),
    ]);
    let open = "h normal: allow profile projectcalico-default-allow";
    check(&w, &[("192.0.2.1 > node n1 tcp/80", &[open], true)]);
}

/// K30, C40: an option drops what a pod sends to its own node, after its egress policy.
#[test]
fn c40_pods_to_their_own_node() {
    let mut w = world(&[]);
    for (drops, expected) in [(false, true), (true, false)] {
        w.drops_pods_to_node = drops;
        check(
            &w,
            &[
                ("x/a > node n1 tcp/80", &[], expected),
                ("x/a > node n2 tcp/80", &[], true),
                ("x/a > node n1 tcp/80 est", &[], true),
                ("x/a >6 node n1 icmp/135", &[], true),
                ("node n1 > x/a tcp/80", &[], true),
            ],
        );
    }
}

/// Selectors of rules know a host endpoint by its expected addresses, and its named ports.
#[test]
fn c13_c34_as_a_peer() {
    let w = world(&[
        host(
            "h",
            "{node: n1, interfaceName: eth1, expectedIPs: [10.1.0.1], \
             ports: [{name: api, protocol: TCP, port: 6444}]}",
        ),
        global(
            "p",
            "{namespaceSelector: all(), egress: [{action: Allow, protocol: TCP, \
             destination: {selector: role == 'edge', ports: [api]}}]}",
        ),
    ]);
    check(
        &w,
        &[
            ("y/a > node n1 tcp/6444", &[], true),
            ("y/a > node n1 tcp/80", &[], false),
            ("y/a > node n2 tcp/6444", &[], false),
        ],
    );
}
