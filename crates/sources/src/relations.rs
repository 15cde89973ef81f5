//! Objects beside each other: pools that overlap, and what stands at the same place.

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

/// Who shares a place with others, each with those others in words (C3, A6). Names decide then, so
/// nothing is rejected; but it may not be what was meant.
pub fn ties<P: Ord>(places: impl IntoIterator<Item = (Name, P)>) -> BTreeMap<Name, String> {
    let mut by_place: BTreeMap<P, Vec<Name>> = BTreeMap::new();
    for (name, place) in places {
        by_place.entry(place).or_default().push(name);
    }
    let crowded = by_place.into_values().filter(|names| names.len() > 1);
    crowded
        .flat_map(|names| {
            let others = |name: &Name| {
                let others = names.iter().filter(|other| *other != name);
                listed(others).unwrap_or_default()
            };
            names.iter().map(|name| (name.clone(), others(name))).collect::<Vec<_>>()
        })
        .collect()
}

/// The first few of some, and how many more there are; `None` if there are none.
pub fn listed<T: ToString>(all: impl Iterator<Item = T>) -> Option<String> {
    const SHOWN: usize = 3;
    let all: Vec<String> = all.map(|one| one.to_string()).collect();
    match all.len().checked_sub(SHOWN) {
        _ if all.is_empty() => None,
        Some(more @ 1..) => Some(format!("{} and {more} more", all[..SHOWN].join(", "))),
        _ => Some(all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_name_the_others() {
        let places =
            [("a", 1), ("b", 2), ("c", 1), ("d", 3), ("e", 3), ("f", 3), ("g", 3), ("h", 3)];
        let found = ties(places.map(|(name, place)| (Name::from(name), place)));
        let found: Vec<_> =
            found.iter().map(|(name, others)| format!("{name}: {others}")).collect();
        assert_eq!(
            found,
            [
                "a: c",
                "c: a",
                "d: e, f, g and 1 more",
                "e: d, f, g and 1 more",
                "f: d, e, g and 1 more",
                "g: d, e, f and 1 more",
                "h: d, e, f and 1 more",
            ]
        );
    }

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
