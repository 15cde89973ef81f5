//! The upstream suites, run against the cluster that is up.

mod ginkgo;
mod go_test;

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

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
    /// The name of its output, without an ending.
    fn file(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "network-policy",
            Self::SigNetwork => "sig-network",
            Self::DualStack => "dual-stack",
            Self::NetworkPolicyApi => "network-policy-api",
        }
    }

    /// Which of Kubernetes' end-to-end tests it has, as a regular expression; none if it is a
    /// program of its own.
    fn focus(self) -> Option<&'static str> {
        match self {
            Self::NetworkPolicy => Some(r"\[sig-network\].*NetworkPolicy"),
            Self::SigNetwork => Some(r"\[sig-network\].*\[Conformance\]"),
            Self::DualStack => Some(r"\[sig-network\].*\[Feature:IPv6DualStack\]"),
            Self::NetworkPolicyApi => None,
        }
    }

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
    eprintln!("==> {suite}");
    let run = Run { cache, paths, logs, processes };
    match suite.focus() {
        Some(focus) => run.ginkgo(suite.file(), focus)?,
        None => run.go_test(suite.file())?,
    }
    let results = read(suite, logs)?.context("the suite left no output")?;
    let [passed, failed, skipped] = results.counts();
    eprintln!(
        "    {suite}: {passed} passed, {failed} failed, {skipped} skipped, {} left out, {:.0} s",
        results.left_out.len(),
        results.took.as_secs_f64()
    );
    Ok(results)
}

/// What the last run of a suite left in `logs`, if there was one.
///
/// # Errors
/// It ended early.
pub fn read(suite: Suite, logs: &Path) -> Result<Option<Results>> {
    let results = match suite.focus() {
        Some(focus) => ginkgo::read(suite, logs, focus)?,
        None => go_test::read(suite, logs)?,
    };
    Ok(results.map(|mut results| {
        results.tests.sort_by(|a, b| a.name.cmp(&b.name));
        results
    }))
}

/// Removes what earlier runs left in `logs`, so that no report has it.
pub fn forget(logs: &Path) {
    for suite in Suite::value_variants() {
        for ending in ["json", "log"] {
            // Most are not there.
            let _ = fs::remove_file(logs.join(suite.file()).with_extension(ending));
        }
    }
}

struct Run<'a> {
    cache: &'a Cache,
    paths: &'a Paths,
    logs: &'a Path,
    processes: u8,
}
