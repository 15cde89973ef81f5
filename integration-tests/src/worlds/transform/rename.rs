//! Namespaces and pods by other names.

use brindle_model::NamespacedName;
use brindle_model::packet::{Flow, Origin};
use brindle_oracle::World;

use super::{Of, ends, expressions, label_selectors};
use crate::worlds::generate::NAMESPACES;

/// A name in the renamed world. It keeps the order of names.
fn renamed_name(name: &str) -> String {
    format!("{name}-renamed")
}

/// Every namespace and pod under another name.
pub fn renamed(world: &World) -> World {
    let mut world = world.clone();
    let rename = |name: &mut Option<String>| {
        name.iter_mut().for_each(|name| *name = renamed_name(name));
    };
    world.namespaces.iter_mut().for_each(|n| rename(&mut n.metadata.name));
    for pod in &mut world.pods {
        rename(&mut pod.metadata.name);
        rename(&mut pod.metadata.namespace);
    }
    let objects = (world.network_policies.iter_mut().map(|o| &mut o.metadata))
        .chain(world.service_accounts.iter_mut().map(|o| &mut o.metadata))
        .chain(world.endpoint_slices.iter_mut().map(|o| &mut o.metadata))
        .chain(world.tiered_policies.iter_mut().map(|o| &mut o.metadata))
        .chain(world.network_sets.iter_mut().map(|o| &mut o.metadata))
        .chain(world.staged_network_policies.iter_mut().map(|o| &mut o.metadata))
        .chain(world.staged_kubernetes_network_policies.iter_mut().map(|o| &mut o.metadata));
    objects.for_each(|metadata| rename(&mut metadata.namespace));
    label_selectors(&mut world, &mut |selector, of| {
        let keys: &[&str] = match of {
            Of::Pod => &["projectcalico.org/namespace"],
            Of::Namespace => &["kubernetes.io/metadata.name"],
            Of::Node => return,
        };
        let labels = selector.match_labels.iter_mut().flatten();
        let values = labels.filter(|(key, _)| keys.contains(&key.as_str())).map(|(_, value)| value);
        let expressions = selector.match_expressions.iter_mut().flatten();
        let expressions = expressions.filter(|e| keys.contains(&e.key.as_str()));
        let all = values.chain(expressions.filter_map(|e| e.values.as_mut()).flatten());
        let named = |value: &&mut String| NAMESPACES.contains(&value.as_str());
        all.filter(named).for_each(|value| *value = renamed_name(value));
    });
    // No other label has the name of a namespace for a value.
    expressions(&mut world, &mut |text| {
        for (name, quote) in NAMESPACES.into_iter().flat_map(|n| [(n, '\''), (n, '"')]) {
            let from = format!("{quote}{name}{quote}");
            *text = text.replace(&from, &format!("{quote}{}{quote}", renamed_name(name)));
        }
    });
    for services in ends(&mut world).filter_map(|end| end.services.as_mut()) {
        rename(&mut services.namespace);
    }
    world
}

/// A flow of the renamed world. Pods that have no object keep their names.
pub fn renamed_flow(world: &World, flow: &Flow) -> Flow {
    let known = |id: &NamespacedName| {
        world.pods.iter().any(|p| {
            p.metadata.name.as_deref() == Some(&id.name)
                && p.metadata.namespace.as_deref() == Some(&id.namespace)
        })
    };
    let origin = match &flow.origin {
        Origin::Pod(id) if known(id) => {
            Origin::Pod(NamespacedName::new(renamed_name(&id.namespace), renamed_name(&id.name)))
        }
        other => other.clone(),
    };
    Flow { origin, ..flow.clone() }
}
