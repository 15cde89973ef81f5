//! The same on other kernels, the oldest that is supported to the newest that Debian has: worlds for
//! each backend, in a virtual machine, with the tools of this machine.
//!
//! The programs inside are this very one and the agent. They find out by themselves what the kernel
//! offers; nothing tells them which one it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use brindle_integration_tests::apt::Archive;
use brindle_integration_tests::vm::debian::{self, Source};
use brindle_integration_tests::vm::initramfs::Root;
use brindle_integration_tests::vm::machine;
use brindle_integration_tests::vm::task::{Outcome, Task};
use brindle_lab::agent::binary;

/// What the agent, the backends and the rig start.
const TOOLS: [&str; 20] = [
    "ip",
    "nsenter",
    "conntrack",
    "nft",
    "ipset",
    "iptables-nft",
    "iptables-nft-save",
    "iptables-nft-restore",
    "ip6tables-nft",
    "ip6tables-nft-save",
    "ip6tables-nft-restore",
    "iptables-legacy",
    "iptables-legacy-save",
    "iptables-legacy-restore",
    "ip6tables-legacy",
    "ip6tables-legacy-save",
    "ip6tables-legacy-restore",
    "iptables",
    "ip6tables",
    "modprobe",
];
/// The tests that a machine runs: one for each backend.
const BACKENDS: [(&str, &str); 3] = [
    ("nftables", "verdicts_of_the_kernel_are_the_oracles"),
    ("iptables-nft", "verdicts_of_iptables_nft_are_the_oracles"),
    ("iptables-legacy", "verdicts_of_iptables_legacy_are_the_oracles"),
];
/// Worlds for each backend, and the first seed. Each has about 300 probes.
const WORLDS: &str = "1";
const SEED: &str = "1";
/// Fewer probes than these prove nothing.
const PROBES: usize = 100;
/// A machine that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(480);
/// The agent in a machine.
const AGENT: &str = "/usr/bin/brindle-agent";
/// This program in a machine.
const TESTS: &str = "/usr/bin/kernel";

#[test]
fn on_linux_5_10() -> Result<()> {
    let suites = &[(Archive::Security, "bullseye-security")];
    agree_on(&Source { name: "5.10", version: "5.10.", suites })
}

#[test]
fn on_linux_6_1() -> Result<()> {
    let suites = &[(Archive::Security, "bookworm-security")];
    agree_on(&Source { name: "6.1", version: "6.1.", suites })
}

#[test]
fn on_linux_6_12() -> Result<()> {
    let suites = &[(Archive::Security, "trixie-security")];
    agree_on(&Source { name: "6.12", version: "6.12.", suites })
}

#[test]
fn on_the_newest_linux() -> Result<()> {
    let suites = &[(Archive::Main, "trixie-backports"), (Archive::Main, "sid")];
    agree_on(&Source { name: "newest", version: "", suites })
}

fn agree_on(source: &Source) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("brindle-vm-").tempdir()?;
    let kernel = debian::fetch(source, &folder.path().join("kernel"))?;
    let root = root(&folder.path().join("root"))?;
    let report = machine::run(&kernel, &root, &tasks(), folder.path(), DEADLINE);
    keep(&folder.path().join("console.log"), source.name)?;
    let report = report?;
    let mut failed = Vec::new();
    for outcome in &report.outcomes {
        let said = judge_outcome(outcome).unwrap_or_else(|error| {
            failed.push(outcome.task.as_str());
            format!("{error:#}")
        });
        println!("{}, {} ({:.0} s): {said}", report.kernel, outcome.task, outcome.seconds);
    }
    let log = machine::log_of(source.name);
    ensure!(failed.is_empty(), "on {}: {failed:?}, see {}", report.kernel, log.display());
    Ok(())
}

/// Everything but kernel and modules.
fn root(folder: &Path) -> Result<Root> {
    let root = Root::create(folder)?;
    root.built(Path::new(env!("CARGO_BIN_EXE_brindle-vm-init")), "/init")?;
    root.built(&std::env::current_exe()?, TESTS)?;
    root.built(&binary("brindle-agent"), AGENT)?;
    for tool in TOOLS {
        root.tool(tool)?;
    }
    // Where the kernel looks for it.
    root.program(&fs::canonicalize("/sbin/modprobe").context("install kmod")?, "/sbin/modprobe")?;
    root.iptables_extensions()?;
    Ok(root)
}

fn tasks() -> Vec<Task> {
    let probe = Task {
        name: "probe".to_owned(),
        program: AGENT.to_owned(),
        arguments: vec!["probe".to_owned()],
        environment: BTreeMap::new(),
        evidence: None,
    };
    let worlds = BACKENDS.map(|(backend, test)| Task {
        name: backend.to_owned(),
        program: TESTS.to_owned(),
        arguments: ["--exact", test, "--nocapture"].map(str::to_owned).to_vec(),
        environment: [("BRINDLE_KERNEL_WORLDS", WORLDS), ("BRINDLE_SEED", SEED)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        evidence: Some(super::evidence()),
    });
    [probe].into_iter().chain(worlds).collect()
}

/// What there is to say of a task that did what it should.
fn judge_outcome(outcome: &Outcome) -> Result<String> {
    let Outcome { task, code, output, .. } = outcome;
    ensure!(*code == Some(0), "{task} ended with {code:?}:\n{output}");
    if task == "probe" {
        let works = |backend: &str| output.contains(&format!("ok       {backend}: works"));
        let missing: Vec<&str> =
            BACKENDS.map(|(b, _)| b).into_iter().filter(|b| !works(b)).collect();
        ensure!(missing.is_empty(), "the agent finds no {missing:?}:\n{output}");
        return Ok(format!("\n{output}"));
    }
    // "brd-kernel: 1 worlds, 314 probes, 50 % delivered"
    let line = output.lines().find(|line| line.contains(" probes, "));
    let line = line.with_context(|| format!("{task} says nothing of probes:\n{output}"))?;
    let probes = line.split(", ").find_map(|part| part.strip_suffix(" probes"));
    let probes: usize = probes.and_then(|number| number.parse().ok()).context("no number")?;
    ensure!(probes >= PROBES, "{task}: only {probes} probes");
    Ok(line.to_owned())
}

/// Keeps the log of a machine.
fn keep(console: &Path, name: &str) -> Result<()> {
    let log = machine::log_of(name);
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    if console.exists() {
        fs::copy(console, log)?;
    }
    Ok(())
}
