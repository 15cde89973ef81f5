//! The dated report that is kept in the repository.

use std::fmt::Write;
use std::process::Command;

use super::Options;
use crate::network::Network;
use crate::suites::{Outcome, Results};
use crate::versions;

/// What ran, where, and what became of each test.
pub fn markdown(options: &Options, results: &[Results]) -> String {
    let shape = options.shape;
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        text.unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
    };
    let enforcement = match shape.network {
        Network::Brindle => format!("brindle, {}", shape.backend),
        Network::Ptp | Network::None => "none: a control run, in which tests must fail".to_owned(),
    };
    let facts = [
        ("Date", said("date", &["-u", "+%F"])),
        ("Commit", said("git", &["rev-parse", "--short", "HEAD"])),
        ("Enforcement", enforcement),
        ("Kubernetes", versions::kubernetes().to_owned()),
        ("network-policy-api", versions::network_policy_api().to_owned()),
        ("Nodes", shape.nodes.to_string()),
        ("Families", shape.families.to_string()),
        ("kube-proxy", shape.proxy_mode.to_string()),
        ("Runtime", said("containerd", &["--version"])),
        ("Kernel", said("uname", &["-r"])),
        ("Tests at a time", options.selection.processes.to_string()),
    ];
    let mut text = "# Conformance\n\n| | |\n|---|---|\n".to_owned();
    // Writing into a string does not fail.
    for (key, value) in facts {
        let _ = writeln!(text, "| {key} | {value} |");
    }
    text.push_str("\n| Suite | passed | failed | skipped by itself | left out | seconds |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for results in results {
        let [passed, failed, skipped] = results.counts();
        let (left_out, took) = (results.left_out.len(), results.took.as_secs());
        let suite = results.suite;
        let _ =
            writeln!(text, "| {suite} | {passed} | {failed} | {skipped} | {left_out} | {took} |");
    }
    text.push_str("\nLeft out is what needs SCTP sockets, where the kernel has none.\n");
    for results in results {
        let _ = writeln!(text, "\n## {}\n", results.suite);
        for test in &results.tests {
            let (mark, why) = match &test.outcome {
                Outcome::Passed => ("passed", ""),
                Outcome::Failed(how) => ("**failed**", first_line(how)),
                Outcome::Skipped(why) => ("skipped", first_line(why)),
            };
            let took = test.took.as_secs_f64();
            let colon = if why.is_empty() { "" } else { ": " };
            let _ = writeln!(text, "- {mark}, {took:.1} s: {}{colon}{why}", test.name);
        }
        for name in &results.left_out {
            let _ = writeln!(text, "- left out: {name}");
        }
    }
    text
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
