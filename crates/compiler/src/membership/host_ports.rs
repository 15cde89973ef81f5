//! Named ports of host endpoints (C20): a set of such tuples holds them beside those of pods. Their
//! addresses come through the network sets that stand for them.

use std::net::IpAddr;

use brindle_model::host::HostEndpoint;
use brindle_model::ruleset::{Member, SetDef};

use crate::hosts::{Hosts, labels};

/// The tuples that all host endpoints give to a set.
pub(super) fn of_all(hosts: &Hosts, def: &SetDef) -> impl Iterator<Item = Member> {
    hosts.addresses_with_ports().flat_map(move |addr| at(hosts, def, addr))
}

/// The tuples that a set has of host endpoints at one address.
pub(super) fn at(hosts: &Hosts, def: &SetDef, addr: IpAddr) -> impl Iterator<Item = Member> {
    hosts.with_ports_at(addr).flat_map(move |endpoint| tuples(endpoint, def, addr))
}

fn tuples(endpoint: &HostEndpoint, def: &SetDef, addr: IpAddr) -> Vec<Member> {
    let SetDef::NamedPort { name, protocol, selector } = def else { return Vec::new() };
    if !selector.matches(&labels(endpoint)) {
        return Vec::new();
    }
    let meant = endpoint.ports.iter().filter(|p| p.name == *name && p.protocol == *protocol);
    meant.map(|p| Member::Port(addr, *protocol, p.port)).collect()
}
