//! Everything that an agent made on this node, removed.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use brindle_dataplane_core::conntrack::{self, ConntrackError};
use brindle_dataplane_core::{Backend, PodNetwork, RouteTable};
use tracing::info;

use crate::backend::AnyBackend;
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
    AnyBackend::open()?.uninstall().context("remove rules")?;
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
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
