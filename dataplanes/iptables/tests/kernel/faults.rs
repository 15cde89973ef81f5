//! What others do to our rules, and what dies half-way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use brindle_dataplane_core::{Backend, Commit, Drift};
use brindle_dataplane_iptables::{CHAIN_PREFIX, Iptables, Jump, Options, Variant, lower};
use brindle_model::net::Family;
use brindle_model::ruleset::{Member, Ruleset, RulesetDelta, SetDelta, SetKind};
use proptest::prelude::*;

use crate::generate::{addresses, one_set};
use crate::namespace::{isolated, listing, programs, run};
use crate::node::{Node, udp};
use crate::packets::{load, loaded, open_ruleset};
use crate::stages::any_ruleset;

/// A new agent's first commit.
pub fn restart(variant: Variant, ruleset: &Ruleset) -> (Iptables, Commit) {
    let options = Options { drops_per_second: 10_000, ..Options::default() };
    let mut backend = Iptables::open(variant, options).expect("the programs are there");
    backend.resync().expect("resync");
    backend.stage(&RulesetDelta::between(&Ruleset::default(), ruleset));
    let commit = backend.commit().expect("commit");
    (backend, commit)
}

fn changes_end_where_a_fresh_load_ends(variant: Variant) {
    let config = ProptestConfig {
        cases: 8,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..Default::default()
    };
    let walks = proptest::collection::vec(any_ruleset(), 2..5);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let walked = runner.run(&walks, |walk| {
        isolated(|| {
            let mut backend = loaded(variant, &walk[0]);
            for step in walk.windows(2) {
                backend.stage(&RulesetDelta::between(&step[0], &step[1]));
                backend.commit().expect("commit");
                prop_assert_eq!(backend.resync().expect("resync"), Drift::default());
                prop_assert_eq!(backend.commit().expect("commit"), Commit { writes: 0 });
            }
            let last = &walk[walk.len() - 1];
            prop_assert_eq!(restart(variant, last).1, Commit { writes: 0 });
            let walked = listing(variant);
            let fresh = isolated(|| {
                loaded(variant, last);
                listing(variant)
            });
            prop_assert_eq!(walked, fresh);
            Ok(())
        })
    });
    walked.unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn changes_end_where_a_fresh_load_ends_with_iptables_nft() {
    changes_end_where_a_fresh_load_ends(Variant::Nft);
}

#[test]
fn changes_end_where_a_fresh_load_ends_with_iptables_legacy() {
    changes_end_where_a_fresh_load_ends(Variant::Legacy);
}

/// An agent that is killed between any two steps of a commit leaves the node closed where it was,
/// and the next one ends where it was to end.
#[test]
fn a_commit_that_stops_between_two_steps_is_ended_by_the_next_agent() {
    for variant in Variant::ALL {
        let (open, policed) = (open_ruleset(), one_set());
        let expected = isolated(|| {
            loaded(variant, &policed);
            listing(variant)
        });
        for steps in 0..4 {
            isolated(|| {
                let mut node = Node::build();
                let mut closed = open.clone();
                closed.endpoints.clear();
                let mut backend = loaded(variant, &closed);
                backend.stage(&RulesetDelta::between(&closed, &policed));
                let script = backend.pending().expect("pending");
                if steps > 0 {
                    restore("ipset", &["restore", "-exist"], &script.before);
                }
                for (table, program) in script
                    .tables
                    .iter()
                    .zip(programs(variant, "-restore"))
                    .take(steps - steps.min(1))
                {
                    restore(&program, &["--noflush", "-w", "10"], table);
                }
                // Neither what was before nor what is to come admits this.
                let denied: Vec<_> =
                    addresses(0).into_iter().zip(addresses(1)).map(|(a, b)| udp(a, b)).collect();
                assert!(node.deliver(0, &denied).is_empty(), "{variant}: open after {steps} steps");
                drop(backend);
                let (_, commit) = restart(variant, &policed);
                assert!(commit.writes > 0);
                assert_eq!(listing(variant), expected, "{variant} after {steps} steps");
            });
        }
    }
}

/// Gives a script to a tool.
pub fn restore(program: &str, args: &[&str], script: &str) {
    use std::io::Write;
    let mut child = std::process::Command::new(program)
        .args(args)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("the program runs");
    child.stdin.take().expect("piped").write_all(script.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success(), "{program}\n{script}");
}

/// Single rules that go, come or change are found, and so are jumps that are moved or gone.
#[test]
fn what_others_do_to_our_rules_is_found_and_repaired() {
    for variant in Variant::ALL {
        isolated(|| {
            let policed = one_set();
            let mut backend = loaded(variant, &policed);
            let whole = listing(variant);
            for program in programs(variant, "") {
                let damages: [&[&str]; 7] = [
                    &["-D", "FORWARD", "-j", "BRINDLE-FORWARD"],
                    &["-D", "BRINDLE-FORWARD", "1"],
                    &["-I", "BRINDLE-EGRESS", "-j", "RETURN"],
                    &["-A", "OUTPUT", "-j", "BRINDLE-TO-PODS"],
                    &["-I", "INPUT", "-s", "::1", "-j", "BRINDLE-INPUT"],
                    &["-R", "BRINDLE-FORWARD", "3", "-j", "ACCEPT"],
                    &["-N", "BRINDLE-unknown"],
                ];
                for damage in damages {
                    let v4 = program.starts_with("iptables");
                    let damage: Vec<_> = damage
                        .iter()
                        .map(|w| if v4 && *w == "::1" { "127.0.0.1" } else { w })
                        .collect();
                    run(&program, &damage);
                    let drift = backend.resync().expect("resync").differing;
                    assert!(drift > 0, "{program} {damage:?} is not found");
                    backend.commit().expect("repair");
                    assert_eq!(listing(variant), whole, "{program} {damage:?}");
                }
            }
        });
    }
}

/// The jump stands first, or is left where it is, as was said.
#[test]
fn the_jump_stands_where_it_was_said() {
    for variant in Variant::ALL {
        isolated(|| {
            let [v4, _] = programs(variant, "");
            run(&v4, &["-A", "FORWARD", "-s", "192.0.2.1", "-j", "DROP"]);
            let mut backend = loaded(variant, &one_set());
            let first = || {
                let rules = run(&v4, &["-S", "FORWARD"]);
                rules.lines().nth(1).expect("a rule").contains(CHAIN_PREFIX)
            };
            assert!(first());
            run(&v4, &["-I", "FORWARD", "-s", "192.0.2.2", "-j", "DROP"]);
            assert!(backend.resync().expect("resync").differing > 0);
            backend.commit().expect("commit");
            assert!(first());
            backend.uninstall().expect("uninstall");
            let options = Options { jump: Jump::Append, ..Options::default() };
            let mut backend = load(variant, options, &one_set());
            assert!(!first(), "appended");
            run(&v4, &["-A", "FORWARD", "-s", "192.0.2.3", "-j", "DROP"]);
            assert_eq!(backend.resync().expect("resync"), Drift::default(), "and left there");
            backend.uninstall().expect("uninstall");
            assert!(!run(&v4, &["-S"]).contains(CHAIN_PREFIX));
            assert_eq!(run(&v4, &["-S", "FORWARD"]).lines().count(), 4, "others' rules stay");
        });
    }
}

/// A set that others fill up, and one that outgrows its room.
#[test]
fn a_full_set_is_made_anew() {
    isolated(|| {
        let ruleset = one_set();
        let mut backend = loaded(Variant::Nft, &ruleset);
        let pods = ruleset.sets.iter().find(|(_, set)| set.def.kind() == SetKind::Addr);
        let (id, set) = pods.expect("a set of pods");
        let name = format!("brindle4-pods-{id}");
        let members = |range: std::ops::Range<u32>| -> BTreeSet<Member> {
            range.map(|n| Member::Addr(IpAddr::from(Ipv4Addr::from(0x0b00_0000 + n)))).collect()
        };
        let mut change = |added: BTreeSet<Member>, removed: BTreeSet<Member>| {
            let sets_changed = BTreeMap::from([(*id, SetDelta { added, removed })]);
            backend.stage(&RulesetDelta { sets_changed, ..RulesetDelta::default() });
            backend.commit().expect("commit");
            assert_eq!(backend.resync().expect("resync"), Drift::default());
        };
        let size = || run("ipset", &["save", &name]).lines().count() - 1;
        let mine = set.members.iter().filter(|member| member.family() == Family::V4).count();
        change(members(0..70_000), BTreeSet::new());
        assert_eq!(size(), mine + 70_000, "it outgrew its room");
        change(BTreeSet::new(), members(0..70_000));
        assert_eq!(size(), mine);
    });
}

/// Others' elements that fill a set are found, and ours are written.
#[test]
fn a_set_that_others_filled_is_repaired() {
    isolated(|| {
        let ruleset = one_set();
        let mut backend = loaded(Variant::Nft, &ruleset);
        let whole = listing(Variant::Nft);
        let pods = ruleset.sets.iter().find(|(_, set)| set.def.kind() == SetKind::Addr);
        let (id, set) = pods.expect("a set of pods");
        let name = format!("brindle4-pods-{id}");
        let own = set.members.iter().next().expect("a member");
        let Member::Addr(own) = own else { unreachable!("a set of addresses") };
        run("ipset", &["del", &name, &own.to_string()]);
        fill(&name);
        assert!(backend.resync().expect("resync").differing > 0);
        backend.commit().expect("repair");
        assert_eq!(listing(Variant::Nft), whole);
    });
}

/// Somebody else adds addresses to a set of IPv4 until it refuses one.
fn fill(name: &str) {
    let add = |n| format!("add {name} {}\n", Ipv4Addr::from(0x0c00_0000 + n));
    let script: String = (0..65_536u32).map(add).collect();
    let mut child = std::process::Command::new("ipset")
        .args(["restore", "-exist"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("ipset runs");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), script.as_bytes())
        .expect("it reads");
    child.wait().expect("it ends");
}

/// Others fill a set after it was read, so that the kernel refuses what is to come: the commit fails
/// and says so, what is closed stays closed, and what follows a read-back makes the set anew.
#[test]
fn a_set_that_is_full_when_it_is_written_converges_closed() {
    for variant in Variant::ALL {
        isolated(|| {
            let mut node = Node::build();
            let ruleset = one_set();
            let mut backend = loaded(variant, &ruleset);
            let pods = ruleset.sets.iter().find(|(_, set)| set.def.kind() == SetKind::Addr);
            let (id, _) = pods.expect("a set of pods");
            let name = format!("brindle4-pods-{id}");
            fill(&name);
            // The kernel counts by regions of a set's buckets, and the first that is full ended the
            // filling: of so many members some are for that one.
            let mut next = ruleset.clone();
            let came = (0..4_096u32).map(|n| Member::Addr(Ipv4Addr::from(0x0b00_0000 + n).into()));
            next.sets.get_mut(id).expect("known").members.extend(came);
            backend.stage(&RulesetDelta::between(&ruleset, &next));
            let error = backend.commit().expect_err("there is no room");
            let cause = std::error::Error::source(&error).expect("a cause").to_string();
            assert!(cause.contains("full"), "{cause}");
            let denied: Vec<_> =
                addresses(1).into_iter().zip(addresses(0)).map(|(a, b)| udp(a, b)).collect();
            assert!(node.deliver(1, &denied).is_empty(), "{variant}: open while a set is full");
            assert!(backend.resync().expect("resync").differing > 0);
            backend.commit().expect("the set is made anew");
            let expected = isolated(|| {
                loaded(variant, &next);
                listing(variant)
            });
            assert_eq!(listing(variant), expected, "{variant}");
        });
    }
}

/// What loads a ruleset is a function of it, and says whose rules are whose.
#[test]
fn comments_name_the_policy() {
    let text = lower(&one_set()).to_string();
    assert_eq!(text, lower(&one_set()).to_string());
    assert!(text.contains("--comment \"NetworkPolicy ns/one ingress rule 1\""), "{text}");
    assert!(text.contains("--dports 1,3,5,7"), "{text}");
    assert!(text.contains("--nflog-prefix \"deny tier/default\" --nflog-group 9898"), "{text}");
}
