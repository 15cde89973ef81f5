//! A HostEndpoint, field by field if it does not decode whole: one that says which interface it
//! means goes on closing it. What it says of profiles counts only if everything else is right.

use brindle_api::{HostEndpoint, HostEndpointSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Decoded, typed, whole};
use crate::object::Object;
use crate::problem::Problems;

/// Decodes a host endpoint.
pub(super) fn decode(value: Value) -> Decoded {
    let broken = || {
        // Everything that is wrong has been said.
        let mut unsaid = Problems::default();
        let spec = value.get("spec")?;
        let node = typed::<String>(spec.get("node")?, "", &mut unsaid)?;
        let interface_name = match spec.get("interfaceName") {
            Some(name) => Some(typed::<String>(name, "", &mut unsaid)?),
            None => None,
        };
        let expected_ips = spec.get("expectedIPs").and_then(|ips| typed(ips, "", &mut unsaid));
        let expected_ips = expected_ips.unwrap_or_default();
        let metadata = typed::<ObjectMeta>(value.get("metadata")?, "", &mut unsaid)?;
        let closed = HostEndpointSpec { node, interface_name, expected_ips, ..Default::default() };
        Some(Object::HostEndpoint(Box::new(HostEndpoint { metadata, spec: closed })))
    };
    let decoded = whole(value.clone(), Object::HostEndpoint);
    match decoded.object {
        Some(_) => decoded,
        None => Decoded { object: broken(), ..decoded },
    }
}
