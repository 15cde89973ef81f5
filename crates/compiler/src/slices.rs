//! Endpoint slices, found by their Service (C26).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::NamespacedName;
use brindle_model::cluster::EndpointSlice;

use crate::table::{Before, Table};

/// Endpoint slices by name and by Service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slices {
    table: Table<NamespacedName, Arc<EndpointSlice>>,
    by_service: BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
}

impl Slices {
    /// Notes a slice, or its absence, for the next advance.
    pub fn note(&mut self, id: NamespacedName, slice: Option<Arc<EndpointSlice>>) {
        self.table.note(id, slice);
    }

    /// Whether anything was noted since the last advance.
    pub fn has_pending(&self) -> bool {
        self.table.has_pending()
    }

    /// Takes over what was noted.
    pub fn advance(&mut self) -> Before<NamespacedName, Arc<EndpointSlice>> {
        let before = self.table.advance();
        for (id, old) in &before {
            if let Some(old) = old {
                let service = service_of(id, old);
                if let Some(slices) = self.by_service.get_mut(&service) {
                    slices.remove(id);
                    if slices.is_empty() {
                        self.by_service.remove(&service);
                    }
                }
            }
            if let Some(new) = self.table.get(id) {
                self.by_service.entry(service_of(id, new)).or_default().insert(id.clone());
            }
        }
        before
    }

    /// The current slice of this name.
    pub fn get(&self, id: &NamespacedName) -> Option<&Arc<EndpointSlice>> {
        self.table.get(id)
    }

    /// The slices of a Service.
    pub fn of(
        &self,
        service: &NamespacedName,
    ) -> impl Iterator<Item = (&NamespacedName, &EndpointSlice)> {
        let ids = self.by_service.get(service).into_iter().flatten();
        ids.filter_map(|id| Some((id, &**self.table.get(id)?)))
    }
}

/// The Service that a slice belongs to, in the slice's namespace.
pub(crate) fn service_of(id: &NamespacedName, slice: &EndpointSlice) -> NamespacedName {
    NamespacedName { namespace: id.namespace.clone(), name: slice.service.clone() }
}
