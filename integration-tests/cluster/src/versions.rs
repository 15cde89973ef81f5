//! Versions of what is not ours. `go/go.mod` is the one place where they stand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The modules of everything but the reference CNI plugins, settled: with a file of its own, each
/// program would compile another copy of what they share.
pub const MODULES: &str = include_str!("../go/go.mod");
/// The module of the reference CNI plugins.
pub const PLUGIN_MODULES: &str = include_str!("../go/plugins/go.mod");

/// Of Kubernetes, such as `v1.37.2`.
pub fn kubernetes() -> &'static str {
    required(MODULES, "k8s.io/kubernetes")
}

/// Of CoreDNS.
pub fn coredns() -> &'static str {
    required(MODULES, "github.com/coredns/coredns")
}

/// Of the network-policy-api suite.
pub fn network_policy_api() -> &'static str {
    required(MODULES, "sigs.k8s.io/network-policy-api")
}

fn required(modules: &'static str, module: &str) -> &'static str {
    let lines = modules.lines().map(|line| line.trim().trim_start_matches("require "));
    let mut versions = lines.filter_map(|line| line.strip_prefix(module)?.strip_prefix(' '));
    versions.next().and_then(|rest| rest.split(' ').next()).unwrap_or_default()
}

/// Images that the suites ask for, by the name that Kubernetes' own list gives them.
pub struct SuiteImages(String);

impl SuiteImages {
    /// Reads the list of the pinned Kubernetes version.
    ///
    /// # Errors
    /// The module is not in Go's cache, or has no such list any more.
    pub fn read() -> Result<Self> {
        let list = kubernetes_sources()?.join("test/utils/image/manifest.go");
        let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
        Ok(Self(text))
    }

    /// Name and tag of the image `key`, such as `agnhost:2.66.1`.
    ///
    /// # Errors
    /// The list does not have it.
    pub fn get(&self, key: &str) -> Result<String> {
        let start = format!("configs[{key}] = Config{{");
        let Some((_, rest)) = self.0.split_once(&start) else {
            bail!("Kubernetes' list of test images has no {key}");
        };
        let texts: Vec<&str> = rest.split('"').collect();
        match texts[..] {
            [_, name, _, tag, ..] => Ok(format!("{name}:{tag}")),
            _ => bail!("the entry {key} of Kubernetes' list of test images has another shape"),
        }
    }
}

/// Where Go keeps the sources of Kubernetes.
///
/// # Errors
/// Go is missing.
pub fn kubernetes_sources() -> Result<PathBuf> {
    module_sources("k8s.io/kubernetes", kubernetes())
}

/// Where Go keeps the sources of the network-policy-api.
///
/// # Errors
/// Go is missing.
pub fn network_policy_api_sources() -> Result<PathBuf> {
    module_sources("sigs.k8s.io/network-policy-api", network_policy_api())
}

/// In Go's cache, into which they are fetched if they are not there: the programs may have come from
/// elsewhere.
fn module_sources(module: &str, version: &str) -> Result<PathBuf> {
    let output = Command::new("go").args(["env", "GOMODCACHE"]).output().context(NO_GO)?;
    let cache = String::from_utf8(output.stdout)?;
    let folder = Path::new(cache.trim()).join(format!("{module}@{version}"));
    if !folder.exists() {
        let wanted = format!("{module}@{version}");
        let fetched =
            Command::new("go").args(["mod", "download", &wanted]).current_dir("/").output();
        let fetched = fetched.context(NO_GO)?;
        let said = String::from_utf8_lossy(&fetched.stderr);
        ensure!(fetched.status.success(), "go mod download {wanted}: {}", said.trim());
    }
    Ok(folder)
}

/// What to do without Go.
pub const NO_GO: &str = "Go cannot be started: install golang 1.26 or later and put it on PATH, or \
                         point BRINDLE_KUBE_BIN at a folder of built programs";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_the_modules() {
        for version in [kubernetes(), coredns(), network_policy_api()] {
            assert!(version.starts_with('v') && version.split('.').count() == 3, "{version}");
        }
        assert!(kubernetes().starts_with("v1."));
    }

    #[test]
    fn an_image_is_found_by_its_key() {
        let list = "\tconfigs[Agnhost] = Config{list.PromoterE2eRegistry, \"agnhost\", \"2.5\"}\n";
        let images = SuiteImages(list.to_owned());
        assert_eq!(images.get("Agnhost").unwrap(), "agnhost:2.5");
        assert!(images.get("Pause").is_err());
    }
}
