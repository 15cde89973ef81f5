//! A real `brindle-agent` in a node's namespace.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::fabric::Node;
use crate::process::{Daemon, wait_until};

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    daemon: Daemon,
    run: PathBuf,
}

/// Where the binaries are: `BRINDLE_BIN`, else beside the running program (`target/release`, or
/// its `deps` when that program is a test).
pub fn binary(name: &str) -> PathBuf {
    if let Some(dir) = env::var_os("BRINDLE_BIN") {
        return PathBuf::from(dir).join(name);
    }
    let exe = env::current_exe().unwrap_or_default();
    let dir = exe.parent().unwrap_or(Path::new("."));
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    dir.join(name)
}

/// `brindlectl explain`: the flow is allowed.
const EXIT_ALLOWED: i32 = 0;
/// `brindlectl explain`: the flow is denied.
const EXIT_DENIED: i32 = 3;

impl Agent {
    /// Starts an agent of the lab's folder with further options, and waits until it is in sync.
    ///
    /// # Errors
    /// It ends or is not ready in time; the message names its log.
    pub fn start(node: &Node, lab: &Path, options: &[&str]) -> Result<Self> {
        let folder = |name: &str| lab.join(name).display().to_string();
        let source = format!("dir:{}", folder("objects"));
        let (status, ipam) = (folder("status"), folder("ipam"));
        let mut all = vec!["--source", &source, "--status-dir", &status, "--ipam-dir", &ipam];
        all.extend(options);
        Self::spawn(node, lab, &all)?.ready(node)
    }

    /// Starts an agent with these options beside its name and folders.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(node: &Node, lab: &Path, options: &[&str]) -> Result<Self> {
        let run = lab.join(&node.name);
        std::fs::create_dir_all(&run)?;
        let log = run.join("agent.log");
        let mut command = node.netns.command(
            binary("brindle-agent").to_str().context("the path of brindle-agent is not UTF-8")?,
        );
        command
            .arg("--node")
            .arg(&node.name)
            .arg("--state-dir")
            .arg(run.join("state"))
            .arg("--run-dir")
            .arg(&run)
            .args(options);
        Ok(Self { daemon: Daemon::start("brindle-agent", command, &log)?, run })
    }

    /// Waits until the agent is in sync.
    ///
    /// # Errors
    /// It ends or is not ready in time; the message names its log.
    pub fn ready(mut self, node: &Node) -> Result<Self> {
        let ready = wait_until(Duration::from_secs(20), "the agent to be in sync", || {
            if let Some(status) = self.daemon.exited()? {
                bail!("the agent of {} ended: {status}", node.name);
            }
            Ok(self.ctl(&["status", "--ready"]).is_ok())
        });
        ready.with_context(|| format!("see {}", self.run.join("agent.log").display()))?;
        Ok(self)
    }

    /// The agent's admin socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("agent.sock")
    }

    /// The agent's CNI socket.
    pub fn cni_socket(&self) -> PathBuf {
        self.run.join("cni.sock")
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.daemon.pid()
    }

    /// Resident memory in KiB (`VmRSS`).
    ///
    /// # Errors
    /// The process is gone.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.split_whitespace().next()).context("no VmRSS")?;
        Ok(kib.parse()?)
    }

    /// Runs `brindlectl` against this agent and returns what it printed.
    ///
    /// # Errors
    /// It failed; the message holds its standard error.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(binary("brindlectl"))
            .arg("--socket")
            .arg(self.socket())
            .args(arguments)
            .output()
            .context("start brindlectl")?;
        if !output.status.success() {
            bail!(
                "brindlectl {}: {}: {}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks which rule decides a flow; a denied flow is an answer too.
    ///
    /// # Errors
    /// The question could not be answered.
    pub fn explain(&self, from: &str, to: &str, port: &str) -> Result<String> {
        let output = Command::new(binary("brindlectl"))
            .arg("--socket")
            .arg(self.socket())
            .args(["explain", from, to, "--port", port])
            .output()
            .context("start brindlectl")?;
        match output.status.code() {
            Some(EXIT_ALLOWED | EXIT_DENIED) => {
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
            _ => bail!("brindlectl explain: {}", String::from_utf8_lossy(&output.stderr).trim()),
        }
    }

    /// Waits until everything written to the folder before this call is enforced.
    ///
    /// # Errors
    /// It is not within five seconds.
    pub fn barrier(&self) -> Result<Duration> {
        let start = Instant::now();
        self.ctl(&["sync", "--timeout", "5"])?;
        Ok(start.elapsed())
    }

    /// Ends the agent with a signal and waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(self, signal: Signal) -> Result<()> {
        self.daemon.end(signal, Duration::from_secs(10))
    }

    /// Leaves the agent running on drop.
    pub fn let_go(&mut self) {
        self.daemon.let_go();
    }
}
