//! Level 1 (policy-semantics §7.3): what the kernel would make of the rules that each netfilter
//! backend sends, against the ruleset's evaluator, on the worlds of level 0.
//!
//! `BRINDLE_L1_WORLDS` sets the number of worlds, `BRINDLE_L1_SEED` the first seed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use brindle_dataplane_iptables as iptables;
use brindle_dataplane_nftables as nftables;
use brindle_integration_tests::netfilter::hops::{Passing, Room, passings};
use brindle_integration_tests::netfilter::ip_set::IpSets;
use brindle_integration_tests::netfilter::ip_tables::IpTables;
use brindle_integration_tests::netfilter::nf_tables::{Expression, NfTables, Verdict};
use brindle_integration_tests::netfilter::{Hook, Walk};
use brindle_integration_tests::worlds::compiled::Compiled;
use brindle_integration_tests::worlds::{choose, generate, yaml};
use brindle_model::packet::{ConnState, Flow};
use brindle_model::ruleset::Ruleset;
use brindle_oracle::World;

/// A name, and what goes wrong with tables that were read.
type TablesMistake = (&'static str, fn(&mut NfTables));
/// A name, and what goes wrong with the scripts of sets and rules.
type ScriptMistake = (&'static str, fn(&str, &str) -> String);

/// What the release build asks; the slower one asks a tenth.
const WORLDS: u64 = if cfg!(debug_assertions) { 500 } else { 5_000 };
const FLOWS: usize = 10;
/// A mistake shows in one of so many worlds, each of which is asked more.
const MISTAKE_WORLDS: u64 = 400;
const MISTAKE_FLOWS: usize = 100;

/// A kernel that has been told of a ruleset.
trait Kernel: Sized {
    /// How its backend lowers a mistake into what it sends.
    type Mistake: Copy;
    const ROOM: Room;

    fn load(ruleset: &Ruleset, mistake: Option<Self::Mistake>) -> Result<Self>;

    fn walk(&self, passing: &Passing) -> Result<Walk>;
}

struct Nft(NfTables);

impl Kernel for Nft {
    type Mistake = fn(&mut NfTables);
    const ROOM: Room = Room { prefix: 127 };

    fn load(ruleset: &Ruleset, mistake: Option<Self::Mistake>) -> Result<Self> {
        let mut table = NfTables::load(&nftables::batch(&nftables::lower(ruleset)))?;
        if let Some(mistake) = mistake {
            mistake(&mut table);
        }
        Ok(Self(table))
    }

    fn walk(&self, passing: &Passing) -> Result<Walk> {
        let (mut skb, mut walk) = (passing.skb.clone(), Walk::default());
        for hook in &passing.hooks {
            self.0.pass(*hook, &mut skb, &mut walk)?;
            if walk.dropped {
                break;
            }
        }
        Ok(walk)
    }
}

/// The tables of each family, and the sets.
struct Ipt([IpTables; 2], IpSets);

impl Kernel for Ipt {
    /// Of a step of the script: the first word says which tool reads it.
    type Mistake = fn(&str, &str) -> String;
    const ROOM: Room = Room { prefix: 63 };

    fn load(ruleset: &Ruleset, mistake: Option<Self::Mistake>) -> Result<Self> {
        let iptables::Script { before, tables, after, .. } = iptables::lower(ruleset);
        let wrong = |tool: &str, text: &str| match mistake {
            Some(mistake) => mistake(tool, text),
            None => text.to_owned(),
        };
        let mut sets = IpSets::default();
        sets.restore(&wrong("ipset", &before))?;
        let tables = tables.map(|text| IpTables::restore(&wrong("iptables", &text), &sets));
        sets.restore(&wrong("ipset", &after))?;
        let [v4, v6] = tables;
        Ok(Self([v4?, v6?], sets))
    }

    fn walk(&self, passing: &Passing) -> Result<Walk> {
        let (mut skb, mut walk) = (passing.skb.clone(), Walk::default());
        let table = &self.0[usize::from(skb.is_v6())];
        for hook in &passing.hooks {
            table.pass(*hook, &mut skb, &self.1, &mut walk)?;
            if walk.dropped {
                break;
            }
        }
        Ok(walk)
    }
}

/// The flows of a world, and some of them in another state.
fn flows(world: &World, seed: u64, number: usize) -> Vec<Flow> {
    let mut flows = choose(world, seed, number);
    let states = [ConnState::Established, ConnState::Related, ConnState::Invalid];
    let again: Vec<_> =
        flows.iter().zip(states).map(|(flow, state)| Flow { state, ..flow.clone() }).collect();
    flows.extend(again);
    flows
}

/// What was asked of all worlds: passed, dropped.
#[derive(Default)]
struct Tally([AtomicUsize; 2]);

/// Compares one world. The first difference is told.
fn check<K: Kernel>(
    world: &World,
    compiled: &Compiled,
    flows: &[Flow],
    mistake: Option<K::Mistake>,
    tally: &Tally,
) -> Result<Option<String>> {
    let rulesets = compiled.nodes().iter().map(|node| node.ruleset());
    let kernels = rulesets.map(|ruleset| K::load(ruleset, mistake)).collect::<Result<Vec<_>>>()?;
    for flow in flows {
        for passing in passings(world, compiled, flow)? {
            let walk = kernels[passing.node].walk(&passing).with_context(|| passing.to_string())?;
            if let Some(difference) = passing.differs(&walk, K::ROOM) {
                return Ok(Some(format!("{difference:?}: {passing}\n  the rules: {walk:?}")));
            }
            tally.0[usize::from(walk.dropped)].fetch_add(1, Relaxed);
        }
    }
    Ok(None)
}

#[test]
fn rules_mean_what_the_ruleset_means() -> Result<()> {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    };
    let worlds = number("BRINDLE_L1_WORLDS", WORLDS)?;
    let first = number("BRINDLE_L1_SEED", 0)?;
    let next = AtomicU64::new(first);
    let (nft, ipt) = (Tally::default(), Tally::default());
    let ask = || -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= first + worlds {
                return Ok(());
            }
            let world = generate(seed);
            let flows = flows(&world, seed, FLOWS);
            let compiled = Compiled::of(&yaml::write(&world)?, &world)?;
            for (backend, found) in [
                ("nftables", check::<Nft>(&world, &compiled, &flows, None, &nft)),
                ("iptables", check::<Ipt>(&world, &compiled, &flows, None, &ipt)),
            ] {
                let found = found.with_context(|| format!("{backend}, world {seed}"));
                if !matches!(found, Ok(None)) {
                    next.store(first + worlds, Relaxed);
                }
                if let Some(difference) = found? {
                    bail!("{backend}, world {seed}: {difference}\n{}", yaml::write(&world)?);
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(ask)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    for (backend, Tally(counts)) in [("nftables", nft), ("iptables", ipt)] {
        let [passed, dropped] = counts.map(AtomicUsize::into_inner);
        println!("{backend}: {worlds} worlds, {passed} packets pass, {dropped} are dropped");
        let share = passed * 100 / (passed + dropped).max(1);
        ensure!((25..=85).contains(&share), "{share} % pass: that tells little");
    }
    Ok(())
}

/// Whether a mistake is found in some world; one that is not is a hole in this test.
fn is_found<K: Kernel>(what: &str, mistake: K::Mistake) -> Result<bool> {
    for seed in 0..MISTAKE_WORLDS {
        let world = generate(seed);
        let compiled = Compiled::of(&yaml::write(&world)?, &world)?;
        let flows = flows(&world, seed, MISTAKE_FLOWS);
        match check::<K>(&world, &compiled, &flows, Some(mistake), &Tally::default()) {
            Ok(None) => {}
            // Rules that the kernel would refuse are found as well.
            Ok(Some(_)) | Err(_) => {
                println!("{what}: in world {seed}");
                return Ok(true);
            }
        }
    }
    println!("{what}: in none of {MISTAKE_WORLDS} worlds");
    Ok(false)
}

fn each_expression(table: &mut NfTables, change: impl Fn(&mut Expression)) {
    let rules = table.chains.values_mut().flat_map(|chain| &mut chain.rules);
    rules.flat_map(|rule| &mut rule.expressions).for_each(change);
}

#[test]
fn mistakes_in_nftables_are_found() -> Result<()> {
    let mistakes: [TablesMistake; 12] = [
        ("negated lookups are asked plainly", |table| {
            each_expression(table, |e| {
                if let Expression::Lookup { inverted, .. } = e {
                    *inverted = false;
                }
            });
        }),
        ("source addresses are asked for destinations", |table| {
            each_expression(table, |e| match e {
                Expression::Payload { base: 1, offset: offset @ 16, len: 4, .. } => *offset = 12,
                Expression::Payload { base: 1, offset: offset @ 24, len: 16, .. } => *offset = 8,
                _ => {}
            });
        }),
        ("source ports are asked for destinations", |table| {
            each_expression(table, |e| {
                if let Expression::Payload { base: 2, offset: offset @ 2, len: 2, .. } = e {
                    *offset = 0;
                }
            });
        }),
        ("intervals are one shorter", |table| {
            for set in table.sets.values_mut().filter(|set| set.interval) {
                let old = std::mem::take(&mut set.elements);
                for (mut element, verdict) in old {
                    if !element.begins
                        && let Some(last) = element.key.last_mut()
                    {
                        *last = last.wrapping_sub(1);
                    }
                    set.elements.insert(element, verdict);
                }
            }
        }),
        ("a range has no end", |table| {
            each_expression(table, |e| {
                if let Expression::Cmp { op: 3, data, .. } = e {
                    data.fill(0xff);
                }
            });
        }),
        ("jumps do not come back", |table| {
            each_expression(table, |e| {
                if let Expression::Verdict(Verdict::Jump(chain)) = e {
                    *e = Expression::Verdict(Verdict::Goto(chain.clone()));
                }
            });
        }),
        ("accept is return", |table| {
            each_expression(table, |e| {
                if *e == Expression::Verdict(Verdict::Accept) {
                    *e = Expression::Verdict(Verdict::Return);
                }
            });
        }),
        ("drop is return", |table| {
            each_expression(table, |e| {
                if *e == Expression::Verdict(Verdict::Drop) {
                    *e = Expression::Verdict(Verdict::Return);
                }
            });
        }),
        ("large sets lack a member", |table| {
            for set in table.sets.values_mut().filter(|set| !set.map && !set.interval) {
                if set.elements.len() > 2 {
                    set.elements.pop_first();
                }
            }
        }),
        ("masks are one bit shorter", |table| {
            each_expression(table, |e| {
                if let Expression::Bitwise { mask, xor, .. } = e
                    && xor.iter().all(|byte| *byte == 0)
                    && let Some(last) = mask.iter_mut().rev().find(|byte| **byte != 0)
                {
                    *last &= *last - 1;
                }
            });
        }),
        ("the last rule of long chains is missing", |table| {
            let long = table.chains.values_mut().filter(|chain| chain.rules.len() > 3);
            long.for_each(|chain| drop(chain.rules.pop()));
        }),
        ("base chains hang at another hook", |table| {
            for chain in table.chains.values_mut() {
                if let Some((hook @ Hook::Prerouting, ..)) = &mut chain.hook {
                    *hook = Hook::Output;
                }
            }
        }),
    ];
    let mut unseen = Vec::new();
    for (what, mistake) in mistakes {
        unseen.extend((!is_found::<Nft>(what, mistake)?).then_some(what));
    }
    ensure!(unseen.is_empty(), "not found: {unseen:?}");
    Ok(())
}

#[test]
fn mistakes_in_iptables_are_found() -> Result<()> {
    let mistakes: [ScriptMistake; 16] = [
        ("negated sets are asked plainly", |_, text| text.replace("! --match-set", "--match-set")),
        ("source ports are asked for destinations", |_, text| text.replace("--dport", "--sport")),
        ("destinations are asked as sources", |_, text| text.replace(" dst", " src")),
        ("prefixes of destinations are of sources", |_, text| text.replace(" -d ", " -s ")),
        ("gotos come back", |_, text| text.replace(" -g ", " -j ")),
        ("return is accept", |_, text| text.replace("-j RETURN", "-j ACCEPT")),
        ("accept is return", |_, text| text.replace("-j ACCEPT", "-j RETURN")),
        ("invalid packets are new", |_, text| text.replace("--ctstate INVALID", "--ctstate NEW")),
        ("negated protocols are asked plainly", |_, text| text.replace("! -p", "-p")),
        ("nothing is judged before connection tracking", |_, text| {
            text.replace("-I PREROUTING 1 -j BRINDLE-RAW-IN", "-I OUTPUT 1 -j BRINDLE-RAW-IN")
        }),
        ("what the node sends is not judged", |_, text| {
            text.replace("-I OUTPUT 1 -j BRINDLE-OUTPUT", "-I OUTPUT 1 -j RETURN")
        }),
        ("what comes in on its way through is not judged", |_, text| {
            text.replace("-j BRINDLE-HOST-FORWARD-IN", "-j RETURN")
        }),
        ("failsafe ports are closed", |_, text| {
            text.replace("\"failsafe port\" -j RETURN", "\"failsafe port\" -j DROP")
        }),
        ("what comes in for the node is not judged", |_, text| {
            text.replace("-g BRINDLE-HOST-INPUT", "-j RETURN")
        }),
        ("ranges have no end", |tool, text| {
            if tool == "ipset" {
                return text.to_owned();
            }
            let word = |word: &str| match word.split_once(':') {
                Some((first, last))
                    if last.parse::<u16>().is_ok() && first.parse::<u16>().is_ok() =>
                {
                    first.to_owned()
                }
                _ => word.to_owned(),
            };
            let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n";
            text.lines().map(line).collect()
        }),
        ("sets lack their first member", |tool, text| {
            if tool != "ipset" {
                return text.to_owned();
            }
            let mut last = String::new();
            let mut kept = String::new();
            for line in text.lines() {
                let set = line.split(' ').nth(1).unwrap_or_default();
                let first = line.starts_with("add ") && set != last;
                if first {
                    set.clone_into(&mut last);
                } else {
                    kept += &format!("{line}\n");
                }
            }
            kept
        }),
    ];
    let mut unseen = Vec::new();
    for (what, mistake) in mistakes {
        unseen.extend((!is_found::<Ipt>(what, mistake)?).then_some(what));
    }
    ensure!(unseen.is_empty(), "not found: {unseen:?}");
    Ok(())
}
