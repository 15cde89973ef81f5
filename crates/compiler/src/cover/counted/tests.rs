use proptest::prelude::*;

use super::super::tests::net;
use super::*;

fn nets(text: &str) -> Vec<IpNet> {
    text.split_whitespace().map(|net| net.parse().unwrap()).collect()
}

#[test]
fn each_change_touches_its_own_surroundings() {
    for (before, came, went, added, removed) in [
        ("10.0.0.0/24", "10.0.0.0/25", "", "", ""),
        ("10.0.0.0/24", "10.0.0.0/24", "", "", ""),
        ("10.0.0.0/24 10.0.0.0/24", "", "10.0.0.0/24", "", ""),
        ("10.0.0.0/25", "10.0.0.128/25", "", "10.0.0.0/24", "10.0.0.0/25"),
        ("10.0.0.0/25 10.0.1.0/24", "10.0.0.128/25", "", "10.0.0.0/23", "10.0.0.0/25 10.0.1.0/24"),
        (
            "10.0.0.0/26 10.0.0.192/26",
            "10.0.0.0/24",
            "",
            "10.0.0.0/24",
            "10.0.0.0/26 10.0.0.192/26",
        ),
        ("10.0.0.0/24 10.0.0.64/26", "", "10.0.0.0/24", "10.0.0.64/26", "10.0.0.0/24"),
        ("10.0.0.0/24 10.0.0.64/26", "", "10.0.0.64/26", "", ""),
        ("10.0.0.0/24 10.0.0.0/25 10.0.0.128/25", "", "10.0.0.0/24", "", ""),
        (
            "10.0.0.0/25 10.0.0.128/26 10.0.0.192/26",
            "",
            "10.0.0.192/26",
            "10.0.0.0/25 10.0.0.128/26",
            "10.0.0.0/24",
        ),
        ("fd00::/64 fd00::1/128", "", "fd00::/64", "fd00::1/128", "fd00::/64"),
        ("0.0.0.0/0 10.0.0.0/8 ::/0", "", "0.0.0.0/0", "10.0.0.0/8", "0.0.0.0/0"),
        ("0.0.0.0/1", "128.0.0.0/1", "", "0.0.0.0/0", "0.0.0.0/1"),
        ("10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/24"),
        ("10.0.0.0/8 10.1.0.0/16", "", "10.1.0.0/16 10.0.0.0/8", "", "10.0.0.0/8"),
    ] {
        let mut cover = CountedCover::new(nets(before));
        let delta = cover.change(nets(came), nets(went));
        let expected = [added, removed].map(|text| nets(text).into_iter().collect());
        assert_eq!([delta.added, delta.removed], expected, "{before} + {came} - {went}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn changes_end_where_a_new_cover_begins(
        steps in prop::collection::vec(
            (prop::collection::vec(net().prop_map(|net| net.trunc()), 0..4), prop::collection::vec(any::<prop::sample::Index>(), 0..4)),
            1..8,
        )
    ) {
        let mut counted: Vec<IpNet> = Vec::new();
        let mut kept = CountedCover::default();
        for (came, leaving) in steps {
            counted.extend(&came);
            let mut went = Vec::new();
            for index in leaving {
                if !counted.is_empty() {
                    went.push(counted.swap_remove(index.index(counted.len())));
                }
            }
            let before = kept.pieces().clone();
            let delta = kept.change(came, went);
            let fresh = CountedCover::new(counted.iter().copied());
            prop_assert_eq!(kept.pieces(), fresh.pieces());
            prop_assert_eq!(&kept.counts, &fresh.counts);
            let differ = |a: &BTreeSet<IpNet>, b: &BTreeSet<IpNet>| a.difference(b).copied().collect();
            let added: BTreeSet<IpNet> = differ(kept.pieces(), &before);
            let removed: BTreeSet<IpNet> = differ(&before, kept.pieces());
            prop_assert_eq!(delta, CoverDelta { added, removed });
        }
    }
}
