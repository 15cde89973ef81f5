//! What is done to a cluster that runs. A process is found by the namespace that it is in and the name
//! it was started by, so nothing outside the cluster is met.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use brindle_lab::netns::run;
use brindle_lab::process::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{Stage, api, node_netns};
use crate::node::{self, CONTAINERD};
use crate::plan::{self, CONTROL};

/// How long a part may take to be back; the kubelet waits 20 s before it starts a container for the
/// third time, and 40 s before the fourth.
const BACK: Duration = Duration::from_secs(120);
const AGENT: &str = "brindle-agent";
const OPERATOR: &str = "brindle-operator";

/// Processes of a namespace of the cluster that were started as `program`.
///
/// # Errors
/// There is no such namespace.
pub fn processes(netns: &str, program: &str) -> Result<Vec<i32>> {
    let inside = run("ip", &["netns", "pids", netns])?;
    let is_it = |pid: &&str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let first = String::from_utf8_lossy(line.split(|byte| *byte == 0).next().unwrap_or(&[]));
        Path::new(&*first).file_name().is_some_and(|name| name == program)
    };
    Ok(inside.split_whitespace().filter(is_it).map(str::parse).collect::<Result<_, _>>()?)
}

/// Kills them, and waits until they are gone. Returns which they were.
///
/// # Errors
/// There is none, or one does not go.
pub fn kill_all(netns: &str, program: &str) -> Result<Vec<i32>> {
    let found = processes(netns, program)?;
    ensure!(!found.is_empty(), "{program} does not run in {netns}");
    for pid in &found {
        kill(Pid::from_raw(*pid), Signal::SIGKILL)?;
    }
    wait_until(Duration::from_secs(10), &format!("{program} to be gone"), || {
        for pid in &found {
            // What this program has started itself is its to reap; the rest is somebody else's.
            let _ = waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG));
        }
        // A process whose first thread has ended may hold its ports still.
        Ok(found.iter().all(|pid| kill(Pid::from_raw(*pid), None).is_err()))
    })?;
    Ok(found)
}

impl Stage<'_> {
    /// Kills the agent of a node.
    ///
    /// # Errors
    /// As [`kill_all`].
    pub(super) fn kill_agent(&self, index: usize) -> Result<()> {
        kill_all(&plan::node_netns(index), AGENT).map(drop)
    }

    /// Waits until the agents of all nodes run, and with `ready` enforce.
    ///
    /// # Errors
    /// One does not.
    pub(super) fn wait_for_agents(&self, ready: bool) -> Result<()> {
        for index in self.nodes() {
            let name = plan::node_name(index);
            wait_until(BACK, &format!("the agent of {name} to be back"), || {
                let runs = !processes(&plan::node_netns(index), AGENT)?.is_empty();
                Ok(runs && (!ready || is_ready(index)))
            })?;
        }
        Ok(())
    }

    /// Kills the operator, and waits for the next.
    ///
    /// # Errors
    /// None runs, or none comes.
    pub(super) fn restart_operator(&self) -> Result<()> {
        let mut killed = Vec::new();
        for index in self.nodes() {
            let netns = plan::node_netns(index);
            if !processes(&netns, OPERATOR)?.is_empty() {
                killed.extend(kill_all(&netns, OPERATOR)?);
            }
        }
        ensure!(!killed.is_empty(), "no operator runs");
        wait_until(BACK, "the operator to be back", || {
            let mut running = Vec::new();
            for index in self.nodes() {
                running.extend(processes(&plan::node_netns(index), OPERATOR)?);
            }
            Ok(!running.is_empty())
        })
    }

    /// Kills etcd or the API server; it stays down.
    ///
    /// # Errors
    /// As [`kill_all`].
    pub(super) fn kill_control(&self, program: &str) -> Result<()> {
        kill_all(CONTROL, program).map(drop)
    }

    /// Kills kubelet and containerd of a node, and waits until both answer again.
    ///
    /// # Errors
    /// They do not.
    pub(super) fn restart_node_daemons(&self, index: usize) -> Result<()> {
        let netns = plan::node_netns(index);
        kill_all(&netns, "kubelet")?;
        kill_all(&netns, "containerd")?;
        let name = plan::node_name(index);
        wait_until(BACK, &format!("kubelet and containerd of {name}"), || {
            let health = api::get(&node_netns(index), "127.0.0.1:10248", "/healthz");
            let mut ctr = node::enter(index, "ctr")?;
            ctr.args(["--address", CONTAINERD, "version"]);
            let asked = ctr.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            Ok(health.is_ok_and(|answer| answer.code == 200) && asked.success())
        })
    }
}

/// Whether the agent of a node says that it enforces.
fn is_ready(index: usize) -> bool {
    let answer = api::get(&node_netns(index), "127.0.0.1:9188", "/readyz");
    answer.is_ok_and(|answer| answer.code == 200)
}
