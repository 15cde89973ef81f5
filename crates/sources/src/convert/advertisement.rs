//! What a `BGPConfiguration` says of Service addresses and communities.

use std::collections::BTreeMap;

use brindle_api::{BgpConfigurationSpec, NamedCommunity, ServiceRange};
use brindle_model::routing::advertisement::PrefixAdvertisement;
use brindle_model::routing::filter::Community;
use ipnet::IpNet;

use super::cidr;
use super::community::community;
use crate::problem::Problems;

/// Most entries of each list.
const MAX_ENTRIES: usize = 64;

/// Ranges of Service addresses; those that are broken are left out, with an error.
pub(super) fn ranges(written: &[ServiceRange], at: &str, problems: &mut Problems) -> Vec<IpNet> {
    count(written.len(), at, problems);
    let written = written.iter().enumerate();
    let read = |(i, range): (usize, &ServiceRange)| {
        unicast_range(&range.cidr, &format!("{at}[{i}].cidr"), problems)
    };
    let mut ranges: Vec<IpNet> = written.filter_map(read).collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

/// A range of addresses that hosts have.
pub(super) fn unicast_range(text: &str, at: &str, problems: &mut Problems) -> Option<IpNet> {
    let net = cidr::masked(text, at, problems)?;
    let address = net.addr();
    if address.is_multicast() || address.is_loopback() || address.is_unspecified() {
        problems.error(at, format!("{text} is not a range of unicast addresses"));
        return None;
    }
    Some(net)
}

/// Whether load balancer ranges are announced whole.
pub(super) fn aggregation(text: &str, problems: &mut Problems) -> Option<bool> {
    match text {
        "Enabled" => Some(true),
        "Disabled" => Some(false),
        other => {
            let at = "spec.serviceLoadBalancerAggregation";
            problems.error(at, format!("`{other}` is not one of Enabled, Disabled"));
            None
        }
    }
}

/// Communities by prefix, with names replaced by what they stand for.
pub(super) fn prefix_advertisements(
    spec: &BgpConfigurationSpec,
    problems: &mut Problems,
) -> Option<Vec<PrefixAdvertisement>> {
    let names = names(spec.communities.as_deref().unwrap_or_default(), problems);
    let written = spec.prefix_advertisements.as_ref()?;
    count(written.len(), "spec.prefixAdvertisements", problems);
    let mut read = Vec::new();
    for (i, entry) in written.iter().enumerate() {
        let at = format!("spec.prefixAdvertisements[{i}]");
        count(entry.communities.len(), &format!("{at}.communities"), problems);
        let mut communities = Vec::new();
        for (j, text) in entry.communities.iter().enumerate() {
            match names.get(text.as_str()).copied().map_or_else(|| community(text), Ok) {
                Ok(community) => communities.push(community),
                Err(message) => problems.error(
                    format!("{at}.communities[{j}]"),
                    format!("{message}, nor the name of one in spec.communities"),
                ),
            }
        }
        let cidr = cidr::masked(&entry.cidr, &format!("{at}.cidr"), problems);
        read.extend(cidr.map(|cidr| PrefixAdvertisement { cidr, communities }));
    }
    Some(read)
}

fn names<'a>(
    written: &'a [NamedCommunity],
    problems: &mut Problems,
) -> BTreeMap<&'a str, Community> {
    count(written.len(), "spec.communities", problems);
    let mut names = BTreeMap::new();
    for (i, NamedCommunity { name, value }) in written.iter().enumerate() {
        let at = format!("spec.communities[{i}]");
        match community(value) {
            Ok(community) if names.insert(name.as_str(), community).is_some() => {
                problems.error(format!("{at}.name"), format!("`{name}` is there twice"));
            }
            Ok(_) => {}
            Err(message) => problems.error(format!("{at}.value"), message),
        }
    }
    names
}

fn count(len: usize, at: &str, problems: &mut Problems) {
    if len > MAX_ENTRIES {
        problems.error(at, format!("has {len} entries, more than {MAX_ENTRIES}"));
    }
}
