//! Which backend a node gets, and why.

use std::fmt;
use std::io;

use brindle_dataplane_core::Backend;
use brindle_dataplane_core::netns::Namespace;
use brindle_dataplane_iptables as iptables;
use brindle_dataplane_iptables::{DetectError, Iptables, Variant, detect};
use brindle_dataplane_nftables as nftables;
use brindle_dataplane_nftables::Nftables;
use brindle_model::settings::Dataplane;

use super::{Active, AnyBackendError};

/// A backend that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nf_tables.
    Nftables,
    /// iptables in a variant.
    Iptables(Variant),
}

impl Kind {
    /// Every one, the best first.
    pub const ALL: [Self; 3] =
        [Self::Nftables, Self::Iptables(Variant::Nft), Self::Iptables(Variant::Legacy)];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nftables => f.write_str("nftables"),
            Self::Iptables(variant) => write!(f, "iptables-{variant}"),
        }
    }
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The backend.
    pub kind: Kind,
    /// Why.
    pub reason: String,
    /// What the operator should know of the node.
    pub warning: Option<String>,
}

/// No backend works on this kernel, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NoBackend {
    /// nf_tables does not work.
    #[error("dataplane nftables does not work here")]
    Nftables(#[source] nftables::OpenError),
    /// iptables does not work.
    #[error("dataplane iptables does not work here")]
    Iptables(#[source] iptables::OpenError),
    /// No variant of iptables can be found.
    #[error("dataplane iptables does not work here")]
    Variant(#[source] DetectError),
    /// None does.
    #[error("this kernel offers no dataplane; nftables: {nftables}; {kind}: {iptables}")]
    None {
        /// Why not nftables.
        nftables: Box<TrialError>,
        /// Which iptables.
        kind: Kind,
        /// Why not iptables.
        iptables: Box<TrialError>,
    },
}

/// A trial failed.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// No namespace to try it in.
    #[error("cannot make a network namespace to try it in: {0}")]
    Namespace(io::Error),
    /// It cannot be opened.
    #[error("{}", causes(.0))]
    Open(NoBackend),
    /// It cannot be used.
    #[error("{}", causes(.0))]
    Commit(AnyBackendError),
}

/// An error and its causes on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let next = std::iter::successors(Some(error), |error| error.source());
    next.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Chooses.
///
/// # Errors
/// There is none to choose.
pub fn choose(dataplane: Dataplane) -> Result<Choice, NoBackend> {
    let said = |kind| Choice { kind, reason: "said so".to_owned(), warning: None };
    match dataplane {
        Dataplane::Nftables => Ok(said(Kind::Nftables)),
        Dataplane::IptablesNft => Ok(said(Kind::Iptables(Variant::Nft))),
        Dataplane::IptablesLegacy => Ok(said(Kind::Iptables(Variant::Legacy))),
        Dataplane::Iptables => iptables_in_use().map_err(NoBackend::Variant),
        Dataplane::Auto => {
            let nftables = match attempt(Kind::Nftables) {
                Ok(_) => {
                    let reason = "a trial of it worked".to_owned();
                    return Ok(Choice { kind: Kind::Nftables, reason, warning: None });
                }
                Err(error) => error,
            };
            let choice = iptables_in_use().map_err(NoBackend::Variant)?;
            match attempt(choice.kind) {
                Ok(_) => {
                    let reason = format!("nftables does not work: {nftables}; {}", choice.reason);
                    Ok(Choice { reason, ..choice })
                }
                Err(iptables) => Err(NoBackend::None {
                    nftables: Box::new(nftables),
                    kind: choice.kind,
                    iptables: Box::new(iptables),
                }),
            }
        }
    }
}

fn iptables_in_use() -> Result<Choice, DetectError> {
    let found = detect()?;
    let warning = found.both.then(|| {
        "nf_tables and ip_tables both hold rules of iptables, and both filter: see \
         iptables-nft-save and iptables-legacy-save"
            .to_owned()
    });
    Ok(Choice { kind: Kind::Iptables(found.variant), reason: found.reason, warning })
}

/// Opens a backend. nftables has no use for a place among other rules.
///
/// # Errors
/// It does not work here.
pub(super) fn open(kind: Kind, options: iptables::Options) -> Result<Active, NoBackend> {
    match kind {
        Kind::Nftables => {
            let backend =
                Nftables::telling(options.drops_per_second).map_err(NoBackend::Nftables)?;
            Ok(Active::Nftables(Box::new(backend)))
        }
        Kind::Iptables(variant) => {
            let backend = Iptables::open(variant, options).map_err(NoBackend::Iptables)?;
            Ok(Active::Iptables(Box::new(backend)))
        }
    }
}

/// Commits an empty ruleset, which makes chains and sets, in a namespace that is then gone. Returns
/// how many objects were written.
///
/// # Errors
/// Something of it does not work.
pub fn attempt(kind: Kind) -> Result<usize, TrialError> {
    let namespace = Namespace::create().map_err(TrialError::Namespace)?;
    let tried = namespace.run(|| {
        let options = iptables::Options { drops_per_second: 1, ..iptables::Options::default() };
        let active = open(kind, options).map_err(TrialError::Open)?;
        let mut backend = super::AnyBackend { active, former: Vec::new() };
        let resynced = backend.resync();
        resynced.map_err(TrialError::Commit)?;
        backend.stop_revoked(true);
        Ok(backend.commit().map_err(TrialError::Commit)?.writes)
    });
    tried.map_err(TrialError::Namespace)?
}
