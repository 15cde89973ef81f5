//! The backends that this build offers, behind one type: the only place that names them all.

use brindle_dataplane_core::{Backend, Commit, Drift};
use brindle_dataplane_nftables::{Counters, Nftables, NftablesError, OpenError};
use brindle_model::ruleset::{Load, RulesetDelta};

/// One of them.
pub enum AnyBackend {
    /// nf_tables.
    Nftables(Nftables),
}

/// No backend works on this kernel.
#[derive(Debug, thiserror::Error)]
#[error("this kernel offers no dataplane: nftables does not work")]
pub struct NoBackend(#[source] OpenError);

impl AnyBackend {
    /// Opens the best one that this kernel offers, in the calling thread's network namespace.
    ///
    /// # Errors
    /// There is none.
    pub fn open() -> Result<Self, NoBackend> {
        Nftables::open().map(Self::Nftables).map_err(NoBackend)
    }

    /// As [`Self::open`]; of each decision so many denied packets a second are told to the
    /// [listener](brindle_dataplane_core::nflog::Listener), none if it is 0.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn telling(drops_per_second: u32) -> Result<Self, NoBackend> {
        Nftables::telling(drops_per_second).map(Self::Nftables).map_err(NoBackend)
    }

    /// Who is counted where.
    pub fn counters(&self) -> Counters {
        match self {
            Self::Nftables(backend) => backend.counters(),
        }
    }
}

/// Why a kernel operation failed.
#[derive(Debug, thiserror::Error)]
pub enum AnyBackendError {
    /// nf_tables.
    #[error(transparent)]
    Nftables(#[from] NftablesError),
}

impl Backend for AnyBackend {
    type Error = AnyBackendError;

    fn name(&self) -> &'static str {
        match self {
            Self::Nftables(backend) => backend.name(),
        }
    }

    fn limits(&self) -> Load {
        match self {
            Self::Nftables(backend) => backend.limits(),
        }
    }

    fn stage(&mut self, delta: &RulesetDelta) {
        match self {
            Self::Nftables(backend) => backend.stage(delta),
        }
    }

    fn stop_revoked(&mut self, stop: bool) {
        match self {
            Self::Nftables(backend) => backend.stop_revoked(stop),
        }
    }

    fn resync(&mut self) -> Result<Drift, AnyBackendError> {
        match self {
            Self::Nftables(backend) => Ok(backend.resync()?),
        }
    }

    fn commit(&mut self) -> Result<Commit, AnyBackendError> {
        match self {
            Self::Nftables(backend) => Ok(backend.commit()?),
        }
    }

    fn uninstall(&mut self) -> Result<(), AnyBackendError> {
        match self {
            Self::Nftables(backend) => Ok(backend.uninstall()?),
        }
    }
}
