//! `brindlectl install`: the operator, and the Installation that it follows, as
//! `manifests/brindle-operator.yaml` has them.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use brindle_api::{INSTALLATION_NAME, Installation};
use brindle_sources::kubernetes::Connection;
use k8s_openapi::Resource;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::cli::Install;
use crate::output::Format;
use crate::preflight;

/// What users may also apply by themselves.
const MANIFEST: &str = include_str!("../../../manifests/brindle-operator.yaml");
/// The owner of what is applied.
const MANAGER: &str = "brindlectl";
/// Where the operator's image stands in its Deployment.
const IMAGE: &str = "/spec/template/spec/containers/0/image";
/// How long a definition may take until its objects can be made.
const SERVED: Duration = Duration::from_secs(30);
/// Pause before that is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Where the API server has the objects of a kind.
const PATHS: [(&str, &str); 9] = [
    ("Namespace", "/api/v1/namespaces"),
    ("ServiceAccount", "/api/v1/namespaces/brindle-system/serviceaccounts"),
    ("CustomResourceDefinition", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
    ("ClusterRole", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ("ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("Role", "/apis/rbac.authorization.k8s.io/v1/namespaces/brindle-system/roles"),
    ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1/namespaces/brindle-system/rolebindings"),
    ("Deployment", "/apis/apps/v1/namespaces/brindle-system/deployments"),
    ("Installation", "/apis/brindle.io/v1alpha1/installations"),
];

/// Installs, or says what would be applied.
///
/// # Errors
/// A setting is none of an Installation's, the API server refuses an object, or it has objects that
/// this version would not accept any more.
pub fn run(install: &Install, format: Format) -> Result<String> {
    let objects = objects(install)?;
    if install.dry_run {
        return render(&objects, format);
    }
    let connection = install.origin.connection()?;
    if !install.force {
        let found = preflight::of_server(&connection)?;
        if found.iter().any(preflight::Finding::is_news) {
            let found = preflight::render(&found, Format::Table)?;
            bail!(
                "nothing is applied; --force does it all the same. This version refuses:\n{found}"
            );
        }
    }
    let mut said = String::new();
    for object in &objects {
        connection.block_on(apply(&connection, object))?;
        said += &format!("{} applied\n", title(object));
    }
    Ok(said)
}

/// The objects, in the order in which they are applied.
///
/// # Errors
/// A setting is none of an Installation's, or the manifest in this program is broken.
pub fn objects(install: &Install) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in MANIFEST.split("\n---\n") {
        let object: Option<Value> =
            serde_saphyr::from_str(document).context("read the manifest in this program")?;
        let Some(mut object) = object.filter(Value::is_object) else { continue };
        if let Some(image) = &install.image
            && object["kind"] == "Deployment"
        {
            *object.pointer_mut(IMAGE).context("the operator has no image")? = image.clone().into();
        }
        objects.push(object);
    }
    objects.push(installation(install)?);
    Ok(objects)
}

fn installation(install: &Install) -> Result<Value> {
    let mut spec = Map::new();
    for (field, value) in &install.set {
        if spec.insert(field.clone(), value.clone().into()).is_some() {
            bail!("--set {field} is given twice");
        }
    }
    if let Some(image) = &install.image
        && spec.insert("image".to_owned(), image.clone().into()).is_some()
    {
        bail!("the image is given twice: --image and --set image");
    }
    let object = json!({
        "apiVersion": Installation::API_VERSION,
        "kind": Installation::KIND,
        "metadata": { "name": INSTALLATION_NAME },
        "spec": spec,
    });
    serde_json::from_value::<Installation>(object.clone()).context("--set")?;
    Ok(object)
}

fn render(objects: &[Value], format: Format) -> Result<String> {
    if format == Format::Json {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        return Ok(serde_json::to_string_pretty(&list)? + "\n");
    }
    let mut text = String::new();
    for object in objects {
        text += "---\n";
        text += &serde_saphyr::to_string(object)?;
    }
    Ok(text)
}

fn title(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", word(&object["kind"]), word(&object["metadata"]["name"]))
}

fn path(object: &Value) -> Result<&'static str> {
    let found = PATHS.iter().find(|(kind, _)| object["kind"] == *kind).map(|(_, path)| *path);
    found.with_context(|| format!("no path is known of {}", title(object)))
}

/// Makes the object so, whoever said otherwise of its fields. One whose definition has just been made
/// is tried again until that is served.
async fn apply(connection: &Connection, object: &Value) -> Result<()> {
    let (path, title) = (path(object)?, title(object));
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let deadline = Instant::now() + SERVED;
    loop {
        let params = PatchParams::apply(MANAGER).force();
        let request = Request::new(path).patch(name, &params, &Patch::Apply(object))?;
        let answer = timeout(ANSWER, connection.client().request::<Value>(request)).await;
        match answer.map_err(|_| anyhow!("the API server does not answer"))? {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 && Instant::now() < deadline => {
                sleep(AGAIN).await;
            }
            Err(error) => return Err(error).with_context(|| format!("cannot apply {title}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(image: Option<&str>, set: &[(&str, &str)]) -> Install {
        let set = set.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned()));
        Install { image: image.map(str::to_owned), set: set.collect(), ..Install::default() }
    }

    #[test]
    fn what_is_applied_is_the_operator_s_manifest_and_an_installation() {
        let all = objects(&install(None, &[("logLevel", "Debug")])).unwrap();
        let (last, manifest) = all.split_last().unwrap();
        assert_eq!(last["kind"], "Installation");
        assert_eq!(last["spec"], json!({ "logLevel": "Debug" }));
        let documents = MANIFEST.matches("\nkind: ").count();
        assert_eq!(manifest.len(), documents);
        for object in &all {
            path(object).unwrap();
        }
        let text = render(&all, Format::Yaml).unwrap();
        assert_eq!(text.matches("---\n").count(), all.len());
        let list: Value = serde_json::from_str(&render(&all, Format::Json).unwrap()).unwrap();
        assert_eq!(list["items"].as_array().unwrap(), &all);
    }

    #[test]
    fn an_image_is_the_operator_s_and_the_agents() {
        let all = objects(&install(Some("example.org/b:1"), &[])).unwrap();
        let deployment = all.iter().find(|object| object["kind"] == "Deployment").unwrap();
        assert_eq!(deployment.pointer(IMAGE).unwrap(), "example.org/b:1");
        assert_eq!(all.last().unwrap()["spec"]["image"], "example.org/b:1");
    }

    #[test]
    fn a_setting_is_one_of_an_installation() {
        for (set, said) in [
            (&[("loglevel", "Debug")][..], "unknown field `loglevel`"),
            (&[("logLevel", "Loud")], "unknown variant `Loud`"),
            (&[("logLevel", "Info"), ("logLevel", "Warn")], "given twice"),
        ] {
            let error = format!("{:#}", objects(&install(None, set)).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
        let twice = install(Some("a"), &[("image", "b")]);
        assert!(objects(&twice).is_err());
    }
}
