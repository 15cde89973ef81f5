//! What loads and changes of a table of ordinary shapes cost in nftables, beside what a user would do
//! by hand: `nft -f` with all rules again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use brindle_dataplane_core::{Backend, Commit};
use brindle_dataplane_nftables::Nftables;
use brindle_model::NamespacedName;
use brindle_model::ruleset::{Member, PolicyRules, Ruleset, RulesetDelta, Set, SetDef, SetId};
use brindle_model::selector::Selector;
use brindle_model::verdict::PolicyId;
use nix::sched::{CloneFlags, unshare};

use crate::fleet::{self, POLICIES, RULES, by_hand, newcomer, policy, policy_id};
use crate::pods::nft;
use crate::row::Row;
use crate::timing::{median, timed};

const TURNS: u32 = 25;
/// Sets of the table that is read back without a change, and chains of policies.
const SETS: u32 = 2_000;

/// The bench.
pub fn nft_table() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for measure in [load, changes, resync] {
        let measured = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                measure()
            });
            thread.join()
        });
        rows.extend(measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    }
    Ok(rows)
}

/// 50,000 entries: pods of both families in large and in small sets, and prefixes.
fn load() -> Result<Vec<Row>> {
    let ruleset = entries();
    let count: usize = ruleset.sets.values().map(|set| set.members.len()).sum();
    ensure!(count == 50_000, "{count} entries");
    let before = resident()?;
    let mut backend = Nftables::open()?;
    backend.resync()?;
    let delta = RulesetDelta::between(&Ruleset::default(), &ruleset);
    let (took, _) = timed(|| {
        backend.stage(&delta);
        backend.commit()
    })?;
    let grown = resident()? - before;
    Ok(vec![
        Row::absolute("load of 50k entries", took, "ms"),
        Row::absolute("the same: what the process grows by", grown, "MiB"),
    ])
}

fn entries() -> Ruleset {
    let mut ruleset = Ruleset::default();
    let mut policies = 0;
    let mut use_set = |ruleset: &mut Ruleset, def: SetDef, members: BTreeSet<Member>| {
        let (id, rules) = one_policy(policies, def.id());
        policies += 1;
        ruleset.policies.insert(id, Arc::new(rules));
        ruleset.sets.insert(def.id(), Set { def, members });
    };
    let pod = |n: u32| {
        let v6 = u128::from(n) | 0xfd00_u128 << 112;
        [Member::Addr(fleet::address(n)), Member::Addr(std::net::Ipv6Addr::from(v6).into())]
    };
    let mut add = |name: String, members: BTreeSet<Member>| {
        use_set(&mut ruleset, SetDef::Selector(Selector::equals("app", name)), members);
    };
    // One set of ten thousand pods, eight of a thousand, two hundred of twenty.
    for (sets, pods) in [(1, 10_000), (8, 1_000), (200, 20)] {
        (0..sets)
            .for_each(|set| add(format!("{set}-of-{pods}"), (0..pods).flat_map(pod).collect()));
    }
    for set in 0..600 {
        let net = |n: u32| {
            let address = std::net::Ipv4Addr::from(0xac10_0000 + (set * 10 + n) * 512);
            Member::Net(ipnet::IpNet::new(address.into(), 24).expect("a length of IPv4"))
        };
        let members: BTreeSet<Member> = (0..10).map(net).collect();
        let nets = members.iter().filter_map(|m| match m {
            Member::Net(net) => Some(*net),
            _ => None,
        });
        let def = SetDef::Cidrs(nets.collect());
        use_set(&mut ruleset, def, members);
    }
    ruleset
}

/// The n-th policy of one rule, whose sources are a set.
fn one_policy(number: u32, set: SetId) -> (PolicyId, PolicyRules) {
    let id = PolicyId::network_policy(&NamespacedName::new("many", format!("p-{number}")));
    let mut rules = policy(number % POLICIES, 1).ingress.to_vec();
    rules.iter_mut().for_each(|rule| rule.matches.source.sets = [set].into_iter().collect());
    (id, PolicyRules { ingress: rules.into(), ..PolicyRules::default() })
}

/// Changes of a table of ten thousand rules.
fn changes() -> Result<Vec<Row>> {
    let ruleset = fleet::ruleset();
    let mut rows = Vec::new();
    let mut row = |case: &str, value| rows.push(Row::absolute(case, value, "ms"));
    let mut backend = Nftables::open()?;
    backend.resync()?;
    backend.stage(&RulesetDelta::between(&Ruleset::default(), &ruleset));
    row("load of 10k rules", timed(|| backend.commit())?.0);

    let (mut edits, mut newcomers, mut all_again) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let policies = BTreeMap::from([(policy_id(turn), Arc::new(policy(turn, RULES + 1)))]);
        let delta = RulesetDelta { policies, ..RulesetDelta::default() };
        edits.push(committed(&mut backend, &delta)?);
    }
    for turn in 0..TURNS {
        newcomers.push(committed(&mut backend, &newcomer(turn))?);
    }
    row("one rule more in a policy at 10k rules", median(edits));
    row("new pod with a policy and a program of its own at 10k rules", median(newcomers));
    let script = script(&ruleset);
    nft("table inet by_hand { chain forward { type filter hook forward priority 0; }; }")?;
    for _ in 0..3 {
        all_again.push(timed(|| nft(&script))?.0);
    }
    row("the same by hand: all rules again", median(all_again));
    Ok(rows)
}

/// Milliseconds of a delta that writes something.
fn committed(backend: &mut Nftables, delta: &RulesetDelta) -> Result<f64> {
    let (took, written) = timed(|| {
        backend.stage(delta);
        backend.commit()
    })?;
    ensure!(written.writes > 0, "{written:?}");
    // Deletions follow by themselves.
    while backend.commit()?.writes > 0 {}
    Ok(took)
}

/// The same policies as rules in one chain.
fn script(ruleset: &Ruleset) -> String {
    let mut script = "flush chain inet by_hand forward\n".to_owned();
    for rule in by_hand(ruleset) {
        let (from, pod, port) = (rule.from, rule.pod, rule.port);
        writeln!(
            script,
            "add rule inet by_hand forward ip saddr {from} ip daddr {pod} tcp dport {port} accept"
        )
        .expect("a String takes everything");
    }
    script
}

/// Nothing has changed.
fn resync() -> Result<Vec<Row>> {
    let mut ruleset = Ruleset::default();
    for number in 0..SETS {
        let def = SetDef::Selector(Selector::equals("app", format!("app-{number}")));
        let members = (0..20).map(|n| Member::Addr(fleet::address(number * 20 + n))).collect();
        let (id, rules) = one_policy(number, def.id());
        ruleset.sets.insert(def.id(), Set { def, members });
        ruleset.policies.insert(id, Arc::new(rules));
    }
    let mut backend = Nftables::open()?;
    backend.resync()?;
    backend.stage(&RulesetDelta::between(&Ruleset::default(), &ruleset));
    backend.commit()?;
    let (took, _) = timed(|| backend.resync())?;
    ensure!(backend.commit()? == Commit { writes: 0 }, "a resync without drift writes nothing");
    Ok(vec![Row::absolute("resync of 2,000 sets and chains", took, "ms")])
}

/// Resident memory of this process, MiB.
fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
