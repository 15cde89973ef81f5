//! Brindle leaves a cluster: agents, then what they made on nodes, then everything else.
//!
//! Each step is done when the API server says so, and every call begins at the first step that is
//! not; so it may be interrupted anywhere. A node that is down holds it up, and is named: its links
//! and rules would stay. Deleting its Node object says that nobody wants it cleaned.

use brindle_api::InstallationSpec;
use serde_json::Value;

use super::render::{CLEANER, ManifestError, cleaner, objects};
use crate::objects::{ObjectError, Objects, name, path, path_of};

/// Labels of the agent's pods.
const AGENTS: &str = "app.kubernetes.io/component=agent";
/// Where nodes are.
const NODES: &str = "/api/v1/nodes";

/// Why uninstalling does not go on.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// The manifest is broken.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The API server refused.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This is waited for.
    Waiting(String),
    /// Nothing is left.
    Done,
}

/// Does what can be done now.
///
/// # Errors
/// See [`UninstallError`]; it may be called again.
pub async fn step(server: &Objects, spec: &InstallationSpec) -> Result<Step, UninstallError> {
    let pods = path("Pod").unwrap_or_default();
    let made = objects(spec)?;
    for agent in made.iter().filter(|object| object["kind"] == "DaemonSet") {
        server.delete(path_of(agent)?, name(agent)).await?;
        let waits = server.get(path_of(agent)?, name(agent)).await?.is_some();
        let running = server.list(pods, Some(AGENTS)).await?.len();
        if waits || running > 0 {
            return Ok(Step::Waiting(format!("{running} agents to end")));
        }
    }
    if let Some(waiting) = clean_nodes(server, spec, pods).await? {
        return Ok(Step::Waiting(waiting));
    }
    // What lets others in goes before what they would meet; definitions, and users' objects with
    // them, last.
    for object in made.iter().rev() {
        server.delete(path_of(object)?, name(object)).await?;
    }
    let mut left = Vec::new();
    for object in made.iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
        if server.get(path_of(object)?, name(object)).await?.is_some() {
            left.push(name(object));
        }
    }
    if !left.is_empty() {
        return Ok(Step::Waiting(format!("objects of {} to go", left.join(", "))));
    }
    for pod in server.list(pods, Some(CLEANER)).await? {
        server.delete(pods, name(&pod)).await?;
    }
    Ok(Step::Done)
}

/// Runs a cleaner on every node; returns what is waited for.
async fn clean_nodes(
    server: &Objects,
    spec: &InstallationSpec,
    pods: &str,
) -> Result<Option<String>, UninstallError> {
    let cleaners = server.list(pods, Some(CLEANER)).await?;
    let mut unclean = Vec::new();
    for node in server.list(NODES, None).await? {
        let node = name(&node);
        let of_node = |pod: &&Value| pod["spec"]["nodeName"] == node;
        match cleaners.iter().find(of_node) {
            Some(pod) if pod["status"]["phase"] == "Succeeded" => continue,
            Some(pod) if pod["status"]["phase"] == "Failed" => {
                // Evicted, say: another one may do better.
                server.delete(pods, name(pod)).await?;
            }
            Some(_) => {}
            None => server.create(pods, &cleaner(spec, node)?).await?,
        }
        unclean.push(node.to_owned());
    }
    let named = unclean.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    Ok(match unclean.len() {
        0 => None,
        1..=3 => Some(format!("nodes to be clean: {named}")),
        more => Some(format!("nodes to be clean: {named} and {} more", more - 3)),
    })
}
