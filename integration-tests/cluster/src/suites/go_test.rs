//! The network-policy-api suite, a Go test program.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brindle_lab::netns::Netns;

use super::{Outcome, Run, Test};
use crate::plan::CONTROL;

/// The suite; its tests stand below.
const SUITE: &str = "TestConformance";
/// Tests of it that need SCTP sockets in the kernel.
const SCTP: [&str; 4] = [
    "CNPAdminTierEgressSCTP",
    "CNPAdminTierIngressSCTP",
    "CNPBaselineTierEgressSCTP",
    "CNPBaselineTierIngressSCTP",
];

impl Run<'_> {
    /// Runs all of it, with the experimental features. Returns its tests, and the names of those
    /// that need what the kernel lacks.
    pub(super) fn go_test(&self) -> Result<(Vec<Test>, Vec<String>)> {
        let log = self.logs.join("network-policy-api.log");
        let output = File::create(&log).with_context(|| format!("write {}", log.display()))?;
        let program = self.cache.program("network-policy-api.test").display().to_string();
        let mut command = Netns::existing(CONTROL).command(&program);
        command
            .env("KUBECONFIG", self.paths.kubeconfig())
            .current_dir(self.logs)
            .args(["-all-features", "-test.v", "-test.timeout=1h"])
            .arg(format!("-test.run=^{SUITE}$"));
        let left_out: Vec<String> =
            if self.sctp { Vec::new() } else { SCTP.map(str::to_owned).into() };
        if !left_out.is_empty() {
            command.arg(format!("-test.skip=^{SUITE}$/^({})$", left_out.join("|")));
        }
        // A failed test makes it fail too; which, says the output.
        command.stdout(output.try_clone()?).stderr(output).status().context("start the suite")?;
        let text = fs::read_to_string(&log)?;
        let tests = read(&text);
        ensure!(!tests.is_empty(), "the suite ended early: see {}", log.display());
        Ok((tests, left_out))
    }
}

/// Reads `go test -v`: a line for each test that ended, indented below the suite's.
fn read(output: &str) -> Vec<Test> {
    let mut tests = Vec::new();
    for line in output.lines() {
        let Some(rest) = line.trim_start().strip_prefix("--- ") else { continue };
        let words: Vec<&str> = rest.split(' ').collect();
        let [result, name, took] = words[..] else { continue };
        // One level below the suite; the steps of a test count as the test.
        let Some(name) = name.strip_prefix(SUITE).and_then(|name| name.strip_prefix('/')) else {
            continue;
        };
        if name.contains('/') {
            continue;
        }
        let seconds = took.trim_matches(['(', ')', 's']).parse().unwrap_or_default();
        let outcome = match result {
            "PASS:" => Outcome::Passed,
            "SKIP:" => Outcome::Skipped("said by the suite".to_owned()),
            _ => Outcome::Failed(failed_steps(output, name).join("; ")),
        };
        let took = Duration::from_secs_f64(seconds);
        tests.push(Test { name: name.to_owned(), outcome, took });
    }
    tests
}

fn failed_steps(output: &str, test: &str) -> Vec<String> {
    let start = format!("--- FAIL: {SUITE}/{test}/");
    let steps = output.lines().filter_map(|line| line.trim_start().strip_prefix(start.as_str()));
    steps.filter_map(|rest| rest.split(" (").next().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_read() {
        let output = "=== RUN   TestConformance\n\
                      --- FAIL: TestConformance (70.12s)\n    \
                      --- PASS: TestConformance/CNPOne (1.50s)\n        \
                      --- PASS: TestConformance/CNPOne/Should_allow (1.00s)\n    \
                      --- FAIL: TestConformance/CNPTwo (2.00s)\n        \
                      --- FAIL: TestConformance/CNPTwo/Should_deny (1.00s)\nFAIL\n";
        let tests = read(output);
        assert_eq!(tests.len(), 2);
        assert_eq!((tests[0].name.as_str(), &tests[0].outcome), ("CNPOne", &Outcome::Passed));
        assert_eq!(tests[0].took, Duration::from_millis(1500));
        assert_eq!(tests[1].outcome, Outcome::Failed("Should_deny".to_owned()));
    }
}
