//! A world as the YAML that a user would put into a folder.

use anyhow::{Context, Result, bail};
use brindle_oracle::World;
use serde::Serialize;
use serde_json::Value;

/// One document an object.
///
/// # Errors
/// An object that YAML cannot express; none is known.
pub fn write(world: &World) -> Result<String> {
    let mut text = String::new();
    world.namespaces.iter().try_for_each(|object| push(&mut text, object))?;
    world.nodes.iter().try_for_each(|object| push(&mut text, object))?;
    world.pods.iter().try_for_each(|object| push(&mut text, object))?;
    world.network_policies.iter().try_for_each(|object| push(&mut text, object))?;
    Ok(text)
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
/// A document that is no object of the four kinds.
pub fn read(text: &str) -> Result<World> {
    let mut world = World::default();
    // YAML 1.2: `y` is a namespace, not a truth.
    let options = serde_saphyr::options! { strict_booleans: true };
    for value in serde_saphyr::from_multiple_with_options::<Value>(text, options)? {
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let context = || format!("reading a {kind}");
        match kind.as_str() {
            "Namespace" => world.namespaces.push(object(value).with_context(context)?),
            "Node" => world.nodes.push(object(value).with_context(context)?),
            "Pod" => world.pods.push(object(value).with_context(context)?),
            "NetworkPolicy" => world.network_policies.push(object(value).with_context(context)?),
            _ => bail!("a world has no objects of kind {kind:?}"),
        }
    }
    Ok(world)
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for seed in 0..200 {
            let world = crate::worlds::generate(seed);
            let text = write(&world).expect("a world can be written");
            assert_eq!(read(&text).expect("and read"), world, "seed {seed}\n{text}");
        }
    }
}
