//! The steps of programs, shared between those that differ only in how they end.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{ProgramId, Stage, TierStep, first_bits};
use crate::verdict::{DecisionId, Direction, Verdict};

/// Tiers in the order in which they are asked. A copy shares them until one of the two is changed:
/// the pods of every namespace have an end of their own, and policies that select them all are the
/// same ten thousand.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Steps(Arc<Vec<TierStep>>);

impl Deref for Steps {
    type Target = Vec<TierStep>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Steps {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

impl From<Vec<TierStep>> for Steps {
    fn from(steps: Vec<TierStep>) -> Self {
        Self(Arc::new(steps))
    }
}

impl FromIterator<TierStep> for Steps {
    fn from_iter<T: IntoIterator<Item = TierStep>>(steps: T) -> Self {
        Vec::from_iter(steps).into()
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a program as far as its steps decide it: what names many programs with the same
/// steps reads those once.
#[derive(Clone, Debug)]
pub struct ProgramNamer(Sha256);

impl ProgramNamer {
    /// Begins the names of programs with these steps.
    pub fn new(stage: Stage, direction: Direction, steps: &Steps) -> Self {
        let text = format!("Program {{ direction: {direction:?}, steps: {steps:?}, end: ");
        // What pods run is named as it was before there were stages: a restart after an upgrade
        // finds its chains in place.
        Self(match stage {
            Stage::Normal => Sha256::new_with_prefix(text),
            other => Sha256::new_with_prefix(format!("{other:?} {text}")),
        })
    }

    /// The name of the one that ends so.
    pub fn name(&self, end: &(Verdict, DecisionId)) -> ProgramId {
        ProgramId(first_bits(self.0.clone().chain_update(format!("{end:?} }}"))))
    }
}
