//! Leaving the lab up, and removing it later by what it wrote down.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::folder;
use brindle_lab::agent::binary;
use brindle_lab::fabric::Fabric;
use brindle_lab::netns::Netns;
use brindle_lab::pod::Pod;

/// Where the process ids of a kept lab stand, one a line with the program's name.
const PIDS: &str = "pids";

/// Keeps everything and prints how to look around.
///
/// # Errors
/// The list of processes cannot be written: then nothing is kept.
pub fn leave(mut fabric: Fabric, pods: Vec<Pod>) -> Result<()> {
    let mut pids = format!("bird {}\n", fabric.bird.pid());
    for agent in fabric.nodes.iter().filter_map(|n| n.agent.as_ref()) {
        pids += &format!("brindle-agent {}\n", agent.pid());
    }
    fs::write(fabric.dir.join(PIDS), pids).context("write the list of processes")?;
    println!("\nThe lab stays. Look around:");
    println!(
        "  ls {}                       # edit a policy, see it enforced",
        fabric.objects().display()
    );
    println!("  find {}/status -name '*.yaml' | xargs tail -n +1", fabric.dir.display());
    for node in &fabric.nodes {
        let socket = fabric.dir.join(&node.name).join("agent.sock");
        let ctl = binary("brindlectl");
        println!("  {} --node {} --socket {} status", ctl.display(), node.name, socket.display());
        println!("  nsenter --net={} nft list ruleset", node.netns.path().display());
    }
    println!("  birdc -s {} show route", fabric.dir.join("bird.ctl").display());
    for mut pod in pods {
        println!("  nsenter --net={} ip addr", pod.netns.path().display());
        pod.netns.keep();
    }
    println!("Remove it with: make demo-clean");
    fabric.keep();
    Ok(())
}

/// Removes a lab that was kept, or that an interrupted demo left.
///
/// # Errors
/// The folder cannot be removed.
pub fn clean(name: &str) -> Result<()> {
    let dir = folder(name);
    for line in fs::read_to_string(dir.join(PIDS)).unwrap_or_default().lines() {
        let Some((program, pid)) = line.split_once(' ') else { continue };
        let Ok(pid) = pid.parse::<i32>() else { continue };
        // The number may be somebody else's by now: only the program we started is stopped.
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if program.starts_with(comm.trim()) && !comm.trim().is_empty() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let entry = entry.file_name().to_string_lossy().into_owned();
        if entry.starts_with(&format!("{name}-")) {
            Netns::delete(&entry);
        }
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(())
}
