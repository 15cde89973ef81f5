//! Real packets: the kernel judges them as the evaluator of the model does, with both variants.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use brindle_dataplane_core::Backend;
use brindle_dataplane_iptables::{Iptables, Options, Variant};
use brindle_model::net::Family;
use brindle_model::packet::{Packet, Transport};
use brindle_model::ruleset::{Program, Ruleset, RulesetDelta, Stage};
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::generate::{addresses, endpoint_id, one_set, ruleset};
use crate::namespace::isolated;
use crate::node::{Node, admitted, packet, udp};
use crate::told::{Expected, Witness};

/// A backend that has loaded a ruleset.
pub fn loaded(variant: Variant, ruleset: &Ruleset) -> Iptables {
    load(variant, Options { drops_per_second: 10_000, ..Options::default() }, ruleset)
}

/// As [`loaded`].
pub fn load(variant: Variant, options: Options, ruleset: &Ruleset) -> Iptables {
    let mut backend = Iptables::open(variant, options).expect("the programs are there");
    backend.resync().expect("resync");
    backend.stage(&RulesetDelta::between(&Ruleset::default(), ruleset));
    backend.commit().expect("commit");
    backend
}

/// Random rulesets with all criteria, 150 packets each.
fn judges_as_the_evaluator(variant: Variant) {
    let config = ProptestConfig {
        cases: 40,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rulesets = proptest::collection::vec(ruleset(), 3);
    let packets = proptest::collection::vec(packet(), 150);
    let (passed, sent) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let judged = TestRunner::new(config).run(&(rulesets, packets), |(rulesets, packets)| {
        isolated(|| {
            for ruleset in &rulesets {
                // Each ruleset has a node of its own, so that no flow is known.
                let mut node = Node::build();
                let witness = Witness::listen();
                let backend = loaded(variant, ruleset);
                let arrived = node.deliver(0, &packets);
                passed.fetch_add(arrived.len(), Ordering::Relaxed);
                sent.fetch_add(packets.len(), Ordering::Relaxed);
                for (at, packet) in packets.iter().enumerate() {
                    let expected = admitted(ruleset, 0, packet);
                    prop_assert_eq!(arrived.contains(&at), expected, "{:?}", packet);
                }
                let told = witness.until_forged(&mut node);
                let counted = backend.counters().read().expect("counters");
                prop_assert_eq!(counted.left_out, 0);
                Expected::of(ruleset, 0, &packets).compare(&told, &counted.hits)?;
            }
            Ok(())
        })
    });
    judged.unwrap_or_else(|e| panic!("{e}"));
    let (passed, sent) = (passed.into_inner(), sent.into_inner());
    let share = passed as f64 / sent as f64;
    assert!((0.1..0.9).contains(&share), "{passed} of {sent} passed: the test shows nothing");
}

#[test]
fn iptables_nft_judges_as_the_evaluator_does() {
    judges_as_the_evaluator(Variant::Nft);
}

#[test]
fn iptables_legacy_judges_as_the_evaluator_does() {
    judges_as_the_evaluator(Variant::Legacy);
}

/// Two pods without policy.
pub fn open_ruleset() -> Ruleset {
    let mut ruleset = one_set();
    let open = |direction| {
        let end = (Verdict::Allow, DecisionId::Profile { name: "kns.ns".into() });
        Program { stage: Stage::Normal, direction, steps: Vec::new().into(), end }
    };
    let [ingress, egress] = [Direction::Ingress, Direction::Egress].map(|direction| {
        let program = open(direction);
        let id = program.id();
        ruleset.programs.insert(id, program.into());
        id
    });
    for endpoint in ruleset.endpoints.values_mut() {
        let mut new = (**endpoint).clone();
        (new.ingress, new.egress) = (ingress, egress);
        *endpoint = new.into();
    }
    ruleset
}

/// C41: with every policy open, a pod's packets pass from its own addresses and no others, and the
/// replies of an admitted flow pass without a rule (K31).
#[test]
fn a_forged_source_is_dropped_and_a_reply_passes() {
    for variant in Variant::ALL {
        isolated(|| {
            let mut node = Node::build();
            let mut ruleset = open_ruleset();
            // Nobody may begin a flow to the first pod.
            let closed = Program::closed(Direction::Ingress);
            let endpoint = ruleset.endpoints.get_mut(&endpoint_id(0)).expect("known");
            let mut new = (**endpoint).clone();
            new.ingress = closed.id();
            *endpoint = new.into();
            ruleset.programs.insert(closed.id(), closed.into());
            let _backend = loaded(variant, &ruleset);
            for family in Family::ALL {
                let of = |pod| addresses(pod).into_iter().find(|a| Family::of(*a) == family);
                let [own, other, foreign] = [0, 1, 2].map(|pod| of(pod).expect("both families"));
                let transport = Transport::Udp { source: 80, destination: 7 };
                let reply = Packet { source: other, destination: own, transport };
                assert!(node.deliver(1, &[reply]).is_empty(), "{variant} {family:?}: no flow yet");
                let sent = [udp(own, other), udp(other, other), udp(foreign, other)];
                assert_eq!(node.deliver(0, &sent), BTreeSet::from([0]), "{variant} {family:?}");
                assert_eq!(node.deliver(1, &[reply]).len(), 1, "{variant} {family:?}: a reply");
                // No more does a pod speak in a known flow of another.
                assert!(node.deliver(0, &[reply]).is_empty(), "{variant} {family:?}: forged");
            }
        });
    }
}

/// K37: an interface with the pod prefix that no endpoint claims is closed in both directions.
#[test]
fn an_unknown_pod_is_closed() {
    for variant in Variant::ALL {
        isolated(|| {
            let mut node = Node::build();
            let open = open_ruleset();
            let mut backend = loaded(variant, &open);
            let both = |from: usize, source| -> Vec<Packet> {
                let pairs = addresses(from).into_iter().zip(addresses(1 - from));
                let transport = Transport::Udp { source, destination: 80 };
                pairs.map(|(source, to)| Packet { source, destination: to, transport }).collect()
            };
            let mut one = open.clone();
            one.endpoints.remove(&endpoint_id(1));
            backend.stage(&RulesetDelta::between(&open, &one));
            backend.commit().expect("commit");
            assert!(node.deliver(0, &both(0, 1)).is_empty(), "{variant}: to an unknown pod");
            assert!(node.deliver(1, &both(1, 2)).is_empty(), "{variant}: from an unknown pod");
            backend.stage(&RulesetDelta::between(&one, &open));
            backend.commit().expect("commit");
            assert_eq!(node.deliver(0, &both(0, 3)).len(), 6, "{variant}: known again");
        });
    }
}
