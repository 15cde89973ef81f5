//! Everything that counts at one moment, for whoever judges by it rather than follows it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use brindle_model::NamespacedName;
use k8s_openapi::api::core::v1::Service;

use crate::convert::convert;
use crate::decode::Decoded;
use crate::event::Changes;
use crate::intern::Interner;
use crate::object::{Kind, Object, ObjectKey};
use crate::problem::accepted;

/// What a source has at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The objects as they were written: those that count and are not left out as broken.
    pub objects: BTreeMap<ObjectKey, Object>,
    /// The Services; of one that cannot be read, why.
    pub services: BTreeMap<NamespacedName, Result<Service, String>>,
    /// What whoever follows the source is told of all that.
    pub changes: Changes,
}

/// The objects of a [`Snapshot`], as they come.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    names: Interner,
    /// `None` for what is left out: nothing that comes later counts in its place.
    objects: BTreeMap<ObjectKey, Option<Object>>,
    services: BTreeMap<NamespacedName, Result<Service, String>>,
}

impl Reader {
    /// Takes in an object. Of several with one key the first counts.
    pub fn take(&mut self, key: ObjectKey, decoded: Decoded) {
        let Entry::Vacant(vacant) = self.objects.entry(key) else { return };
        let conversion = convert(vacant.key(), &decoded, &mut self.names);
        let left_out = conversion.input.is_none() && !accepted(&conversion.problems);
        let Decoded { object, problems, .. } = decoded;
        if vacant.key().kind == Kind::Service {
            let why = || problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let service = match &object {
                Some(Object::Service(service)) => Ok((**service).clone()),
                _ => Err(why()),
            };
            self.services.insert(vacant.key().namespaced_name(), service);
        }
        vacant.insert(object.filter(|_| !left_out));
    }

    /// The snapshot, with what the source's followers are told.
    pub fn finish(self, changes: Changes) -> Snapshot {
        let Self { objects, services, .. } = self;
        let objects = objects.into_iter().filter_map(|(key, object)| Some((key, object?)));
        Snapshot { objects: objects.collect(), services, changes }
    }
}
