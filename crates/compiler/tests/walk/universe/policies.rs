//! Tiers, and policies of every kind and shape.

use brindle_model::Name;
use brindle_model::NamespacedName;
use brindle_model::net::{Family, IcmpMatch, PortRange, Protocol};
use brindle_model::policy::{
    Action, Criteria, End, EndPort, Ends, Order, Peer, Policy, Port, PortSpec, Rule, Tier, TierEnd,
};
use brindle_model::ruleset::Stage;
use brindle_model::selector::Selector;
use brindle_model::verdict::{PolicyId, PolicyKind};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::objects::{net, port_name, protocol, service_name};
use super::selectors::selector;
use super::{NAMESPACES, TIERS};

pub fn tier() -> impl Strategy<Value = Tier> {
    let order = select(vec![Order::from(1), Order::from(1_000_000), Order::LAST]);
    let end = select(&[TierEnd::Drop, TierEnd::NextTier][..]);
    (order, end).prop_map(|(order, end)| Tier { order, end })
}

pub fn id() -> impl Strategy<Value = PolicyId> {
    let namespaced = [
        PolicyKind::KubernetesNetworkPolicy,
        PolicyKind::NetworkPolicy,
        PolicyKind::StagedNetworkPolicy,
    ];
    let global = [
        PolicyKind::ClusterNetworkPolicy,
        PolicyKind::GlobalNetworkPolicy,
        PolicyKind::StagedGlobalNetworkPolicy,
    ];
    let name = || select(&["deny", "web"][..]).prop_map(Name::from);
    let namespace = select(&NAMESPACES[..]).prop_map(|ns| Some(Name::from(ns)));
    prop_oneof![
        3 => (name(), namespace, select(namespaced.to_vec()))
            .prop_map(|(name, namespace, kind)| PolicyId { name, namespace, kind }),
        2 => (name(), select(global.to_vec()))
            .prop_map(|(name, kind)| PolicyId { name, namespace: None, kind }),
    ]
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let tiers = TIERS.into_iter().chain(["missing", "not-there", "kube-admin"]).collect::<Vec<_>>();
    let rules = || weighted(0.7, prop::collection::vec(rule(), 0..3));
    let order = select(vec![0.into(), 1000.into(), 1001.into(), Order::LAST]);
    let stage = prop_oneof![
        4 => Just(Stage::Normal),
        2 => Just(Stage::Forward),
        1 => Just(Stage::PreDnat),
        1 => Just(Stage::Untracked),
    ];
    (select(tiers), order, selector(), stage, rules(), rules()).prop_map(
        |(tier, order, subject, stage, ingress, egress)| Policy {
            tier: tier.into(),
            order,
            subject: subject.into(),
            stage,
            ingress,
            egress,
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let peers = weighted(0.8, prop::collection::vec(peer_entry(), 0..3));
    let ports = weighted(0.6, prop::collection::vec(port_entry(), 0..3));
    let lists = (peers, ports).prop_map(|(peers, ports)| Criteria::Lists {
        peers: peers.map(Into::into),
        ports: ports.map(Into::into),
    });
    let ends = ends().prop_map(|ends| Criteria::Ends(ends.into()));
    let actions = &[Action::Allow, Action::Deny, Action::Pass, Action::Log][..];
    (0u32..3, select(actions), prop_oneof![lists, ends])
        .prop_map(|(index, action, criteria)| Rule { index, action, criteria })
}

fn peer_entry() -> impl Strategy<Value = Peer> {
    prop_oneof![
        3 => selector().prop_map(Peer::Pods),
        1 => (net(), prop::collection::vec(net(), 0..2))
            .prop_map(|(cidr, except)| Peer::IpBlock { cidr, except }),
        1 => select(vec![Selector::All, Selector::equals("rack", "a")]).prop_map(Peer::Nodes),
    ]
}

fn ports() -> impl Strategy<Value = PortRange> {
    (79u16..82, 0u16..3).prop_map(|(first, more)| PortRange { first, last: first + more })
}

fn port_entry() -> impl Strategy<Value = Port> {
    let spec = prop_oneof![Just(PortSpec::Any), ports().prop_map(PortSpec::Range)];
    let port = |(protocol, port)| Port { protocol, port };
    prop_oneof![
        2 => (protocol().prop_map(Some), spec).prop_map(port),
        1 => (weighted(0.7, protocol()), port_name().prop_map(PortSpec::Named)).prop_map(port),
    ]
}

fn ends() -> impl Strategy<Value = Ends> {
    let family = weighted(0.2, select(&Family::ALL[..]));
    let protocol = weighted(0.7, prop_oneof![4 => protocol(), 1 => Just(Protocol::ICMP)]);
    let icmp = || weighted(0.1, Just(IcmpMatch { icmp_type: 8, code: None }));
    (family, protocol, weighted(0.1, self::protocol()), icmp(), icmp(), end(), end()).prop_map(
        |(family, protocol, not_protocol, icmp, not_icmp, source, destination)| Ends {
            family,
            protocol,
            not_protocol,
            icmp,
            not_icmp,
            source,
            destination,
        },
    )
}

/// A Service excludes all other criteria of its end (C26).
fn end() -> impl Strategy<Value = End> {
    let namespace = select(&NAMESPACES[..]);
    let service = (namespace, service_name()).prop_map(|(namespace, name)| End {
        service: Some(NamespacedName::new(namespace, name).into()),
        ..End::default()
    });
    let port =
        || prop_oneof![ports().prop_map(EndPort::Range), port_name().prop_map(EndPort::Named)];
    let nets = || prop::collection::vec(net(), 0..3);
    let criteria = (
        weighted(0.5, selector()),
        weighted(0.2, selector()),
        weighted(0.2, nets()),
        prop_oneof![4 => Just(vec![]), 1 => nets()],
        weighted(0.3, prop::collection::vec(port(), 0..3)),
        prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(port(), 0..3)],
    );
    let criteria =
        criteria.prop_map(|(selector, not_selector, nets, not_nets, ports, not_ports)| End {
            selector: selector.map(Into::into),
            not_selector: not_selector.map(Into::into),
            service: None,
            nets: nets.map(Into::into),
            not_nets: not_nets.into(),
            ports: ports.map(Into::into),
            not_ports: not_ports.into(),
        });
    prop_oneof![3 => criteria, 1 => service]
}
