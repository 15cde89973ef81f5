//! Address blocks minus exceptions as the one disjoint, sorted, minimal list of prefixes (K14).
//!
//! Kernel interval sets refuse or mangle nested prefixes (finding 7), so userspace does the
//! arithmetic, on ranges of integers: exceptions are cut out of their own block, the remains of all
//! blocks are joined where they touch, and each maximal range is split into the fewest prefixes.

mod counted;

use std::net::{Ipv4Addr, Ipv6Addr};

use brindle_model::net::Family;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

pub(crate) use counted::{CountedCover, CoverDelta};

/// First and last address of a range, as integers.
type Range = (u128, u128);

/// The union over all entries of (block minus its exceptions). Exceptions outside their block, or
/// of the other family, take nothing away; host bits are ignored.
pub(crate) fn cover<'a>(entries: impl IntoIterator<Item = (&'a IpNet, &'a [IpNet])>) -> Vec<IpNet> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (block, exceptions) in entries {
        let family = Family::of_net(*block);
        let cut = exceptions.iter().filter(|e| Family::of_net(**e) == family).map(range_of);
        let remains = difference(range_of(block), cut.collect());
        match family {
            Family::V4 => v4.extend(remains),
            Family::V6 => v6.extend(remains),
        }
    }
    let v4 = union(v4).into_iter().flat_map(|(first, last)| {
        let [first, last] = [first, last].map(|a| Ipv4Addr::from_bits(a as u32));
        Ipv4Subnets::new(first, last, 0).map(IpNet::V4)
    });
    let v6 = union(v6).into_iter().flat_map(|(first, last)| {
        Ipv6Subnets::new(Ipv6Addr::from_bits(first), Ipv6Addr::from_bits(last), 0).map(IpNet::V6)
    });
    v4.chain(v6).collect()
}

fn range_of(net: &IpNet) -> Range {
    match net {
        IpNet::V4(net) => (net.network().to_bits().into(), net.broadcast().to_bits().into()),
        IpNet::V6(net) => (net.network().to_bits(), net.broadcast().to_bits()),
    }
}

fn difference((mut first, last): Range, mut cuts: Vec<Range>) -> Vec<Range> {
    cuts.sort_unstable();
    let mut remains = Vec::new();
    for (cut_first, cut_last) in cuts {
        if cut_last < first {
            continue;
        }
        if cut_first > last {
            break;
        }
        if cut_first > first {
            remains.push((first, cut_first - 1));
        }
        if cut_last >= last {
            return remains;
        }
        first = cut_last + 1;
    }
    remains.push((first, last));
    remains
}

fn union(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => {
                previous.1 = previous.1.max(last);
            }
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
