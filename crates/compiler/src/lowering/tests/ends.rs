use std::sync::Arc;

use brindle_model::List;

use super::*;

/// The lines of one egress rule with these criteria.
fn lines(ends: Ends) -> Vec<String> {
    let criteria = || Criteria::Ends(Arc::new(ends.clone()));
    let lines = text(&lowered(Direction::Egress, Action::Deny, criteria()));
    let ingress = text(&lowered(Direction::Ingress, Action::Deny, criteria()));
    assert_eq!(lines, ingress, "both ends are named, so the direction does not matter");
    lines
}

fn to(destination: End) -> Vec<String> {
    lines(Ends { protocol: Some(TCP), destination, ..Ends::default() })
}

fn from(source: End) -> Vec<String> {
    lines(Ends { protocol: Some(TCP), source, ..Ends::default() })
}

fn selecting(selector: Selector) -> End {
    End { selector: Some(selector.into()), ..End::default() }
}

fn nets(text: &str) -> List<ipnet::IpNet> {
    text.split_whitespace().map(|net| net.parse().unwrap()).collect()
}

fn number(first: u16, last: u16) -> EndPort {
    EndPort::Range(PortRange { first, last })
}

fn named(name: &str) -> EndPort {
    EndPort::Named(name.into())
}

fn web() -> Selector {
    app("web")
}

fn service() -> End {
    End { service: Some(NamespacedName::new("shop", "api").into()), ..End::default() }
}

fn only_pods() -> Selector {
    Selector::equals(brindle_model::labels::SERVICE_ACCOUNT_NAME_LABEL, "bot")
}

#[test]
fn no_criteria_are_everything() {
    assert_eq!(lines(Ends::default()), ["any"]);
    let packet = Ends {
        protocol: Some(Protocol::ICMP),
        not_protocol: Some(TCP),
        icmp: Some(IcmpMatch { icmp_type: 8, code: None }),
        not_icmp: Some(IcmpMatch { icmp_type: 0, code: None }),
        ..Ends::default()
    };
    assert_eq!(lines(packet), ["V4 icmp !tcp type 8 !type 0"]);
}

#[test]
fn a_selector_is_pods_or_network_sets_at_each_end() {
    assert_eq!(
        to(selecting(web())),
        ["tcp to(pods app == \"web\"; )", "tcp to(network sets app == \"web\"; )"]
    );
    assert_eq!(to(selecting(only_pods())).len(), 1, "no network set has a service account");
    let both =
        Ends { source: selecting(app("a")), destination: selecting(app("b")), ..Ends::default() };
    assert_eq!(
        lines(both),
        [
            "any from(pods app == \"a\"; ) to(pods app == \"b\"; )",
            "any from(pods app == \"a\"; ) to(network sets app == \"b\"; )",
            "any from(network sets app == \"a\"; ) to(pods app == \"b\"; )",
            "any from(network sets app == \"a\"; ) to(network sets app == \"b\"; )",
        ]
    );
}

#[test]
fn a_negated_selector_is_neither_in_one_rule() {
    let not = |selector: Selector| End { not_selector: Some(selector.into()), ..End::default() };
    assert_eq!(
        from(not(web())),
        ["tcp from(!pods app == \"web\" & !network sets app == \"web\"; )"]
    );
    assert_eq!(
        from(not(only_pods())),
        ["tcp from(!pods projectcalico.org/serviceaccount == \"bot\"; )"]
    );
    assert_eq!(from(not(Selector::None)), ["tcp"], "nothing is excluded");
    let subtracting = End { not_selector: Some(only_pods().into()), ..selecting(Selector::All) };
    let less = "!pods projectcalico.org/serviceaccount == \"bot\"";
    assert_eq!(
        from(subtracting),
        [
            format!("tcp from(pods all() & {less}; )"),
            format!("tcp from(network sets all() & {less}; )")
        ]
    );
}

#[test]
fn names_are_of_the_selectors_endpoints_and_numbers_of_everybody_it_picks() {
    let with = |ports: Option<Vec<EndPort>>, not_ports: Vec<EndPort>| End {
        ports: ports.map(Into::into),
        not_ports: not_ports.into(),
        ..selecting(web())
    };
    let http = "port http/tcp of pods app == \"web\"";
    let (pods, sets) = ("pods app == \"web\"", "network sets app == \"web\"");
    assert_eq!(
        to(with(Some(vec![named("http"), number(81, 90), number(80, 80)]), vec![])),
        [
            format!("tcp to({pods}; 80-90)"),
            format!("tcp to({sets}; 80-90)"),
            format!("tcp to(; {http})")
        ],
        "a tuple is only of who matches, so its address need not be asked for"
    );
    assert_eq!(to(with(Some(vec![named("http")]), vec![])), [format!("tcp to(; {http})")]);
    let of_pods = End { ports: Some([named("http")].into()), ..selecting(only_pods()) };
    let account = "projectcalico.org/serviceaccount == \"bot\"";
    assert_eq!(to(of_pods), [format!("tcp to(pods {account}; port http/tcp of pods {account})")]);
    assert_eq!(
        to(with(None, vec![named("http"), number(1, 2)])),
        [format!("tcp to({pods}; !1-2, !{http})"), format!("tcp to({sets}; !1-2, !{http})")],
        "a pod's address may lie in a network set, and its port has the name there too"
    );
    assert_eq!(
        to(with(Some(vec![number(1, 9)]), vec![named("http")])),
        [format!("tcp to({pods}; 1-9, !{http})"), format!("tcp to({sets}; 1-9, !{http})")]
    );
    let anywhere = End { ports: Some([named("http")].into()), ..End::default() };
    assert_eq!(to(anywhere.clone()), ["tcp to(; port http/tcp of pods all())"]);
    assert_eq!(from(anywhere), ["tcp from(; port http/tcp of pods all())"]);
}

#[test]
fn without_a_protocol_the_container_ports_own_decides() {
    let three = |sign| {
        ["tcp", "udp", "sctp"].map(|p| format!("{sign}port dns/{p} of pods all()")).join(", ")
    };
    let destination = End { ports: Some([named("dns")].into()), ..End::default() };
    let ends = Ends { destination, ..Ends::default() };
    assert_eq!(lines(ends), [format!("any to(; {})", three(""))]);
    let destination = End { not_ports: [named("dns")].into(), ..End::default() };
    let ends = Ends { destination, ..Ends::default() };
    assert_eq!(lines(ends), [format!("any to(; {})", three("!"))]);
}

#[test]
fn a_service_is_tuples_as_destination_and_addresses_as_source() {
    assert_eq!(to(service()), ["tcp to(; ports of service shop/api)"]);
    assert_eq!(from(service()), ["tcp from(addresses of service shop/api; )"]);
}

/// `family, protocol, source nets, source not-nets, destination nets, destination not-nets`; a `-`
/// is no list.
#[test]
fn a_rule_exists_in_the_families_that_all_its_lists_have() {
    let (v4, v6) = (Some(Family::V4), Some(Family::V6));
    let (icmp, icmpv6) = (Some(Protocol::ICMP), Some(Protocol::ICMPV6));
    for (family, protocol, lists, expected) in [
        (None, None, ["10.0.0.0/8", "-", "-", "-"], Some("V4 any from(nets 10.0.0.0/8; )")),
        (None, None, ["fd00::/8", "-", "-", "-"], Some("V6 any from(nets fd00::/8; )")),
        (None, None, ["-", "10.0.0.0/8", "-", "-"], Some("V4 any from(!nets 10.0.0.0/8; )")),
        (None, None, ["-", "-", "-", "fd00::/8"], Some("V6 any to(!nets fd00::/8; )")),
        (
            None,
            None,
            ["10.0.0.0/8 fd00::/8", "-", "-", "-"],
            Some("any from(nets 10.0.0.0/8 fd00::/8; )"),
        ),
        (
            None,
            None,
            ["10.0.0.0/8 fd00::/8", "-", "-", "11.0.0.0/8"],
            Some("V4 any from(nets 10.0.0.0/8; ) to(!nets 11.0.0.0/8; )"),
        ),
        (v6, None, ["10.0.0.0/8 fd00::/8", "-", "-", "-"], Some("V6 any from(nets fd00::/8; )")),
        (None, None, ["10.0.0.0/8", "-", "fd00::/8", "-"], None),
        (None, None, ["10.0.0.0/8", "-", "-", "fd00::/8"], None),
        (None, None, ["-", "10.0.0.0/8", "-", "fd00::/8"], None),
        (v6, None, ["10.0.0.0/8", "-", "-", "-"], None),
        (v4, None, ["-", "-", "-", "-"], Some("V4 any")),
        (None, icmp, ["-", "-", "-", "-"], Some("V4 icmp")),
        (None, icmpv6, ["-", "-", "-", "-"], Some("V6 icmpv6")),
        (v4, icmpv6, ["-", "-", "-", "-"], None),
        (None, icmp, ["fd00::/8", "-", "-", "-"], None),
        (None, icmp, ["-", "fd00::/8", "-", "-"], None),
        (None, None, ["", "-", "-", "-"], None),
        (
            None,
            None,
            ["10.0.0.0/9 10.128.0.0/9 10.1.0.0/16", "10.2.0.0/16", "-", "-"],
            Some("V4 any from(nets 10.0.0.0/8 & !nets 10.2.0.0/16; )"),
        ),
    ] {
        let [source, not_source, destination, not_destination] =
            lists.map(|list| (list != "-").then(|| nets(list)));
        let end = |nets, not_nets: Option<_>| End {
            nets,
            not_nets: not_nets.unwrap_or_default(),
            ..End::default()
        };
        let ends = Ends {
            family,
            protocol,
            source: end(source, not_source),
            destination: end(destination, not_destination),
            ..Ends::default()
        };
        assert_eq!(lines(ends), Vec::from_iter(expected), "{family:?} {protocol:?} {lists:?}");
    }
}

#[test]
fn what_no_packet_satisfies_gives_no_rule_and_no_set() {
    let ports = |ports: Vec<_>| End { ports: Some(ports.into()), ..selecting(web()) };
    assert!(to(selecting(Selector::None)).is_empty());
    assert!(to(ports(vec![])).is_empty());
    let only = |protocol, destination| {
        lines(Ends { protocol: Some(protocol), destination, ..Ends::default() })
    };
    assert!(only(Protocol::ICMP, ports(vec![number(1, 2)])).is_empty(), "icmp has no ports");
    assert!(only(Protocol(47), service()).is_empty());
    let not_ports = End { not_ports: [number(1, 2)].into(), ..End::default() };
    assert_eq!(only(Protocol(47), not_ports), ["47 to(; !1-2)"], "no port is none of these");
    let contradiction = Ends { protocol: Some(TCP), not_protocol: Some(TCP), ..Ends::default() };
    assert!(lines(contradiction).is_empty());
    let icmp = Some(IcmpMatch { icmp_type: 8, code: None });
    assert!(lines(Ends { protocol: Some(TCP), icmp, ..Ends::default() }).is_empty());
    let one_end = Ends {
        source: selecting(web()),
        destination: selecting(Selector::None),
        ..Ends::default()
    };
    assert!(lines(one_end).is_empty());
}

#[test]
fn prefixes_names_and_selectors_of_one_end_all_hold() {
    let end = End {
        nets: Some(nets("10.0.0.0/8")),
        ports: Some([named("http")].into()),
        ..selecting(only_pods())
    };
    let bot = "pods projectcalico.org/serviceaccount == \"bot\"";
    assert_eq!(to(end), [format!("V4 tcp to({bot} & nets 10.0.0.0/8; port http/tcp of {bot})")]);
}
