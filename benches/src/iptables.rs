//! What changes cost in both variants of iptables, beside what a user would do by hand: write all
//! rules again with `iptables-restore`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use brindle_dataplane_core::{Backend, Commit};
use brindle_dataplane_iptables::{Iptables, Options, Variant};
use brindle_model::ruleset::{Member, Ruleset, RulesetDelta, SetDelta};
use nix::sched::{CloneFlags, unshare};

use crate::fleet::{MEMBERS, RULES, address, by_hand, policy, policy_id, ruleset, set};
use crate::row::Row;
use crate::timing::{median, timed};

const TURNS: u32 = 25;

/// The bench.
pub fn iptables() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for variant in Variant::ALL {
        let measured = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                measure(variant)
            });
            thread.join()
        });
        rows.extend(measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    }
    Ok(rows)
}

fn measure(variant: Variant) -> Result<Vec<Row>> {
    let ruleset = ruleset();
    let mut rows = Vec::new();
    let mut row =
        |case: &str, value| rows.push(Row::absolute(format!("{variant}: {case}"), value, "ms"));
    let mut backend = Iptables::open(variant, Options::default())?;
    backend.resync()?;
    backend.stage(&RulesetDelta::between(&Ruleset::default(), &ruleset));
    row("load of 10k rules", timed(|| backend.commit())?.0);

    let (mut policies, mut restored) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let id = policy_id(turn);
        let body = Arc::new(policy(turn, RULES + 1));
        let policies_changed = BTreeMap::from([(id, body)]);
        backend.stage(&RulesetDelta { policies: policies_changed, ..RulesetDelta::default() });
        let (time, written) = timed(|| backend.commit())?;
        ensure!((1..=2).contains(&written.writes), "{written:?}: a chain each family");
        policies.push(time);
    }
    let script = script(&ruleset);
    for _ in 0..3 {
        restored.push(timed(|| restore(variant, &script))?.0);
    }
    row("change of one policy at 10k rules", median(policies));
    row("the same by hand: all rules again", median(restored));

    let id = set().id();
    for (case, add) in [("+1 member of 20k", true), ("-1 member of 20k", false)] {
        let mut times = Vec::new();
        for turn in 0..TURNS {
            let member = BTreeSet::from([Member::Addr(address(MEMBERS + turn))]);
            let none = BTreeSet::new();
            let (added, removed) = if add { (member, none) } else { (none, member) };
            let sets_changed = BTreeMap::from([(id, SetDelta { added, removed })]);
            backend.stage(&RulesetDelta { sets_changed, ..RulesetDelta::default() });
            let (time, written) = timed(|| backend.commit())?;
            ensure!(written == Commit { writes: 1 }, "{written:?}: one element and nothing else");
            times.push(time);
        }
        row(case, median(times));
    }
    row("resync of 10k rules and 20k members", timed(|| backend.resync())?.0);
    ensure!(backend.commit()? == Commit { writes: 0 }, "a resync without drift writes nothing");
    Ok(rows)
}

/// The same policies as rules in one chain.
fn script(ruleset: &Ruleset) -> String {
    let mut script = "*filter\n:BY-HAND - [0:0]\n".to_owned();
    for rule in by_hand(ruleset) {
        let (from, pod, port) = (rule.from, rule.pod, rule.port);
        writeln!(script, "-A BY-HAND -s {from} -d {pod}/32 -p tcp -m tcp --dport {port} -j ACCEPT")
            .expect("a String takes everything");
    }
    script + "COMMIT\n"
}

fn restore(variant: Variant, script: &str) -> Result<()> {
    let mut child = Command::new(format!("iptables-{variant}-restore"))
        .args(["--noflush", "-w", "10"])
        .stdin(Stdio::piped())
        .spawn()
        .context("start iptables-restore")?;
    child.stdin.take().context("no standard input")?.write_all(script.as_bytes())?;
    ensure!(child.wait()?.success(), "iptables-restore failed");
    Ok(())
}
