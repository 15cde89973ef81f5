//! The contract between the driver and a backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use brindle_model::ruleset::{Batch, Load, RulesetDelta};

use crate::nfnetlink::Concern;

/// One way to enforce a ruleset in the kernel: nftables, iptables, eBPF.
///
/// A backend holds the desired state (what was staged) beside what it knows the kernel to hold,
/// and commits the difference. The driver calls it from one thread; nothing else writes the
/// kernel objects that the backend owns.
///
/// - `stage` never touches the kernel.
/// - `commit` is atomic where the kernel can be. After an error the pending changes stay pending,
///   what was closed stays closed, and the driver calls `resync` before the next `commit`.
/// - The first call after construction is `resync`, which finds what an earlier agent left. It is
///   followed by the staging of the complete ruleset, so that the first commit writes only what
///   differs, and removes what is ours and no longer wanted (mark and sweep).
/// - `existing state is enough`: a commit with nothing pending makes no kernel write.
pub trait Backend: Send {
    /// Why a kernel operation failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The backend's name in logs, metrics and status.
    fn name(&self) -> &'static str;

    /// The largest program that it takes; the compiler hands over no larger one. Unless a backend
    /// says otherwise it knows of none that it would not take.
    fn limits(&self) -> Load {
        Load::UNBOUNDED
    }

    /// Takes changes into the desired state. Cheap, and without kernel I/O.
    fn stage(&mut self, delta: &RulesetDelta);

    /// Whether packets of connections that carry [`REVOKED_MARK`](crate::REVOKED_MARK) are to be
    /// dropped where they come from a pod or go to one. Part of the desired state, like a delta;
    /// until it is said for the first time, what an earlier agent left stays.
    fn stop_revoked(&mut self, stop: bool);

    /// Reads back what the kernel holds of ours; whatever differs from the desired state becomes
    /// pending, so that the next commit repairs it.
    ///
    /// # Errors
    /// The kernel could not be read; pending changes are as before.
    fn resync(&mut self) -> Result<Drift, Self::Error>;

    /// How it is found between two read-backs that somebody else has touched what is ours. Asked
    /// once, before the first read-back.
    fn watch(&self) -> Watch {
        Watch::ReadBack
    }

    /// What somebody else may have done: asked when there are signs of it, as [`Self::watch`] says.
    /// It costs less than a read-back, and never misses what the sign told of.
    fn disturbance(&mut self) -> Disturbance {
        Disturbance::Perhaps
    }

    /// Writes what is pending.
    ///
    /// # Errors
    /// The kernel refused; the changes stay pending.
    fn commit(&mut self) -> Result<Commit, Self::Error>;

    /// Removes every kernel object of ours: what `uninstall` calls.
    ///
    /// # Errors
    /// The kernel refused.
    fn uninstall(&mut self) -> Result<(), Self::Error>;
}

/// How it is found that somebody else has touched what is ours.
pub enum Watch {
    /// By the slow timer alone.
    ReadBack,
    /// nf_tables tells of each change; this says after which to ask [`Backend::disturbance`].
    Told(Concern),
    /// By [`Backend::disturbance`], after each such pause.
    Poll(Duration),
}

/// What somebody else has done to what is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Nothing.
    None,
    /// Something that a commit has undone since.
    Undone,
    /// A read-back may find something.
    Perhaps,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadBack => f.write_str("ReadBack"),
            Self::Told(_) => f.write_str("Told"),
            Self::Poll(pause) => write!(f, "Poll({pause:?})"),
        }
    }
}

/// What the driver of a backend takes in.
#[derive(Clone, Debug)]
pub enum DataplaneInput {
    /// A flush of the compiler.
    Batch(Arc<Batch>),
    /// See [`Backend::stop_revoked`].
    StopRevoked(bool),
}

/// What a resync found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Kernel objects (tables, chains, sets, elements, rules) that differ from the desired state.
    pub differing: usize,
}

/// What a commit wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Kernel objects created, changed or deleted; 0 means that the kernel was not written.
    pub writes: usize,
}
