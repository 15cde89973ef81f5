//! Address pools beside each other.

use std::collections::BTreeMap;

use brindle_model::Name;
use ipnet::IpNet;

/// The pools that must be rejected, each with the pool that it overlaps.
///
/// Of two that overlap, the one whose name sorts later is rejected. A rejected pool rejects no
/// other. The result depends on the set of pools alone, not on the order in which they came.
pub fn overlaps(pools: &BTreeMap<Name, IpNet>) -> BTreeMap<Name, Name> {
    let mut accepted: Vec<(&Name, IpNet)> = Vec::new();
    let mut rejected = BTreeMap::new();
    for (name, &cidr) in pools {
        let touches = |other: &IpNet| cidr.contains(other) || other.contains(&cidr);
        match accepted.iter().find(|(_, other)| touches(other)) {
            Some((other, _)) => {
                rejected.insert(name.clone(), (*other).clone());
            }
            None => accepted.push((name, cidr)),
        }
    }
    rejected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_name_gives_way() {
        let pools = [
            ("a", "10.0.0.0/16"),
            ("b", "10.0.0.0/8"),
            ("c", "10.1.0.0/16"),
            ("d", "10.0.5.0/24"),
            ("e", "::/8"),
            ("f", "fd00::/64"),
        ];
        let pools = pools.map(|(name, cidr)| (Name::from(name), cidr.parse().unwrap())).into();
        let expected = [("b", "a"), ("d", "a")].map(|(x, y)| (Name::from(x), Name::from(y)));
        assert_eq!(overlaps(&pools), expected.into());
    }
}
