use brindle_model::policy::{Action, DEFAULT_TIER, NETWORK_POLICY_ORDER};

use super::*;

const TCP: Protocol = Protocol::TCP;

fn id() -> PolicyId {
    let (name, namespace) = ("p".into(), "shop".into());
    PolicyId::network_policy(&brindle_model::NamespacedName { namespace, name })
}

fn app(value: &str) -> Selector {
    Selector::equals("app", value)
}

fn block(cidr: &str, except: &[&str]) -> Peer {
    let except = except.iter().map(|net| net.parse().unwrap()).collect();
    Peer::IpBlock { cidr: cidr.parse().unwrap(), except }
}

fn range(first: u16, last: u16) -> Port {
    Port { protocol: Some(TCP), port: PortSpec::Range(PortRange { first, last }) }
}

fn named(name: &str) -> Port {
    Port { protocol: Some(TCP), port: PortSpec::Named(name.into()) }
}

/// The lowered form of one rule of a policy that governs `app == "subject"`.
fn lowered(direction: Direction, peers: Option<Vec<Peer>>, ports: Option<Vec<Port>>) -> Lowered {
    let rules = Some(vec![brindle_model::policy::Rule::allow(3, peers, ports)]);
    let (ingress, egress) = match direction {
        Direction::Ingress => (rules, None),
        Direction::Egress => (None, rules),
    };
    let policy = Policy {
        tier: DEFAULT_TIER.into(),
        order: NETWORK_POLICY_ORDER,
        subject: app("subject"),
        ingress,
        egress,
    };
    let lowered = lower(&id(), &policy);
    let decision = DecisionId::Rule { policy: id(), direction, index: 3 };
    let rules = lowered.rules.rules(direction);
    assert!(rules.iter().all(|r| r.action == Action::Allow && r.decision == decision));
    let defined: BTreeSet<_> = lowered.sets.keys().copied().collect();
    assert_eq!(lowered.rules.sets(), defined, "every set that is named is defined, and no other");
    lowered
}

/// One line a rule: protocol, and each side that has criteria as `side(sets; ports)`.
fn text(lowered: &Lowered) -> Vec<String> {
    let set = |id: &SetId| lowered.sets[id].to_string();
    let port = |port: &PortMatch| match port {
        PortMatch::Range(range) => range.to_string(),
        PortMatch::Named(id) => set(id),
    };
    let side = |name, side: &Side| {
        let sets: Vec<_> = side.sets.iter().map(set).collect();
        let ports: Vec<_> = side.ports.iter().map(port).collect();
        match sets.is_empty() && ports.is_empty() {
            true => String::new(),
            false => format!(" {name}({}; {})", sets.join(" & "), ports.join(", ")),
        }
    };
    let rules = lowered.rules.ingress.iter().chain(&lowered.rules.egress);
    rules
        .map(|rule| {
            let protocol = rule.matches.protocol.map_or("any".to_owned(), |p| p.to_string());
            let (from, to) = (&rule.matches.source, &rule.matches.destination);
            format!("{protocol}{}{}", side("from", from), side("to", to))
        })
        .collect()
}

#[test]
fn absent_lists_are_everything_and_empty_ones_nothing() {
    for direction in Direction::ALL {
        assert_eq!(text(&lowered(direction, None, None)), ["any"]);
        assert!(text(&lowered(direction, Some(vec![]), None)).is_empty());
        assert!(text(&lowered(direction, None, Some(vec![]))).is_empty());
        let nobody = vec![Peer::Pods(Selector::None), block("10.0.0.0/8", &["10.0.0.0/8"])];
        assert!(text(&lowered(direction, Some(nobody), None)).is_empty());
    }
}

#[test]
fn blocks_of_a_rule_are_one_set_and_each_exception_stays_in_its_entry() {
    let peers = vec![
        block("10.0.0.0/24", &["10.0.0.0/25"]),
        Peer::Pods(app("web")),
        block("fd00::/64", &[]),
        block("10.0.0.0/26", &[]),
        Peer::Pods(app("web")),
    ];
    let expected =
        ["from(nets 10.0.0.0/26 10.0.0.128/25 fd00::/64; )", "from(pods app == \"web\"; )"];
    let expected = expected.map(|side| format!("any {side}"));
    assert_eq!(text(&lowered(Direction::Ingress, Some(peers), None)), expected);
}

#[test]
fn ports_group_by_protocol_and_ranges_merge() {
    let ports = vec![
        range(90, 100),
        Port { protocol: Some(Protocol::UDP), port: PortSpec::Range(53.into()) },
        range(80, 89),
        Port { protocol: Some(Protocol::SCTP), port: PortSpec::Any },
        range(65535, 65535),
        range(95, 97),
        Port { protocol: Some(Protocol::SCTP), port: PortSpec::Range(5.into()) },
    ];
    assert_eq!(
        text(&lowered(Direction::Ingress, None, Some(ports))),
        ["tcp to(; 80-100, 65535)", "udp to(; 53)", "sctp"]
    );
}

#[test]
fn a_port_name_belongs_to_the_destination() {
    let http = || Some(vec![named("http"), range(9000, 9000)]);
    let web = || Some(vec![Peer::Pods(app("web"))]);
    let of = |pods: &str| format!("9000, port http/tcp of pods {pods}");
    let subject = of("app == \"subject\"");
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    assert_eq!(text(&lowered(ingress, None, http())), [format!("tcp to(; {subject})")]);
    assert_eq!(
        text(&lowered(ingress, web(), http())),
        [format!("tcp from(pods app == \"web\"; ) to(; {subject})")]
    );
    assert_eq!(
        text(&lowered(egress, web(), http())),
        [format!("tcp to(pods app == \"web\"; {})", of("app == \"web\""))]
    );
    assert_eq!(text(&lowered(egress, None, http())), [format!("tcp to(; {})", of("all()"))]);
    assert_eq!(
        text(&lowered(egress, Some(vec![block("10.0.0.0/8", &[])]), http())),
        [format!("tcp to(nets 10.0.0.0/8; {})", of("all()"))]
    );
}

#[test]
fn order_of_peers_and_ports_does_not_matter() {
    let mut peers = vec![Peer::Pods(app("b")), block("10.0.0.0/8", &[]), Peer::Pods(app("a"))];
    let mut ports = vec![named("http"), range(1, 5), named("dns"), range(3, 9)];
    let one = lowered(Direction::Egress, Some(peers.clone()), Some(ports.clone()));
    peers.reverse();
    ports.reverse();
    let other = lowered(Direction::Egress, Some(peers), Some(ports));
    assert_eq!(one.rules, other.rules);
    assert_eq!(one.sets, other.sets);
}
