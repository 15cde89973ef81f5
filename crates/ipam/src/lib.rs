//! Block-based address management over a compare-and-swap store.
//!
//! # Two layers
//!
//! - **Blocks** (`/26` and `/122` unless the pool says otherwise) are cut from the pools and belong
//!   to one node each. Which node owns which block is the only thing that nodes must agree on, so
//!   it is the only thing in the shared [`Store`]: one record a block, created by
//!   compare-and-swap. A block is what the node announces to its routers.
//! - **Addresses** within a node's blocks are given out by that node alone. They stand in a
//!   [`Journal`] on its disk: one line a batch, one `fdatasync` a batch, shared by all requests
//!   that wait at that moment. Giving an address costs no request to anybody while the node's
//!   blocks have room.
//!
//! # What holds
//!
//! - A journal line is atomic and carries all addresses of a handle: a pod has its addresses of
//!   every family or none, whatever step the machine stopped at.
//! - A [`Handle`] (container id and interface) names what is held. Asking twice gives the same
//!   addresses; releasing twice is a success. After a crash [`Ipam::reconcile`] takes back whatever
//!   no living attachment holds.
//! - An address becomes free in memory only after its release is on disk, and is used again as
//!   late as possible: first addresses never used, then the one released longest ago (K39).
//! - Every address of a block is given out, the first and the last too: pods have host routes
//!   (`/32`, `/128`), so a block is no subnet and has neither network nor broadcast address.
//! - Blocks are not lent: a node without room in its own blocks and without a free block in the
//!   pools says so, rather than take addresses out of a block that another node announces.

mod allocator;
mod block;
mod file_store;
pub mod journal;
mod ledger;
mod pools;
mod store;

pub use allocator::{
    AssignError, BlockStatus, IdleBlockError, Ipam, OpenError, ReconcileError, Reconciled,
    ReleaseError,
};
pub use file_store::FileStore;
pub use journal::Journal;
pub use ledger::Handle;
pub use store::{Record, Revision, Store, StoreError, WriteError};
