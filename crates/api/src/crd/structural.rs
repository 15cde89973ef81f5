//! From the schema of a type to a structural schema, which is what an API server takes: no
//! references, one type a place, nothing that only another reader of JSON schemas knows.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// Keeps fields that the schema does not name.
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// The structural schema of a type.
pub(super) fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    rewrite(&mut schema);
    schema
}

/// Makes the API server drop what the schema does not name, and `kubectl` refuse it.
pub(super) fn prune(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if fields.contains_key("properties") {
        fields.remove(PRESERVE);
    }
    fields.get_mut("items").into_iter().for_each(prune);
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(prune);
    }
}

fn rewrite(schema: &mut Value) {
    if *schema == Value::Bool(true) {
        // Any value at all.
        *schema = Value::Object(Map::from_iter([(PRESERVE.to_owned(), true.into())]));
        return;
    }
    let Value::Object(fields) = schema else { return };
    unwrap_optional(fields);
    gather_words(fields);
    fields.remove("title");
    if let Some(Value::String(text)) = fields.get_mut("description") {
        // Lines end where the source's do.
        *text = text.replace("\n\n", "\0").replace('\n', " ").replace('\0', "\n\n");
    }
    if fields.get("format").is_some_and(|format| !is_known_format(format)) {
        fields.remove("format");
    }
    // A default is written into every object: what is absent shall stay so unless it is a word or
    // a number that helps a reader.
    if fields.get("default").is_some_and(|d| d.is_null() || d.is_object() || d.is_array()) {
        fields.remove("default");
    }
    for closed in ["additionalProperties", "unevaluatedProperties"] {
        if fields.get(closed) == Some(&Value::Bool(false)) {
            fields.remove(closed);
            fields.insert(PRESERVE.to_owned(), true.into());
        }
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(rewrite);
    }
    for inner in ["items", "additionalProperties"] {
        fields.get_mut(inner).into_iter().for_each(rewrite);
    }
    let is_bare =
        !fields.contains_key("type") && !fields.keys().any(|key| key.starts_with("x-kubernetes-"));
    if is_bare {
        // Only a description: any value.
        fields.insert(PRESERVE.to_owned(), true.into());
    }
}

/// An optional field is one that may be absent: the API server drops nulls.
fn unwrap_optional(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = fields.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            fields.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(words)) = fields.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if let Some(Value::Array(choices)) = fields.remove("anyOf") {
        let inner = choices.into_iter().find(|c| c.get("type") != Some(&"null".into()));
        let Some(Value::Object(inner)) = inner else { return };
        for (key, value) in inner {
            // What is said of the field goes before what is said of its type.
            fields.entry(key).or_insert(value);
        }
    }
}

/// A choice among words that are each explained becomes a list of the words.
fn gather_words(fields: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = fields.get("oneOf") else { return };
    let words: Option<Vec<Value>> = choices.iter().map(|c| c.get("const").cloned()).collect();
    let Some(words) = words else { return };
    fields.remove("oneOf");
    fields.insert("type".to_owned(), "string".into());
    fields.insert("enum".to_owned(), words.into());
}

fn is_known_format(format: &Value) -> bool {
    matches!(format.as_str(), Some("int32" | "int64" | "float" | "double" | "date-time"))
}
