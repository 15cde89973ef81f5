//! Objects that are not policies.

use std::net::IpAddr;

use brindle_model::cluster::{
    Attachment, EndpointId, EndpointSlice, NamedPort, Namespace, NetworkSet, NetworkSetId, Node,
    Pod, Service, ServiceAccount,
};
use brindle_model::host::{
    DEFAULT_ALLOW_PROFILE, Failsafe, Failsafes, HostEndpoint, HostInterfaces, HostLink,
};
use brindle_model::labels::{Labels, ORCHESTRATOR, ORCHESTRATOR_LABEL};
use brindle_model::net::Protocol;
use brindle_model::routing::advertisement::PrefixAdvertisement;
use brindle_model::routing::filter::{BgpFilter, Community, FilterAction, FilterRule};
use brindle_model::routing::{BgpConfiguration, BgpPeer, NodeScope, PeerAddress, PeerSettings};
use brindle_model::selector::Selector;
use brindle_model::settings::NodeOptions;
use brindle_model::{Name, NamespacedName};
use ipnet::IpNet;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{ACCOUNTS, ADDRESSES, NAMESPACES, NETS, NODE_ADDRESSES, PODS, VALUES};

fn labels(keys: &'static [&'static str]) -> impl Strategy<Value = Labels> {
    prop::collection::vec(weighted(0.6, select(&VALUES[..])), keys.len()).prop_map(|values| {
        keys.iter().zip(values).filter_map(|(key, value)| Some((*key, value?))).collect()
    })
}

fn addresses(of: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<IpAddr>> {
    subsequence(of, 0..=most).prop_map(|a| a.iter().map(|a| a.parse().unwrap()).collect())
}

pub fn namespace() -> impl Strategy<Value = Namespace> {
    labels(&["team"]).prop_map(|labels| Namespace { labels })
}

pub fn pod() -> impl Strategy<Value = Pod> {
    let port = (port_name(), protocol(), select(&[80, 8080, 65535][..]));
    let port = port.prop_map(|(name, protocol, port)| NamedPort { name, protocol, port });
    let account = weighted(0.6, select(&ACCOUNTS[..]).prop_map(Name::from));
    let ports = prop::collection::vec(port, 0..3);
    (own_labels(), addresses(&ADDRESSES, 2), ports, account).prop_map(
        |(labels, addresses, ports, service_account)| Pod {
            labels,
            addresses: addresses.into(),
            ports: ports.into(),
            service_account,
            ..Pod::default()
        },
    )
}

pub fn host_endpoint() -> impl Strategy<Value = HostEndpoint> {
    let interfaces = prop_oneof![
        2 => select(&["eth0", "eth1"][..]).prop_map(|name| HostInterfaces::Named(name.into())),
        1 => Just(HostInterfaces::ByAddress),
        1 => Just(HostInterfaces::All),
    ];
    let profiles = select(vec![vec![], vec![DEFAULT_ALLOW_PROFILE], vec!["missing"]]);
    let port = (port_name(), protocol(), select(&[80, 8080][..]));
    let port = port.prop_map(|(name, protocol, port)| NamedPort { name, protocol, port });
    // One may expect what a pod claims.
    let expected = (addresses(&NODE_ADDRESSES, 2), addresses(&ADDRESSES, 1));
    let ports = prop::collection::vec(port, 0..3);
    let node = select(&["n1", "n1", "n2"][..]);
    (node, interfaces, expected, own_labels(), profiles, ports).prop_map(
        |(node, interfaces, expected, labels, profiles, ports)| HostEndpoint {
            node: node.into(),
            interfaces,
            expected_addresses: [expected.0, expected.1].concat(),
            labels,
            profiles: profiles.into_iter().map(Name::from).collect(),
            ports,
        },
    )
}

pub fn host_link() -> impl Strategy<Value = HostLink> {
    addresses(&NODE_ADDRESSES, 2).prop_map(|addresses| HostLink { addresses })
}

pub fn port_name() -> impl Strategy<Value = Name> {
    select(&["http", "dns"][..]).prop_map(Name::from)
}

pub fn protocol() -> impl Strategy<Value = Protocol> {
    select(&[Protocol::TCP, Protocol::UDP, Protocol::SCTP][..])
}

pub fn endpoint_id() -> impl Strategy<Value = EndpointId> {
    let key = (select(&NAMESPACES[..]), select(&PODS[..]), select(&["c1", "c2"][..]));
    key.prop_map(|(namespace, pod, container)| EndpointId {
        pod: NamespacedName::new(namespace, pod),
        container_id: container.into(),
        interface: "eth0".into(),
    })
}

pub fn attachment() -> impl Strategy<Value = Attachment> {
    let interface = select(&["brd1", "brd2", "brd3"][..]);
    (interface, addresses(&ADDRESSES, 2)).prop_map(|(host_interface, addresses)| Attachment {
        host_interface: host_interface.into(),
        addresses,
    })
}

/// Labels of a pod or network set; now and then one that claims to be a system label.
fn own_labels() -> impl Strategy<Value = Labels> {
    (labels(&["app", "role"]), weighted(0.1, Just(()))).prop_map(|(labels, pretender)| {
        let own = labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        let system = pretender.map(|()| (ORCHESTRATOR_LABEL.into(), ORCHESTRATOR.into()));
        own.chain(system).collect()
    })
}

pub fn service_account() -> impl Strategy<Value = ServiceAccount> {
    labels(&["team"]).prop_map(|labels| ServiceAccount { labels })
}

pub fn network_set_id() -> impl Strategy<Value = NetworkSetId> {
    let namespace = weighted(0.6, select(&NAMESPACES[..]).prop_map(Name::from));
    (namespace, select(&["n", "m"][..]))
        .prop_map(|(namespace, name)| NetworkSetId { namespace, name: name.into() })
}

pub fn network_set() -> impl Strategy<Value = NetworkSet> {
    (own_labels(), prop::collection::vec(net(), 0..4), incomplete())
        .prop_map(|(labels, nets, incomplete)| NetworkSet { labels, nets, incomplete })
}

/// Few are: one is enough to put everything in doubt that picks it.
fn incomplete() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.15)
}

pub fn net() -> impl Strategy<Value = IpNet> {
    select(&NETS[..]).prop_map(|net| net.parse().unwrap())
}

pub fn service_name() -> impl Strategy<Value = Name> {
    select(&["api", "db"][..]).prop_map(Name::from)
}

pub fn slice() -> impl Strategy<Value = EndpointSlice> {
    let port = (protocol(), select(&[80, 8080][..]));
    let ports = prop::collection::vec(port, 1..3);
    let ready_on = subsequence(&["n1", "n2"][..], 0..=2);
    (service_name(), addresses(&ADDRESSES, 3), ports, incomplete(), ready_on).prop_map(
        |(service, addresses, ports, incomplete, ready_on)| EndpointSlice {
            service,
            addresses,
            ports,
            incomplete,
            ready_on: ready_on.into_iter().map(Name::from).collect(),
        },
    )
}

pub fn service() -> impl Strategy<Value = Service> {
    let addresses = || addresses(&ADDRESSES, 2);
    let local = any::<bool>;
    (addresses(), addresses(), addresses(), local(), local()).prop_map(
        |(cluster_ips, external_ips, load_balancer_ips, internal_local, external_local)| Service {
            cluster_ips,
            external_ips,
            load_balancer_ips,
            internal_local,
            external_local,
        },
    )
}

pub fn node() -> impl Strategy<Value = Node> {
    const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
    let addresses = || addresses(&NODE_ADDRESSES, 2);
    let labels = prop_oneof![3 => labels(&["rack"]).boxed(), 1 => labels(&[EXCLUDED]).boxed()];
    (labels, addresses(), addresses(), incomplete()).prop_map(
        |(labels, addresses, all_addresses, incomplete)| Node {
            labels,
            addresses,
            all_addresses,
            incomplete,
        },
    )
}

pub fn configuration() -> impl Strategy<Value = BgpConfiguration> {
    let ranges = || weighted(0.6, prop::collection::vec(net(), 0..3));
    let flag = || weighted(0.3, any::<bool>());
    let communities = weighted(0.4, net()).prop_map(|cidr| {
        let communities = vec![Community::Standard(65001, 1)];
        cidr.map(|cidr| vec![PrefixAdvertisement { cidr, communities }])
    });
    let ranges = (ranges(), ranges(), ranges(), flag(), communities);
    (weighted(0.5, 64512u32..64514), flag(), ranges).prop_map(|(as_number, mesh, ranges)| {
        let (cluster, external, load_balancer, aggregated, communities) = ranges;
        BgpConfiguration {
            as_number,
            node_to_node_mesh: mesh,
            service_cluster_ips: cluster,
            service_external_ips: external,
            service_load_balancer_ips: load_balancer,
            service_load_balancer_aggregation: aggregated,
            prefix_advertisements: communities,
            ..BgpConfiguration::default()
        }
    })
}

pub fn peer() -> impl Strategy<Value = BgpPeer> {
    let scope = prop_oneof![
        select(&["n1", "n2"][..]).prop_map(|name| NodeScope::Named(name.into())),
        select(&VALUES[..]).prop_map(|v| NodeScope::Selected(Selector::equals("rack", v))),
        Just(NodeScope::Selected(Selector::All)),
    ];
    let address = select(&["192.0.2.1", "192.0.2.2", "192.0.2.254", "192.0.2.0/24"][..]);
    let filters = prop::collection::vec(select(&["f", "g"][..]), 0..3);
    // Whether it is internal, and so may be a client, hangs on the settings of the node.
    let kind = (select(&[65000, 64512][..]), any::<bool>());
    (scope, address, filters, kind).prop_map(|(nodes, address, filters, kind)| {
        let (as_number, reflector_client) = kind;
        BgpPeer {
            filters: filters.into_iter().map(Name::from).collect(),
            nodes,
            address: match address.parse() {
                Ok(net) => PeerAddress::Range { net, max_peers: 5 },
                Err(_) => PeerAddress::One(address.parse().unwrap()),
            },
            port: 179,
            as_number,
            passive: false,
            settings: PeerSettings { reflector_client, ..PeerSettings::default() },
        }
    })
}

pub fn filter() -> impl Strategy<Value = BgpFilter> {
    prop::collection::vec(1u32..3, 0..2).prop_map(|as_path_prefix| {
        let rule = FilterRule {
            prefix: None,
            learned: false,
            peer_type: None,
            communities: Vec::new(),
            as_path_prefix,
            as_path_contains: Vec::new(),
            as_path_length: None,
            origin_as: None,
            next_hop: None,
            action: FilterAction::Reject,
        };
        BgpFilter { import_v4: vec![rule], ..BgpFilter::default() }
    })
}

pub fn node_options() -> impl Strategy<Value = NodeOptions> {
    (prop::bool::ANY, prop::bool::ANY).prop_map(|(drops_pods, few)| {
        let ssh = Failsafe::anywhere(Protocol::TCP, 22);
        let few = few.then(|| Failsafes { inbound: vec![ssh], outbound: Vec::new() });
        NodeOptions { failsafes: few.unwrap_or_default(), drops_pods }
    })
}
