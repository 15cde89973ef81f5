//! Commits of changes end where a fresh load ends, and write only what changed.

use std::collections::{BTreeMap, BTreeSet};

use brindle_dataplane_core::{Backend, Commit, Drift};
use brindle_dataplane_nftables::lower_change;
use brindle_model::ruleset::{Member, Ruleset, RulesetDelta, Set, SetDelta, SetKind};
use proptest::prelude::*;

use crate::load::loaded;
use crate::namespace::{isolated, listing, nft};
use crate::stages::any_ruleset;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_end_where_a_fresh_load_ends(walk in proptest::collection::vec(any_ruleset(), 2..6)) {
        isolated(|| {
            let mut backend = loaded(&walk[0]);
            for step in walk.windows(2) {
                backend.stage(&RulesetDelta::between(&step[0], &step[1]));
                let pending = backend.pending().expect("pending").to_string();
                prop_assert_eq!(&pending, &lower_change(&step[0], &step[1]).to_string());
                backend.commit().expect("commit");
                prop_assert_eq!(backend.resync().expect("resync"), Drift::default());
                prop_assert_eq!(backend.commit().expect("commit"), Commit { writes: 0 });
            }
            let walked = listing();
            let fresh = isolated(|| {
                loaded(&walk[walk.len() - 1]);
                listing()
            });
            for (walked, fresh) in walked.iter().zip(&fresh) {
                prop_assert_eq!(walked.to_string(), fresh.to_string());
            }
            prop_assert_eq!(walked.len(), fresh.len());
            Ok(())
        })?;
    }

    #[test]
    fn the_text_of_a_change_does_the_same(old in any_ruleset(), new in any_ruleset()) {
        let by_text = isolated(|| {
            loaded(&old);
            nft(&lower_change(&old, &new).to_string());
            listing()
        });
        let fresh = isolated(|| {
            loaded(&new);
            listing()
        });
        for (text, fresh) in by_text.iter().zip(&fresh) {
            prop_assert_eq!(text.to_string(), fresh.to_string());
        }
        prop_assert_eq!(by_text.len(), fresh.len());
    }

    /// Several deltas staged before one commit are one change, whatever came and went in between.
    #[test]
    fn what_cancels_out_is_not_written(walk in proptest::collection::vec(any_ruleset(), 2..5)) {
        isolated(|| {
            let mut backend = loaded(&walk[0]);
            let round = walk.iter().chain([&walk[0]]).collect::<Vec<_>>();
            for step in round.windows(2) {
                backend.stage(&RulesetDelta::between(step[0], step[1]));
            }
            prop_assert_eq!(backend.pending().expect("pending").to_string(), String::new());
            prop_assert_eq!(backend.commit().expect("commit"), Commit { writes: 0 });
            Ok(())
        })?;
    }
}

#[test]
fn one_more_member_is_one_element() {
    isolated(|| {
        let ruleset = crate::generate::one_set();
        let mut backend = loaded(&ruleset);
        let pods = |(_, set): &(&_, &Set)| set.def.kind() == SetKind::Addr;
        let id = *ruleset.sets.iter().find(pods).expect("a set of pods").0;
        let member = Member::Addr("192.0.2.7".parse().expect("an address"));
        let (one, none) = (BTreeSet::from([member]), BTreeSet::new());
        for (added, removed) in [(one.clone(), none.clone()), (none, one)] {
            let sets_changed = BTreeMap::from([(id, SetDelta { added, removed })]);
            backend.stage(&RulesetDelta { sets_changed, ..RulesetDelta::default() });
            assert_eq!(backend.commit().expect("commit"), Commit { writes: 1 });
            assert_eq!(backend.resync().expect("resync"), Drift::default());
        }
    });
}

#[test]
fn uninstall_leaves_nothing_and_foreign_tables_alone() {
    isolated(|| {
        nft(crate::faults::FOREIGN);
        let foreign = listing();
        let mut backend = loaded(&crate::generate::one_set());
        assert_ne!(listing(), foreign);
        backend.uninstall().expect("uninstall");
        backend.uninstall().expect("uninstall again");
        assert_eq!(listing(), foreign);
        backend.stage(&RulesetDelta::between(&Ruleset::default(), &Ruleset::default()));
        assert!(backend.commit().expect("commit").writes > 0, "it can be installed again");
    });
}
