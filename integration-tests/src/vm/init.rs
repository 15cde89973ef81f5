//! The first process of a virtual machine: carries out the tasks one after another, answers for
//! each, and ends the machine.
//!
//! What the tasks print goes to the console as it comes, so that the log of a machine that hangs
//! shows where.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};

use brindle_integration_tests::vm::task::{ANSWERS, Answer, Outcome, TASKS, Task};

/// Type and place of the file systems that programs expect.
const FILE_SYSTEMS: [(&str, &str); 6] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("cgroup2", "/sys/fs/cgroup"),
];
/// Where programs are looked for.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// The largest number of open files that the kernel allows by default (`fs.nr_open`). The first
/// process has 4,096, and a distribution's init raises it as this does.
const OPEN_FILES: u64 = 1 << 20;

fn main() {
    if let Err(error) = run() {
        println!("init: {error:#}");
    }
    // A restart, which qemu takes as the end. If this fails, the first process ends, and so does
    // the machine by a panic.
    drop(fs::write("/proc/sysrq-trigger", "b"));
}

fn run() -> Result<()> {
    for (kind, place) in FILE_SYSTEMS {
        fs::create_dir_all(place)?;
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount {place}"))?;
    }
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).context("raise open files")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    answer(&Answer::Booted { kernel })?;
    let tasks: Vec<Task> = serde_json::from_slice(&fs::read(TASKS)?).context(TASKS)?;
    for task in tasks {
        println!("init: {} begins", task.name);
        let start = Instant::now();
        let (code, output) =
            carry_out(&task).unwrap_or_else(|error| (None, format!("init: {error:#}")));
        let seconds = start.elapsed().as_secs_f64();
        println!("init: {} ended with {code:?} after {seconds:.1} s", task.name);
        if code != Some(0)
            && let Some(folder) = &task.evidence
        {
            show(folder)?;
        }
        answer(&Answer::Ended(Outcome { task: task.name, code, seconds, output }))?;
    }
    Ok(())
}

/// Closing the line waits until the host has what was written.
fn answer(answer: &Answer) -> Result<()> {
    let mut line = File::options()
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(ANSWERS)
        .with_context(|| format!("open {ANSWERS}"))?;
    writeln!(line, "{}", serde_json::to_string(answer)?)?;
    Ok(())
}

/// Exit code and what was printed.
fn carry_out(task: &Task) -> Result<(Option<i32>, String)> {
    let (reader, writer) = io::pipe()?;
    let mut child = Command::new(&task.program)
        .args(&task.arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(&task.environment)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("start {}", task.program))?;
    let mut output = String::new();
    let mut lines = BufReader::new(reader);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        output += &text;
        line.clear();
    }
    Ok((child.wait()?.code(), output))
}

/// Prints every file below a folder.
fn show(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            show(&path)?;
        } else {
            println!("init: {}:\n{}", path.display(), fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
