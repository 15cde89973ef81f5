//! A node: network, mount, host name, IPC and process namespaces, with containerd, kubelet and
//! kube-proxy in them.
//!
//! The paths that Kubernetes and a CNI use are bind mounts of the node's own folders, so that each
//! node sees the standard ones and a DaemonSet with host paths works as on a machine of its own.
//! Whoever kills the node's first process ends everything in it, containers included.

pub mod configuration;
pub mod init;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brindle_lab::netns::{Netns, run};
use brindle_lab::process::{Daemon, wait_until};

use crate::paths::{Cache, Paths};
use crate::plan::{self, Families};

/// Where containerd listens, in a node.
pub const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// Starts node `index`.
///
/// # Errors
/// util-linux is missing, or a file cannot be written.
pub fn start(
    cache: &Cache,
    paths: &Paths,
    families: Families,
    proxy_mode: configuration::ProxyMode,
    index: usize,
) -> Result<()> {
    let folder = paths.node(index);
    fs::create_dir_all(folder.join("log"))?;
    configuration::write(paths, families, proxy_mode, index)?;
    let mut command = Netns::existing(&plan::node_netns(index)).command("unshare");
    command.args(["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL"]);
    command.arg("--mount-proc").arg("--").arg(std::env::current_exe()?).arg("node");
    command.arg("--root").arg(paths.root()).arg("--programs").arg(&cache.programs);
    command.args(["--families", &families.to_string(), "--index", &index.to_string()]);
    command.process_group(0);
    let name = plan::node_name(index);
    let mut daemon = Daemon::start(&name, command, &folder.join("log/node.log"))?;
    wait_until(Duration::from_secs(60), &format!("containerd on {name}"), || {
        let log = folder.join("log");
        ensure!(daemon.exited()?.is_none(), "{name} ended: see {}", log.display());
        let asked = enter(index, "ctr").and_then(|mut ctr| {
            ctr.args(["--address", CONTAINERD, "version"]).stdout(Stdio::null());
            Ok(ctr.stderr(Stdio::null()).status()?.success())
        });
        Ok(asked.unwrap_or(false))
    })?;
    daemon.let_go();
    Ok(())
}

/// A command that will run in all namespaces of node `index`.
///
/// # Errors
/// The node does not run.
pub fn enter(index: usize, program: &str) -> Result<Command> {
    let first = first_process(index)?;
    let mut command = Command::new("nsenter");
    command.args(["--all", "--target", &first, "--", program]);
    Ok(command)
}

/// The process id, as seen from outside, of a node's first process.
fn first_process(index: usize) -> Result<String> {
    let netns = plan::node_netns(index);
    let inside = run("ip", &["netns", "pids", &netns])?;
    for pid in inside.split_whitespace() {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        if ids.split_whitespace().collect::<Vec<_>>() == [pid, "1"] {
            return Ok(pid.to_owned());
        }
    }
    anyhow::bail!("node {} does not run", plan::node_name(index))
}

/// Imports the image archives in `paths` into node `index`.
///
/// # Errors
/// containerd refused one.
pub fn import_images(paths: &Paths, index: usize) -> Result<()> {
    let folder = paths.images();
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        import_image(&entry?.path(), index)?;
    }
    Ok(())
}

/// Imports one image archive into node `index`.
///
/// # Errors
/// containerd refused it.
pub fn import_image(archive: &std::path::Path, index: usize) -> Result<()> {
    let mut ctr = enter(index, "ctr")?;
    ctr.args(["--address", CONTAINERD, "--namespace", "k8s.io", "images", "import"]);
    let output = ctr.arg(archive).output().context("start ctr")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "import {}: {}", archive.display(), said.trim());
    Ok(())
}
