use super::*;

/// All that may have named ports for a policy of Kubernetes: pods.
const PODS: &str = "projectcalico.org/orchestrator == \"k8s\"";

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

fn lowered(direction: Direction, peers: Option<Vec<Peer>>, ports: Option<Vec<Port>>) -> Lowered {
    let (peers, ports) = (peers.map(Into::into), ports.map(Into::into));
    super::lowered(direction, Action::Allow, Criteria::Lists { peers, ports })
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
    assert_eq!(text(&lowered(egress, None, http())), [format!("tcp to(; {})", of(PODS))]);
    assert_eq!(
        text(&lowered(egress, Some(vec![block("10.0.0.0/8", &[])]), http())),
        [format!("tcp to(nets 10.0.0.0/8; {})", of(PODS))]
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

#[test]
fn nodes_are_peers_and_a_name_without_a_protocol_is_every_protocol_that_has_ports() {
    let any = |port| Port { protocol: None, port };
    let peers = vec![Peer::Nodes(app("gw")), Peer::Pods(app("gw")), Peer::Nodes(Selector::None)];
    assert_eq!(
        text(&lowered(Direction::Egress, Some(peers), Some(vec![range(80, 80)]))),
        ["tcp to(pods app == \"gw\"; 80)", "tcp to(nodes app == \"gw\"; 80)"]
    );
    let ports = vec![any(PortSpec::Named("dns".into())), range(53, 53)];
    let dns = ["tcp", "udp", "sctp"].map(|p| format!("port dns/{p} of pods {PODS}"));
    assert_eq!(
        text(&lowered(Direction::Egress, None, Some(ports))),
        [format!("any to(; {})", dns.join(", ")), "tcp to(; 53)".to_owned()]
    );
}
