//! `brindlectl get` of what an agent has compiled and written.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::output::{self, Format};

/// A part of an agent's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    /// Pod interfaces of the node and their programs.
    Endpoints,
    /// Sets with their members.
    Sets,
    /// Everything compiled.
    Ruleset,
    /// Speaker, neighbours and prefixes, as compiled.
    Routing,
    /// Our part of the kernel's route table.
    Routes,
    /// What every kernel table has done and still has to do.
    Deltas,
}

impl Dump {
    /// Every part.
    pub const ALL: [Self; 6] =
        [Self::Endpoints, Self::Sets, Self::Ruleset, Self::Routing, Self::Routes, Self::Deltas];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::Sets => "sets",
            Self::Ruleset => "ruleset",
            Self::Routing => "routing",
            Self::Routes => "routes",
            Self::Deltas => "deltas",
        }
    }

    /// Where the agent serves it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Endpoints => "/debug/endpoints",
            Self::Sets => "/debug/sets",
            Self::Ruleset => "/debug/ruleset",
            Self::Routing => "/debug/routing",
            Self::Routes => "/debug/routes",
            Self::Deltas => "/debug/deltas",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Endpoints {
    endpoints: Vec<EndpointEntry>,
}

#[derive(Debug, Deserialize)]
struct EndpointEntry {
    id: brindle_model::cluster::EndpointId,
    endpoint: Endpoint,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    host_interface: String,
    addresses: Vec<std::net::IpAddr>,
    ingress: String,
    egress: String,
}

#[derive(Debug, Deserialize)]
struct Set {
    id: String,
    definition: String,
    policies: Vec<brindle_model::verdict::PolicyId>,
    members: Vec<Value>,
}

/// Writes a dump. Endpoints and sets have a table; the others are trees, and as a table read as
/// YAML.
///
/// # Errors
/// The answer has another shape, or cannot be written in the format.
pub fn render(dump: Dump, value: &Value, format: Format) -> Result<String> {
    match (dump, format) {
        (Dump::Endpoints, Format::Table) => endpoints(value),
        (Dump::Sets, Format::Table) => sets(value),
        (_, Format::Table) => output::render(Format::Yaml, value, String::new),
        (_, format) => output::render(format, value, String::new),
    }
}

fn endpoints(value: &Value) -> Result<String> {
    let dump = Endpoints::deserialize(value).context("the agent's answer about endpoints")?;
    let rows = dump.endpoints.into_iter().map(|EndpointEntry { id, endpoint }| {
        let addresses: Vec<_> = endpoint.addresses.iter().map(ToString::to_string).collect();
        vec![
            id.pod.to_string(),
            id.interface.to_string(),
            endpoint.host_interface,
            addresses.join(", "),
            endpoint.ingress,
            endpoint.egress,
        ]
    });
    let header =
        ["POD", "INTERFACE", "HOST SIDE", "ADDRESSES", "INGRESS PROGRAM", "EGRESS PROGRAM"];
    Ok(output::table(&header, rows))
}

fn sets(value: &Value) -> Result<String> {
    let sets = Vec::<Set>::deserialize(value).context("the agent's answer about sets")?;
    let rows = sets.into_iter().map(|set| {
        let policies: Vec<_> = set.policies.iter().map(ToString::to_string).collect();
        vec![set.id, set.members.len().to_string(), set.definition, policies.join(", ")]
    });
    Ok(output::table(&["SET", "MEMBERS", "DEFINITION", "POLICIES"], rows))
}
