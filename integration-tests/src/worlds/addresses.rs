//! The addresses of a world, and prefixes from one nested tree around them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::random::Random;

/// The address of the pod with this number within its namespace, of one family.
pub(super) fn of_pod(v6: bool, namespace: u8, pod: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, u16::from(namespace), u16::from(pod)).into()
    } else {
        Ipv4Addr::new(10, 0, namespace, pod).into()
    }
}

/// The address of a node, of one family.
pub(super) fn of_node(v6: bool, node: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, u16::from(node)).into()
    } else {
        Ipv4Addr::new(10, 1, 0, node).into()
    }
}

/// An address that means something somewhere: a pod's, a node's, or one outside.
pub(super) fn any(random: &mut Random, v6: bool) -> IpAddr {
    let (namespace, number) = (random.below(3) as u8, 1 + random.below(4) as u8);
    match random.below(8) {
        0..5 => of_pod(v6, namespace, number),
        5 => of_node(v6, 1 + random.below(2) as u8),
        _ => outside(random, v6),
    }
}

/// An address outside the cluster (RFC 5737, RFC 3849).
pub(super) fn outside(random: &mut Random, v6: bool) -> IpAddr {
    let last = *random.pick(&[0, 1, 127, 128, 255]);
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
    } else {
        Ipv4Addr::new(192, 0, 2, last as u8).into()
    }
}

/// A prefix around an address that means something; host bits are not masked.
pub(super) fn prefix(random: &mut Random) -> IpNet {
    let v6 = random.once_in(3);
    prefix_of(random, v6)
}

/// Likewise, of one family.
pub(super) fn prefix_of(random: &mut Random, v6: bool) -> IpNet {
    let addr = any(random, v6);
    let len = if v6 {
        *random.pick(&[0, 8, 15, 64, 112, 120, 126, 127, 128])
    } else {
        *random.pick(&[0, 7, 8, 15, 16, 22, 24, 28, 30, 31, 32])
    };
    IpNet::new_assert(addr, len)
}

/// A longer prefix inside another, preferably around an address that means something.
pub(super) fn inside(random: &mut Random, outer: IpNet) -> Option<IpNet> {
    let longer = outer.max_prefix_len() - outer.prefix_len();
    if longer == 0 {
        return None;
    }
    let v6 = outer.addr().is_ipv6();
    let addr = (0..8).map(|_| any(random, v6)).find(|a| outer.contains(a));
    let len = outer.prefix_len() + 1 + random.below(longer.into()) as u8;
    IpNet::new(addr.unwrap_or(outer.broadcast()), len).ok()
}

/// First and last address of a prefix, and those one before and one after, where they exist.
pub(super) fn edges(net: IpNet) -> Vec<IpAddr> {
    let (first, last) = (net.network(), net.broadcast());
    [Some(first), Some(last), shifted(first, false), shifted(last, true)]
        .into_iter()
        .flatten()
        .collect()
}

fn shifted(addr: IpAddr, up: bool) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(v4) => {
            let bits = u32::from(v4);
            let bits = if up { bits.checked_add(1) } else { bits.checked_sub(1) };
            bits.map(|b| Ipv4Addr::from(b).into())
        }
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            let bits = if up { bits.checked_add(1) } else { bits.checked_sub(1) };
            bits.map(|b| Ipv6Addr::from(b).into())
        }
    }
}
