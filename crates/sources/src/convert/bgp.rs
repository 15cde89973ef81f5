//! `BGPConfiguration` and `BGPPeer`.

use std::net::{IpAddr, Ipv4Addr};

use brindle_api::{BgpConfigurationSpec, BgpPeerSpec, DEFAULT_BGP_PORT, Duration, ServiceRange};
use brindle_model::Name;
use brindle_model::routing::{BgpConfiguration, BgpPeer, Drain, NodeScope, PeerAddress};
use brindle_model::selector::Selector;
use ipnet::IpNet;

use super::advertisement;
use super::bgp_peer;
use super::labels::{Scope, selector};
use super::port;
use crate::intern::Interner;
use crate::object::ObjectKey;
use crate::problem::Problems;
use crate::validate::is_dns_subdomain;

/// Longest restart time: the field has 12 bits (RFC 4724 §3).
const MAX_RESTART_TIME: u32 = 4095;
/// Longest long-lived stale time, seconds: 24 bits (RFC 9494 §3.1).
const MAX_LONG_LIVED_STALE_TIME: u32 = 0x00ff_ffff;

/// Converts speaker settings; `None` if any of them is broken, so that a speaker never runs with
/// half of what was asked for.
pub(super) fn configuration(
    key: &ObjectKey,
    spec: &BgpConfigurationSpec,
    problems: &mut Problems,
) -> Option<BgpConfiguration> {
    let before = problems.errors();
    let for_node = key.name.strip_prefix("node.").is_some_and(|node| !node.is_empty());
    if &*key.name != "default" && !for_node {
        let message = format!("`{}` is neither `default` nor `node.<name of a node>`", key.name);
        problems.error("metadata.name", message);
    }
    if spec.router_id.is_some() && !for_node {
        let message = "would give every node the same BGP identifier; set it in `node.<name>`";
        problems.error("spec.routerID", message);
    }
    let configuration = BgpConfiguration {
        as_number: spec.as_number.and_then(|n| as_number(n, "spec.asNumber", problems)),
        router_id: spec
            .router_id
            .as_deref()
            .and_then(|id| identifier(id, "spec.routerID", problems)),
        listen_port: spec.listen_port.and_then(|p| port::number(p, "spec.listenPort", problems)),
        node_to_node_mesh: spec.node_to_node_mesh_enabled,
        restart_time: spec.restart_time.and_then(|t| restart_time(t, problems)),
        long_lived_stale_time: spec
            .long_lived_stale_time
            .and_then(|t| long_lived_stale_time(t, problems)),
        hold_time: spec.hold_time.and_then(|t| hold_time(t, problems)),
        notification_restart: spec.graceful_notification,
        drain: spec.drain.as_deref().and_then(|text| drain(text, problems)),
        cluster_id: spec
            .route_reflector_cluster_id
            .as_deref()
            .and_then(|id| identifier(id, "spec.routeReflectorClusterID", problems)),
        service_cluster_ips: ranges(&spec.service_cluster_ips, "spec.serviceClusterIPs", problems),
        service_external_ips: ranges(
            &spec.service_external_ips,
            "spec.serviceExternalIPs",
            problems,
        ),
        service_load_balancer_ips: ranges(
            &spec.service_load_balancer_ips,
            "spec.serviceLoadBalancerIPs",
            problems,
        ),
        service_load_balancer_aggregation: spec
            .service_load_balancer_aggregation
            .as_deref()
            .and_then(|text| advertisement::aggregation(text, problems)),
        prefix_advertisements: advertisement::prefix_advertisements(spec, problems),
    };
    (problems.errors() == before).then_some(configuration)
}

fn ranges(
    written: &Option<Vec<ServiceRange>>,
    at: &str,
    problems: &mut Problems,
) -> Option<Vec<IpNet>> {
    Some(advertisement::ranges(written.as_deref()?, at, problems))
}

/// Converts a neighbour; `None` if any of its fields is broken.
pub(super) fn peer(
    spec: &BgpPeerSpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<BgpPeer> {
    let nodes = node_scope(spec, names, problems);
    let address = peer_address(spec, problems);
    let port = match spec.peer_port {
        Some(number) => port::number(number, "spec.peerPort", problems),
        None => Some(DEFAULT_BGP_PORT),
    };
    let as_number = as_number(spec.as_number, "spec.asNumber", problems);
    let filters = filters(&spec.filters, names, problems);
    let settings = bgp_peer::settings(spec, problems);
    Some(BgpPeer {
        nodes: nodes?,
        address: address?,
        port: port?,
        as_number: as_number?,
        passive: spec.passive,
        settings: settings?,
        filters: filters?,
    })
}

/// Most filters of a neighbour.
const MAX_FILTERS: usize = 16;

fn filters(names: &[String], pool: &mut Interner, problems: &mut Problems) -> Option<Vec<Name>> {
    let before = problems.errors();
    if names.len() > MAX_FILTERS {
        problems.error("spec.filters", format!("are {}, more than {MAX_FILTERS}", names.len()));
    }
    for (i, name) in names.iter().enumerate().filter(|(_, name)| !is_dns_subdomain(name)) {
        problems.error(format!("spec.filters[{i}]"), format!("`{name}` is not a valid name"));
    }
    (problems.errors() == before).then(|| names.iter().map(|name| pool.intern(name)).collect())
}

fn node_scope(
    spec: &BgpPeerSpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<NodeScope> {
    match (&spec.node, &spec.node_selector) {
        (Some(_), Some(_)) => {
            problems.error("spec.node", "node and nodeSelector exclude each other");
            None
        }
        (Some(node), None) if is_dns_subdomain(node) => Some(NodeScope::Named(names.intern(node))),
        (Some(node), None) => {
            problems.error("spec.node", format!("`{node}` is not a valid node name"));
            None
        }
        (None, Some(written)) => {
            selector(written, Scope::Node, "spec.nodeSelector", names, problems)
                .map(NodeScope::Selected)
        }
        (None, None) => Some(NodeScope::Selected(Selector::All)),
    }
}

/// Neighbours of a range unless said.
const MAX_PEERS: i32 = 100;

fn peer_address(spec: &BgpPeerSpec, problems: &mut Problems) -> Option<PeerAddress> {
    if spec.max_peers.is_some() && spec.peer_range.is_none() {
        problems.error("spec.maxPeers", "needs peerRange");
        return None;
    }
    match (&spec.peer_ip, &spec.peer_range) {
        (Some(address), None) => one_address(address, problems).map(PeerAddress::One),
        (None, Some(range)) => peer_range(range, spec, problems),
        (Some(_), Some(_)) => {
            problems.error("spec.peerRange", "peerIP and peerRange exclude each other");
            None
        }
        (None, None) => {
            problems.error("spec.peerIP", "is missing; a neighbour has it or peerRange");
            None
        }
    }
}

fn peer_range(text: &str, spec: &BgpPeerSpec, problems: &mut Problems) -> Option<PeerAddress> {
    let before = problems.errors();
    if spec.peer_port.is_some() {
        let message = "is where to connect to, and nobody connects to neighbours of a peerRange";
        problems.error("spec.peerPort", message);
    }
    let most = spec.max_peers.unwrap_or(MAX_PEERS);
    let max_peers = u16::try_from(most).ok().filter(|most| *most > 0);
    if max_peers.is_none() {
        let message = format!("{most} is not a number of neighbours: 1 to {} are", u16::MAX);
        problems.error("spec.maxPeers", message);
    }
    let net = advertisement::unicast_range(text, "spec.peerRange", problems)?;
    (problems.errors() == before).then_some(PeerAddress::Range { net, max_peers: max_peers? })
}

fn one_address(text: &str, problems: &mut Problems) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    match address {
        Some(a) if !a.is_unspecified() && !a.is_multicast() => Some(a),
        _ => {
            let message = format!("`{text}` is not the address of a neighbour");
            problems.error("spec.peerIP", message);
            None
        }
    }
}

/// Reads an AS number that may appear in an OPEN as somebody's own: not 0 (RFC 7607), not 23456
/// (RFC 6793 §9), not 65535 or 4294967295 (RFC 7300).
pub(super) fn as_number(number: i64, at: &str, problems: &mut Problems) -> Option<u32> {
    match u32::try_from(number) {
        Ok(n) if !matches!(n, 0 | 23456 | 65535 | u32::MAX) => Some(n),
        _ => {
            problems.error(at, format!("{number} cannot be the number of an AS"));
            None
        }
    }
}

fn identifier(text: &str, at: &str, problems: &mut Problems) -> Option<Ipv4Addr> {
    let id = text.parse::<Ipv4Addr>().ok().filter(|id| !id.is_unspecified());
    if id.is_none() {
        let message = format!("`{text}` is not a BGP identifier such as 192.0.2.1");
        problems.error(at, message);
    }
    id
}

fn restart_time(time: Duration, problems: &mut Problems) -> Option<u16> {
    if time.seconds() > MAX_RESTART_TIME {
        let message = format!("{time} is more than {MAX_RESTART_TIME}s");
        problems.error("spec.restartTime", message);
        return None;
    }
    u16::try_from(time.seconds()).ok()
}

fn long_lived_stale_time(time: Duration, problems: &mut Problems) -> Option<u32> {
    if time.seconds() > MAX_LONG_LIVED_STALE_TIME {
        let message = format!("{time} is more than {MAX_LONG_LIVED_STALE_TIME}s");
        problems.error("spec.longLivedStaleTime", message);
        return None;
    }
    Some(time.seconds())
}

fn drain(text: &str, problems: &mut Problems) -> Option<Drain> {
    match text {
        "None" => Some(Drain::No),
        "GracefulShutdown" => Some(Drain::GracefulShutdown),
        "Withdraw" => Some(Drain::Withdraw),
        other => {
            let message = format!("`{other}` is not one of None, GracefulShutdown, Withdraw");
            problems.error("spec.drain", message);
            None
        }
    }
}

fn hold_time(time: Duration, problems: &mut Problems) -> Option<u16> {
    match u16::try_from(time.seconds()) {
        Ok(seconds) if !matches!(seconds, 1 | 2) => Some(seconds),
        _ => {
            problems.error("spec.holdTime", format!("{time} is neither 0s nor 3s to 65535s"));
            None
        }
    }
}
