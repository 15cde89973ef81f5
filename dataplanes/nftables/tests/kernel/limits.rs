//! How much is told.

use std::net::IpAddr;

use brindle_dataplane_core::nflog::Listener;
use brindle_dataplane_nftables::Nftables;
use brindle_model::verdict::{DecisionId, Label};

use crate::generate::{addresses, one_set};
use crate::load::load;
use crate::namespace::isolated;
use crate::node::{Node, udp};
use crate::told::Witness;

/// However many packets are denied, so many are told of; all are counted, and none passes.
#[test]
fn what_is_told_is_limited_and_all_is_counted() {
    isolated(|| {
        for limit in [3, 0] {
            let mut node = Node::build();
            let witness = Witness::listen();
            let telling = Nftables::telling(limit).expect("the kernel has nf_tables");
            let backend = load(telling, &one_set());
            let to: IpAddr = addresses(1)[0];
            let denied: Vec<_> = (0..200).map(|_| udp(addresses(0)[0], to)).collect();
            assert!(node.deliver(0, &denied).is_empty());
            let end = DecisionId::TierEnd { tier: "default".into() };
            if limit > 0 {
                let told = witness.until_forged(&mut node);
                let limit = limit as usize;
                // A burst, and what the limit lets through while the others are sent.
                assert!((limit..100).contains(&told.len()), "{} told", told.len());
                let decision = Label::Decision(end.clone());
                assert!(told.iter().all(|report| report.decision == decision), "{told:?}");
                assert!(told.iter().all(|report| report.input.is_some() && report.hook == 2));
            }
            let hits = backend.counters().read().expect("counters").hits;
            let hit = hits.iter().find(|hit| *hit.decisions == [end.clone()]).expect("counted");
            assert_eq!(hit.packets, 200);
        }
    });
}

/// Without a listener the packets are dropped all the same, and a second one is refused by name.
#[test]
fn one_listener_a_namespace() {
    isolated(|| {
        let first = Witness::listen();
        let error = Listener::spawn(|_| {}).expect_err("taken").to_string();
        assert!(error.contains("9898") && error.contains("another program"), "{error}");
        drop(first);
        Listener::spawn(|_| {}).expect("free again");
    });
}
