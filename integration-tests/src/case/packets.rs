//! `packets.yaml`: flows, and what must become of them.

use std::path::Path;

use anyhow::{Context, Result};
use brindle_model::packet::Flow;
use brindle_model::verdict::Direction;
use brindle_oracle::{HostHop, Outcome, World, judge};
use serde::{Deserialize, Serialize};

use super::flow;
use crate::worlds::yaml;

/// One entry of `packets.yaml`. A direction that is not given must have no hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The flow, as [`flow`] writes it.
    pub flow: String,
    /// Whether it arrives.
    pub delivered: bool,
    /// Verdict and decision at the pod that sends: `allow profile kns.x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<String>,
    /// Verdict and decision at the pod that receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<String>,
    /// What each stage of a host endpoint says, in the order in which the packet passes them:
    /// `n1/uplink normal ingress: allow failsafe port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

impl Expectation {
    /// What an outcome says, in these words.
    pub fn of(flow: String, outcome: &Outcome) -> Self {
        let hop = |direction: Direction| {
            let hop = outcome.hops.iter().find(|hop| hop.direction == direction)?;
            Some(format!("{} {}", hop.verdict, hop.decision))
        };
        let (egress, ingress) = (hop(Direction::Egress), hop(Direction::Ingress));
        let host = |hop: &HostHop| {
            let HostHop { node, endpoint, stage, direction, verdict, decision, .. } = hop;
            format!("{node}/{endpoint} {stage} {direction}: {verdict} {decision}")
        };
        let hosts = outcome.hosts.iter().map(host).collect();
        Self { flow, delivered: outcome.delivered, egress, ingress, hosts }
    }
}

/// Reads a `packets.yaml`.
///
/// # Errors
/// It cannot be read, or says something that no packet has.
pub fn read_packets(path: &Path) -> Result<Vec<Expectation>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {path:?}"))?;
    serde_saphyr::from_str(&text).with_context(|| format!("reading {path:?}"))
}

/// Writes a case directory of one world and some of its flows, with what the oracle says of them.
///
/// # Errors
/// The directory cannot be written.
pub fn write(directory: &Path, world: &World, flows: &[Flow]) -> Result<()> {
    let expect = |f: &Flow| Expectation::of(flow::format(f), &judge(world, f));
    let expectations: Vec<_> = flows.iter().map(expect).collect();
    std::fs::create_dir_all(directory).with_context(|| format!("making {directory:?}"))?;
    let put = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {path:?}"))
    };
    put("objects.yaml", yaml::write(world)?)?;
    put("packets.yaml", serde_saphyr::to_string(&expectations)?)
}
