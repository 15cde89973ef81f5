//! The pure half: goldens, and the wire format against itself.

use std::path::Path;

use brindle_model::Name;
use brindle_model::cluster::link_group;
use brindle_model::ruleset::{Endpoint, Ruleset, RulesetDelta};
use brindle_model::verdict::{PolicyId, PolicyKind};
use proptest::prelude::*;

use crate::desired::Desired;
use crate::generate::{one_set, ruleset};
use crate::lower::Recording;
use crate::netlink::{Snapshot, classify, decode, encode};
use crate::program::{Command, Program};
use crate::{SocketError, lower, lower_change};

/// Compares with a file of `tests/golden`; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, program: &Program) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = program.to_string();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("write the golden file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} differs; UPDATE_GOLDEN=1 writes it");
}

#[test]
fn goldens() {
    let empty = Ruleset::default();
    golden("empty.nft", &lower(&empty));
    golden("two-pods.nft", &lower(&one_set()));
    let mut fewer = one_set();
    fewer.endpoints.pop_first();
    golden("pod-removed.nft", &lower_change(&one_set(), &fewer));
    golden("all-removed.nft", &lower_change(&one_set(), &empty));
    let mut one_revoked = desired(&one_set());
    one_revoked.fresh();
    let known = one_revoked.settle(None);
    one_revoked.stop_revoked(true);
    golden("one-revoked.nft", &one_revoked.update(&known));
}

/// The kernel cannot tell them apart: each could use the other's addresses.
#[test]
fn two_interfaces_of_one_group_are_closed() {
    let names = ["brd000000008a89", "brd00000000b5d0"];
    assert_eq!(link_group(names[0]), link_group(names[1]));
    let mut ruleset = one_set();
    for (endpoint, name) in ruleset.endpoints.values_mut().zip(names) {
        *endpoint = Endpoint { host_interface: name.into(), ..(**endpoint).clone() }.into();
    }
    let element = |ruleset: &Ruleset| {
        let text = lower(ruleset).to_string();
        ["egress", "ingress", "own-sources", "known-flows"]
            .map(|set| text.contains(&format!("add element inet brindle {set}")))
    };
    assert_eq!(element(&ruleset), [false; 4]);
    ruleset.endpoints.pop_first();
    assert_eq!(element(&ruleset), [true; 4], "alone it is open");
}

/// One name under every kind, namespaced or not: no two policies share a chain.
#[test]
fn every_policy_has_a_chain_of_its_own() {
    let mut ruleset = one_set();
    let body = ruleset.policies.values().next().expect("a policy").clone();
    let mut policies = Vec::new();
    for kind in PolicyKind::ALL {
        for namespace in [None, Some("ingress"), Some("a/b"), Some("a")] {
            for name in ["ingress", "one", "b/one", &"x".repeat(253)] {
                let namespace = namespace.map(Name::from);
                policies.push(PolicyId { name: name.into(), namespace, kind });
            }
        }
    }
    ruleset.policies.extend(policies.iter().map(|id| (id.clone(), body.clone())));
    for program in ruleset.programs.values_mut() {
        let mut new = (**program).clone();
        new.steps[0].policies.extend(policies.iter().cloned());
        *program = new.into();
    }
    let chains: Vec<_> = lower(&ruleset)
        .commands
        .into_iter()
        .filter_map(|command| match command {
            Command::AddChain { name, comment, .. } => Some((name, comment)),
            _ => None,
        })
        .collect();
    let ends = |name: &str| name.ends_with("/ingress");
    assert_eq!(chains.iter().filter(|(name, _)| ends(name)).count(), policies.len() + 1);
    let named = |name: &str| chains.iter().any(|(chain, _)| **chain == *name);
    for name in
        ["np/a/one/ingress", "gnp/one/ingress", "cnp/one/ingress", "np.brindle/a/one/ingress"]
    {
        assert!(named(name), "{name}");
    }
}

fn desired(ruleset: &Ruleset) -> Desired {
    let mut desired = Desired::new(Recording::default());
    desired.stage(&RulesetDelta::between(&Ruleset::default(), ruleset));
    desired
}

fn batch(ruleset: &Ruleset) -> Vec<u8> {
    encode(&desired(ruleset).fresh(), 1, 1).bytes
}

/// The kernel's own way to say "unknown" has several spellings; each must be told as what it is.
#[test]
fn a_kernel_without_nf_tables_is_named() {
    for number in [libc::EPROTONOSUPPORT, libc::ENOPROTOOPT, libc::EOPNOTSUPP, libc::EAFNOSUPPORT] {
        let error = classify("socket", std::io::Error::from_raw_os_error(number));
        assert!(matches!(error, SocketError::Unsupported(_)), "{error:?}");
        assert!(error.to_string().contains("CONFIG_NF_TABLES"), "{error}");
    }
    let error = classify("send", std::io::Error::from_raw_os_error(libc::EPERM));
    assert!(matches!(error, SocketError::Io { operation: "send", .. }), "{error:?}");
}

proptest! {
    /// A dump has the same messages as a batch, so what is encoded must be read as no difference.
    #[test]
    fn what_is_encoded_is_decoded(ruleset in ruleset(), stop in any::<bool>()) {
        let mut written = desired(&ruleset);
        written.stop_revoked(stop);
        let mut snapshot = Snapshot::default();
        decode(&mut snapshot, &encode(&written.fresh(), 1, 1).bytes);
        // Untold, what is read is taken over.
        let mut restarted = desired(&ruleset);
        restarted.adopt(&snapshot);
        let difference = restarted.repair(&snapshot).to_string();
        prop_assert_eq!(difference, String::new());
    }

    /// Whatever the kernel, or a broken one, replies: no panic, and a repair can be planned.
    #[test]
    fn damaged_replies_do_no_harm(
        ruleset in ruleset(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = batch(&ruleset);
        for (at, value) in damage {
            *at.get_mut(&mut bytes) = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let mut snapshot = Snapshot::default();
        decode(&mut snapshot, &bytes);
        desired(&ruleset).repair(&snapshot);
    }

    #[test]
    fn random_replies_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut snapshot = Snapshot::default();
        decode(&mut snapshot, &bytes);
        desired(&Ruleset::default()).repair(&snapshot);
    }
}
