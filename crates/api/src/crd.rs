//! CustomResourceDefinitions of Brindle's own kinds, generated from their types.
//!
//! What a type says of shape (fields, ranges, words) is in its schema; what takes two fields to say
//! is a CEL rule of [`kinds`]. Both only repeat, at the moment of `kubectl apply`, what agents
//! refuse anyway: an agent never relies on a definition, because an object may be older than it.
//!
//! A definition keeps fields that it does not know instead of dropping them. What an API server
//! drops no agent can refuse, and a criterion that is dropped admits more than was written
//! (docs/decisions/0018-unknown-fields-reach-the-agent.md).

mod kinds;
mod structural;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope, Resource};
use schemars::JsonSchema;
use serde_json::{Value, json};

pub use kinds::{definitions, installation};

/// The category of all kinds: `kubectl get brindle`.
const CATEGORY: &str = "brindle";

/// What a definition says beyond the type.
struct Extras {
    short_names: &'static [&'static str],
    /// Title, type and path of each column between name and status.
    columns: &'static [(&'static str, &'static str, &'static str)],
    /// CEL expressions and what to say when one is false: of the whole object, and of a spec.
    object_rules: &'static [(&'static str, &'static str)],
    spec_rules: &'static [(&'static str, &'static str)],
    status: Status,
    /// Whether the API server drops fields that the type does not have, and `kubectl` refuses them.
    /// Otherwise the reader sees them, and refuses them.
    prunes: bool,
}

/// What Brindle reports in an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Nothing.
    None,
    /// Whether it is accepted.
    Accepted,
    /// That, and on how many nodes it is enforced.
    Enforced,
    /// How it stands with an installation.
    Installed,
}

impl Status {
    /// The types of its conditions that have a column.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Accepted => &["Accepted"],
            Self::Enforced => &["Accepted", "Enforced"],
            Self::Installed => &["Available", "Progressing", "Degraded"],
        }
    }

    fn conditions(self) -> &'static str {
        match self {
            Self::None | Self::Accepted => {
                "`Accepted`: whether the object has effect as it was written."
            }
            Self::Enforced => {
                "`Accepted`: whether the object has effect as it was written. `Enforced`: whether \
                 every node enforces it so."
            }
            Self::Installed => {
                "`Available`: whether Brindle runs on every node as is asked for. `Progressing`: \
                 whether it is becoming so. `Degraded`: whether something is wrong."
            }
        }
    }
}

/// A scope's name in a definition.
trait Scope {
    const NAME: &'static str;
}

impl Scope for ClusterResourceScope {
    const NAME: &'static str = "Cluster";
}

impl Scope for NamespaceResourceScope {
    const NAME: &'static str = "Namespaced";
}

/// The JSON schema of a kind's objects as an API server takes it, CEL rules included.
fn schema<K: JsonSchema + Resource>(extras: &Extras) -> Value {
    let mut schema = structural::schema::<K>();
    schema["properties"]["apiVersion"] = json!({ "type": "string" });
    schema["properties"]["kind"] = json!({ "type": "string" });
    // The server knows metadata itself, and lets nobody else describe it.
    schema["properties"]["metadata"] = json!({ "type": "object" });
    schema["required"] = json!(["spec"]);
    if extras.status != Status::None {
        schema["properties"]["status"] = status(extras.status);
    }
    if extras.prunes {
        structural::prune(&mut schema["properties"]["spec"]);
    }
    for (rules, place) in [(extras.object_rules, ""), (extras.spec_rules, "/properties/spec")] {
        if rules.is_empty() {
            continue;
        }
        let rules = rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message }));
        let rules: Vec<Value> = rules.collect();
        if let Some(at) = schema.pointer_mut(place) {
            at["x-kubernetes-validations"] = rules.into();
        }
    }
    schema
}

fn definition<K>(extras: &Extras) -> Value
where
    K: JsonSchema + Resource<Scope: Scope>,
{
    let singular = K::KIND.to_lowercase();
    let column = |(name, kind, path): &(&str, &str, &str)| json!({ "name": name, "type": kind, "jsonPath": path });
    let mut columns: Vec<Value> = extras.columns.iter().map(column).collect();
    for condition in extras.status.columns() {
        let path = format!(".status.conditions[?(@.type=='{condition}')].status");
        columns.push(column(&(condition, "string", &path)));
    }
    columns.push(column(&("Age", "date", ".metadata.creationTimestamp")));
    let mut version = json!({
        "name": K::VERSION,
        "served": true,
        "storage": true,
        "schema": { "openAPIV3Schema": schema::<K>(extras) },
        "additionalPrinterColumns": columns,
    });
    if extras.status != Status::None {
        version["subresources"] = json!({ "status": {} });
    }
    let mut names = json!({
        "kind": K::KIND,
        "listKind": format!("{}List", K::KIND),
        "plural": K::URL_PATH_SEGMENT,
        "singular": singular,
        "categories": [CATEGORY],
    });
    if !extras.short_names.is_empty() {
        names["shortNames"] = json!(extras.short_names);
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", K::URL_PATH_SEGMENT, K::GROUP) },
        "spec": {
            "group": K::GROUP,
            "scope": K::Scope::NAME,
            "names": names,
            "versions": [version],
        },
    })
}

/// Schema of what Brindle reports: conditions as everywhere in Kubernetes.
fn status(reported: Status) -> Value {
    let text = |description| json!({ "type": "string", "description": description });
    let mut status = json!({
        "type": "object",
        "description": "What became of the object. Written by Brindle.",
        "properties": {
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "The `metadata.generation` that the conditions are about.",
            },
            "conditions": {
                "type": "array",
                "description": reported.conditions(),
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type", "status", "reason", "message", "lastTransitionTime"],
                    "properties": {
                        "type": text("What it is about."),
                        "status": {
                            "type": "string",
                            "enum": ["True", "False", "Unknown"],
                            "description": "Whether it holds.",
                        },
                        "reason": text("Why, as one word."),
                        "message": text("Why, for people."),
                        "observedGeneration": {
                            "type": "integer",
                            "format": "int64",
                            "description": "The `metadata.generation` that was judged.",
                        },
                        "lastTransitionTime": {
                            "type": "string",
                            "format": "date-time",
                            "description": "When the status changed.",
                        },
                    },
                },
            },
        },
    });
    if reported == Status::Enforced {
        status["properties"]["enforcement"] = enforcement();
    }
    status
}

/// Schema of how far nodes are with a policy.
fn enforcement() -> Value {
    let whole =
        |description| json!({ "type": "integer", "format": "int64", "description": description });
    let text = |description| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "description": "How far the nodes are with the object. Written by the operator.",
        "properties": {
            "observedGeneration": whole("The `metadata.generation` that this is about."),
            "resourceVersion": text(
                "The `metadata.resourceVersion` with which that generation was first seen: a node \
                 that enforces its kind up to there enforces it.",
            ),
            "enforcedNodes": whole("How many nodes enforce it."),
            "desiredNodes": whole("How many nodes must."),
            "slowestNode": text("One that does not yet, or was the last to."),
        },
    })
}
