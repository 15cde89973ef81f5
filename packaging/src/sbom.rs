//! What is linked into the image, as a CycloneDX 1.6 bill of materials.
//!
//! The crates are those of `cargo metadata` that the image's programs reach by normal dependencies
//! on the image's platform, without procedural macros: those and build scripts run on the machine
//! that builds. Beside them stand what the toolchain links: Rust's standard library, and the C
//! library of that machine, statically. There is no time and no random number in it: the same build
//! gives the same bytes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::product;

/// The packages of the image's programs.
pub const ROOTS: [&str; 2] = ["brindle", "brindle-cni"];
/// The platform of the image.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// What the toolchain links besides crates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The version of Rust, such as `1.95.0`.
    pub rust: String,
    /// The version of the GNU C library, such as `2.36`.
    pub libc: String,
}

impl Toolchain {
    /// That of this machine.
    ///
    /// # Errors
    /// It does not tell.
    pub fn here() -> Result<Self> {
        let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let rust = output(&rustc, &["-vV"])?;
        let rust = rust.lines().find_map(|line| line.strip_prefix("release: "));
        let rust = rust.context("rustc does not tell its version")?.to_owned();
        let libc = output("getconf", &["GNU_LIBC_VERSION"])?;
        let libc = libc.trim().strip_prefix("glibc ").context("this machine has no glibc")?;
        Ok(Self { rust, libc: libc.to_owned() })
    }
}

/// What cargo knows of the workspace's packages and their dependencies, from the lock file.
///
/// # Errors
/// cargo fails.
pub fn metadata() -> Result<Value> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments =
        ["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM];
    let text = output(&cargo, &arguments)?;
    serde_json::from_str(&text).context("cargo metadata is no JSON")
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let ran = Command::new(program).args(arguments).output();
    let ran = ran.with_context(|| format!("run {program}"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{program} {}: {said}", arguments.join(" "));
    String::from_utf8(ran.stdout).with_context(|| format!("{program} does not speak UTF-8"))
}

/// The bill of the image whose manifest has this digest.
///
/// # Errors
/// The metadata has no such packages.
pub fn bill(metadata: &Value, toolchain: &Toolchain, digest: &str) -> Result<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let id = |value: &Value| value["id"].as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (id(&package), package)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (id(&node), node)).collect();
    let links = |id: &str| -> BTreeSet<String> {
        let Some(node) = nodes.get(id) else { return BTreeSet::new() };
        let normal =
            |dep: &Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let deps = list(&node["deps"]).into_iter().filter(normal);
        let ids = deps.filter_map(|dep| Some(dep["pkg"].as_str()?.to_owned()));
        ids.filter(|id| !packages.get(id).is_some_and(is_macro)).collect()
    };
    let roots: Vec<String> = packages
        .iter()
        .filter(|(_, package)| ROOTS.iter().any(|root| package["name"] == *root))
        .map(|(id, _)| id.clone())
        .collect();
    ensure!(roots.len() == ROOTS.len(), "cargo metadata lacks a program of the image");

    let mut linked = BTreeMap::new();
    let mut open = roots.clone();
    while let Some(id) = open.pop() {
        if let Entry::Vacant(vacant) = linked.entry(id) {
            let below = links(vacant.key());
            open.extend(below.iter().cloned());
            vacant.insert(below);
        }
    }
    let image = format!("pkg:oci/brindle@{digest}?repository_url={}", product::REPOSITORY);
    let reference = |id: &String| packages.get(id).map(purl);
    let mut components = Vec::new();
    let mut graph = vec![json!({
        "ref": image,
        "dependsOn": roots.iter().filter_map(reference).collect::<BTreeSet<_>>(),
    })];
    for (id, below) in &linked {
        let package = packages.get(id).with_context(|| format!("no package is {id}"))?;
        components.push(component(package));
        let below: BTreeSet<String> = below.iter().filter_map(reference).collect();
        graph.push(json!({ "ref": purl(package), "dependsOn": below }));
    }
    let Toolchain { rust, libc } = toolchain;
    components.push(given("rust-std", rust, "MIT OR Apache-2.0"));
    components.push(given("glibc", libc, "LGPL-2.1-or-later"));
    components.sort_by_key(|component| component["bom-ref"].to_string());
    graph[1..].sort_by_key(|entry| entry["ref"].to_string());
    let version = product::name().rsplit_once(':').map(|(_, tag)| tag.to_owned());
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": image,
                "name": product::REPOSITORY,
                "version": version,
                "purl": image,
            },
        },
        "components": components,
        "dependencies": graph,
    }))
}

fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    let mut kinds = targets.filter_map(|target| target["kind"].as_array()).flatten();
    kinds.any(|kind| kind == "proc-macro")
}

fn purl(package: &Value) -> String {
    let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn component(package: &Value) -> Value {
    let reference = purl(package);
    let mut component = json!({
        "type": "library",
        "bom-ref": reference,
        "name": package["name"],
        "version": package["version"],
        "purl": reference,
        "scope": "required",
    });
    // Old manifests write a slash for OR, which SPDX does not know.
    if let Some(license) = package["license"].as_str() {
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(repository) = package["repository"].as_str() {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

fn given(name: &str, version: &str, license: &str) -> Value {
    let reference = format!("pkg:generic/{name}@{version}");
    json!({
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        "scope": "required",
        "licenses": [{ "expression": license }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bill: &Value) -> BTreeSet<String> {
        let components = bill["components"].as_array().unwrap().iter();
        components.map(|component| component["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_linked_is_listed_and_nothing_else() {
        let toolchain = Toolchain { rust: "1.0.0".into(), libc: "2.0".into() };
        let metadata = metadata().unwrap();
        let bill = bill(&metadata, &toolchain, "sha256:00").unwrap();
        let names = names(&bill);
        for linked in ["brindle-agent", "brindle-model", "kube", "tokio", "rustls", "glibc"] {
            assert!(names.contains(linked), "{linked} is linked");
        }
        // A macro, a dependency of a test, of a build script, of another program.
        for other in ["serde_derive", "proptest", "cc", "brindle-lab", "brindle-packaging"] {
            assert!(!names.contains(other), "{other} is not linked");
        }
        let references: Vec<&Value> =
            bill["components"].as_array().unwrap().iter().map(|c| &c["bom-ref"]).collect();
        let unique: BTreeSet<String> = references.iter().map(ToString::to_string).collect();
        assert_eq!(references.len(), unique.len());
        for entry in bill["dependencies"].as_array().unwrap() {
            for below in entry["dependsOn"].as_array().unwrap() {
                assert!(references.contains(&below), "{below} is no component");
            }
        }
        assert_eq!(bill, super::bill(&metadata, &toolchain, "sha256:00").unwrap());
    }

    #[test]
    fn every_crate_has_a_license() {
        let toolchain = Toolchain { rust: "1.0.0".into(), libc: "2.0".into() };
        let bill = bill(&metadata().unwrap(), &toolchain, "sha256:00").unwrap();
        let without = bill["components"].as_array().unwrap().iter();
        let without: Vec<_> =
            without.filter(|c| c["licenses"].is_null()).map(|c| &c["name"]).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn this_machine_tells_its_toolchain() {
        let Toolchain { rust, libc } = Toolchain::here().unwrap();
        assert!(rust.starts_with("1.") && libc.starts_with("2."), "{rust} {libc}");
    }
}
