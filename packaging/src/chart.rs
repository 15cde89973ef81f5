//! The Helm chart, from the pieces of the operator's manifest.
//!
//! It installs the operator and one Installation; the operator installs the rest. A value exists only
//! where the Installation has a field: its schema is the chart's. Templates have two expressions, the
//! image and the Installation's fields, so that the chart cannot say what the manifest does not.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{manifest, product};

/// The chart's folder below that of the pieces.
pub const FOLDER: &str = "chart/brindle";
/// What is in the templates. The namespace is Helm's to make.
const PIECES: [&str; 3] = ["operator/rbac.yaml", "rbac/operator.yaml", "operator.yaml"];
/// The definition of Installation, which must be there before the templates.
const DEFINITION: &str = "operator/installations.brindle.io.yaml";
/// Where the schema of Installation is.
const SCHEMA: &str = "schemas/installation.json";
/// In a template, the image.
const IMAGE: &str = "{{ .Values.image | quote }}";

/// Roles are bound, and agents are admitted, by the name of the namespace.
const GUARD: &str = "\
{{- if ne .Release.Namespace \"brindle-system\" }}
{{- fail \"install into the namespace brindle-system: roles and admission policies name it\" }}
{{- end }}
";

const INSTALLATION: &str = "\
# Kept when the release is uninstalled: deleting it removes Brindle from every node, for which the
# operator must still be there. Delete it first: kubectl delete installation default
apiVersion: brindle.io/v1alpha1
kind: Installation
metadata:
  name: default
  annotations:
    helm.sh/resource-policy: keep
spec:
  image: {{ .Values.image | quote }}
{{- with .Values.installation }}
  {{- toYaml . | nindent 2 }}
{{- end }}
";

/// The files of the chart by their names in it, made of the pieces in `folder`.
///
/// # Errors
/// A piece is missing, or has no image to set.
pub fn files(folder: &Path) -> Result<Vec<(&'static str, String)>> {
    let schema: Value = serde_json::from_str(&manifest::read(&folder.join(SCHEMA))?)
        .with_context(|| format!("{SCHEMA} is no JSON"))?;
    let mut fields = schema["properties"]["spec"]["properties"].clone();
    let fields = fields.as_object_mut().context("Installation has no fields")?;
    let image = fields.remove("image").context("Installation has no image")?;
    let mut values = String::from(
        "# Written by `cargo xtask manifests`.\n# The image of the operator and of the agents.\n",
    );
    values += &format!("image: {}\n", product::name());
    values += "# Fields of the Installation; what is not given here is the operator's default.\n";
    values += "installation: {}\n";
    for (name, field) in fields.iter() {
        let text = field["description"].as_str().unwrap_or_default();
        values += &format!("#  {name}: {}\n", text.replace('\n', " "));
    }
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": false,
        "required": ["image"],
        "properties": {
            "image": image,
            // What Helm itself adds to the values of a chart that is part of another.
            "global": { "type": "object" },
            "installation": {
                "type": "object",
                "additionalProperties": false,
                "properties": fields,
            },
        },
    });
    let version = env!("CARGO_PKG_VERSION");
    Ok(vec![
        (
            "Chart.yaml",
            format!(
                "# Written by `cargo xtask manifests`.\napiVersion: v2\nname: brindle\n\
                 description: Brindle's operator, and the Installation that it follows.\n\
                 type: application\nversion: {version}\nappVersion: \"v{version}\"\n"
            ),
        ),
        ("values.yaml", values),
        ("values.schema.json", serde_json::to_string_pretty(&schema)? + "\n"),
        ("crds/installations.brindle.io.yaml", manifest::read(&folder.join(DEFINITION))?),
        ("templates/operator.yaml", operator(folder)?),
        ("templates/installation.yaml", INSTALLATION.to_owned()),
    ])
}

/// The operator's pieces with the image left open.
fn operator(folder: &Path) -> Result<String> {
    let mut template = GUARD.to_owned();
    template += &manifest::documents(folder, &PIECES)?;
    let image = format!("image: {}\n", product::name());
    ensure!(template.matches(&image).count() == 1, "not one container has {image}");
    ensure!(
        !template[GUARD.len()..].contains("{{"),
        "a piece has what Helm would take for its own"
    );
    Ok(template.replace(&image, &format!("image: {IMAGE}\n")))
}

/// Writes the chart below `folder`, and nothing else there.
///
/// # Errors
/// A piece is missing, or the disk refused.
pub fn write(folder: &Path) -> Result<()> {
    let chart = folder.join(FOLDER);
    let files = files(folder)?;
    if chart.exists() {
        fs::remove_dir_all(&chart).with_context(|| format!("remove {}", chart.display()))?;
    }
    for (name, text) in files {
        let path = chart.join(name);
        let above = path.parent().context("a file has no folder")?;
        fs::create_dir_all(above).with_context(|| format!("make {}", above.display()))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
    }

    #[test]
    fn the_chart_is_current() {
        for (name, text) in files(&folder()).unwrap() {
            let stored = manifest::read(&folder().join(FOLDER).join(name)).unwrap_or_default();
            assert!(text == stored, "{FOLDER}/{name} is stale: run cargo xtask manifests");
        }
    }

    /// With the image in its place the template is what `brindle-operator.yaml` has of the operator.
    #[test]
    fn the_template_is_the_manifest() {
        let template = operator(&folder()).unwrap();
        let rendered = template.strip_prefix(GUARD).unwrap().replace(IMAGE, &product::name());
        let joined = manifest::join_operator(&folder()).unwrap();
        let of_manifest: Vec<&str> = joined.split("---\n").collect();
        let documents = rendered.split("---\n").filter(|document| !document.is_empty());
        let mut count = 0;
        for document in documents {
            assert!(of_manifest.contains(&document), "{document}");
            count += 1;
        }
        // All of it but its comment, the namespace, the agent's account and the definition.
        assert_eq!(count, of_manifest.len() - 4);
    }

    #[test]
    fn every_field_of_an_installation_is_a_value() {
        let files = files(&folder()).unwrap();
        let text = |wanted: &str| &files.iter().find(|(name, _)| *name == wanted).unwrap().1;
        let schema: Value = serde_json::from_str(text("values.schema.json")).unwrap();
        let fields = schema["properties"]["installation"]["properties"].as_object().unwrap();
        for field in ["dataplane", "existingConnections", "logLevel", "nodeGracePeriod"] {
            assert!(fields.contains_key(field), "{field}");
            assert!(text("values.yaml").contains(&format!("#  {field}: ")), "{field}");
        }
        assert!(!fields.contains_key("image"));
    }
}
