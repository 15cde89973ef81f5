//! A virtual machine from its start to its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use brindle_lab::process::{Daemon, wait_until};

use super::debian::Kernel;
use super::initramfs::Root;
use super::modules;
use super::task::{Answer, Outcome, TASKS, Task};

/// How many lines of the console an error shows.
const TAIL: usize = 60;
/// What the kernel is told: to answer on the first serial line, to end rather than to wait after a
/// panic, and not to slow an emulated processor by what protects a real one.
const COMMAND_LINE: &str =
    "console=ttyS0 panic=-1 oops=panic quiet loglevel=4 mitigations=off random.trust_cpu=on";
/// All that qemu can emulate but CMPXCHG16B: with it Linux 6.12.95 crashed in each of eight boots on
/// qemu 7.2, with flags that no instruction leaves, and without it in none of three. Why was not found
/// out; kernels do without it.
const PROCESSOR: &str = "max,cx16=off";
/// One processor. With two of them Linux 7.3.4 met, in one of some twenty boots, a breakpoint that it
/// had just taken out of its own code again (jump labels): each emulated processor keeps what it
/// translated for a moment too long.
const PROCESSORS: &str = "1";
/// How often a machine is started until it comes up. What an emulator does before the first of our
/// programs runs says nothing about them; once one has, nothing is repeated.
const BOOTS: usize = 3;

/// What ran, and how it ended.
#[derive(Debug)]
pub struct Report {
    /// The kernel that ran, by itself.
    pub kernel: String,
    /// Of each task, in order.
    pub outcomes: Vec<Outcome>,
}

/// Boots a kernel on a root, and waits until all tasks have ended. The processor is emulated, with or
/// without `/dev/kvm` (decision 0050).
///
/// Files are made in `folder`, among them `console.log`.
///
/// # Errors
/// The machine does not boot, hangs, or ends before its tasks; the message has the end of the console.
pub fn run(
    kernel: &Kernel,
    root: &Root,
    tasks: &[Task],
    folder: &Path,
    deadline: Duration,
) -> Result<Report> {
    root.write(TASKS, &serde_json::to_vec(tasks)?)?;
    modules::copy(kernel, root.folder())?;
    let initramfs = folder.join("initramfs");
    root.archive(&initramfs)?;
    let (console, answers) = (folder.join("console.log"), folder.join("answers"));
    let ends = || format!("{}; its console ends with\n{}", kernel.release, tail(&console));
    let mut boots = 0;
    loop {
        boot(kernel, &initramfs, &console, &answers, deadline).with_context(ends)?;
        boots += 1;
        if boots == BOOTS || !fs::read(&answers)?.is_empty() {
            return read(&answers, &kernel.release, tasks).with_context(ends);
        }
        eprintln!("{}", ends());
    }
}

fn boot(
    kernel: &Kernel,
    initramfs: &Path,
    console: &Path,
    answers: &Path,
    deadline: Duration,
) -> Result<()> {
    // It ends with the test, however that ends.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    command.args(["-accel", "tcg", "-cpu", PROCESSOR, "-smp", PROCESSORS, "-m", "1536"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    for line in [console, answers] {
        command.arg("-serial").arg(format!("file:{}", line.display()));
    }
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
    command.args(["-append", COMMAND_LINE]);
    let log = initramfs.with_file_name("qemu.log");
    let mut machine = Daemon::start("qemu", command, &log)
        .context("install the Debian packages qemu-system-x86 and util-linux")?;
    let mut status = None;
    wait_until(deadline, "the virtual machine to end", || {
        status = machine.exited()?;
        Ok(status.is_some())
    })?;
    match status {
        Some(status) if status.success() => Ok(()),
        other => bail!("qemu ended with {other:?}: {}", fs::read_to_string(&log)?.trim()),
    }
}

/// The answers, if there is one for each task.
fn read(answers: &Path, release: &str, tasks: &[Task]) -> Result<Report> {
    let text = fs::read(answers)?;
    let text = String::from_utf8_lossy(&text);
    let mut report = Report { kernel: String::new(), outcomes: Vec::new() };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let answer = serde_json::from_str(line).with_context(|| format!("an answer: {line}"))?;
        match answer {
            Answer::Booted { kernel } => report.kernel = kernel,
            Answer::Ended(outcome) => report.outcomes.push(outcome),
        }
    }
    if report.kernel != release {
        bail!("the virtual machine did not come up with {release}, but with {:?}", report.kernel);
    }
    if let Some(missing) = tasks.get(report.outcomes.len()) {
        bail!("the virtual machine ended before {} did", missing.name);
    }
    Ok(report)
}

/// The end of a console's log.
pub fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// Where a machine's log is kept for whoever wants to look.
pub fn log_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernels").join(format!("{name}.log"))
}
