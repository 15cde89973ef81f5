use brindle_model::labels::Labels;
use brindle_model::routing::filter::Community;
use brindle_model::routing::{NodeScope, Role};
use brindle_model::selector::Selector;

use super::*;

fn node(addresses: &[&str], labels: &[(&str, &str)]) -> Option<Arc<Node>> {
    let labels: Labels = labels.iter().copied().collect();
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    Some(Arc::new(Node { labels, addresses, ..Node::default() }))
}

fn peer(nodes: NodeScope, address: &str) -> Option<Arc<BgpPeer>> {
    let address = match address.parse() {
        Ok(net) => PeerAddress::Range { net, max_peers: 10 },
        Err(_) => PeerAddress::One(address.parse().unwrap()),
    };
    Some(Arc::new(BgpPeer {
        nodes,
        address,
        port: 1790,
        as_number: 65001,
        passive: true,
        settings: PeerSettings::default(),
        filters: Vec::new(),
    }))
}

fn everywhere() -> NodeScope {
    NodeScope::Selected(Selector::All)
}

/// A topology with the nodes it is about.
struct Cluster {
    topology: Topology,
    nodes: Nodes,
    slices: Slices,
}

impl Cluster {
    fn advance(&mut self) -> Vec<Change> {
        let nodes_changed = !self.nodes.advance().is_empty();
        let slices_changed = self.slices.advance();
        self.topology.advance(&Surroundings {
            nodes: &self.nodes,
            nodes_changed,
            slices: &self.slices,
            slices_changed: &slices_changed,
        })
    }
}

impl std::ops::Deref for Cluster {
    type Target = Topology;

    fn deref(&self) -> &Topology {
        &self.topology
    }
}

impl std::ops::DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut Topology {
        &mut self.topology
    }
}

/// `n1`'s topology, with itself (dual stack) and `n2` (dual stack).
fn two_nodes() -> Cluster {
    let mut nodes = Nodes::default();
    nodes.note("n1".into(), node(&["fd00::1", "192.0.2.1", "192.0.2.99"], &[("rack", "a")]));
    nodes.note("n2".into(), node(&["192.0.2.2", "fd00::2"], &[]));
    Cluster { topology: Topology::new("n1".into()), nodes, slices: Slices::default() }
}

fn neighbours(topology: &Topology) -> Vec<String> {
    let peers = topology.routing().peers.iter();
    peers.map(|(name, p)| format!("{name} {} {} AS{}", p.address, p.port, p.as_number)).collect()
}

#[test]
fn the_speaker_takes_defaults_then_settings_then_those_of_its_node() {
    let mut topology = two_nodes();
    topology.advance();
    let speaker = topology.routing().speaker.clone().unwrap();
    let next_hops: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    assert_eq!(speaker.next_hops, next_hops);
    assert_eq!(speaker.router_id, Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!((speaker.as_number, speaker.listen_port), (64512, 179));
    assert_eq!((speaker.restart_time, speaker.hold_time), (120, 90));

    let base = BgpConfiguration {
        as_number: Some(65100),
        hold_time: Some(30),
        ..BgpConfiguration::default()
    };
    let own = BgpConfiguration {
        as_number: Some(65200),
        router_id: Some(Ipv4Addr::new(9, 9, 9, 9)),
        ..BgpConfiguration::default()
    };
    topology.configurations.note("default".into(), Some(Arc::new(base)));
    topology.configurations.note("node.n1".into(), Some(Arc::new(own)));
    topology.advance();
    let speaker = topology.routing().speaker.clone().unwrap();
    assert_eq!(speaker.router_id, Ipv4Addr::new(9, 9, 9, 9));
    assert_eq!((speaker.as_number, speaker.hold_time), (65200, 30));
    assert_eq!(neighbours(&topology), ["mesh.n2 192.0.2.2 179 AS65100"]);
}

#[test]
fn a_node_without_ipv4_has_a_stable_identifier_and_peers_over_ipv6() {
    let mut topology = two_nodes();
    topology.nodes.note("n1".into(), node(&["fd00::1"], &[]));
    topology.nodes.note("n3".into(), node(&["192.0.2.3"], &[]));
    topology.advance();
    let id = topology.routing().speaker.as_ref().unwrap().router_id;
    assert_eq!(id, hashed_id("n1"));
    assert!(!id.is_unspecified() && hashed_id("n1") != hashed_id("n2"));
    assert_eq!(neighbours(&topology), ["mesh.n2 fd00::2 179 AS64512"]);
}

#[test]
fn no_speaker_and_no_neighbour_while_the_node_is_not_known() {
    let mut topology = two_nodes();
    topology.peers.note("tor".into(), peer(everywhere(), "192.0.2.254"));
    topology.advance();
    assert_eq!(topology.routing().peers.len(), 2);
    for gone in [None, node(&[], &[])] {
        topology.nodes.note("n1".into(), gone);
        topology.advance();
        assert_eq!(topology.routing().speaker, None);
        assert!(topology.routing().peers.is_empty());
    }
}

#[test]
fn peers_apply_by_name_or_label_and_first_come_first_served() {
    let mut topology = two_nodes();
    let rack = |rack| NodeScope::Selected(Selector::equals("rack", rack));
    for (name, scope, address) in [
        ("a-rack", rack("a"), "192.0.2.10"),
        ("b-rack", rack("b"), "192.0.2.11"),
        ("me", NodeScope::Named("n1".into()), "fd00::10"),
        ("other", NodeScope::Named("n2".into()), "fd00::11"),
        ("reflector", everywhere(), "192.0.2.1"),
        ("to-n2", everywhere(), "192.0.2.2"),
        ("twin", everywhere(), "192.0.2.10"),
        ("within", everywhere(), "192.0.2.0/28"),
        ("within-too", everywhere(), "192.0.2.0/28"),
    ] {
        topology.peers.note(name.into(), peer(scope, address));
    }
    topology.advance();
    let expected = ["a-rack 192.0.2.10", "me fd00::10", "to-n2 192.0.2.2", "within 192.0.2.0/28"];
    assert_eq!(neighbours(&topology), expected.map(|peer| format!("{peer} 1790 AS65001")));
    let shadowed: Vec<_> = topology.shadowed().iter().map(|(a, b)| format!("{a}<{b}")).collect();
    assert_eq!(shadowed, ["mesh.n2<to-n2", "reflector<n1", "twin<a-rack", "within-too<within"]);
}

#[test]
fn either_side_may_switch_the_mesh_off() {
    let off = || {
        Some(Arc::new(BgpConfiguration { node_to_node_mesh: Some(false), ..Default::default() }))
    };
    for name in ["default", "node.n1", "node.n2"] {
        let mut topology = two_nodes();
        topology.configurations.note(name.into(), off());
        topology.advance();
        assert!(topology.routing().peers.is_empty(), "{name}");
    }
}

fn ours() -> Origination {
    Origination { origin: Origin::Block, communities: Vec::new() }
}

#[test]
fn communities_follow_the_settings() {
    let mut topology = two_nodes();
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    topology.blocks.note(net("10.65.0.0/26"), Some(()));
    topology.blocks.note(net("10.66.0.0/26"), Some(()));
    topology.advance();
    let set = |cidr: &str, values: &[u16]| PrefixAdvertisement {
        cidr: net(cidr),
        communities: values.iter().map(|value| Community::Standard(65001, *value)).collect(),
    };
    let configuration = BgpConfiguration {
        prefix_advertisements: Some(vec![
            set("10.64.0.0/10", &[1, 2]),
            set("10.65.0.0/26", &[2, 3]),
        ]),
        ..BgpConfiguration::default()
    };
    topology.configurations.note("node.n1".into(), Some(Arc::new(configuration)));
    let changes = topology.advance();
    let carried: Vec<_> =
        topology.routing().originate.values().map(|o| o.communities.len()).collect();
    assert_eq!((changes.len(), carried), (2, vec![3, 2]), "{changes:?}");
}

#[test]
fn changes_come_in_order_and_only_if_something_changed() {
    let mut topology = two_nodes();
    let block = |text: &str| text.parse::<IpNet>().unwrap();
    topology.blocks.note(block("10.65.0.64/26"), Some(()));
    topology.blocks.note(block("10.65.0.0/26"), Some(()));
    let changes = topology.advance();
    let routing = topology.routing().clone();
    assert_eq!(
        changes,
        [
            Change::Speaker(routing.speaker.clone()),
            Change::Peer("mesh.n2".into(), routing.peers.get("mesh.n2").cloned()),
            Change::Originate(block("10.65.0.0/26"), ours()),
            Change::Originate(block("10.65.0.64/26"), ours()),
        ]
    );
    topology.blocks.note(block("10.65.0.0/26"), None);
    topology.blocks.note(block("10.65.0.0/26"), Some(()));
    topology.nodes.note("n2".into(), node(&["192.0.2.2", "fd00::2"], &[("new", "label")]));
    assert_eq!(topology.advance(), []);
    topology.blocks.note(block("10.65.0.0/26"), None);
    topology.nodes.note("n2".into(), None);
    assert_eq!(
        topology.advance(),
        [Change::Peer("mesh.n2".into(), None), Change::Withdraw(block("10.65.0.0/26"))]
    );
}

#[test]
fn a_neighbour_that_cannot_be_what_is_asked_says_so_and_follows_the_as_of_the_node() {
    let mut topology = two_nodes();
    let with = |address: &str, settings: PeerSettings| {
        let peer = peer(everywhere(), address).map(Arc::unwrap_or_clone);
        peer.map(|peer| Arc::new(BgpPeer { settings, ..peer }))
    };
    let client = PeerSettings { reflector_client: true, ..PeerSettings::default() };
    let role = PeerSettings { role: Some(Role::Customer), ..PeerSettings::default() };
    topology.peers.note("client".into(), with("192.0.2.10", client));
    topology.peers.note("role".into(), with("192.0.2.11", role));
    topology.peers.note("twin".into(), peer(everywhere(), "192.0.2.11"));
    topology.advance();
    let unfit = |topology: &Topology, name: &str| topology.routing().peers[name].unfit.clone();
    let remarks = topology.peer_remarks();
    assert_eq!(
        remarks["client"],
        "no session: spec.routeReflectorClient is for internal neighbours (RFC 4456), and the \
         neighbour is of AS 65001, this node of AS 64512: check asNumber here and in \
         BGPConfiguration"
    );
    let twin = "no session: `role` has the same address; remove one of both";
    assert_eq!((remarks.len(), &*remarks["twin"]), (2, twin));
    assert!(unfit(&topology, "client").is_some() && unfit(&topology, "role").is_none());

    let own = BgpConfiguration { as_number: Some(65001), ..BgpConfiguration::default() };
    topology.configurations.note("node.n1".into(), Some(Arc::new(own)));
    topology.advance();
    assert!(unfit(&topology, "client").is_none());
    assert!(unfit(&topology, "role").is_some_and(|why| why.contains("spec.localRole")));
    assert!(!topology.peer_remarks().contains_key("client"));
}
