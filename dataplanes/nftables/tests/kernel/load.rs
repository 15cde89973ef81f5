//! What the encoder writes is what the text says, and what is read back is what was written.

use brindle_dataplane_core::{Backend, Commit, Drift};
use brindle_dataplane_nftables::{Nftables, lower};
use brindle_model::ruleset::{Ruleset, RulesetDelta};
use proptest::prelude::*;

use crate::namespace::{isolated, listing, nft};
use crate::stages::any_ruleset;

/// A backend that has loaded a ruleset.
pub fn loaded(ruleset: &Ruleset) -> Nftables {
    load(Nftables::open().expect("the kernel has nf_tables"), ruleset)
}

/// Loads a ruleset.
pub fn load(mut backend: Nftables, ruleset: &Ruleset) -> Nftables {
    backend.resync().expect("resync");
    backend.stage(&RulesetDelta::between(&Ruleset::default(), ruleset));
    backend.commit().expect("commit");
    backend
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn netlink_and_text_load_the_same_table(ruleset in any_ruleset()) {
        let by_netlink = isolated(|| {
            loaded(&ruleset);
            listing()
        });
        let by_text = isolated(|| {
            nft(&lower(&ruleset).to_string());
            listing()
        });
        for (netlink, text) in by_netlink.iter().zip(&by_text) {
            prop_assert_eq!(netlink.to_string(), text.to_string());
        }
        prop_assert_eq!(by_netlink.len(), by_text.len());
    }

    #[test]
    fn a_restarted_agent_writes_nothing(ruleset in any_ruleset()) {
        isolated(|| {
            loaded(&ruleset);
            let mut second = Nftables::open().expect("open");
            prop_assert_eq!(second.resync().expect("resync"), Drift::default());
            second.stage(&RulesetDelta::between(&Ruleset::default(), &ruleset));
            let pending = second.pending().expect("pending").to_string();
            prop_assert_eq!(pending, String::new());
            prop_assert_eq!(second.commit().expect("commit"), Commit { writes: 0 });
            Ok(())
        })?;
    }
}
