//! `NetworkSet` and `GlobalNetworkSet` (C13, C27).

use std::collections::BTreeSet;

use brindle_api::NetworkSetSpec;
use brindle_model::cluster::NetworkSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cidr;
use super::labels::unreserved;
use crate::intern::Interner;
use crate::problem::Problems;

/// Converts a set. A prefix that cannot be read is left out and the others stay: a set that is
/// gone whole would leave a hole in every Deny that names it.
pub(super) fn network_set(
    metadata: &ObjectMeta,
    spec: &NetworkSetSpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<NetworkSet> {
    let labels = unreserved(metadata.labels.as_ref(), names, problems)?;
    let nets = spec.nets.iter().enumerate();
    let nets: BTreeSet<_> = nets
        .filter_map(|(i, text)| cidr::masked_or_address(text, &format!("spec.nets[{i}]"), problems))
        .collect();
    Some(NetworkSet { labels, nets: nets.into_iter().collect() })
}
