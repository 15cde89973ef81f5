//! What an agent with another dataplane has left of ours on this node.

use std::fmt;

use brindle_dataplane_core::Backend;
use brindle_dataplane_iptables as iptables;
use brindle_dataplane_iptables::{Iptables, Options};
use brindle_dataplane_nftables::Nftables;
use tracing::warn;

use super::AnyBackendError;
use super::choice::Kind;

/// Rules of ours beside those of the active backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    kind: Kind,
    /// Whether sets of iptables are in use by the active backend.
    shares_sets: bool,
}

impl fmt::Display for Former {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Former {
    /// Removes them.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn remove(self) -> Result<(), AnyBackendError> {
        match self.kind {
            Kind::Nftables => remove_table(),
            Kind::Iptables(variant) if self.shares_sets => {
                // What cannot be opened has nothing that could be read, either.
                let opened = Iptables::open(variant, Options::default());
                Ok(opened.map_or(Ok(()), |backend| backend.withdraw())?)
            }
            Kind::Iptables(_) => Ok(iptables::uninstall()?),
        }
    }
}

fn remove_table() -> Result<(), AnyBackendError> {
    // A kernel without nf_tables holds no table.
    Ok(Nftables::open().map_or(Ok(()), |mut backend| backend.uninstall())?)
}

/// What is there beside the active backend. What cannot be read is said, and counts as not there:
/// another dataplane that still filters closes more, not less.
pub fn find(active: Kind) -> Vec<Former> {
    let shares_sets = matches!(active, Kind::Iptables(_));
    let others = Kind::ALL.into_iter().filter(|kind| *kind != active);
    let there = |kind: &Kind| match is_installed(*kind) {
        Ok(installed) => installed,
        Err(error) => {
            warn!(dataplane = %kind, error = %error, "cannot see whether it holds rules of ours");
            false
        }
    };
    others.filter(there).map(|kind| Former { kind, shares_sets }).collect()
}

fn is_installed(kind: Kind) -> Result<bool, AnyBackendError> {
    match kind {
        Kind::Nftables => Nftables::open().map_or(Ok(false), |mut b| Ok(b.is_installed()?)),
        Kind::Iptables(variant) => {
            let opened = Iptables::open(variant, Options::default());
            opened.map_or(Ok(false), |backend| Ok(backend.is_installed()?))
        }
    }
}

/// Removes the rules of every dataplane.
///
/// # Errors
/// The kernel refused.
pub fn uninstall_all() -> Result<(), AnyBackendError> {
    remove_table()?;
    Ok(iptables::uninstall()?)
}
