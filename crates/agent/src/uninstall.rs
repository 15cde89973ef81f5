//! Everything that an agent made on this node, removed.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use brindle_dataplane_core::conntrack::{self, ConntrackError};
use brindle_dataplane_core::{PodNetwork, RouteTable};
use tracing::info;

use crate::backend::former;
use crate::config::UninstallOptions;
use crate::lock::NodeLock;

/// Removes the CNI configuration, links of pods, routes, rules, marks of connections, and state, in
/// the order in which each may go without opening anything: pods lose their links before the rules
/// that guard them go.
///
/// # Errors
/// An agent runs, or the kernel refused. What was removed stays removed; it may be called again.
pub fn uninstall(options: &UninstallOptions) -> Result<()> {
    let lock = NodeLock::take(&options.run_dir)?;
    // Without it the node gets no new pods.
    options.cni.remove()?;
    let links = PodNetwork.host_interfaces().context("list the pods' interfaces")?;
    for link in &links {
        PodNetwork.detach(link).with_context(|| format!("remove interface {link}"))?;
    }
    let routes = RouteTable::open()?.uninstall().context("remove routes")?;
    former::uninstall_all().context("remove rules")?;
    match conntrack::clear_revoked() {
        // No marks, nothing to clear.
        Ok(_) | Err(ConntrackError::Unsupported(_)) => {}
        Err(error) => return Err(error).context("clear marks of connections"),
    }
    remove(&options.state_dir)?;
    drop(lock);
    remove(&options.run_dir)?;
    info!(links = links.len(), routes, "uninstalled");
    Ok(())
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A disk of its own for the state is the administrator's mount: what was in it is gone, and
        // the folder stays with the mount.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy && is_empty(dir) => Ok(()),
        result => result.with_context(|| format!("remove {}", dir.display())),
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn what_is_not_there_is_removed_already() {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("brindle");
        remove(&dir).unwrap();
        fs::create_dir_all(dir.join("journal")).unwrap();
        remove(&dir).unwrap();
        assert!(!dir.exists());
    }

    /// Of a thread that sees mounts of its own.
    #[test]
    fn a_mount_is_emptied_and_stays() {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("brindle");
        fs::create_dir(&dir).unwrap();
        let inside = {
            let dir = dir.clone();
            std::thread::spawn(move || {
                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                let none: Option<&str> = None;
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
                mount(Some(&dir), &dir, none, MsFlags::MS_BIND, none).unwrap();
                fs::create_dir_all(dir.join("journal")).unwrap();
                remove(&dir).unwrap();
                assert!(is_empty(&dir));
            })
        };
        inside.join().unwrap();
        assert!(dir.exists());
    }
}
