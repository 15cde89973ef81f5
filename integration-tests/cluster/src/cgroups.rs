//! Control groups of the nodes: `brindle-cluster/nodeN` in each hierarchy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::plan;

const MOUNT: &str = "/sys/fs/cgroup";
const PARENT: &str = "brindle-cluster";
/// Controllers that a kubelet asks for.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];

/// The `cgroupRoot` of node `index`.
pub fn root(index: usize) -> String {
    format!("/{PARENT}/{}", plan::node_name(index))
}

/// Makes the groups of `nodes` nodes.
///
/// # Errors
/// No hierarchy can be written.
pub fn make(nodes: usize) -> Result<()> {
    for index in 1..=nodes {
        let below = format!("{PARENT}/{}", plan::node_name(index));
        for hierarchy in hierarchies()? {
            let group = hierarchy.join(&below);
            fs::create_dir_all(&group).with_context(|| format!("make {}", group.display()))?;
            if unified()? {
                for parent in [&hierarchy, &hierarchy.join(PARENT), &group] {
                    delegate(parent);
                }
            } else {
                fill_cpuset(&hierarchy, &below)?;
            }
        }
    }
    Ok(())
}

/// Lets groups below have controllers. One that this kernel lacks is not asked for by the kubelet
/// either.
fn delegate(group: &Path) {
    for controller in CONTROLLERS {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// A new cpuset group of version 1 is empty, and an empty one takes no process.
fn fill_cpuset(hierarchy: &Path, below: &str) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let Ok(all) = fs::read_to_string(hierarchy.join(file)) else { continue };
        let mut group = hierarchy.to_owned();
        for step in below.split('/') {
            group.push(step);
            fs::write(group.join(file), &all)
                .with_context(|| format!("write {}", group.join(file).display()))?;
        }
    }
    Ok(())
}

/// Removes all groups of the cluster, once the processes in them are gone.
///
/// # Errors
/// A group is still in use after 10 seconds.
pub fn remove() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    for hierarchy in hierarchies()? {
        let parent = hierarchy.join(PARENT);
        while let Err(error) = remove_tree(&parent) {
            if Instant::now() > deadline {
                bail!("remove {}: {error}; see its cgroup.procs", parent.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Only folders can be removed here, the files in them are the kernel's.
fn remove_tree(group: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

fn unified() -> Result<bool> {
    let mounted = statfs(MOUNT).with_context(|| format!("look at {MOUNT}"))?;
    Ok(mounted.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// The hierarchies that are mounted: one of version 2, or the many of version 1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    if unified()? {
        return Ok(vec![PathBuf::from(MOUNT)]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(MOUNT).with_context(|| format!("read {MOUNT}"))? {
        let entry = entry?;
        // Some names are links to one hierarchy.
        if entry.file_type()?.is_dir() && entry.path().join("cgroup.procs").exists() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
