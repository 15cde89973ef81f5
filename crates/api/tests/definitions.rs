//! `manifests/crds` and `manifests/schemas` are what the types say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The folder's files are these and no others. `UPDATE_GOLDEN=1` makes them so.
fn hold(folder: &str, files: &[(String, String)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests").join(folder);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        return;
    }
    let there: BTreeSet<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let wanted: BTreeSet<PathBuf> = files.iter().map(|(name, _)| folder.join(name)).collect();
    assert_eq!(there, wanted, "run with UPDATE_GOLDEN=1 and look at the difference");
    for (name, text) in files {
        let found = fs::read_to_string(folder.join(name)).unwrap();
        assert!(found == *text, "{name} is not what the types say; see UPDATE_GOLDEN");
    }
}

fn kind(definition: &Value) -> &str {
    definition["spec"]["names"]["kind"].as_str().unwrap()
}

#[test]
fn definitions_are_checked_in() {
    let file = |definition: &Value| {
        let name = definition["metadata"]["name"].as_str().unwrap();
        let text = serde_saphyr::to_string(definition).unwrap();
        (format!("{name}.yaml"), text)
    };
    let files: Vec<_> = brindle_api::crd::definitions().iter().map(file).collect();
    hold("crds", &files);
}

/// The definition that only the operator reads, beside its rights.
#[test]
fn the_definition_of_installation_is_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../manifests/operator/installations.brindle.io.yaml");
    let text = serde_saphyr::to_string(&brindle_api::crd::installation()).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(found == text, "{} is not what the type says; see UPDATE_GOLDEN", path.display());
}

fn all() -> Vec<Value> {
    let mut all = brindle_api::crd::definitions();
    all.push(brindle_api::crd::installation());
    all
}

#[test]
fn schemas_are_checked_in() {
    let file = |definition: &Value| {
        let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        (format!("{}.json", kind(definition).to_lowercase()), text)
    };
    let files: Vec<_> = all().iter().map(file).collect();
    hold("schemas", &files);
}

/// Every field has a text for `kubectl explain`, and a structural place.
#[test]
fn every_field_is_explained() {
    fn look(at: &str, schema: &Value, missing: &mut Vec<String>) {
        let preserved = schema.get("x-kubernetes-preserve-unknown-fields").is_some();
        let either = schema.get("x-kubernetes-int-or-string").is_some();
        if !preserved && !either && !schema["type"].is_string() {
            missing.push(format!("{at}: no type"));
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            if field.get("description").is_none() && !at.contains(".match") {
                missing.push(format!("{at}: no description"));
            }
            look(&at, field, missing);
        }
        if let Some(items) = schema.get("items") {
            look(&format!("{at}[]"), items, missing);
        }
    }
    let mut missing = Vec::new();
    for definition in all() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            if let Some(part_schema) = schema["properties"].get(part) {
                look(&format!("{}.{part}", kind(&definition)), part_schema, &mut missing);
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
