//! A node that cannot judge before connection tracking: what policy of that stage governs is closed,
//! and the error says what is missing.

use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use brindle_dataplane_core::{Backend, Drift};
use brindle_dataplane_iptables::{Iptables, IptablesError, Options, Variant};
use brindle_model::ruleset::{Action, Ruleset, RulesetDelta, Stage};

use crate::generate::addresses;
use crate::namespace::{isolated, listing};
use crate::node::{Node, udp};
use crate::packets::loaded;
use crate::stages::{EXT0, one_rule, to_port};

/// Where the tools of iptables look for their libraries.
const LIBRARIES: &str = "XTABLES_LIBDIR";
/// Where Debian has them.
const INSTALLED: &str = "/usr/lib/x86_64-linux-gnu/xtables";
const MISSING: &str = "libxt_CT.so";

/// Runs itself again with tools that lack a library: what is missing is really missing.
#[test]
fn without_the_target_ct_untracked_policy_closes() {
    if std::env::var_os(LIBRARIES).is_some() {
        return Variant::ALL.into_iter().for_each(closes);
    }
    let folder = std::env::temp_dir().join(format!("brindle-xtables-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    for library in fs::read_dir(INSTALLED).expect("iptables is installed").flatten() {
        if library.file_name() != MISSING {
            symlink(library.path(), folder.join(library.file_name())).expect("a link");
        }
    }
    let test = concat!(module_path!(), "::without_the_target_ct_untracked_policy_closes");
    let name = test.split_once("::").map_or(test, |(_, name)| name);
    let output = Command::new(std::env::current_exe().expect("itself"))
        .args(["--exact", name, "--nocapture"])
        .env(LIBRARIES, &folder)
        .output();
    fs::remove_dir_all(&folder).expect("it goes");
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "it ran nothing");
}

fn closes(variant: Variant) {
    assert!(!Path::new(&std::env::var(LIBRARIES).expect("set")).join(MISSING).exists());
    isolated(|| {
        let mut node = Node::build();
        let open = one_rule(&[(Stage::Forward, Action::Allow, 80)]);
        let early = one_rule(&[(Stage::Untracked, Action::Allow, 80)]);
        let mut backend = Iptables::open(variant, Options::default()).expect("the programs");
        backend.resync().expect("resync");
        backend.stage(&RulesetDelta::between(&Ruleset::default(), &early));
        for _ in 0..2 {
            let error = backend.commit().expect_err("nothing can be exempt from tracking here");
            assert!(matches!(error, IptablesError::Missing(_)), "{error}");
            let source = error.source().expect("a cause").to_string();
            assert!(source.contains("raw") && source.contains(MISSING), "{source}");
            assert_eq!(backend.resync().expect("resync"), Drift::default(), "all else is done");
        }
        assert!(!listing(variant).contains("-save raw :BRINDLE-"));
        for family in [0, 3] {
            let [pod, other] = [0, 1].map(|pod| addresses(pod)[family]);
            let packet = to_port(pod, 80);
            assert!(node.carry(EXT0, 0, &[packet]).is_empty(), "{variant}: {pod} is open");
            assert_eq!(node.deliver(1, &[udp(other, pod)]).len(), 1, "{variant}: pods go on");
        }
        // Without such policy nothing is amiss.
        backend.stage(&RulesetDelta::between(&early, &open));
        backend.commit().expect("commit");
        let now = listing(variant);
        let fresh = isolated(|| {
            loaded(variant, &open);
            listing(variant)
        });
        assert_eq!(without_limits(&now), without_limits(&fresh));
        assert_eq!(node.carry(EXT0, 0, &[to_port(addresses(0)[0], 80)]).len(), 1, "{variant}");
    });
}

/// The rates of what is told differ between the two.
fn without_limits(listing: &str) -> String {
    let lines = listing.lines().filter(|line| !line.contains("-m limit"));
    lines.collect::<Vec<_>>().join("\n")
}
