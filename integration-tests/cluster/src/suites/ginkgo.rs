//! Kubernetes' end-to-end tests, by Ginkgo and its JSON report.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brindle_lab::netns::Netns;
use serde_json::Value;

use super::{Outcome, Run, Test};
use crate::plan::CONTROL;

/// Tests of these words need a machine, or a time of their own.
const NEVER: &str = r"\[Disruptive\]|\[Serial\]";
/// Those of this word need SCTP sockets in the kernel.
const SCTP: &str = "SCTPConnectivity";

impl Run<'_> {
    /// Runs the tests whose names match `focus`. Returns them, and the names of those that need what
    /// the kernel lacks.
    pub(super) fn ginkgo(&self, name: &str, focus: &str) -> Result<(Vec<Test>, Vec<String>)> {
        let report = format!("{name}.json");
        let log = self.logs.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("write {}", log.display()))?;
        let never: Vec<_> = [NEVER].into_iter().chain((!self.sctp).then_some(SCTP)).collect();
        let program = self.cache.program("ginkgo").display().to_string();
        let mut command = Netns::existing(CONTROL).command(&program);
        command
            .arg(format!("--procs={}", self.processes))
            .args(["--no-color", "--timeout=2h", "--flake-attempts=1"])
            .arg(format!("--output-dir={}", self.logs.display()))
            .arg(format!("--json-report={report}"))
            .arg(format!("--focus={focus}"))
            .arg(format!("--skip={}", never.join("|")))
            .arg(self.cache.program("e2e.test"))
            .arg("--")
            .arg(format!("--kubeconfig={}", self.paths.kubeconfig().display()))
            .arg(format!("--kubectl-path={}", self.cache.program("kubectl").display()))
            .arg("--provider=skeleton")
            .arg("--allowed-not-ready-nodes=0");
        // A failed test makes it fail too; which, says the report.
        command.stdout(output.try_clone()?).stderr(output).status().context("start ginkgo")?;
        read(&self.logs.join(&report), focus)
            .with_context(|| format!("ginkgo ended early: see {}", log.display()))
    }
}

fn read(report: &Path, focus: &str) -> Result<(Vec<Test>, Vec<String>)> {
    let bytes = fs::read(report).with_context(|| format!("read {}", report.display()))?;
    let suites: Value = serde_json::from_slice(&bytes)?;
    let (mut tests, mut left_out) = (Vec::new(), Vec::new());
    for suite in suites.as_array().into_iter().flatten() {
        for reason in suite["SpecialSuiteFailureReasons"].as_array().into_iter().flatten() {
            eprintln!("    ginkgo says: {reason}");
        }
        for spec in suite["SpecReports"].as_array().into_iter().flatten() {
            let Some(name) = name(spec) else { continue };
            match outcome(spec) {
                Some(outcome) => {
                    let took = Duration::from_nanos(spec["RunTime"].as_u64().unwrap_or_default());
                    tests.push(Test { name, outcome, took });
                }
                None if name.contains(SCTP) && in_focus(&name, focus) => left_out.push(name),
                None => {}
            }
        }
    }
    ensure!(!tests.is_empty(), "{} has no test that ran", report.display());
    Ok((tests, left_out))
}

/// All words of a focus, which are joined by `.*`, stand in the name.
fn in_focus(name: &str, focus: &str) -> bool {
    focus.split(".*").all(|word| name.contains(&word.replace('\\', "")))
}

/// The full name of a test; what prepares and cleans up is none, unless it failed.
fn name(spec: &Value) -> Option<String> {
    let is_test = spec["LeafNodeType"] == "It";
    let failed = !matches!(spec["State"].as_str(), Some("passed" | "skipped" | "pending"));
    let kind = spec["LeafNodeType"].as_str().filter(|_| !is_test);
    let above = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten();
    let words = above.chain([&spec["LeafNodeText"]]).filter_map(Value::as_str);
    let words: Vec<_> = kind.into_iter().chain(words).filter(|word| !word.is_empty()).collect();
    (is_test || failed).then(|| words.join(" "))
}

/// None if the test was not chosen.
fn outcome(spec: &Value) -> Option<Outcome> {
    let said = spec["Failure"]["Message"].as_str().unwrap_or_default();
    match spec["State"].as_str() {
        Some("passed") => Some(Outcome::Passed),
        Some("skipped" | "pending") if said.is_empty() => None,
        Some("skipped" | "pending") => Some(Outcome::Skipped(said.to_owned())),
        _ => Some(Outcome::Failed(said.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_read() {
        let spec = |name: &str, kind: &str, state: &str, said: &str| {
            json!({"ContainerHierarchyTexts": ["[sig-network] Netpol"], "LeafNodeText": name,
                   "LeafNodeType": kind, "State": state, "RunTime": 2_000_000_000_u64,
                   "Failure": {"Message": said}})
        };
        let report = json!([{"SpecReports": [
            spec("one", "It", "passed", ""),
            spec("two", "It", "failed", "wrong"),
            spec("three", "It", "skipped", "not here"),
            spec("[Feature:SCTPConnectivity]", "It", "skipped", ""),
            spec("other", "It", "skipped", ""),
            spec("", "BeforeSuite", "passed", ""),
            spec("", "AfterSuite", "failed", "left over"),
        ]}]);
        let folder = std::env::temp_dir().join(format!("brindle-ginkgo-{}", std::process::id()));
        fs::write(&folder, report.to_string()).unwrap();
        let (tests, left_out) = read(&folder, r"\[sig-network\].*Netpol").unwrap();
        fs::remove_file(&folder).unwrap();
        let read: Vec<_> = tests.into_iter().map(|test| (test.name, test.outcome)).collect();
        let failed = |said: &str| Outcome::Failed(said.to_owned());
        assert_eq!(
            read,
            [
                ("[sig-network] Netpol one".to_owned(), Outcome::Passed),
                ("[sig-network] Netpol two".to_owned(), failed("wrong")),
                ("[sig-network] Netpol three".to_owned(), Outcome::Skipped("not here".to_owned())),
                ("AfterSuite [sig-network] Netpol".to_owned(), failed("left over")),
            ]
        );
        assert_eq!(left_out, ["[sig-network] Netpol [Feature:SCTPConnectivity]"]);
    }
}
