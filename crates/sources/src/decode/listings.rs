//! What lists addresses for rules: network sets, endpoint slices, nodes.
//!
//! A list that is gone whole would leave a hole in every rule that denies by it, so a piece of
//! another shape is replaced by one that is no address: then the converter knows that something is
//! missing (docs/decisions/0013-incomplete-sets-fail-closed.md). Metadata is read whole, or there is
//! no object: without labels nobody knows whose rules pick it.

use std::collections::BTreeSet;

use brindle_api::{GlobalNetworkSet, NetworkSet, NetworkSetSpec};
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeStatus};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pieces::Pieces;
use super::{Decoded, typed};
use crate::object::{Object, ObjectKey};
use crate::problem::Problems;

/// Decodes a NetworkSet.
pub(super) fn network_set(key: &ObjectKey, value: &Value) -> Decoded {
    set(key, value, |metadata, spec| Object::NetworkSet(Box::new(NetworkSet { metadata, spec })))
}

/// Decodes a GlobalNetworkSet.
pub(super) fn global_network_set(key: &ObjectKey, value: &Value) -> Decoded {
    set(key, value, |metadata, spec| {
        Object::GlobalNetworkSet(Box::new(GlobalNetworkSet { metadata, spec }))
    })
}

fn set(
    key: &ObjectKey,
    value: &Value,
    wrap: impl FnOnce(ObjectMeta, NetworkSetSpec) -> Object,
) -> Decoded {
    let mut pieces = Pieces::default();
    let metadata = pieces.metadata(key, value);
    let readable = pieces.problems.errors() == 0;
    let object = readable.then(|| wrap(metadata, pieces.nets(value)));
    pieces.into_decoded(object)
}

impl Pieces {
    /// The spec of a network set.
    fn nets(&mut self, object: &Value) -> NetworkSetSpec {
        let mut spec = NetworkSetSpec::default();
        let Some(Value::Object(fields)) = object.get("spec") else {
            self.broken("spec", "is not there, or is not a mapping");
            spec.nets.push(String::new());
            return spec;
        };
        if let Some(nets) = fields.get("nets").filter(|nets| !nets.is_null()) {
            spec.nets = self.list(nets, "spec.nets", |pieces, entry, at| match entry {
                Value::String(text) => text.clone(),
                _ => {
                    pieces.broken(at, "this is not a text");
                    String::new()
                }
            });
        }
        let unknown = fields.iter().filter(|(name, value)| *name != "nets" && !value.is_null());
        for (name, _) in unknown {
            self.problems.error(format!("spec.{name}"), "unknown field");
            // It may be a misspelt `nets`.
            self.replaced.insert(format!("spec.nets[{}]", spec.nets.len()));
            spec.nets.push(String::new());
        }
        spec
    }
}

/// Decodes an endpoint slice.
pub(super) fn endpoint_slice(key: &ObjectKey, value: &Value) -> Decoded {
    let rest = |metadata| {
        let address_type = value.get("addressType").and_then(Value::as_str);
        // Names of hosts are ignored, however they are spelled.
        let address_type = address_type.filter(|written| *written == "FQDN");
        let address_type = address_type.unwrap_or_default().to_owned();
        EndpointSlice { metadata, address_type, ..EndpointSlice::default() }
    };
    whole_or(key, value, "addressType", rest, |slice| Object::EndpointSlice(Box::new(slice)))
}

/// Decodes a node.
pub(super) fn node(key: &ObjectKey, value: &Value) -> Decoded {
    let rest = |metadata| {
        let nothing = NodeAddress { type_: "InternalIP".to_owned(), address: String::new() };
        let status = NodeStatus { addresses: Some(vec![nothing]), ..NodeStatus::default() };
        Node { metadata, status: Some(status), ..Node::default() }
    };
    whole_or(key, value, "status", rest, |node| Object::Node(Box::new(node)))
}

/// Decodes an object whole; if that fails, what its metadata alone makes of it, about whose `field`
/// enough has been said.
fn whole_or<T: DeserializeOwned>(
    key: &ObjectKey,
    value: &Value,
    field: &str,
    rest: impl FnOnce(ObjectMeta) -> T,
    wrap: impl FnOnce(T) -> Object,
) -> Decoded {
    let mut problems = Problems::default();
    if let Some(object) = typed(value, "", &mut problems) {
        let problems = problems.into_vec();
        return Decoded { object: Some(wrap(object)), problems, replaced: BTreeSet::new() };
    }
    let mut pieces = Pieces::default();
    let metadata = pieces.metadata(key, value);
    let object = (pieces.problems.errors() == 0).then(|| wrap(rest(metadata)));
    let replaced = BTreeSet::from([field.to_owned()]);
    Decoded { object, problems: problems.into_vec(), replaced }
}
