//! What others do to tables, ours and theirs.

use brindle_dataplane_core::{Backend, Commit, Drift};
use brindle_dataplane_nftables::Nftables;
use brindle_model::cluster::link_group;
use brindle_model::ruleset::{Member, Ruleset, RulesetDelta, Set, SetDef};

use crate::generate::{INTERFACES, one_set};
use crate::load::loaded;
use crate::namespace::{isolated, listing, nft, run};

/// Somebody else's tables, one of our name in another family.
pub const FOREIGN: &str = "
    table ip brindle {
        chain c {
            type filter hook input priority 5;
            accept
        }
    }
    table inet other {
        set s {
            type ipv4_addr
            elements = { 192.0.2.1 }
        }
        chain brindle { }
    }
";

/// Each is done to the loaded table of [`one_set`], and must be found and repaired.
const TAMPERINGS: &[(&str, &str)] = &[
    ("everything flushed", "flush ruleset"),
    ("table deleted", "delete table inet brindle"),
    ("table replaced", "delete table inet brindle; add table inet brindle"),
    ("table dormant", "add table inet brindle { flags dormant; }"),
    ("a chain flushed", "flush chain inet brindle forward"),
    ("all chains flushed", "flush table inet brindle"),
    ("a rule added", "add rule inet brindle np/ns/one/ingress accept"),
    ("a rule put first", "insert rule inet brindle forward accept"),
    ("a chain added", "add chain inet brindle foreign { type filter hook input priority 1; }"),
    ("a set added", "add set inet brindle foreign { type ipv4_addr; elements = { 192.0.2.1 }; }"),
    (
        "a map to our chain added",
        "
        add map inet brindle foreign { type ipv4_addr : verdict; }
        add element inet brindle foreign { 192.0.2.1 : jump np/ns/one/ingress }",
    ),
    (
        "a policy of a base chain changed",
        "
        chain inet brindle forward { policy drop; }",
    ),
    (
        "a pod's program exchanged",
        "
        delete element inet brindle ingress { GROUP_A }
        add element inet brindle ingress { GROUP_A : accept }",
    ),
    ("an unknown pod let in", "add element inet brindle ingress { 77 : accept }"),
    ("a pod removed", "delete element inet brindle egress { GROUP_B }"),
    ("an address lent", "add element inet brindle own-sources4 { GROUP_A . 192.0.2.9 }"),
    (
        "a flow lent",
        "add element inet brindle known-flows4 { GROUP_A . 192.0.2.9 . related : accept }",
    ),
    (
        "a state lent",
        "add element inet brindle known-flows6 { GROUP_A . fd00::1:0:0:1 . new : accept }",
    ),
    ("members flushed", "flush set inet brindle MEMBERS"),
    ("a member added", "add element inet brindle MEMBERS { 192.0.2.1 }"),
    ("a member removed", "delete element inet brindle MEMBERS { 10.0.1.1 }"),
    ("a prefix added", "add element inet brindle NETS { 192.0.2.0/24 }"),
    ("a prefix removed", "delete element inet brindle NETS { 10.0.0.0/30 }"),
];

/// Fills in the names of the sets, which contain hashes, and the groups of the pods' interfaces.
fn script(template: &str, listing: &[serde_json::Value]) -> String {
    let named = |prefix: &str| {
        let name = |object: &serde_json::Value| {
            let name = object["set"]["name"].as_str()?;
            name.starts_with(prefix).then(|| name.to_owned())
        };
        listing.iter().find_map(name).expect("the set is there")
    };
    template
        .replace("MEMBERS", &named("pods4-"))
        .replace("NETS", &named("nets4-"))
        .replace("GROUP_A", &link_group(INTERFACES[0]).to_string())
        .replace("GROUP_B", &link_group(INTERFACES[1]).to_string())
}

#[test]
fn a_resync_finds_and_repairs_every_tampering() {
    for (what, template) in TAMPERINGS {
        isolated(|| {
            nft(FOREIGN);
            let mut backend = loaded(&one_set());
            let whole = listing();
            // As text, since nft 1.0.6 prints the flags of a table in JSON from freed memory.
            let text = || run("nft", &["list", "ruleset"]);
            let before = text();
            nft(&script(template, &whole));
            assert_ne!(text(), before, "{what} changes something");

            let drift = backend.resync().unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(drift.differing > 0, "{what} is found");
            let commit = backend.commit().unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert_eq!(commit.writes, drift.differing, "{what}");
            let ours = |listing: Vec<serde_json::Value>| -> Vec<String> {
                let ours = |object: &serde_json::Value| {
                    let object = object.as_object().and_then(|o| o.values().next());
                    object.is_some_and(|o| {
                        let table = o.get("table").unwrap_or(&o["name"]);
                        o["family"] == "inet" && table == "brindle"
                    })
                };
                listing.iter().filter(|o| ours(o)).map(ToString::to_string).collect()
            };
            let (repaired, expected) = (ours(listing()), ours(whole.clone()));
            for (repaired, expected) in repaired.iter().zip(&expected) {
                assert_eq!(repaired, expected, "{what} is repaired");
            }
            assert_eq!(repaired.len(), expected.len(), "{what} is repaired");
            if !template.contains("flush ruleset") {
                assert_eq!(listing(), whole, "{what}: foreign tables are as they were");
            }
            assert_eq!(backend.resync().expect("resync"), Drift::default(), "{what}");
        });
    }
}

/// A rule replaced by one with the same comment, as an administrator would.
#[test]
fn a_replaced_rule_is_found() {
    isolated(|| {
        let mut backend = loaded(&one_set());
        let whole = listing();
        let text = run("nft", &["-a", "list", "table", "inet", "brindle"]);
        let rule = text.lines().find(|line| line.contains("ingress rule 0")).expect("a rule");
        let (body, handle) = rule.split_once("# handle ").expect("a handle");
        let body = body.trim().replace("80", "81");
        nft(&format!("replace rule inet brindle np/ns/one/ingress handle {handle} {body}"));
        assert_ne!(listing(), whole);
        assert!(backend.resync().expect("resync").differing > 0);
        backend.commit().expect("commit");
        assert_eq!(listing(), whole);
    });
}

/// Between stage and commit somebody flushes everything: the commit restores all of it.
#[test]
fn a_flush_between_stage_and_commit_loses_nothing() {
    isolated(|| {
        let mut backend = loaded(&Ruleset::default());
        backend.stage(&RulesetDelta::between(&Ruleset::default(), &one_set()));
        nft("flush ruleset");
        backend.commit().expect("commit");
        let repaired = listing();
        let fresh = isolated(|| {
            loaded(&one_set());
            listing()
        });
        assert_eq!(repaired, fresh);
    });
}

/// A change of a foreign table in between costs another reading, and nothing else.
#[test]
fn a_foreign_change_in_between_is_no_drift() {
    isolated(|| {
        let mut backend = loaded(&Ruleset::default());
        nft(FOREIGN);
        backend.stage(&RulesetDelta::between(&Ruleset::default(), &one_set()));
        backend.commit().expect("commit");
        assert_eq!(backend.resync().expect("resync"), Drift::default());
        assert_eq!(backend.commit().expect("commit"), Commit { writes: 0 });
    });
}

/// Another process owns a table of our name (`flags owner`): the error names it, the desired state
/// stays pending, and is enforced once the table is free.
#[test]
fn a_stolen_table_is_named_and_taken_back() {
    isolated(|| {
        let mut backend = loaded(&Ruleset::default());
        let mut thief = std::process::Command::new("nft")
            .arg("-i")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("nft -i");
        let mut input = thief.stdin.take().expect("piped");
        std::io::Write::write_all(
            &mut input,
            b"delete table inet brindle; add table inet brindle { flags owner; }\n",
        )
        .expect("nft reads");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while backend.resync().expect("resync").differing == 0 {
            assert!(std::time::Instant::now() < deadline, "the thief did not act");
            std::thread::yield_now();
        }
        backend.stage(&RulesetDelta::between(&Ruleset::default(), &one_set()));
        let error = backend.commit().expect_err("somebody else owns the table").to_string();
        assert!(error.contains("table inet brindle") && error.contains("owns"), "{error}");

        // The owner goes, and its table with it.
        drop(input);
        thief.wait().expect("nft ends");
        backend.resync().expect("resync");
        backend.commit().expect("commit");
        let fresh = isolated(|| {
            loaded(&one_set());
            listing()
        });
        assert_eq!(listing(), fresh);
    });
}

/// The kernel refuses a whole batch; the error names the object, and nothing of it took effect.
#[test]
fn a_refused_object_is_named() {
    isolated(|| {
        let mut backend = loaded(&one_set());
        let whole = listing();
        let mut bad = one_set();
        // Prefixes that overlap, which the compiler never makes.
        let nets = ["10.0.0.0/8", "10.1.0.0/16"].map(|net| net.parse().expect("a prefix"));
        let def = SetDef::Cidrs(nets.to_vec());
        let (id, members) = (def.id(), nets.map(Member::Net).into());
        bad.sets.insert(id, Set { def, members });
        let policy = bad.policies.values_mut().next().expect("a policy");
        let mut body = (**policy).clone();
        let mut rules = body.ingress.to_vec();
        rules[1].matches.source.sets.push(id);
        body.ingress = rules.into();
        *policy = body.into();
        backend.stage(&RulesetDelta::between(&one_set(), &bad));
        let error = backend.commit().expect_err("refused").to_string();
        assert!(error.contains("elements of set nets4-"), "{error}");
        assert_eq!(listing(), whole, "nothing changed");
        backend.stage(&RulesetDelta::between(&bad, &one_set()));
        backend.resync().expect("resync");
        assert_eq!(backend.commit().expect("commit"), Commit { writes: 0 });
    });
}

/// Two agents do not fight silently: the second finds what the first wrote.
#[test]
fn a_second_backend_sees_the_first() {
    isolated(|| {
        let mut first = loaded(&one_set());
        let mut second = Nftables::open().expect("open");
        second.resync().expect("resync");
        second.stage(&RulesetDelta::between(&Ruleset::default(), &Ruleset::default()));
        assert!(second.commit().expect("commit").writes > 0, "it sweeps what it does not want");
        assert!(first.resync().expect("resync").differing > 0, "which the first finds");
    });
}
