//! The upstream suites, run against the cluster that is up.

mod ginkgo;
mod go_test;

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::go::kernel_has_sctp;
use crate::paths::{Cache, Paths};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Kubernetes' end-to-end tests of NetworkPolicy and its API.
    NetworkPolicy,
    /// Those of `[sig-network]` that are `[Conformance]`.
    SigNetwork,
    /// Those of services and of two families that a CNI has a part in, beyond conformance.
    DualStack,
    /// The conformance suite of the network-policy-api: ClusterNetworkPolicy, with the
    /// experimental features.
    NetworkPolicyApi,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetworkPolicy => "e2e NetworkPolicy",
            Self::SigNetwork => "e2e [sig-network] [Conformance]",
            Self::DualStack => "e2e [Feature:IPv6DualStack]",
            Self::NetworkPolicyApi => "network-policy-api",
        })
    }
}

impl Suite {
    /// Whether it has tests that must fail where nothing enforces policy.
    pub fn needs_enforcement(self) -> bool {
        matches!(self, Self::NetworkPolicy | Self::NetworkPolicyApi)
    }
}

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed, and how.
    Failed(String),
    /// It said itself that it cannot run here, and why.
    Skipped(String),
}

/// One test.
#[derive(Clone, Debug)]
pub struct Test {
    /// Its name, as upstream writes it.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// What a suite showed.
#[derive(Clone, Debug)]
pub struct Results {
    /// Which.
    pub suite: Suite,
    /// Its tests, by name.
    pub tests: Vec<Test>,
    /// Those left out, because the kernel lacks what they need.
    pub left_out: Vec<String>,
    /// How long all of it took.
    pub took: Duration,
}

impl Results {
    /// How many passed, failed and skipped themselves.
    pub fn counts(&self) -> [usize; 3] {
        let count = |wanted: fn(&Outcome) -> bool| {
            self.tests.iter().filter(|test| wanted(&test.outcome)).count()
        };
        [
            count(|outcome| *outcome == Outcome::Passed),
            count(|outcome| matches!(outcome, Outcome::Failed(_))),
            count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        ]
    }
}

/// Runs a suite with `processes` tests at a time. Its output goes to `logs`.
///
/// # Errors
/// It could not be run; a test that fails is a result.
pub fn run(
    suite: Suite,
    cache: &Cache,
    paths: &Paths,
    logs: &Path,
    processes: u8,
) -> Result<Results> {
    fs::create_dir_all(logs).with_context(|| format!("make {}", logs.display()))?;
    let start = Instant::now();
    eprintln!("==> {suite}");
    let sctp = kernel_has_sctp();
    let run = Run { cache, paths, logs, processes, sctp };
    let (mut tests, left_out) = match suite {
        Suite::NetworkPolicy => run.ginkgo("network-policy", r"\[sig-network\].*NetworkPolicy")?,
        Suite::SigNetwork => run.ginkgo("sig-network", r"\[sig-network\].*\[Conformance\]")?,
        Suite::DualStack => {
            run.ginkgo("dual-stack", r"\[sig-network\].*\[Feature:IPv6DualStack\]")?
        }
        Suite::NetworkPolicyApi => run.go_test()?,
    };
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    let results = Results { suite, tests, left_out, took: start.elapsed() };
    let [passed, failed, skipped] = results.counts();
    eprintln!(
        "    {suite}: {passed} passed, {failed} failed, {skipped} skipped, {} left out, {:.0} s",
        results.left_out.len(),
        results.took.as_secs_f64()
    );
    Ok(results)
}

struct Run<'a> {
    cache: &'a Cache,
    paths: &'a Paths,
    logs: &'a Path,
    processes: u8,
    sctp: bool,
}
