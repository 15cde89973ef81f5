//! What a packet pays for policy: pod a → node → pod b, both on this node.
//!
//! Both ends of a round trip are in one thread on one CPU, so the whole path, softirq included, is
//! the thread's CPU time, and no scheduler stands in between. Configurations are measured in turn,
//! in rounds, and compared within a round: the machine's speed drifts by more than what is
//! measured.

mod policies;
mod traffic;

use anyhow::Result;
use brindle_dataplane_core::Backend;
use brindle_dataplane_nftables::Nftables;
use brindle_model::ruleset::{Ruleset, RulesetDelta};

use crate::pods::{Pods, nft};
use crate::row::Row;
use crate::timing::median;
use traffic::{Sample, TRAFFIC};

const ROUNDS: usize = 15;

/// What stands on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Bare,
    OneRule,
    /// A policy of 10,000 prefixes.
    Prefixes,
    /// The same while some connection is revoked.
    Revoked,
    /// One policy of 10,000 rules, each of one peer and one port.
    Rules,
    /// So many policies of one such rule.
    Policies(u32),
    /// So many such rules as one writes them by hand, one after another.
    ByHand(u32),
}

const PATHS: [Path; 13] = [
    Path::Bare,
    Path::OneRule,
    Path::Prefixes,
    Path::Revoked,
    Path::Rules,
    Path::Policies(10),
    Path::Policies(100),
    Path::Policies(1_000),
    Path::Policies(10_000),
    Path::ByHand(10),
    Path::ByHand(100),
    Path::ByHand(1_000),
    Path::ByHand(10_000),
];

impl Path {
    fn name(self) -> String {
        match self {
            Self::Bare => "bare".to_owned(),
            Self::OneRule => "one rule".to_owned(),
            Self::Prefixes => "10k prefixes".to_owned(),
            Self::Revoked => "with a revoked connection".to_owned(),
            Self::Rules => "10k rules".to_owned(),
            Self::Policies(count) => format!("{count} policies"),
            Self::ByHand(count) => format!("{count} rules by hand"),
        }
    }
}

/// Samples of one round, of each path in their order, for IPv4 and IPv6.
type Round = [[Sample; 2]; PATHS.len()];

/// The bench.
pub fn packet_path() -> Result<Vec<Row>> {
    let measured = std::thread::scope(|scope| scope.spawn(measure).join());
    let rounds = measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let mut rows = Vec::new();
    for (family, name) in ["ipv4", "ipv6"].into_iter().enumerate() {
        for (path, base) in pairs() {
            for (kind, traffic) in TRAFFIC.into_iter().enumerate() {
                let of = |path| {
                    let at = PATHS.iter().position(|p| *p == path).unwrap_or_default();
                    rounds.iter().map(move |round| round[at][family][kind])
                };
                let ratio = median(of(path).zip(of(base)).map(|(a, b)| a / b).collect());
                let (value, baseline) = (median(of(path).collect()), median(of(base).collect()));
                let case = format!("{name} {} {traffic} against {}", path.name(), base.name());
                rows.push(Row::paired(case, value, "us", baseline, ratio));
            }
        }
    }
    Ok(rows)
}

/// What is compared with what.
fn pairs() -> Vec<(Path, Path)> {
    let mut pairs = Vec::new();
    for path in [Path::Prefixes, Path::Rules, Path::Policies(10_000)] {
        pairs.extend([(path, Path::OneRule), (path, Path::Bare)]);
    }
    for size in [10, 100, 1_000] {
        pairs.push((Path::Policies(size), Path::OneRule));
    }
    pairs.push((Path::Policies(10_000), Path::Policies(10)));
    for size in [10, 100, 1_000, 10_000] {
        pairs.push((Path::ByHand(size), Path::OneRule));
    }
    pairs.push((Path::Revoked, Path::Prefixes));
    pairs
}

fn measure() -> Result<Vec<Round>> {
    let pods = Pods::build()?;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let mut samples = Round::default();
        // Every other round runs backwards, so that a drift within rounds cancels out.
        let mut order: Vec<usize> = (0..PATHS.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for path in order {
            load(PATHS[path])?;
            for (family, sample) in samples[path].iter_mut().enumerate() {
                *sample = traffic::sample(&pods, family)?;
            }
        }
        // The first round warms up.
        if round > 0 {
            rounds.push(samples);
        }
    }
    nft("flush ruleset")?;
    Ok(rounds)
}

fn load(path: Path) -> Result<()> {
    nft("flush ruleset")?;
    match path {
        Path::Bare => Ok(()),
        Path::OneRule => nft("table inet one {
            chain forward {
                type filter hook forward priority 0; policy accept;
                ct state established accept
            }
        }"),
        Path::ByHand(count) => nft(&policies::by_hand(count)),
        Path::Prefixes | Path::Revoked => ours(&policies::of_prefixes(), path == Path::Revoked),
        Path::Rules => ours(&policies::of_rules(1, policies::ENTRIES), false),
        Path::Policies(count) => ours(&policies::of_rules(count, 1), false),
    }
}

fn ours(ruleset: &Ruleset, revoked: bool) -> Result<()> {
    let mut backend = Nftables::open()?;
    backend.resync()?;
    backend.stop_revoked(revoked);
    backend.stage(&RulesetDelta::between(&Ruleset::default(), ruleset));
    backend.commit()?;
    Ok(())
}
