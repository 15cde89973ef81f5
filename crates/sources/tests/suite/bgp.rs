//! Objects of BGP: what each field becomes, and how what is wrong is named.

use brindle_model::routing::advertisement::PrefixAdvertisement;
use brindle_model::routing::filter::{
    Community, FilterAction, FilterRule, MatchOperator, Operation, PeerType, PrefixMatch,
};
use brindle_model::routing::{
    Bfd, BgpConfiguration, BgpPeer, Drain, Hops, MaxPrefixes, MaxPrefixesOut, NodeScope,
    PasswordSource, PeerAddress, PeerSettings, Role,
};
use brindle_model::selector::Selector;
use brindle_sources::convert::Input;

use super::{accepted, convert};

#[test]
fn bgp_configuration() {
    let yaml = "apiVersion: brindle.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: node.n1}\nspec: {asNumber: 4200000000, routerID: 192.0.2.1, listenPort: 1179, nodeToNodeMeshEnabled: false, restartTime: 2m, longLivedStaleTime: 1h, holdTime: 9s, routeReflectorClusterID: 192.0.2.9}";
    let Input::BgpConfiguration(found) = accepted(yaml) else { panic!() };
    let expected = BgpConfiguration {
        as_number: Some(4_200_000_000),
        router_id: Some("192.0.2.1".parse().unwrap()),
        listen_port: Some(1179),
        node_to_node_mesh: Some(false),
        restart_time: Some(120),
        long_lived_stale_time: Some(3600),
        hold_time: Some(9),
        cluster_id: Some("192.0.2.9".parse().unwrap()),
        ..BgpConfiguration::default()
    };
    assert_eq!(*found, expected);
}

#[test]
fn bgp_peers() {
    for (scope, expected) in [
        ("node: n1", NodeScope::Named("n1".into())),
        (
            "nodeSelector: {matchLabels: {rack: r1}}",
            NodeScope::Selected(Selector::equals("rack", "r1")),
        ),
        ("passive: false", NodeScope::Selected(Selector::All)),
    ] {
        let yaml = format!(
            "apiVersion: brindle.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: tor}}\nspec: {{peerIP: 'fd00::fe', asNumber: 64600, {scope}}}"
        );
        let Input::BgpPeer(found) = accepted(&yaml) else { panic!() };
        let address = PeerAddress::One("fd00::fe".parse().unwrap());
        let expected = BgpPeer {
            filters: Vec::new(),
            nodes: expected,
            address,
            port: 179,
            as_number: 64600,
            passive: false,
            settings: PeerSettings::default(),
        };
        assert_eq!(*found, expected, "{scope}");
    }
}

#[test]
fn bgp_peers_of_a_range() {
    for (range, most, max_peers) in [("10.1.0.0/16", "", 100), ("fd00::/64", ", maxPeers: 7", 7)] {
        let yaml = format!(
            "apiVersion: brindle.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: racks}}\nspec: {{peerRange: '{range}', asNumber: 64600{most}}}"
        );
        let Input::BgpPeer(found) = accepted(&yaml) else { panic!() };
        let net = range.parse().unwrap();
        assert_eq!(found.address, PeerAddress::Range { net, max_peers });
    }
}

#[test]
fn protection_of_bgp_peers() {
    let file = PasswordSource::File(std::path::PathBuf::from("/etc/brindle/tor").into());
    let secret = PasswordSource::Secret { name: "tors".into(), key: "a".into() };
    for (spec, hops, password) in [
        ("ttlSecurity: 1", Hops::Security(1), None),
        ("ttlSecurity: 254", Hops::Security(254), None),
        ("ebgpMultihop: 255", Hops::Multihop(255), None),
        ("password: {file: /etc/brindle/tor}", Hops::Usual, Some(file)),
        ("password: {secretKeyRef: {name: tors, key: a}}", Hops::Usual, Some(secret)),
    ] {
        let yaml = format!(
            "apiVersion: brindle.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: tor}}\nspec: {{peerIP: 10.0.0.1, asNumber: 64600, {spec}}}"
        );
        let Input::BgpPeer(found) = accepted(&yaml) else { panic!() };
        assert_eq!(found.settings, PeerSettings { hops, password, ..Default::default() }, "{spec}");
    }
}

#[test]
fn bgp_filters() {
    let yaml = "apiVersion: brindle.io/v1alpha1
kind: BGPFilter
metadata: {name: edge}
spec:
  importV4:
  - {cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {min: 16, max: 24}, action: Accept, operations: [{setLocalPreference: {value: 200}}, {addCommunity: {value: '65001:7'}}]}
  - {peerType: eBGP, communities: {values: ['65001:1:2']}, asPathPrefix: [64512], asPathContains: [1], asPathLength: {max: 3}, originAS: 2, nextHop: 192.0.2.1, action: Reject}
  exportV6:
  - {source: RemotePeers, action: Accept, operations: [{prependASPath: {prefix: [65001, 65001]}}, {setMED: {value: 5}}, {setNextHop: {value: 'fd00::1'}}, {removeCommunity: {value: '1:1'}}, {setCommunities: {values: []}}]}
";
    let Input::BgpFilter(found) = accepted(yaml) else { panic!() };
    let open = FilterRule {
        prefix: None,
        learned: false,
        peer_type: None,
        communities: Vec::new(),
        as_path_prefix: Vec::new(),
        as_path_contains: Vec::new(),
        as_path_length: None,
        origin_as: None,
        next_hop: None,
        action: FilterAction::Reject,
    };
    let net = "10.0.0.0/8".parse().unwrap();
    let first = FilterRule {
        prefix: Some(PrefixMatch { net, operator: MatchOperator::In, lengths: (16, 24) }),
        action: FilterAction::Accept(vec![
            Operation::SetLocalPreference(200),
            Operation::AddCommunity(Community::Standard(65001, 7)),
        ]),
        ..open.clone()
    };
    let second = FilterRule {
        peer_type: Some(PeerType::External),
        communities: vec![Community::Large(65001, 1, 2)],
        as_path_prefix: vec![64512],
        as_path_contains: vec![1],
        as_path_length: Some((0, 3)),
        origin_as: Some(2),
        next_hop: Some("192.0.2.1/32".parse().unwrap()),
        ..open.clone()
    };
    let third = FilterRule {
        learned: true,
        action: FilterAction::Accept(vec![
            Operation::PrependAsPath(vec![65001, 65001]),
            Operation::SetMed(5),
            Operation::SetNextHop("fd00::1".parse().unwrap()),
            Operation::RemoveCommunity(Community::Standard(1, 1)),
            Operation::SetCommunities(Vec::new()),
        ]),
        ..open
    };
    assert_eq!(found.import_v4, [first, second]);
    assert_eq!(found.export_v6, [third]);
    assert!(found.import_v6.is_empty() && found.export_v4.is_empty());

    let yaml = "apiVersion: brindle.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor}\nspec: {peerIP: 10.0.0.1, asNumber: 1, filters: [edge, other]}";
    let Input::BgpPeer(peer) = accepted(yaml) else { panic!() };
    assert_eq!(peer.filters, ["edge".into(), "other".into()]);
}

#[test]
fn limits_and_watching_of_bgp_peers() {
    let yaml = "apiVersion: brindle.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor}\nspec: {peerIP: 10.0.0.1, asNumber: 1, shutdown: moved, bfd: {multiplier: 5}, maxPrefixes: {v4: 100, restartAfter: 5m}, maxPrefixesOut: {v6: 10, warnPercent: 90}, localRole: Customer, requireRole: true}";
    let Input::BgpPeer(found) = accepted(yaml) else { panic!() };
    let expected = PeerSettings {
        shutdown: Some("moved".into()),
        max_prefixes: Some(MaxPrefixes {
            ipv4: Some(100),
            ipv6: None,
            warn_percent: 75,
            restart_after: Some(300),
        }),
        max_prefixes_out: Some(MaxPrefixesOut { ipv4: None, ipv6: Some(10), warn_percent: 90 }),
        role: Some(Role::Customer),
        require_role: true,
        bfd: Some(Bfd { min_tx: 300, min_rx: 300, multiplier: 5 }),
        ..PeerSettings::default()
    };
    assert_eq!(found.settings, expected);
    let client =
        yaml.replace("localRole: Customer, requireRole: true", "routeReflectorClient: true");
    let Input::BgpPeer(found) = accepted(&client) else { panic!() };
    let (reflector_client, role, require_role) = (true, None, false);
    assert_eq!(found.settings, PeerSettings { reflector_client, role, require_role, ..expected });
    let yaml = "apiVersion: brindle.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\nspec: {drain: Withdraw, gracefulNotification: true}";
    let Input::BgpConfiguration(found) = accepted(yaml) else { panic!() };
    assert_eq!((found.drain, found.notification_restart), (Some(Drain::Withdraw), Some(true)));
}

#[test]
fn services_and_communities_of_bgp_configurations() {
    let head =
        "apiVersion: brindle.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\n";
    let yaml = format!(
        "{head}spec:
  serviceClusterIPs: [{{cidr: 10.96.0.0/12}}, {{cidr: 'fd96::/112'}}]
  serviceExternalIPs: []
  serviceLoadBalancerIPs: [{{cidr: 203.0.113.7/32}}]
  serviceLoadBalancerAggregation: Disabled
  communities: [{{name: edge, value: '65001:7'}}]
  prefixAdvertisements: [{{cidr: 10.0.0.0/8, communities: [edge, '65001:1:2']}}]"
    );
    let Input::BgpConfiguration(found) = accepted(&yaml) else { panic!() };
    let nets = |texts: &[&str]| Some(texts.iter().map(|net| net.parse().unwrap()).collect());
    let expected = BgpConfiguration {
        service_cluster_ips: nets(&["10.96.0.0/12", "fd96::/112"]),
        service_external_ips: nets(&[]),
        service_load_balancer_ips: nets(&["203.0.113.7/32"]),
        service_load_balancer_aggregation: Some(false),
        prefix_advertisements: Some(vec![PrefixAdvertisement {
            cidr: "10.0.0.0/8".parse().unwrap(),
            communities: vec![Community::Standard(65001, 7), Community::Large(65001, 1, 2)],
        }]),
        ..BgpConfiguration::default()
    };
    assert_eq!(*found, expected);

    for (spec, problem) in [
        (
            "serviceClusterIPs: [{cidr: 10.96.0.0}]",
            "spec.serviceClusterIPs[0].cidr: `10.96.0.0` is not a CIDR such as 10.0.0.0/8 or fd00::/8",
        ),
        (
            "serviceExternalIPs: [{cidr: 224.0.0.0/4}]",
            "spec.serviceExternalIPs[0].cidr: 224.0.0.0/4 is not a range of unicast addresses",
        ),
        (
            "serviceLoadBalancerIPs: [{cidr: 0.0.0.0/0}]",
            "spec.serviceLoadBalancerIPs[0].cidr: 0.0.0.0/0 is not a range of unicast addresses",
        ),
        (
            "serviceLoadBalancerAggregation: Perhaps",
            "spec.serviceLoadBalancerAggregation: `Perhaps` is not one of Enabled, Disabled",
        ),
        (
            "communities: [{name: a, value: '1:1'}, {name: a, value: '1:2'}]",
            "spec.communities[1].name: `a` is there twice",
        ),
        (
            "communities: [{name: a, value: '1:70000'}]",
            "spec.communities[0].value: `1:70000` is not a community such as 65001:100 or 65001:1:2",
        ),
        (
            "prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [edge]}]",
            "spec.prefixAdvertisements[0].communities[0]: `edge` is not a community such as 65001:100 or 65001:1:2, nor the name of one in spec.communities",
        ),
    ] {
        let (found, problems) = convert(&format!("{head}spec: {{{spec}}}"));
        assert_eq!((found, problems), (None, vec![problem.to_owned()]), "{spec}");
    }
}
