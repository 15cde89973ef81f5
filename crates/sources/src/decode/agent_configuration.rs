//! An AgentConfiguration, field by field if it does not decode whole: what is wrong with one field
//! does not undo the others. A field that closes something goes on closing it.

use brindle_api::AgentConfigurationSpec;
use serde_json::{Map, Value, json};

use super::{Decoded, typed, whole};
use crate::object::Object;
use crate::problem::Problems;

/// Fields that may not be taken for absent, and the word that is closed.
const CLOSED: [(&str, &str); 2] =
    [("defaultEndpointToHostAction", "Drop"), ("existingConnections", "Reevaluate")];

/// Decodes settings of agents.
pub(super) fn decode(mut value: Value) -> Decoded {
    let decoded = whole(value.clone(), Object::AgentConfiguration);
    if decoded.object.is_some() {
        return decoded;
    }
    let Some(fields) = value.get("spec").and_then(Value::as_object).cloned() else {
        return decoded;
    };
    let mut problems = Problems::default();
    let mut kept = Map::new();
    let mut whose = true;
    for (name, field) in fields {
        let alone = json!({ &name: &field });
        if typed::<AgentConfigurationSpec>(&alone, "spec", &mut problems).is_some() {
            kept.insert(name, field);
        } else if let Some((_, word)) = CLOSED.iter().find(|(closed, _)| *closed == name) {
            kept.insert(name, (*word).into());
        } else if name == "nodeSelector" {
            // Whom it is for is not known.
            whose = false;
        }
    }
    value["spec"] = kept.into();
    let rest = whole(value, Object::AgentConfiguration);
    if problems.errors() == 0 {
        // It is not about the fields of its spec.
        return decoded;
    }
    let object = rest.object.filter(|_| whose);
    Decoded { object, problems: problems.into_vec(), ..rest }
}
