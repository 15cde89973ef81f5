//! `IPPool`.

use brindle_api::{DEFAULT_BLOCK_SIZE_V4, DEFAULT_BLOCK_SIZE_V6, IpPoolSpec};
use brindle_model::cluster::IpPool;
use brindle_model::net::Family;
use ipnet::IpNet;

use crate::problem::Problems;

/// Converts a pool; `None` if an address taken from it could be wrong.
pub(super) fn pool(spec: &IpPoolSpec, problems: &mut Problems) -> Option<IpPool> {
    let cidr = cidr(&spec.cidr, problems)?;
    let block_size = block_size(spec.block_size, cidr, problems)?;
    Some(IpPool { cidr, block_size, disabled: spec.disabled })
}

fn cidr(text: &str, problems: &mut Problems) -> Option<IpNet> {
    let Ok(cidr) = text.parse::<IpNet>() else {
        problems.error("spec.cidr", format!("`{text}` is not a CIDR such as 10.244.0.0/16"));
        return None;
    };
    if cidr != cidr.trunc() {
        problems.error("spec.cidr", format!("{text} has host bits; write {}", cidr.trunc()));
        return None;
    }
    let address = cidr.addr();
    if address.is_multicast() || address.is_loopback() || address.is_unspecified() {
        problems.error("spec.cidr", format!("{text} is not a range of unicast addresses"));
        return None;
    }
    Some(cidr)
}

/// Blocks hold at most 4,096 addresses, so that the record of one stays small.
fn block_size(written: Option<i32>, cidr: IpNet, problems: &mut Problems) -> Option<u8> {
    let (default, shortest) = match Family::of_net(cidr) {
        Family::V4 => (DEFAULT_BLOCK_SIZE_V4, 20),
        Family::V6 => (DEFAULT_BLOCK_SIZE_V6, 116),
    };
    let size = written.unwrap_or(i32::from(default));
    let in_range =
        u8::try_from(size).ok().filter(|s| (shortest..=cidr.max_prefix_len()).contains(s));
    let Some(size) = in_range else {
        let longest = cidr.max_prefix_len();
        let message = format!("{size} is not a block size: {shortest} to {longest} are");
        problems.error("spec.blockSize", message);
        return None;
    };
    if size < cidr.prefix_len() {
        let message = format!("a /{size} block does not fit into {cidr}");
        problems.error("spec.blockSize", message);
        return None;
    }
    Some(size)
}
