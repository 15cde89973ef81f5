//! A world as the YAML that a user would put into a folder.

use anyhow::{Context, Result, bail};
use brindle_oracle::World;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One document an object.
///
/// # Errors
/// An object that YAML cannot express; none is known.
pub fn write(world: &World) -> Result<String> {
    let mut text = String::new();
    all(&mut text, &world.namespaces)?;
    all(&mut text, &world.nodes)?;
    all(&mut text, &world.service_accounts)?;
    all(&mut text, &world.pods)?;
    all(&mut text, &world.endpoint_slices)?;
    all(&mut text, &world.network_policies)?;
    all(&mut text, &world.tiers)?;
    all(&mut text, &world.tiered_policies)?;
    all(&mut text, &world.global_network_policies)?;
    all(&mut text, &world.network_sets)?;
    all(&mut text, &world.global_network_sets)?;
    all(&mut text, &world.staged_network_policies)?;
    all(&mut text, &world.staged_global_network_policies)?;
    all(&mut text, &world.staged_kubernetes_network_policies)?;
    all(&mut text, &world.cluster_network_policies)?;
    all(&mut text, &world.host_endpoints)?;
    Ok(text)
}

fn all(text: &mut String, objects: &[impl Serialize]) -> Result<()> {
    objects.iter().try_for_each(|object| push(text, object))
}

fn push(text: &mut String, object: &impl Serialize) -> Result<()> {
    if !text.is_empty() {
        text.push_str("---\n");
    }
    text.push_str(&serde_saphyr::to_string(object)?);
    Ok(())
}

/// Reads such a text for the oracle, by no code that the sources use.
///
/// # Errors
/// A document that is no object of a kind that a world has.
pub fn read(text: &str) -> Result<World> {
    let mut world = World::default();
    // YAML 1.2: `y` is a namespace, not a truth.
    let options = serde_saphyr::options! { strict_booleans: true };
    for value in serde_saphyr::from_multiple_with_options::<Value>(text, options)? {
        let field = |name| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (field("apiVersion"), field("kind"));
        let World {
            namespaces,
            pods,
            service_accounts,
            endpoint_slices,
            nodes,
            network_policies,
            tiers,
            tiered_policies,
            global_network_policies,
            network_sets,
            global_network_sets,
            staged_network_policies,
            staged_global_network_policies,
            staged_kubernetes_network_policies,
            cluster_network_policies,
            host_endpoints,
            // Not objects.
            uplink: _,
            failsafes: _,
            drops_pods_to_node: _,
        } = &mut world;
        match kind.as_str() {
            "Namespace" => take(namespaces, value),
            "Node" => take(nodes, value),
            "Pod" => take(pods, value),
            "ServiceAccount" => take(service_accounts, value),
            "EndpointSlice" => take(endpoint_slices, value),
            // Two groups have a kind of this name.
            "NetworkPolicy" if version == brindle_api::API_VERSION => take(tiered_policies, value),
            "NetworkPolicy" => take(network_policies, value),
            "Tier" => take(tiers, value),
            "GlobalNetworkPolicy" => take(global_network_policies, value),
            "NetworkSet" => take(network_sets, value),
            "GlobalNetworkSet" => take(global_network_sets, value),
            "StagedNetworkPolicy" => take(staged_network_policies, value),
            "StagedGlobalNetworkPolicy" => take(staged_global_network_policies, value),
            "StagedKubernetesNetworkPolicy" => take(staged_kubernetes_network_policies, value),
            "ClusterNetworkPolicy" => take(cluster_network_policies, value),
            "HostEndpoint" => take(host_endpoints, value),
            _ => bail!("a world has no objects of kind {kind:?}"),
        }
        .with_context(|| format!("reading a {kind}"))?;
    }
    Ok(world)
}

fn take<T: DeserializeOwned>(objects: &mut Vec<T>, value: Value) -> Result<()> {
    objects.push(serde_json::from_value(value)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for seed in 0..200 {
            let world = crate::worlds::generate(seed);
            let text = write(&world).expect("a world can be written");
            // What an agent is told by an option is no object.
            let drops_pods_to_node = world.drops_pods_to_node;
            let read = World { drops_pods_to_node, ..read(&text).expect("and read") };
            assert_eq!(read, world, "seed {seed}\n{text}");
        }
    }
}
