//! What a source tells its consumer.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use brindle_api::ResourceVersion;
use brindle_model::cluster::Update;

use crate::object::ObjectKey;
use crate::report::{FileReport, ObjectReport};

/// What a source has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Some inputs or reports are different now.
    Changes(Changes),
    /// Everything that stood there when the source was opened has been told. Sent once.
    InSync,
    /// Every change that was made before a [`crate::directory::Control::barrier`] has been told;
    /// one for each call.
    Barrier,
}

/// Inputs and reports that are different now; each object and file at most once, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Inputs for the compiler.
    pub updates: Vec<Update>,
    /// Status of objects that have one; `None` for an object that is gone.
    pub objects: Vec<(ObjectKey, Option<Arc<ObjectReport>>)>,
    /// Files with something to look at; `None` once there is nothing any more.
    pub files: Vec<(Arc<Path>, Option<Arc<FileReport>>)>,
    /// Up to where an API server's policies, tiers and sets have been told with this, by resource
    /// such as `networkpolicies`.
    pub reached: BTreeMap<&'static str, Reached>,
}

/// Up to where a resource of an API server has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Every change up to here.
    pub version: ResourceVersion,
    /// Whether any of them is about what an object asks for, rather than its status.
    pub asks: bool,
}

impl Changes {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        let Self { updates, objects, files, reached } = self;
        updates.is_empty() && objects.is_empty() && files.is_empty() && reached.is_empty()
    }
}

/// What a consumer of events answers: `Break` ends the source.
pub type Flow = ControlFlow<()>;
