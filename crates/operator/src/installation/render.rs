//! The objects of an installation: those of the plain manifest, as an `Installation` wants them.

use brindle_api::{
    InstallationConnections, InstallationDataplane, InstallationLogLevel, InstallationSpec,
};
use serde_json::{Value, json};

/// What users may also apply by themselves.
const MANIFEST: &str = include_str!("../../../../manifests/brindle.yaml");
/// What else an agent needs that runs the node's iptables.
const IPTABLES: &str = include_str!("../../../../manifests/patches/iptables.yaml");
/// Marks objects that the operator keeps as they should be.
pub const MANAGED: (&str, &str) = ("app.kubernetes.io/managed-by", "brindle-operator");
/// Says which part of Brindle an object belongs to.
const COMPONENT: &str = "app.kubernetes.io/component";
/// Where the agent's program and arguments stand.
const CONTAINER: &str = "/spec/template/spec/containers/0";
/// Label of the pods that clean nodes.
pub const CLEANER: &str = "app.kubernetes.io/component=uninstall";

/// The embedded manifest is not what it was built to be.
#[derive(Debug, thiserror::Error)]
#[error("the manifest in this program cannot be used: {0}")]
pub struct ManifestError(String);

/// The objects, in the order in which they are applied. The operator's own are not among them: they
/// came before it.
///
/// # Errors
/// The manifest is broken.
pub fn objects(spec: &InstallationSpec) -> Result<Vec<Value>, ManifestError> {
    let mut objects = Vec::new();
    for document in MANIFEST.split("\n---\n") {
        let object: Option<Value> =
            serde_saphyr::from_str(document).map_err(|error| ManifestError(error.to_string()))?;
        let Some(mut object) = object.filter(Value::is_object) else { continue };
        let is_ours = object["metadata"]["labels"][COMPONENT] == "operator";
        if is_ours || object["kind"] == "Namespace" {
            continue;
        }
        let (key, value) = MANAGED;
        object["metadata"]["labels"][key] = value.into();
        if object["kind"] == "DaemonSet" {
            set_up(&mut object, spec)?;
        }
        objects.push(object);
    }
    Ok(objects)
}

/// Gives the agent what it needs to run the node's iptables.
fn add_iptables(daemon_set: &mut Value) -> Result<(), ManifestError> {
    let patch: Value =
        serde_saphyr::from_str(IPTABLES).map_err(|error| ManifestError(error.to_string()))?;
    let missing = |path: &str| ManifestError(format!("{path} is missing"));
    let rights = format!("{CONTAINER}/securityContext/capabilities/add");
    let added = patch.pointer(&rights).ok_or_else(|| missing(&rights))?;
    *daemon_set.pointer_mut(&rights).ok_or_else(|| missing(&rights))? = added.clone();
    for path in [format!("{CONTAINER}/volumeMounts"), "/spec/template/spec/volumes".to_owned()] {
        let more = patch.pointer(&path).and_then(Value::as_array).ok_or_else(|| missing(&path))?;
        let list = daemon_set.pointer_mut(&path).and_then(Value::as_array_mut);
        list.ok_or_else(|| missing(&path))?.extend(more.iter().cloned());
    }
    Ok(())
}

/// Sets image, options and log level of the agent.
fn set_up(daemon_set: &mut Value, spec: &InstallationSpec) -> Result<(), ManifestError> {
    let nodes_own = [
        InstallationDataplane::Iptables,
        InstallationDataplane::IptablesNft,
        InstallationDataplane::IptablesLegacy,
    ];
    if spec.dataplane.is_some_and(|dataplane| nodes_own.contains(&dataplane)) {
        add_iptables(daemon_set)?;
    }
    let none = || ManifestError("the agent has no container".to_owned());
    let container = daemon_set.pointer_mut(CONTAINER).ok_or_else(none)?;
    if let Some(image) = &spec.image {
        container["image"] = image.as_str().into();
    }
    let dataplane = spec.dataplane.map(|dataplane| {
        let name = match dataplane {
            InstallationDataplane::Auto => "auto",
            InstallationDataplane::Nftables => "nftables",
            InstallationDataplane::Iptables => "iptables",
            InstallationDataplane::IptablesNft => "iptables-nft",
            InstallationDataplane::IptablesLegacy => "iptables-legacy",
        };
        format!("--dataplane={name}")
    });
    let connections = spec.existing_connections.map(|connections| {
        let name = match connections {
            InstallationConnections::Reevaluate => "reevaluate",
            InstallationConnections::Keep => "keep",
        };
        format!("--existing-connections={name}")
    });
    let arguments = container["args"].as_array_mut().ok_or_else(none)?;
    arguments.extend([dataplane, connections].into_iter().flatten().map(Value::from));
    if let Some(level) = spec.log_level {
        let level = match level {
            InstallationLogLevel::Error => "error",
            InstallationLogLevel::Warn => "warn",
            InstallationLogLevel::Info => "info",
            InstallationLogLevel::Debug => "debug",
            InstallationLogLevel::Trace => "trace",
        };
        let variables = container["env"].as_array_mut().ok_or_else(none)?;
        variables.push(json!({ "name": "RUST_LOG", "value": level }));
    }
    Ok(())
}

/// A pod that removes from a node what the agent made there.
///
/// # Errors
/// The manifest is broken.
pub fn cleaner(spec: &InstallationSpec, node: &str) -> Result<Value, ManifestError> {
    let objects = objects(spec)?;
    let daemon_set = objects.iter().find(|object| object["kind"] == "DaemonSet");
    let none = || ManifestError("there is no DaemonSet".to_owned());
    let template = daemon_set.and_then(|object| object.pointer("/spec/template/spec"));
    let mut pod = template.ok_or_else(none)?.clone();
    // It only speaks with the node.
    for field in ["serviceAccountName", "terminationGracePeriodSeconds"] {
        pod.as_object_mut().ok_or_else(none)?.remove(field);
    }
    pod["automountServiceAccountToken"] = false.into();
    pod["nodeName"] = node.into();
    pod["restartPolicy"] = "OnFailure".into();
    let container = pod.pointer_mut("/containers/0").ok_or_else(none)?;
    container["name"] = "uninstall".into();
    container["args"] = json!([
        "uninstall",
        "--cni-bin-dir=/host/cni/bin",
        "--cni-conf-dir=/host/cni/net.d",
        "--run-dir=/host/run/brindle",
        "--state-dir=/host/lib/brindle",
    ]);
    for field in ["env", "startupProbe", "readinessProbe", "livenessProbe"] {
        container.as_object_mut().ok_or_else(none)?.remove(field);
    }
    // A folder that is a mount cannot be removed, so the ones above are mounted.
    for (volume, path, mounted) in
        [("run", "/run", "/host/run"), ("state", "/var/lib", "/host/lib")]
    {
        let mount = named(pod.pointer_mut("/containers/0/volumeMounts"), volume);
        mount.ok_or_else(none)?["mountPath"] = mounted.into();
        let volume = named(pod.get_mut("volumes"), volume).ok_or_else(none)?;
        volume["hostPath"] = json!({ "path": path, "type": "Directory" });
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("brindle-uninstall-{node}"),
            "namespace": "brindle-system",
            "labels": { "app.kubernetes.io/name": "brindle", COMPONENT: "uninstall" },
        },
        "spec": pod,
    }))
}

/// The entry of a list that has this name.
fn named<'a>(list: Option<&'a mut Value>, name: &str) -> Option<&'a mut Value> {
    list?.as_array_mut()?.iter_mut().find(|entry| entry["name"] == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{path_of, title};

    fn agent(spec: &InstallationSpec) -> Value {
        let objects = objects(spec).unwrap();
        let mut sets = objects.into_iter().filter(|object| object["kind"] == "DaemonSet");
        let container = sets.next().unwrap().pointer(CONTAINER).unwrap().clone();
        assert!(sets.next().is_none());
        container
    }

    #[test]
    fn all_of_the_manifest_is_installed_but_the_operator_itself() {
        let objects = objects(&InstallationSpec::default()).unwrap();
        let titles: Vec<String> = objects.iter().map(title).collect();
        for wanted in [
            "CustomResourceDefinition networkpolicies.brindle.io",
            "ClusterRole brindle-agent",
            "ValidatingAdmissionPolicy brindle-agent-own-node",
            "ServiceAccount brindle-agent",
            "DaemonSet brindle-agent",
        ] {
            assert!(titles.iter().any(|title| title == wanted), "{wanted} is not in {titles:?}");
        }
        let own = ["brindle-operator", "installations.brindle.io"];
        assert!(!titles.iter().any(|title| own.iter().any(|own| title.ends_with(own))));
        for object in &objects {
            path_of(object).unwrap();
            assert_eq!(object["metadata"]["labels"][MANAGED.0], MANAGED.1);
        }
    }

    #[test]
    fn every_setting_has_an_effect() {
        let plain = agent(&InstallationSpec::default());
        let spec = InstallationSpec {
            image: Some("example.org/brindle:v9".to_owned()),
            dataplane: Some(InstallationDataplane::IptablesNft),
            existing_connections: Some(InstallationConnections::Keep),
            log_level: Some(InstallationLogLevel::Debug),
            node_grace_period: None,
        };
        let set = agent(&spec);
        assert_eq!(set["image"], "example.org/brindle:v9");
        let arguments = set["args"].as_array().unwrap();
        let (plain_arguments, more) = arguments.split_at(plain["args"].as_array().unwrap().len());
        assert_eq!(plain_arguments, plain["args"].as_array().unwrap());
        assert_eq!(more, ["--dataplane=iptables-nft", "--existing-connections=keep"]);
        let mounts = set["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().any(|mount| mount["mountPath"] == "/host/root"), "{mounts:?}");
        let rights = set["securityContext"]["capabilities"]["add"].as_array().unwrap();
        assert!(rights.iter().any(|right| right == "SYS_CHROOT"), "{rights:?}");
        let variable = json!({ "name": "RUST_LOG", "value": "debug" });
        assert_eq!(set["env"].as_array().unwrap().last(), Some(&variable));
    }

    #[test]
    fn a_cleaner_runs_uninstall_where_it_can_remove_folders() {
        let pod = cleaner(&InstallationSpec::default(), "n1").unwrap();
        assert_eq!(pod["spec"]["nodeName"], "n1");
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["args"][0], "uninstall");
        let mounts = container["volumeMounts"].as_array().unwrap();
        for argument in container["args"].as_array().unwrap().iter().skip(1) {
            let (_, path) = argument.as_str().unwrap().split_once('=').unwrap();
            let inside = |mount: &&Value| path.starts_with(mount["mountPath"].as_str().unwrap());
            let mount = mounts.iter().find(inside).unwrap_or_else(|| panic!("{path} is no mount"));
            let is_removed = argument.as_str().unwrap().contains("-dir=/host/run")
                || argument.as_str().unwrap().contains("-dir=/host/lib");
            assert!(!is_removed || mount["mountPath"] != path, "{path} cannot be removed");
        }
    }
}
