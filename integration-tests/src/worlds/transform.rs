//! Transformations of a world whose effect on every verdict is known without any expected value
//! (§7.1, metamorphic laws).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use brindle_model::NamespacedName;
use brindle_model::packet::{Flow, Origin, Transport};
use brindle_oracle::World;
use k8s_openapi::api::core::v1::PodIP;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta,
};

use super::random::Random;

/// Every list whose order means nothing, shuffled: objects, peers and ports, but not rules, whose
/// order names decisions.
pub fn permuted(world: &World, random: &mut Random) -> World {
    let mut world = world.clone();
    random.shuffle(&mut world.namespaces);
    random.shuffle(&mut world.nodes);
    random.shuffle(&mut world.pods);
    random.shuffle(&mut world.network_policies);
    for spec in specs(&mut world) {
        peer_lists(spec).for_each(|peers| random.shuffle(peers));
        port_lists(spec).for_each(|ports| random.shuffle(ports));
    }
    world
}

/// The rules of every policy, shuffled.
pub fn rules_permuted(world: &World, random: &mut Random) -> World {
    let mut world = world.clone();
    for spec in specs(&mut world) {
        spec.ingress.iter_mut().for_each(|rules| random.shuffle(rules));
        spec.egress.iter_mut().for_each(|rules| random.shuffle(rules));
    }
    world
}

/// Every rule as one rule for each pair of a peer and a port.
pub fn rules_split(world: &World) -> World {
    let mut world = world.clone();
    for spec in specs(&mut world) {
        if let Some(rules) = &mut spec.ingress {
            let split = rules.iter().flat_map(|r| {
                let pairs = pairs(r.from.as_ref(), r.ports.as_ref());
                pairs.into_iter().map(|(from, ports)| NetworkPolicyIngressRule { from, ports })
            });
            *rules = split.collect();
        }
        if let Some(rules) = &mut spec.egress {
            let split = rules.iter().flat_map(|r| {
                let pairs = pairs(r.to.as_ref(), r.ports.as_ref());
                pairs.into_iter().map(|(to, ports)| NetworkPolicyEgressRule { ports, to })
            });
            *rules = split.collect();
        }
    }
    world
}

type Pair = (Option<Vec<NetworkPolicyPeer>>, Option<Vec<NetworkPolicyPort>>);

fn pairs(
    peers: Option<&Vec<NetworkPolicyPeer>>,
    ports: Option<&Vec<NetworkPolicyPort>>,
) -> Vec<Pair> {
    let singles = singles(ports);
    let pairs = self::singles(peers).into_iter();
    pairs.flat_map(|peer| singles.iter().map(move |port| (peer.clone(), port.clone()))).collect()
}

/// Each entry as a list of its own; a list that is missing or empty stays what it is.
fn singles<T: Clone>(list: Option<&Vec<T>>) -> Vec<Option<Vec<T>>> {
    match list {
        Some(list) if !list.is_empty() => list.iter().map(|t| Some(vec![t.clone()])).collect(),
        other => vec![other.cloned()],
    }
}

/// Every selector written another way: equalities as `In`, values doubled and turned around.
pub fn selectors_rewritten(world: &World) -> World {
    let mut world = world.clone();
    for spec in specs(&mut world) {
        selectors(spec).for_each(|(selector, _)| rewrite(selector));
    }
    world
}

fn rewrite(selector: &mut LabelSelector) {
    let equalities = selector.match_labels.take().unwrap_or_default().into_iter();
    let expressions = selector.match_expressions.get_or_insert_default();
    for values in expressions.iter_mut().filter_map(|e| e.values.as_mut()) {
        values.extend(values.clone());
        values.reverse();
    }
    expressions.extend(equalities.map(|(key, value)| LabelSelectorRequirement {
        key,
        operator: "In".to_owned(),
        values: Some(vec![value.clone(), value]),
    }));
    expressions.reverse();
}

/// With a policy in every namespace that would close it, but selects nobody.
pub fn with_idle_policies(world: &World) -> World {
    let mut world = world.clone();
    let nobody = [("app".to_owned(), "nobody".to_owned())].into();
    let spec = NetworkPolicySpec {
        pod_selector: Some(LabelSelector { match_labels: Some(nobody), match_expressions: None }),
        policy_types: Some(["Ingress", "Egress"].map(str::to_owned).into()),
        ..NetworkPolicySpec::default()
    };
    for namespace in super::generate::NAMESPACES {
        let metadata = ObjectMeta {
            name: Some("idle".to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        };
        world.network_policies.push(NetworkPolicy { metadata, spec: Some(spec.clone()) });
    }
    world
}

/// With the rules of another policy appended to each policy that governs by explicit types, so that
/// nothing else changes.
pub fn with_more_rules(world: &World, random: &mut Random) -> World {
    let mut more = world.clone();
    for spec in specs(&mut more) {
        let donor = random.pick(&world.network_policies).spec.clone().unwrap_or_default();
        if spec.policy_types.as_ref().is_some_and(|types| !types.is_empty()) {
            spec.ingress.get_or_insert_default().extend(donor.ingress.unwrap_or_default());
            spec.egress.get_or_insert_default().extend(donor.egress.unwrap_or_default());
        }
    }
    more
}

/// The world with other policies, with its own and those, beside each other; equal names apart.
pub fn joined(world: &World, others: &[NetworkPolicy]) -> [World; 2] {
    let mut others = others.to_vec();
    for name in others.iter_mut().filter_map(|policy| policy.metadata.name.as_mut()) {
        name.push_str("-other");
    }
    let mut other = world.clone();
    other.network_policies = others.clone();
    let mut both = world.clone();
    both.network_policies.extend(others);
    [other, both]
}

/// A name in the renamed world. It keeps the order of names.
pub fn renamed_name(name: &str) -> String {
    format!("{name}-renamed")
}

/// Every namespace and pod under another name.
pub fn renamed(world: &World) -> World {
    let mut world = world.clone();
    let rename = |name: &mut Option<String>| {
        name.iter_mut().for_each(|name| *name = renamed_name(name));
    };
    world.namespaces.iter_mut().for_each(|n| rename(&mut n.metadata.name));
    for pod in &mut world.pods {
        rename(&mut pod.metadata.name);
        rename(&mut pod.metadata.namespace);
    }
    world.network_policies.iter_mut().for_each(|p| rename(&mut p.metadata.namespace));
    for spec in specs(&mut world) {
        for (selector, key) in selectors(spec) {
            let values = selector.match_labels.iter_mut().flat_map(|l| l.get_mut(key));
            let expressions = selector.match_expressions.iter_mut().flatten();
            let expressions =
                expressions.filter(|e| e.key == key).filter_map(|e| e.values.as_mut());
            let named = |value: &&mut String| !value.is_empty() && !value.contains(' ');
            let all = values.chain(expressions.flatten());
            all.filter(named).for_each(|value| *value = renamed_name(value));
        }
    }
    world
}

/// A flow of the renamed world. Pods that have no object keep their names.
pub fn renamed_flow(world: &World, flow: &Flow) -> Flow {
    let known = |id: &NamespacedName| {
        world.pods.iter().any(|p| {
            p.metadata.name.as_deref() == Some(&id.name)
                && p.metadata.namespace.as_deref() == Some(&id.namespace)
        })
    };
    let origin = match &flow.origin {
        Origin::Pod(id) if known(id) => {
            Origin::Pod(NamespacedName::new(renamed_name(&id.namespace), renamed_name(&id.name)))
        }
        other => other.clone(),
    };
    Flow { origin, ..flow.clone() }
}

/// Where IPv4 lies in the mirrored world: its 32 bits follow these 96.
const MIRROR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x6464, 0, 0, 0, 0, 0);

fn mirrored_v4(addr: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(MIRROR) | u128::from(u32::from(addr)))
}

/// The IPv4 half of a world as IPv6; its IPv6 half is gone, or lies where no flow goes.
pub fn mirrored(world: &World) -> World {
    let mut world = world.clone();
    let mirror = |text: &str| text.parse().ok().map(|v4| mirrored_v4(v4).to_string());
    for status in world.pods.iter_mut().filter_map(|p| p.status.as_mut()) {
        let ips = status.pod_ips.take().unwrap_or_default();
        let ips: Vec<_> = ips.iter().filter_map(|ip| mirror(&ip.ip)).collect();
        status.pod_ip = ips.first().cloned();
        status.pod_ips =
            (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
    }
    for status in world.nodes.iter_mut().filter_map(|n| n.status.as_mut()) {
        for address in status.addresses.iter_mut().flatten() {
            address.address = mirror(&address.address).unwrap_or("fd77::77".to_owned());
        }
    }
    for spec in specs(&mut world) {
        for block in peer_lists(spec).flatten().filter_map(|p| p.ip_block.as_mut()) {
            block.cidr = mirrored_cidr(&block.cidr, "fd77::/64");
            for except in block.except.iter_mut().flatten() {
                *except = mirrored_cidr(except, "fd77::/128");
            }
        }
    }
    world
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
        *icmp_type = 128;
    }
    Some(flow)
}

fn specs(world: &mut World) -> impl Iterator<Item = &mut NetworkPolicySpec> {
    world.network_policies.iter_mut().filter_map(|policy| policy.spec.as_mut())
}

fn peer_lists(spec: &mut NetworkPolicySpec) -> impl Iterator<Item = &mut Vec<NetworkPolicyPeer>> {
    let from = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.from.as_mut());
    from.chain(spec.egress.iter_mut().flatten().filter_map(|rule| rule.to.as_mut()))
}

fn port_lists(spec: &mut NetworkPolicySpec) -> impl Iterator<Item = &mut Vec<NetworkPolicyPort>> {
    let ingress = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
    ingress.chain(spec.egress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut()))
}

/// Every selector with the key under which it finds a namespace's name.
fn selectors(
    spec: &mut NetworkPolicySpec,
) -> impl Iterator<Item = (&mut LabelSelector, &'static str)> {
    const OF_POD: &str = "projectcalico.org/namespace";
    const OF_NAMESPACE: &str = "kubernetes.io/metadata.name";
    let subject = spec.pod_selector.as_mut().map(|s| (s, OF_POD));
    let from = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.from.as_mut());
    let to = spec.egress.iter_mut().flatten().filter_map(|rule| rule.to.as_mut());
    let peers = from.chain(to).flatten().flat_map(|peer| {
        let pods = peer.pod_selector.as_mut().map(|s| (s, OF_POD));
        let namespaces = peer.namespace_selector.as_mut().map(|s| (s, OF_NAMESPACE));
        pods.into_iter().chain(namespaces)
    });
    subject.into_iter().chain(peers)
}
