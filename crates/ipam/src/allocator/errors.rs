//! Why the allocator refuses.

use std::fmt::Write;

use brindle_model::Name;
use brindle_model::net::Family;

use super::{AppendError, Handle, Pools, StoreError};
use crate::journal;
use crate::pools::{block_count, block_prefix_len};

/// Why the allocator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ledger.
    #[error("cannot open the address ledger")]
    Journal(#[from] journal::OpenError),
    /// The store.
    #[error("cannot read the node's address blocks")]
    Store(#[from] StoreError),
}

/// Why a handle gets no address.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// There is no pool at all.
    #[error("there is no IPPool; create one, and check that it was accepted")]
    NoPool,
    /// A family has pools, but none that gives addresses.
    #[error(
        "every {family} pool is disabled ({pools}); enable one, or delete them to have no {family}"
    )]
    Disabled {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The pools' names.
        pools: String,
    },
    /// The node's blocks are full, and so are the pools.
    #[error(
        "node {node} has no free {family} address: its blocks are full, and no block is free in \
         pool {pools}; add an IPPool or look for idle blocks (addresses are not borrowed from \
         other nodes' blocks)"
    )]
    Exhausted {
        /// The node.
        node: Name,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Name, prefix and number of blocks of each enabled pool.
        pools: String,
    },
    /// Other nodes were faster each time.
    #[error("other nodes claim {family} blocks at the same time; try again")]
    Contended {
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// Another call works on this handle.
    #[error("another request for {0} is in progress; try again")]
    Busy(Handle),
    /// The store of blocks failed.
    #[error("cannot claim an address block")]
    Store(#[from] StoreError),
    /// The ledger could not be written.
    #[error("cannot record the assignment")]
    Journal(#[from] AppendError),
}

/// Why addresses are still held.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Another call works on this handle.
    #[error("another request for {0} is in progress; try again")]
    Busy(Handle),
    /// The ledger could not be written.
    #[error("cannot record the release")]
    Journal(#[from] AppendError),
}

/// Why the ledger does not agree with what lives.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Two living handles have the same address.
    #[error("{handle} and {other} have the same address; delete one of the pods")]
    Conflict {
        /// Not entered in the ledger.
        handle: Handle,
        /// The one that is.
        other: Handle,
    },
    /// A dead handle could not be released.
    #[error("cannot release what nothing holds any more")]
    Release(#[from] ReleaseError),
    /// A living handle could not be entered.
    #[error("cannot record what a living pod holds")]
    Journal(#[from] AppendError),
}

/// Why an idle block was not given back.
#[derive(Debug, thiserror::Error)]
pub enum IdleBlockError {
    /// The store of blocks failed.
    #[error("cannot give back an idle address block")]
    Store(#[from] StoreError),
    /// The ledger could not be written.
    #[error("cannot record that an idle address block goes back")]
    Journal(#[from] AppendError),
}

impl AssignError {
    pub(super) fn disabled(family: Family, pools: &Pools) -> Self {
        let names: Vec<&str> = pools.of_family(family).map(|(name, _)| &**name).collect();
        Self::Disabled { family: family_name(family), pools: names.join(", ") }
    }

    pub(super) fn exhausted(node: &Name, family: Family, pools: &Pools) -> Self {
        let mut text = String::new();
        for (name, pool) in pools.enabled(family) {
            let separator = if text.is_empty() { "" } else { ", " };
            let (count, len) = (block_count(pool), block_prefix_len(pool));
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{name} ({}: {count} blocks of /{len})", pool.cidr);
        }
        Self::Exhausted { node: node.clone(), family: family_name(family), pools: text }
    }

    pub(super) fn contended(family: Family) -> Self {
        Self::Contended { family: family_name(family) }
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}
