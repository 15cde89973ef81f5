//! `brindlectl ipam`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::output::{self, Format};

/// The part of `/debug/ipam` that the table shows.
#[derive(Debug, Deserialize)]
struct Ipam {
    blocks: Vec<Block>,
    leases: BTreeMap<String, Vec<IpAddr>>,
}

#[derive(Debug, Deserialize)]
struct Block {
    cidr: IpNet,
    pool: Option<String>,
    taken: u128,
    size: u128,
}

/// Writes what the agent says of its addresses.
///
/// # Errors
/// The answer has another shape, or cannot be written in the format.
pub fn render(value: Value, format: Format) -> Result<String> {
    if format != Format::Table {
        return output::render(format, &value, String::new);
    }
    let ipam: Ipam = serde_json::from_value(value).context("the agent's answer about addresses")?;
    let blocks = ipam.blocks.into_iter().map(|block| {
        let pool = block.pool.unwrap_or_else(|| "(gone)".into());
        vec![block.cidr.to_string(), pool, block.taken.to_string(), block.size.to_string()]
    });
    let leases = ipam.leases.into_iter().map(|(handle, addresses)| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        vec![handle, addresses.join(", ")]
    });
    let blocks = output::table(&["BLOCK", "POOL", "TAKEN", "SIZE"], blocks);
    Ok(blocks + "\n" + &output::table(&["CONTAINER/INTERFACE", "ADDRESSES"], leases))
}
