use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn nets(text: &str) -> Vec<IpNet> {
    text.split_whitespace().map(|net| net.parse().unwrap()).collect()
}

/// `entries` is `block - except except; block …`.
fn covered(entries: &str) -> Vec<IpNet> {
    let entries: Vec<(IpNet, Vec<IpNet>)> = entries
        .split(';')
        .map(|entry| {
            let (block, except) = entry.split_once('-').unwrap_or((entry, ""));
            (block.trim().parse().unwrap(), nets(except))
        })
        .collect();
    cover(entries.iter().map(|(block, except)| (block, except.as_slice())))
}

#[test]
fn cuts_joins_and_splits() {
    for (entries, expected) in [
        ("10.0.0.0/24", "10.0.0.0/24"),
        ("10.0.0.7/24", "10.0.0.0/24"),
        ("10.0.0.0/24 - 10.0.0.0/24", ""),
        ("10.0.0.0/24 - 10.0.0.0/16", ""),
        ("10.0.0.0/24 - 10.0.1.0/24 fd00::/8", "10.0.0.0/24"),
        ("10.0.0.0/24 - 10.0.0.0/26", "10.0.0.64/26 10.0.0.128/25"),
        (
            "10.0.0.0/24 - 10.0.0.255/32 10.0.0.0/25",
            "10.0.0.128/26 10.0.0.192/27 10.0.0.224/28 10.0.0.240/29 10.0.0.248/30 10.0.0.252/31 10.0.0.254/32",
        ),
        ("10.0.0.0/24 - 10.0.0.64/26 10.0.0.80/28", "10.0.0.0/26 10.0.0.128/25"),
        ("10.0.0.0/25; 10.0.0.128/25", "10.0.0.0/24"),
        ("10.0.0.0/24 - 10.0.0.128/25; 10.0.0.192/26", "10.0.0.0/25 10.0.0.192/26"),
        ("10.0.0.0/24 - 10.0.0.128/25; 10.0.0.0/24", "10.0.0.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("0.0.0.0/0 - 0.0.0.0/1", "128.0.0.0/1"),
        ("0.0.0.0/0 - 128.0.0.0/1", "0.0.0.0/1"),
        ("255.255.255.255/32; 0.0.0.0/32", "0.0.0.0/32 255.255.255.255/32"),
        ("::/0", "::/0"),
        ("::/0 - 8000::/1", "::/1"),
        (
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128; ::/128",
            "::/128 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        ),
        ("fd00::/127; 10.0.0.0/31 - 10.0.0.0/32", "10.0.0.1/32 fd00::/127"),
    ] {
        assert_eq!(covered(entries), nets(expected), "{entries}");
    }
}

/// Prefixes of one small tree at the low end of a family's space, or at its high end, so that
/// nesting, adjacency and the edges of the space all happen.
pub fn net() -> impl Strategy<Value = IpNet> {
    (any::<bool>(), any::<bool>(), 0u8..16, 0u8..5).prop_map(|(v6, high, bits, shorter)| {
        let base = if high { u128::MAX << 4 } else { 0 };
        let bits = base | u128::from(bits);
        match v6 {
            true => IpNet::new(IpAddr::V6(bits.into()), 128 - shorter),
            false => IpNet::new(IpAddr::V4((bits as u32).into()), 32 - shorter),
        }
        .unwrap()
    })
}

/// First and last address of a prefix, and their neighbours outside.
fn boundary(net: &IpNet) -> Vec<IpAddr> {
    let (first, last) = range_of(net);
    let family = Family::of_net(*net);
    [first.checked_sub(1), Some(first), Some(last), last.checked_add(1)]
        .into_iter()
        .flatten()
        .filter_map(|bits| match family {
            Family::V4 => u32::try_from(bits).ok().map(|bits| IpAddr::V4(bits.into())),
            Family::V6 => Some(IpAddr::V6(bits.into())),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn keeps_every_address_and_is_minimal(
        entries in prop::collection::vec((net(), prop::collection::vec(net(), 0..4)), 0..5)
    ) {
        let cover = cover(entries.iter().map(|(block, except)| (block, except.as_slice())));
        let holds = |addr: &IpAddr| entries.iter().any(|(block, except)| {
            block.contains(addr) && !except.iter().any(|e| e.contains(addr))
        });
        let given = entries.iter().flat_map(|(block, except)| except.iter().chain([block]));
        for addr in given.chain(&cover).flat_map(boundary) {
            prop_assert_eq!(cover.iter().any(|net| net.contains(&addr)), holds(&addr), "{}", addr);
        }
        for pair in cover.windows(2) {
            prop_assert!(pair[0] < pair[1] && !pair[0].contains(&pair[1]), "{:?}", pair);
        }
        prop_assert_eq!(&IpNet::aggregate(&cover), &cover);
    }
}
