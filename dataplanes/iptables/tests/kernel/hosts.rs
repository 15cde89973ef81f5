//! Interfaces of the node itself, with both variants.

use brindle_dataplane_core::{Backend, Drift};
use brindle_dataplane_iptables::{CHAIN_PREFIX, Variant};
use brindle_model::ruleset::{Action, Ruleset, RulesetDelta, Stage};

use crate::faults::{restart, restore};
use crate::generate::addresses;
use crate::namespace::{TABLES, isolated, listing, programs, run};
use crate::node::Node;
use crate::packets::loaded;
use crate::stages::{self, EXT0, one_rule, to_port};

#[test]
fn iptables_nft_judges_at_every_stage() {
    stages::judges_at_every_stage(|ruleset| loaded(Variant::Nft, ruleset));
}

#[test]
fn iptables_legacy_judges_at_every_stage() {
    stages::judges_at_every_stage(|ruleset| loaded(Variant::Legacy, ruleset));
}

#[test]
fn policy_before_dnat_sees_what_the_sender_wrote() {
    for variant in Variant::ALL {
        stages::policy_before_dnat_sees_what_the_sender_wrote(|r| loaded(variant, r));
    }
}

#[test]
fn untracked_policy_keeps_connection_tracking_away() {
    for variant in Variant::ALL {
        stages::untracked_policy_keeps_connection_tracking_away(|r| loaded(variant, r));
    }
}

/// Which tables hold chains of ours, in both families.
fn tables_in_use(variant: Variant) -> Vec<&'static str> {
    let listed = listing(variant);
    let in_use = |table: &&&str| listed.contains(&format!("-save {table} :{CHAIN_PREFIX}"));
    TABLES.iter().filter(in_use).copied().collect()
}

/// A node without such policy has no chain in `raw` and `mangle`, and ip_tables has not even the
/// tables; they come with the policy, and what is ours in them goes with it.
#[test]
fn a_stage_that_no_policy_needs_is_not_there() {
    for variant in Variant::ALL {
        isolated(|| {
            let normal = one_rule(&[(Stage::Forward, Action::Deny, 80)]);
            let early = one_rule(&[
                (Stage::Untracked, Action::Deny, 81),
                (Stage::PreDnat, Action::Deny, 82),
            ]);
            let mut backend = loaded(variant, &normal);
            if variant == Variant::Legacy {
                let names = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names");
                assert_eq!(names.expect("ip_tables is there"), "filter\n");
            }
            let before = listing(variant);
            assert_eq!(tables_in_use(variant), ["filter"], "{variant}");
            backend.stage(&RulesetDelta::between(&normal, &early));
            backend.commit().expect("commit");
            assert_eq!(tables_in_use(variant), TABLES, "{variant}");
            assert_eq!(backend.resync().expect("resync"), Drift::default());
            backend.stage(&RulesetDelta::between(&early, &normal));
            backend.commit().expect("commit");
            assert_eq!(listing(variant), before, "{variant}");
        });
    }
}

/// Rulesets that change several tables at once, and what neither of two that follow each other admits.
/// What one denies before connection tracking, the next one denies later, or the other way round.
fn moves() -> [(Ruleset, u16); 6] {
    use Action::{Allow, Deny};
    use Stage::{Forward, PreDnat, Untracked};
    [
        (one_rule(&[(Forward, Deny, 81)]), 81),
        (one_rule(&[(Untracked, Deny, 81), (Forward, Allow, 81), (PreDnat, Allow, 80)]), 81),
        (one_rule(&[(PreDnat, Deny, 81), (Untracked, Deny, 80), (Forward, Allow, 81)]), 81),
        (one_rule(&[(Untracked, Allow, 80), (Forward, Deny, 81)]), 81),
        (one_rule(&[(Untracked, Deny, 81), (Forward, Allow, 81)]), 81),
        (one_rule(&[(Forward, Deny, 81)]), 81),
    ]
}

/// The tables of a script, each of which the kernel changes at once.
fn steps(script: &str) -> Vec<String> {
    let parts = script.split_inclusive("COMMIT\n");
    parts.map(str::to_owned).collect()
}

/// An agent that is killed between any two tables leaves closed what is closed before and after, and
/// the next one ends where it was to end.
#[test]
fn a_denial_that_moves_to_another_table_leaves_no_gap() {
    let all = moves();
    for variant in Variant::ALL {
        for pair in all.windows(2) {
            let [(from, port), (to, _)] = pair else { unreachable!("windows of two") };
            let expected = isolated(|| {
                loaded(variant, to);
                listing(variant)
            });
            for taken in 0.. {
                let whole = isolated(|| {
                    let mut node = Node::build();
                    let mut backend = loaded(variant, from);
                    backend.stage(&RulesetDelta::between(from, to));
                    let script = backend.pending().expect("pending");
                    restore("ipset", &["restore", "-exist"], &script.before);
                    let mut whole = true;
                    for (table, program) in script.tables.iter().zip(programs(variant, "-restore"))
                    {
                        let steps = steps(table);
                        whole &= taken >= steps.len();
                        let text: String = steps.into_iter().take(taken).collect();
                        restore(&program, &["--noflush", "-w", "10"], &text);
                    }
                    let denied = [addresses(0)[0], addresses(0)[3]].map(|pod| to_port(pod, *port));
                    let arrived = node.carry(EXT0, 0, &denied);
                    assert!(arrived.is_empty(), "{variant}: open after {taken} tables\n{script}");
                    drop(backend);
                    restart(variant, to);
                    assert_eq!(listing(variant), expected, "{variant} after {taken} tables");
                    whole
                });
                if whole {
                    break;
                }
            }
        }
    }
}

/// Jumps and rules in `raw`, `mangle` and `OUTPUT` are found missing or changed, and repaired.
#[test]
fn what_others_do_to_early_stages_is_found_and_repaired() {
    for variant in Variant::ALL {
        isolated(|| {
            let early = one_rule(&[
                (Stage::Untracked, Action::Deny, 81),
                (Stage::PreDnat, Action::Deny, 82),
            ]);
            let mut backend = loaded(variant, &early);
            let whole = listing(variant);
            for program in programs(variant, "") {
                let damages = [
                    "-t raw -D PREROUTING -j BRINDLE-RAW-IN",
                    "-t raw -F",
                    "-t raw -I BRINDLE-RAW-IN -j RETURN",
                    "-t mangle -D PREROUTING -j BRINDLE-PRE-DNAT",
                    "-t mangle -F BRINDLE-PRE-DNAT",
                    "-t mangle -I PREROUTING -j ACCEPT",
                    "-t mangle -N BRINDLE-unknown",
                    "-D OUTPUT -j BRINDLE-OUTPUT",
                    "-I OUTPUT -j ACCEPT",
                ];
                for damage in damages {
                    run(&program, &damage.split(' ').collect::<Vec<_>>());
                    let drift = backend.resync().expect("resync").differing;
                    assert!(drift > 0, "{program} {damage} is not found");
                    backend.commit().expect("repair");
                    if damage.ends_with("ACCEPT") {
                        // It is somebody's, and stays, behind our jump.
                        run(&program, &damage.replace("-I ", "-D ").split(' ').collect::<Vec<_>>());
                    }
                    assert_eq!(listing(variant), whole, "{program} {damage}");
                }
            }
        });
    }
}

/// Others' rules in the early tables stay, through coming and going of ours.
#[test]
fn rules_of_others_in_early_tables_stay() {
    for variant in Variant::ALL {
        isolated(|| {
            for program in programs(variant, "") {
                run(&program, &["-t", "raw", "-A", "PREROUTING", "-i", "theirs", "-j", "DROP"]);
                run(&program, &["-t", "mangle", "-N", "THEIRS"]);
                run(&program, &["-t", "mangle", "-A", "PREROUTING", "-j", "THEIRS"]);
            }
            let before = listing(variant);
            let early = one_rule(&[
                (Stage::Untracked, Action::Deny, 81),
                (Stage::PreDnat, Action::Deny, 82),
            ]);
            let mut backend = loaded(variant, &early);
            assert_ne!(listing(variant), before);
            backend.uninstall().expect("uninstall");
            assert_eq!(listing(variant), before, "{variant}");
        });
    }
}
