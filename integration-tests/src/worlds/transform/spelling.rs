//! Selectors written another way.

use brindle_oracle::World;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{expressions, label_selectors};

/// Every selector written another way: equalities as `In`, values doubled and turned around; texts
/// doubled, negated twice and spaced out.
pub fn selectors_rewritten(world: &World) -> World {
    let mut world = world.clone();
    label_selectors(&mut world, &mut |selector, _| rewrite(selector));
    expressions(&mut world, &mut |text| {
        // The marker is no selector, and a blank is not one inside others.
        if text.trim() != "global()" {
            let inner = if text.trim().is_empty() { "all()" } else { text.as_str() };
            *text = format!("\t( {inner} )||!(!!(!({inner})))");
        }
    });
    world
}

fn rewrite(selector: &mut LabelSelector) {
    let equalities = selector.match_labels.take().unwrap_or_default().into_iter();
    let expressions = selector.match_expressions.get_or_insert_default();
    for values in expressions.iter_mut().filter_map(|e| e.values.as_mut()) {
        values.extend(values.clone());
        values.reverse();
    }
    expressions.extend(equalities.map(|(key, value)| LabelSelectorRequirement {
        key,
        operator: "In".to_owned(),
        values: Some(vec![value.clone(), value]),
    }));
    expressions.reverse();
}
