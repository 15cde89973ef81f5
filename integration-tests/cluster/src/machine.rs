//! What a cluster changes on the machine outside its namespaces, remembered so that it can be put
//! back: a few sysctls that are global, and empty folders for bind mounts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::node::init::FOLDERS;
use crate::paths::Paths;

/// What kubelets set for the whole machine, and below what three nodes of one machine need more of.
const SYSCTLS: [&str; 8] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    INOTIFY_INSTANCES,
    INOTIFY_WATCHES,
];
const INOTIFY_INSTANCES: &str = "fs/inotify/max_user_instances";
const INOTIFY_WATCHES: &str = "fs/inotify/max_user_watches";

/// Remembers and changes.
///
/// # Errors
/// A file cannot be written.
pub fn prepare(paths: &Paths) -> Result<()> {
    let mut made = Vec::new();
    for (_, folder) in FOLDERS {
        make_missing(Path::new(folder), &mut made)?;
    }
    let read = |key: &str| fs::read_to_string(sysctl(key)).unwrap_or_default();
    let values: Vec<_> = SYSCTLS.iter().map(|key| (*key, read(key).trim().to_owned())).collect();
    let file = paths.changes();
    fs::write(&file, json!({"sysctls": values, "folders": made}).to_string())
        .with_context(|| format!("write {}", file.display()))?;
    for (key, least) in [(INOTIFY_INSTANCES, 8192), (INOTIFY_WATCHES, 1 << 20)] {
        if read(key).trim().parse::<u64>().is_ok_and(|now| now < least) {
            fs::write(sysctl(key), least.to_string()).with_context(|| format!("set {key}"))?;
        }
    }
    Ok(())
}

/// Puts back what [`prepare`] remembered; nothing if it did not run.
///
/// # Errors
/// What it wrote cannot be read.
pub fn restore(paths: &Paths) -> Result<()> {
    let Ok(text) = fs::read_to_string(paths.changes()) else { return Ok(()) };
    let changes: serde_json::Value =
        serde_json::from_str(&text).with_context(|| paths.changes().display().to_string())?;
    let list = |key: &str| changes[key].as_array().cloned().unwrap_or_default();
    for pair in list("sysctls") {
        if let (Some(key), Some(value)) = (pair[0].as_str(), pair[1].as_str())
            && !value.is_empty()
        {
            fs::write(sysctl(key), value).with_context(|| format!("put back {key}"))?;
        }
    }
    // Inner ones were made last. One in which somebody has put something stays.
    for folder in list("folders").iter().rev().filter_map(|folder| folder.as_str()) {
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

fn make_missing(folder: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_missing(above, made)?;
    }
    fs::create_dir(folder).with_context(|| format!("make {}", folder.display()))?;
    made.push(folder.to_owned());
    Ok(())
}

fn sysctl(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}
