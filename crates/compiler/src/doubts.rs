//! What could not be read whole, and which criteria are in doubt because of it.
//!
//! A network set, endpoint slice or node that is incomplete may hold any address beside those that
//! were read. A rule that names it fails closed by its action (A13, decision 0013): where it admits
//! it matches what it surely matches, where it denies what it may match. Nearly always nothing is
//! incomplete, and then nothing is asked.

use std::collections::BTreeSet;

use brindle_model::cluster::{EndpointSlice, NetworkSetId};
use brindle_model::selector::Selector;
use brindle_model::{Name, NamespacedName};

use crate::slices::service_of;
use crate::table::Before;
use crate::world::{World, WorldChanges};

/// Names of the inputs that are incomplete.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    network_sets: BTreeSet<NetworkSetId>,
    /// By slice, as Services are asked for by name: each has few slices.
    slices: BTreeSet<NamespacedName>,
    nodes: BTreeSet<Name>,
}

impl World {
    /// Whether a network set that the selector picks may hold any address.
    pub fn doubts_network_sets(&self, selector: &Selector) -> bool {
        let mut judged = self.doubts.network_sets.iter().filter_map(|id| self.network_set(id));
        judged.any(|(_, labels)| selector.matches(&labels))
    }

    /// Whether a Service may have any address and port.
    pub fn doubts_service(&self, service: &NamespacedName) -> bool {
        let of = |id: &NamespacedName| self.slices.get(id).map(|slice| service_of(id, slice));
        self.doubts.slices.iter().any(|id| of(id).as_ref() == Some(service))
    }

    /// Whether a node that the selector picks may have any address.
    pub fn doubts_nodes(&self, selector: &Selector) -> bool {
        let mut nodes = self.doubts.nodes.iter().filter_map(|name| self.nodes.get(name));
        nodes.any(|node| selector.matches(&node.labels))
    }

    /// Brings the doubts up to date; whether rules may have to be lowered anew for it.
    pub(crate) fn renew_doubts(&mut self, changes: &WorldChanges) -> bool {
        let known = self.network_sets.table();
        let Doubts { network_sets, slices, nodes } = &mut self.doubts;
        // Of a namespace that comes, goes or has other labels its network sets are picked anew.
        let namespaces = network_sets.iter().filter_map(|id| id.namespace.as_ref());
        let relabelled = namespaces.into_iter().any(|name| changes.namespaces.contains_key(name));
        let sets = renew(
            network_sets,
            &changes.network_sets,
            |set| set.incomplete,
            |id| known.get(id).is_some_and(|set| set.incomplete),
        );
        let slices = renew(
            slices,
            &changes.slices,
            |slice: &EndpointSlice| slice.incomplete,
            |id| self.slices.get(id).is_some_and(|slice| slice.incomplete),
        );
        let nodes = renew(
            nodes,
            &changes.nodes,
            |node| node.incomplete,
            |name| self.nodes.get(name).is_some_and(|node| node.incomplete),
        );
        relabelled || sets || slices || nodes
    }
}

/// Notes which of the changed inputs of a kind are incomplete now; whether any is or was.
fn renew<K: Ord + Clone, V>(
    incomplete: &mut BTreeSet<K>,
    changed: &Before<K, std::sync::Arc<V>>,
    was: impl Fn(&V) -> bool,
    is: impl Fn(&K) -> bool,
) -> bool {
    let mut any = false;
    for (key, before) in changed {
        any |= before.as_deref().is_some_and(&was);
        if is(key) {
            incomplete.insert(key.clone());
            any = true;
        } else {
            incomplete.remove(key);
        }
    }
    any
}
