//! `NetworkSet` and `GlobalNetworkSet` (C13, C27).

use std::collections::BTreeSet;

use brindle_api::NetworkSetSpec;
use brindle_model::cluster::NetworkSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cidr;
use super::labels::{as_written, without_reserved};
use crate::intern::Interner;
use crate::problem::Problems;

/// Converts a set. A prefix that cannot be read is left out and makes the set incomplete: rules that
/// admit by it have the others, rules that deny by it deny everybody (decision 0013).
pub(super) fn network_set(
    metadata: &ObjectMeta,
    spec: &NetworkSetSpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> NetworkSet {
    let labels = without_reserved(as_written(metadata.labels.as_ref(), names, problems));
    let before = problems.errors();
    let nets = spec.nets.iter().enumerate();
    let nets: BTreeSet<_> = nets
        .filter_map(|(i, text)| cidr::masked_or_address(text, &format!("spec.nets[{i}]"), problems))
        .collect();
    let incomplete = problems.errors() > before;
    if incomplete {
        let message = "cannot be read whole: rules that deny by this set deny everybody";
        problems.consequence("spec.nets", message);
    }
    NetworkSet { labels, nets: nets.into_iter().collect(), incomplete }
}
