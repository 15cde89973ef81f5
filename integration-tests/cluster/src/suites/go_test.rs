//! The network-policy-api suite, a Go test program.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brindle_lab::netns::Netns;

use super::{Outcome, Results, Run, Suite, Test};
use crate::go::kernel_has_sctp;
use crate::plan::CONTROL;

/// The suite; its tests stand below.
const SUITE: &str = "TestConformance";
/// Tests of it that need SCTP sockets in the kernel.
const SCTP: [&str; 6] = [
    "CNPAdminTierEgressSCTP",
    "CNPAdminTierGress",
    "CNPAdminTierIngressSCTP",
    "CNPBaselineTierEgressSCTP",
    "CNPBaselineTierGress",
    "CNPBaselineTierIngressSCTP",
];
/// Steps of other tests that need them: the test, and how the step's name ends.
const SCTP_STEPS: [(&str, &str); 6] = [
    ("CNPAdminTierEgressNodePeers", "'deny-egress'_rule_policy_for_egress-node-peer"),
    ("CNPBaselineTierEgressNodePeers", "'deny-egress'_rule_policy_for_egress-node-peer"),
    ("CNPAdminTierEgressInlineCIDRPeers", "'deny-egress'_rule_policy_for_egress-cidr-peer"),
    ("CNPBaselineTierEgressInlineCIDRPeers", "'deny-egress'_rule_policy_for_egress-cidr-peer"),
    ("CNPAdminTierEgressInlineCIDRPeers", "'allow-egress'_rule_policy_for_egress-cidr-peer"),
    ("CNPBaselineTierEgressInlineCIDRPeers", "'allow-egress'_rule_policy_for_egress-cidr-peer"),
];

/// What `-test.skip` takes to leave them out.
fn without_sctp() -> String {
    let tests = SCTP.iter().map(|test| format!("^{SUITE}$/^{test}$"));
    let steps = SCTP_STEPS.iter().map(|(test, step)| format!("^{SUITE}$/^{test}$/{step}$"));
    tests.chain(steps).collect::<Vec<_>>().join("|")
}

impl Run<'_> {
    /// Runs all of it, with the experimental features.
    pub(super) fn go_test(&self, file: &str) -> Result<()> {
        let log = self.logs.join(format!("{file}.log"));
        let output = File::create(&log).with_context(|| format!("write {}", log.display()))?;
        let program = self.cache.program("network-policy-api.test").display().to_string();
        let mut command = Netns::existing(CONTROL).command(&program);
        command
            .env("KUBECONFIG", self.paths.kubeconfig())
            .current_dir(self.logs)
            .args(["-all-features", "-test.v", "-test.timeout=1h"])
            .arg(format!("-test.run=^{SUITE}$"));
        if !kernel_has_sctp() {
            command.arg(format!("-test.skip={}", without_sctp()));
        }
        // A failed test makes it fail too; which, says the output.
        command.stdout(output.try_clone()?).stderr(output).status().context("start the suite")?;
        Ok(())
    }
}

/// Reads the output of a run, if there is one. Tests that need what the kernel lacks were left out.
pub(super) fn read(suite: Suite, logs: &Path) -> Result<Option<Results>> {
    let log = logs.join(format!("{}.log", suite.file()));
    let Ok(output) = fs::read_to_string(&log) else { return Ok(None) };
    let (tests, took) = parse(&output);
    ensure!(!tests.is_empty(), "the suite ended early: see {}", log.display());
    let missing = |name: &&&str| !output.contains(&format!("=== RUN   {SUITE}/{name}\n"));
    let missing_step = |(test, step): &&(&str, &str)| {
        let start = format!("=== RUN   {SUITE}/{test}/");
        !output.lines().any(|line| line.starts_with(&start) && line.ends_with(step))
    };
    let left_out = SCTP.iter().filter(missing).map(|name| (*name).to_owned());
    let steps = SCTP_STEPS.iter().filter(missing_step);
    let left_out = left_out.chain(steps.map(|(test, step)| format!("{test}: {step}"))).collect();
    Ok(Some(Results { suite, tests, left_out, took }))
}

/// Reads `go test -v`: a line for each test that ended, indented below the suite's. Returns the
/// tests, and how long the suite took.
fn parse(output: &str) -> (Vec<Test>, Duration) {
    let (mut tests, mut whole) = (Vec::new(), Duration::ZERO);
    for line in output.lines() {
        let Some(rest) = line.trim_start().strip_prefix("--- ") else { continue };
        let words: Vec<&str> = rest.split(' ').collect();
        let [result, name, took] = words[..] else { continue };
        let seconds = took.trim_matches(['(', ')', 's']).parse().unwrap_or_default();
        let took = Duration::from_secs_f64(seconds);
        // One level below the suite; the steps of a test count as the test.
        let name = match name.split('/').collect::<Vec<_>>()[..] {
            [SUITE] => {
                whole = took;
                continue;
            }
            [SUITE, name] => name,
            _ => continue,
        };
        let outcome = match result {
            "PASS:" => Outcome::Passed,
            "SKIP:" => Outcome::Skipped("said by the suite".to_owned()),
            _ => Outcome::Failed(failed_steps(output, name).join("; ")),
        };
        tests.push(Test { name: name.to_owned(), outcome, took });
    }
    (tests, whole)
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
        let (tests, took) = parse(output);
        assert_eq!(took, Duration::from_millis(70_120));
        assert_eq!(tests.len(), 2);
        assert_eq!((tests[0].name.as_str(), &tests[0].outcome), ("CNPOne", &Outcome::Passed));
        assert_eq!(tests[0].took, Duration::from_millis(1500));
        assert_eq!(tests[1].outcome, Outcome::Failed("Should_deny".to_owned()));
    }
}
