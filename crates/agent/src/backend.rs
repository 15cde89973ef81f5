//! The backends that this build offers, behind one type: the only place that names them all.

pub mod choice;
pub mod former;

use brindle_dataplane_core::{Backend, Commit, Disturbance, Drift, Hits, Watch};
use brindle_dataplane_iptables as iptables;
use brindle_dataplane_iptables::{Iptables, IptablesError};
use brindle_dataplane_nftables as nftables;
use brindle_dataplane_nftables::{Nftables, NftablesError};
use brindle_model::ruleset::{Load, RulesetDelta};
use brindle_model::settings::Dataplane;
use tracing::{info, warn};

use choice::{Choice, NoBackend};
use former::Former;

/// One of them, and what others have left of ours.
pub struct AnyBackend {
    active: Active,
    /// What is removed when the first commit has gone through: the new one filters before the old
    /// one stops, and in between both must admit a packet.
    former: Vec<Former>,
}

/// The one that filters.
enum Active {
    /// nf_tables.
    Nftables(Box<Nftables>),
    /// iptables.
    Iptables(Box<Iptables>),
}

/// The same on whichever is active.
macro_rules! on_active {
    ($any:expr, $backend:ident => $work:expr) => {
        match $any {
            Active::Nftables($backend) => $work,
            Active::Iptables($backend) => $work,
        }
    };
}

impl AnyBackend {
    /// Opens the one that is asked for, or the best that this kernel offers, in the calling thread's
    /// network namespace. Of each decision so many denied packets a second are told to the
    /// [listener](brindle_dataplane_core::nflog::Listener), none if it is 0.
    ///
    /// # Errors
    /// It does not work here.
    pub fn open(dataplane: Dataplane, options: iptables::Options) -> Result<Self, NoBackend> {
        let Choice { kind, reason, warning } = choice::choose(dataplane)?;
        info!(dataplane = %kind, reason, "dataplane chosen");
        if let Some(warning) = warning {
            warn!("{warning}");
        }
        let mut active = choice::open(kind, options)?;
        let former = former::find(kind);
        if !former.is_empty() {
            // The old one may stop connections that are revoked; whether any is, is not known yet.
            on_active!(&mut active, backend => backend.stop_revoked(true));
        }
        Ok(Self { active, former })
    }

    /// Who is counted where.
    pub fn counters(&self) -> Counters {
        match &self.active {
            Active::Nftables(backend) => Counters::Nftables(backend.counters()),
            Active::Iptables(backend) => Counters::Iptables(backend.counters()),
        }
    }

    fn remove_former(&mut self) {
        self.former.retain(|former| match former.remove() {
            Ok(()) => {
                info!(dataplane = %former, "removed what another dataplane left");
                false
            }
            Err(error) => {
                warn!(dataplane = %former, error = %error, "cannot remove what another dataplane left; both filter");
                true
            }
        });
    }
}

/// Who is counted where.
pub enum Counters {
    /// nf_tables.
    Nftables(nftables::Counters),
    /// iptables.
    Iptables(iptables::Counters),
}

impl Counters {
    /// Reads them; the backend goes on meanwhile.
    ///
    /// # Errors
    /// They could not be read.
    pub fn read(&self) -> Result<Hits, AnyBackendError> {
        match self {
            Self::Nftables(counters) => Ok(counters.read()?),
            Self::Iptables(counters) => Ok(counters.read()?),
        }
    }
}

/// Why a kernel operation failed.
#[derive(Debug, thiserror::Error)]
pub enum AnyBackendError {
    /// nf_tables.
    #[error(transparent)]
    Nftables(#[from] NftablesError),
    /// iptables.
    #[error(transparent)]
    Iptables(#[from] IptablesError),
}

impl Backend for AnyBackend {
    type Error = AnyBackendError;

    fn name(&self) -> &'static str {
        on_active!(&self.active, backend => backend.name())
    }

    fn limits(&self) -> Load {
        on_active!(&self.active, backend => backend.limits())
    }

    fn stage(&mut self, delta: &RulesetDelta) {
        on_active!(&mut self.active, backend => backend.stage(delta));
    }

    fn stop_revoked(&mut self, stop: bool) {
        on_active!(&mut self.active, backend => backend.stop_revoked(stop));
    }

    fn resync(&mut self) -> Result<Drift, AnyBackendError> {
        on_active!(&mut self.active, backend => Ok(backend.resync()?))
    }

    fn watch(&self) -> Watch {
        on_active!(&self.active, backend => backend.watch())
    }

    fn disturbance(&mut self) -> Disturbance {
        on_active!(&mut self.active, backend => backend.disturbance())
    }

    fn commit(&mut self) -> Result<Commit, AnyBackendError> {
        let committed = on_active!(&mut self.active, backend => backend.commit()?);
        self.remove_former();
        Ok(committed)
    }

    fn uninstall(&mut self) -> Result<(), AnyBackendError> {
        on_active!(&mut self.active, backend => Ok(backend.uninstall()?))
    }
}
