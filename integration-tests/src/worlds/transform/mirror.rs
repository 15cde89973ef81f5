//! IPv4 as IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use brindle_api::{IcmpFields, PolicyRule};
use brindle_model::packet::{Flow, Transport};
use brindle_oracle::World;
use k8s_openapi::api::core::v1::PodIP;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{kubernetes, rules};

/// Where IPv4 lies in the mirrored world: its 32 bits follow these 96.
const MIRROR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x6464, 0, 0, 0, 0, 0);

fn mirrored_v4(addr: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(MIRROR) | u128::from(u32::from(addr)))
}

/// The IPv4 half of a world as IPv6; its IPv6 half is gone, or lies where no flow goes.
pub fn mirrored(world: &World) -> World {
    let original = world;
    let mut world = world.clone();
    let mirror = |text: &str| text.parse().ok().map(|v4| mirrored_v4(v4).to_string());
    for status in world.pods.iter_mut().filter_map(|p| p.status.as_mut()) {
        let ips = status.pod_ips.take().unwrap_or_default();
        let ips: Vec<_> = ips.iter().filter_map(|ip| mirror(&ip.ip)).collect();
        status.pod_ip = ips.first().cloned();
        status.pod_ips =
            (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
    }
    for endpoint in &mut world.host_endpoints {
        let node =
            original.nodes.iter().find(|n| n.metadata.name.as_ref() == Some(&endpoint.spec.node));
        let own = |text: &String| {
            let status = node.and_then(|node| node.status.as_ref());
            status.iter().flat_map(|s| s.addresses.iter().flatten()).any(|a| a.address == *text)
        };
        for text in &mut endpoint.spec.expected_ips {
            let elsewhere = if own(text) { "fd77::77" } else { "fd77::78" };
            if text.parse::<IpAddr>().is_ok() {
                *text = mirror(text).unwrap_or(elsewhere.to_owned());
            }
        }
    }
    for status in world.nodes.iter_mut().filter_map(|n| n.status.as_mut()) {
        for address in status.addresses.iter_mut().flatten() {
            address.address = mirror(&address.address).unwrap_or("fd77::77".to_owned());
        }
    }
    for slice in &mut world.endpoint_slices {
        let endpoints = slice.endpoints.iter_mut().flat_map(|e| &mut e.addresses);
        match slice.address_type.as_str() {
            "IPv4" => {
                endpoints.for_each(|text| *text = mirror(text).unwrap_or_else(|| text.clone()));
                slice.address_type = "IPv6".to_owned();
            }
            "IPv6" => endpoints.for_each(|text| *text = "fd77::77".to_owned()),
            _ => {}
        }
    }
    for policy in kubernetes(&mut world) {
        for block in policy.peers().flatten().filter_map(|p| p.ip_block.as_mut()) {
            block.cidr = mirrored_cidr(&block.cidr, "fd77::/64");
            for except in block.except.iter_mut().flatten() {
                *except = mirrored_cidr(except, "fd77::/128");
            }
        }
    }
    let sets = world.network_sets.iter_mut().map(|set| &mut set.spec.nets);
    let sets = sets.chain(world.global_network_sets.iter_mut().map(|set| &mut set.spec.nets));
    let cluster = world.cluster_network_policies.iter_mut().flat_map(|p| &mut p.spec.egress);
    let networks = cluster.flat_map(|r| &mut r.to).filter_map(|peer| peer.networks.as_mut());
    for net in sets.chain(networks).flatten() {
        *net = match net.parse() {
            Ok(v4) => mirrored_v4(v4).to_string(),
            Err(_) => mirrored_cidr(net, "fd77::/64"),
        };
    }
    rules(&mut world).for_each(mirror_rule);
    world
}

/// A rule is of one family: one of the other goes where IPv4 was, which no flow is any more.
fn mirror_rule(rule: &mut PolicyRule) {
    let version = &mut rule.ip_version;
    *version = match *version {
        Some(4) => Some(6),
        Some(6) => Some(4),
        other => other,
    };
    let named = |name: &str| IntOrString::String(name.to_owned());
    for protocol in [&mut rule.protocol, &mut rule.not_protocol].into_iter().flatten() {
        *protocol = match &*protocol {
            IntOrString::String(name) if name == "ICMP" => named("ICMPv6"),
            IntOrString::String(name) if name == "ICMPv6" => named("ICMP"),
            other => other.clone(),
        };
    }
    for IcmpFields { icmp_type, .. } in [&mut rule.icmp, &mut rule.not_icmp].into_iter().flatten() {
        *icmp_type = icmp_type.map(|t| u8::try_from(t).map_or(t, |t| mirrored_icmp(t).into()));
    }
    let ends = [&mut rule.source, &mut rule.destination];
    for net in ends.into_iter().flat_map(|end| end.nets.iter_mut().chain(&mut end.not_nets)) {
        let v4: Option<Ipv4Addr> = net.parse().ok();
        *net = match (v4, net.contains(':')) {
            (Some(v4), _) => mirrored_v4(v4).to_string(),
            // The catch-all may not be negated; this is none.
            (None, true) => "198.51.100.0/24".to_owned(),
            (None, false) => mirrored_cidr(net, "198.51.100.0/24"),
        };
    }
}

/// Echo request and unreachable have other numbers; what is nothing in IPv4 must not become
/// neighbour discovery.
fn mirrored_icmp(icmp_type: u8) -> u8 {
    match icmp_type {
        8 => 128,
        3 => 1,
        255 => 255,
        other => 200 + other % 50,
    }
}

/// What is no CIDR stays what it is; an IPv6 one becomes `elsewhere`.
fn mirrored_cidr(text: &str, elsewhere: &str) -> String {
    let Some((addr, len)) = text.split_once('/') else { return text.to_owned() };
    let octets: Vec<u8> = addr.split('.').map_while(|octet| octet.parse().ok()).collect();
    let v4 = <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from);
    match (v4, addr.parse::<Ipv6Addr>(), len.parse::<u8>()) {
        (Some(v4), _, Ok(len)) if len <= 32 => format!("{}/{}", mirrored_v4(v4), len + 96),
        (None, Ok(_), Ok(len)) if len <= 128 => elsewhere.to_owned(),
        _ => text.to_owned(),
    }
}

/// An IPv4 flow of the mirrored world; `None` for IPv6.
pub fn mirrored_flow(flow: &Flow) -> Option<Flow> {
    let mirror = |addr: IpAddr| match addr {
        IpAddr::V4(v4) => Some(IpAddr::from(mirrored_v4(v4))),
        IpAddr::V6(_) => None,
    };
    let mut flow = flow.clone();
    flow.packet.source = mirror(flow.packet.source)?;
    flow.packet.destination = mirror(flow.packet.destination)?;
    if let Transport::Icmp { icmp_type, .. } = &mut flow.packet.transport {
        *icmp_type = mirrored_icmp(*icmp_type);
    }
    Some(flow)
}
