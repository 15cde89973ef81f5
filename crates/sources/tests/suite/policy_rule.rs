//! Rules of `brindle.io` policies, criterion by criterion of C18–C28, and how broken ones close.

use super::tiered_policy::{check, policy};

const OPERATOR: &str =
    "expected an operator: ==, !=, in, not in, contains, starts with or ends with, found";

/// One ingress (or egress) rule `Deny` with these fields in a policy of this kind; the rule as text.
fn rule(kind: &str, direction: &str, fields: &str) -> (String, Vec<String>) {
    let (text, problems) = policy(kind, &format!("{direction}: [{{action: Deny, {fields}}}]"));
    let (_, rule) = text.split_once(" 0: Deny").unwrap_or(("", &text));
    (rule.trim_start().to_owned(), problems)
}

fn good(kind: &str, direction: &str, cases: &[(&str, &str, &str)]) {
    for (what, fields, expected) in cases {
        assert_eq!(
            rule(kind, direction, fields),
            ((*expected).to_owned(), vec![]),
            "{what}: {fields}"
        );
    }
}

#[test]
fn protocols() {
    good(
        "NetworkPolicy",
        "ingress",
        &[
            ("C18", "protocol: TCP", "tcp"),
            ("C18", "protocol: UDPLite", "136"),
            ("C18", "protocol: ICMPv6", "icmpv6"),
            ("C18", "protocol: 47", "47"),
            ("C18", "protocol: 255, notProtocol: 1", "255 !icmp"),
            ("C18", "notProtocol: SCTP", "!sctp"),
            ("C22", "ipVersion: 4", "V4"),
            ("C22", "ipVersion: 6, protocol: ICMPv6", "V6 icmpv6"),
            ("C21", "protocol: ICMP, icmp: {type: 8}", "icmp type 8 code None"),
            ("C21", "protocol: ICMP, icmp: {type: 254, code: 255}", "icmp type 254 code Some(255)"),
            ("C21", "protocol: ICMPv6, notICMP: {type: 0, code: 0}", "icmpv6 !type 0 code Some(0)"),
        ],
    );
}

#[test]
fn ports() {
    good(
        "NetworkPolicy",
        "ingress",
        &[
            (
                "C19: numbers, ranges and names",
                "protocol: TCP, destination: {ports: [80, '81', '0:65535', http, '5:5']}",
                "tcp to ports [80, 81, 0-65535, http, 5]",
            ),
            (
                "C19: both sides",
                "protocol: UDP, source: {ports: [0]}, destination: {notPorts: ['1:9', dns]}",
                "udp from ports [0] to but ports [1-9, dns]",
            ),
            (
                "C19: names know their protocol",
                "destination: {ports: [http], notPorts: [dns]}",
                "to ports [http] but ports [dns]",
            ),
            ("C19: empty is not given", "destination: {ports: [], notPorts: []}", ""),
        ],
    );
}

#[test]
fn nets() {
    good(
        "GlobalNetworkPolicy",
        "egress",
        &[
            (
                "C21",
                "destination: {nets: [10.0.0.0/8, 192.0.2.1], notNets: [10.1.0.0/16]}",
                "to nets [10.0.0.0/8, 192.0.2.1/32] but nets [10.1.0.0/16]",
            ),
            ("C21", "source: {nets: ['fd00::/8', '::/0']}", "from nets [fd00::/8, ::/0]"),
            (
                "C22",
                "ipVersion: 4, source: {notNets: [10.0.0.0/8]}",
                "V4 from but nets [10.0.0.0/8]",
            ),
        ],
    );
    let (text, problems) = rule("NetworkPolicy", "ingress", "source: {nets: [10.1.2.3/8]}");
    assert_eq!(text, "from nets [10.0.0.0/8]");
    assert_eq!(
        problems,
        ["warning: spec.ingress[0].source.nets[0]: 10.1.2.3/8 has host bits, read as 10.0.0.0/8"]
    );
    let (text, problems) =
        rule("NetworkPolicy", "ingress", "protocol: ICMP, source: {nets: ['fd00::/8']}");
    assert_eq!(text, "icmp from nets [fd00::/8]");
    assert_eq!(
        problems,
        [
            "warning: spec.ingress[0]: matches nothing: its nets are of the other family than its protocol"
        ]
    );
}

#[test]
fn peers_of_a_network_policy_are_of_its_namespace() {
    good(
        "NetworkPolicy",
        "ingress",
        &[
            ("C23: anybody", "source: {}", ""),
            ("C23: own namespace", "source: {selector: has(a)}", "from (has(a) && SHOP)"),
            ("C23: blank is all", "source: {selector: ''}", "from SHOP"),
            (
                "C23: other namespaces",
                "source: {selector: has(a), namespaceSelector: \"t == 'x'\"}",
                "from (has(a) && pcns.t == \"x\")",
            ),
            (
                "C23: all namespaces",
                "source: {namespaceSelector: all()}",
                "from has(projectcalico.org/namespace)",
            ),
            (
                "C23: none",
                "source: {namespaceSelector: global(), selector: has(a)}",
                "from (has(a) && !(has(projectcalico.org/namespace)))",
            ),
            (
                "C24: known endpoints without",
                "source: {selector: '!has(a)'}",
                "from (SHOP && !(has(a)))",
            ),
            (
                "C24: the own namespace bounds what is not selected",
                "source: {notSelector: has(a)}",
                "from SHOP but has(a)",
            ),
            (
                "C24: unless another is named",
                "source: {notSelector: has(a), namespaceSelector: has(t)}",
                "from has(pcns.t) but has(a)",
            ),
            (
                "C24: subtracted",
                "source: {selector: has(b), notSelector: has(a)}",
                "from (has(b) && SHOP) but has(a)",
            ),
            (
                "C25: service accounts",
                "source: {serviceAccounts: {names: [b, a], selector: \"t == 'x'\"}}",
                "from (pcsa.t == \"x\" && SHOP && projectcalico.org/serviceaccount in {\"a\", \"b\"})",
            ),
            (
                "C25: in other namespaces",
                "source: {serviceAccounts: {names: [a]}, namespaceSelector: has(t)}",
                "from (has(pcns.t) && projectcalico.org/serviceaccount == \"a\")",
            ),
            (
                "C25: a network set runs as nobody",
                "source: {serviceAccounts: {selector: '!has(t)'}}",
                "from (has(projectcalico.org/serviceaccount) && SHOP && !(has(pcsa.t)))",
            ),
            (
                "C25: any account",
                "source: {serviceAccounts: {selector: all()}}",
                "from (has(projectcalico.org/serviceaccount) && SHOP)",
            ),
            (
                "a selector beside nets",
                "source: {selector: has(a), nets: [10.0.0.0/8]}",
                "from (has(a) && SHOP) nets [10.0.0.0/8]",
            ),
            (
                "both ends",
                "source: {selector: has(a)}, destination: {selector: has(b)}",
                "from (has(a) && SHOP) to (has(b) && SHOP)",
            ),
            ("a null is absent", "source: {selector: null, nets: null}, destination: null", ""),
            (
                "names that nothing has",
                "source: {serviceAccounts: {names: [nobody]}}",
                "from (SHOP && projectcalico.org/serviceaccount == \"nobody\")",
            ),
            (
                "a set that is not there",
                "source: {selector: \"set == 'missing'\"}",
                "from (SHOP && set == \"missing\")",
            ),
        ],
    );
}

#[test]
fn peers_of_a_global_policy_are_anywhere() {
    good(
        "GlobalNetworkPolicy",
        "egress",
        &[
            ("C23: everything known", "destination: {selector: has(a)}", "to has(a)"),
            ("C23: all() is all that is known", "destination: {selector: all()}", "to all()"),
            (
                "C23: namespaced",
                "destination: {namespaceSelector: all(), selector: has(a)}",
                "to (has(a) && has(projectcalico.org/namespace))",
            ),
            ("C24: outside addresses too", "destination: {notSelector: has(a)}", "to but has(a)"),
            (
                "C25: everywhere",
                "destination: {serviceAccounts: {names: [a]}}",
                "to projectcalico.org/serviceaccount == \"a\"",
            ),
            (
                "C26: a service",
                "destination: {services: {name: db, namespace: data}}",
                "to service data/db",
            ),
        ],
    );
}

#[test]
fn services() {
    good(
        "NetworkPolicy",
        "egress",
        &[
            (
                "C26: the own namespace, there or not",
                "destination: {services: {name: db}}",
                "to service shop/db",
            ),
            (
                "C26: with a protocol",
                "protocol: TCP, destination: {services: {name: db, namespace: x}}",
                "tcp to service x/db",
            ),
        ],
    );
    good(
        "NetworkPolicy",
        "ingress",
        &[(
            "C26: ports beside a source",
            "protocol: TCP, source: {services: {name: db}, ports: [1]}",
            "tcp from service shop/db ports [1]",
        )],
    );
    let only = "is only for the destination of egress and the source of ingress";
    for (kind, direction, fields, problem) in [
        ("NetworkPolicy", "ingress", "destination: {services: {name: a}}", format!("destination.services: {only}")),
        ("NetworkPolicy", "egress", "source: {services: {name: a}}", format!("source.services: {only}")),
        ("NetworkPolicy", "egress", "destination: {services: {name: a}, selector: has(a)}", "destination.services: excludes selector".into()),
        ("NetworkPolicy", "egress", "destination: {services: {name: a}, notSelector: has(a)}", "destination.services: excludes notSelector".into()),
        ("NetworkPolicy", "egress", "destination: {services: {name: a}, namespaceSelector: has(a)}", "destination.services: excludes namespaceSelector".into()),
        ("NetworkPolicy", "egress", "destination: {services: {name: a}, serviceAccounts: {names: [a]}}", "destination.services: excludes serviceAccounts".into()),
        ("NetworkPolicy", "egress", "destination: {services: {name: a}, nets: [10.0.0.0/8]}", "destination.services: excludes nets".into()),
        ("NetworkPolicy", "egress", "destination: {services: {name: a}, notNets: [10.0.0.0/8]}", "destination.services: excludes notNets".into()),
        ("NetworkPolicy", "egress", "protocol: TCP, destination: {services: {name: a}, ports: [1]}", "destination.services: excludes ports".into()),
        ("GlobalNetworkPolicy", "egress", "destination: {services: {name: a}}", "destination.services.namespace: is missing: a global policy has no namespace of its own".into()),
        ("NetworkPolicy", "egress", "destination: {services: {name: A}}", "destination.services.name: `A` is not a Service's name".into()),
        ("NetworkPolicy", "egress", "destination: {services: {}}", "destination.services: missing field `name`".into()),
    ] {
        broken(kind, direction, fields, &problem);
    }
}

/// Fields that make a rule unreadable: a Deny or Pass denies everything, Allow and Log match
/// nothing (A13, C16), and neighbours stay what they are.
fn broken(kind: &str, direction: &str, fields: &str, problem: &str) {
    let at = format!("spec.{direction}[1]");
    for (action, left) in [("Allow", ""), ("Log", ""), ("Deny", " 1: Deny"), ("Pass", " 1: Deny")] {
        let spec = format!(
            "{direction}: [{{action: Log}}, {{action: {action}, {fields}}}, {{action: Allow}}]"
        );
        let (text, mut problems) = policy(kind, &spec);
        let expected = format!("; {direction} 0: Log{left} 2: Allow");
        assert!(text.ends_with(&expected), "{spec}: {text}");
        if !left.is_empty() {
            assert_eq!(
                problems.pop(),
                Some(format!("{at}: cannot be read, so it denies everything"))
            );
        }
        let separator = if problem.starts_with(':') { "" } else { "." };
        assert_eq!(problems, [format!("{at}{separator}{problem}")], "{spec}");
    }
}

#[test]
fn unreadable_rules_close() {
    let long = |entry: &str, n| vec![entry; n].join(", ");
    for (fields, problem) in [
        ("source: {selector: 'has (a)'}", format!("source.selector: character 5: {OPERATOR} `(`")),
        ("destination: {notSelector: a}", format!("destination.notSelector: character 2: {OPERATOR} the end")),
        ("source: {namespaceSelector: '!global()'}", "source.namespaceSelector: character 2: global() may only be the whole namespaceSelector of a rule's source or destination".into()),
        ("source: {serviceAccounts: {selector: '('}}", "source.serviceAccounts.selector: character 2: expected a key, all(), has(key), ! or (, found the end".into()),
        ("source: {serviceAccounts: {}}", "source.serviceAccounts: gives neither names nor a selector".into()),
        ("source: {serviceAccounts: {names: ['A b']}}", "source.serviceAccounts.names[0]: `A b` is not a service account's name".into()),
        ("http: {methods: [GET]}", "http: HTTP needs a proxy, and there is none".into()),
        ("ipVersion: 5", "ipVersion: 5 is not 4 or 6".into()),
        ("protocol: tcp", "protocol: `tcp` is not one of TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite, 1 to 255".into()),
        ("protocol: 0", "protocol: 0 is not one of TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite, 1 to 255".into()),
        ("notProtocol: 256", "notProtocol: 256 is not one of TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite, 1 to 255".into()),
        ("ipVersion: 6, protocol: ICMP", "protocol: is of the other family than ipVersion".into()),
        ("ipVersion: 4, notProtocol: ICMPv6", "notProtocol: is of the other family than ipVersion".into()),
        ("icmp: {type: 8}", "icmp: needs protocol ICMP or ICMPv6".into()),
        ("notProtocol: ICMP, icmp: {type: 8}", "icmp: needs protocol ICMP or ICMPv6".into()),
        ("protocol: TCP, notICMP: {type: 8}", "notICMP: needs protocol ICMP or ICMPv6".into()),
        ("protocol: ICMP, icmp: {code: 0}", "icmp: a code needs a type".into()),
        ("protocol: ICMP, icmp: {}", "icmp: names no type".into()),
        ("protocol: ICMP, icmp: {type: 255}", "icmp.type: 255 is not a type: 0 to 254 are".into()),
        ("protocol: ICMP, icmp: {type: 8, code: 256}", "icmp.code: 256 is not a code: 0 to 255 are".into()),
        ("destination: {ports: [80]}", "destination.ports: needs protocol TCP, UDP or SCTP".into()),
        ("destination: {notPorts: [http, 80]}", "destination.notPorts: needs protocol TCP, UDP or SCTP".into()),
        ("notProtocol: UDP, source: {ports: ['80:90']}", "source.ports: needs protocol TCP, UDP or SCTP".into()),
        ("protocol: ICMP, source: {ports: [http]}", "source.ports: needs protocol TCP, UDP or SCTP".into()),
        ("protocol: UDPLite, source: {ports: [1]}", "source.ports: needs protocol TCP, UDP or SCTP".into()),
        ("protocol: TCP, source: {ports: ['90:80']}", "source.ports[0]: `90:80` is not a port, a range such as \"80:90\", or a name".into()),
        ("protocol: TCP, source: {ports: [65536]}", "source.ports[0]: 65536 is not a port, a range such as \"80:90\", or a name".into()),
        ("protocol: TCP, source: {ports: [80-90]}", "source.ports[0]: `80-90` is not a port, a range such as \"80:90\", or a name".into()),
        ("protocol: TCP, source: {ports: ['+80']}", "source.ports[0]: `+80` is not a port, a range such as \"80:90\", or a name".into()),
        ("protocol: TCP, source: {ports: ['80:']}", "source.ports[0]: `80:` is not a port, a range such as \"80:90\", or a name".into()),
        ("source: {nets: [everywhere]}", "source.nets[0]: `everywhere` is not a CIDR such as 10.0.0.0/8 or fd00::/8".into()),
        ("source: {nets: [10.0.0.0/8, 'fd00::/8']}", ": has nets of both families: write a rule for each".into()),
        ("source: {nets: [10.0.0.0/8]}, destination: {notNets: ['fd00::/8']}", ": has nets of both families: write a rule for each".into()),
        ("ipVersion: 6, source: {nets: [10.0.0.0/8]}", ": has nets of the other family than ipVersion".into()),
        ("source: {notNets: [0.0.0.0/0]}", "source.notNets: leaves nothing to match".into()),
        ("destination: {notNets: ['::/0']}", "destination.notNets: leaves nothing to match".into()),
        (&format!("source: {{nets: [{}]}}", long("10.0.0.0/8", 257)), "source.nets: 257 entries, 256 are the most".into()),
        (&format!("protocol: TCP, source: {{ports: [{}]}}", long("1", 51)), "source.ports: 51 entries, 50 are the most".into()),
        (&format!("source: {{serviceAccounts: {{names: [{}]}}}}", long("a", 21)), "source.serviceAccounts.names: 21 entries, 20 are the most".into()),
        ("src: {}", "src: unknown field `src`, expected one of `action`, `ipVersion`, `protocol`, `notProtocol`, `icmp`, `notICMP`, `source`, `destination`, `http`".into()),
        ("source: {net: []}", "source.net: unknown field `net`, expected one of `nets`, `notNets`, `selector`, `notSelector`, `namespaceSelector`, `serviceAccounts`, `services`, `ports`, `notPorts`".into()),
        ("source: {nets: [null]}", "source.nets[0]: invalid type: null, expected a string".into()),
        ("source: {nets: 10.0.0.0/8}", "source.nets: invalid type: string \"10.0.0.0/8\", expected a sequence".into()),
    ] {
        broken("NetworkPolicy", "ingress", fields, &problem);
        broken("GlobalNetworkPolicy", "egress", fields, &problem);
    }
}

#[test]
fn an_action_that_nobody_knows_denies_everything() {
    let closed = "spec.ingress[0]: cannot be read, so it denies everything";
    check(
        "NetworkPolicy",
        &[
            (
                "unknown",
                "ingress: [{action: allow, protocol: TCP}]",
                "default/last subject SHOP; ingress 0: Deny",
                &["spec.ingress[0].action: `allow` is not one of Allow, Deny, Pass, Log", closed],
            ),
            (
                "missing",
                "ingress: [{protocol: TCP}]",
                "default/last subject SHOP; ingress 0: Deny",
                &["spec.ingress[0]: missing field `action`", closed],
            ),
            (
                "not a rule",
                "ingress: [null, {action: Allow}]",
                "default/last subject SHOP; ingress 0: Deny 1: Allow",
                &["spec.ingress[0]: invalid type: null, expected struct PolicyRule", closed],
            ),
        ],
    );
}
