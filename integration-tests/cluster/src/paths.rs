//! Where things lie on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::plan;
use crate::versions;

/// Files of the running cluster; removed with it.
#[derive(Clone, Debug)]
pub struct Paths(PathBuf);

impl Paths {
    /// `BRINDLE_CLUSTER_DIR`, or `/var/lib/brindle-cluster`.
    pub fn from_environment() -> Self {
        let chosen = std::env::var_os("BRINDLE_CLUSTER_DIR").map(PathBuf::from);
        Self(chosen.unwrap_or_else(|| PathBuf::from("/var/lib/brindle-cluster")))
    }

    /// In an existing folder.
    pub fn at(root: PathBuf) -> Self {
        Self(root)
    }

    /// All of it.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// A `kubectl` of this cluster.
    pub fn kubectl(&self) -> PathBuf {
        self.0.join("kubectl")
    }

    /// Keys, certificates, kubeconfigs.
    pub fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.pki().join("admin.kubeconfig")
    }

    /// Logs of the control plane and the router.
    pub fn logs(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Which requests the API server writes down.
    pub fn audit_policy(&self) -> PathBuf {
        self.0.join("audit.yaml")
    }

    /// Where it does.
    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    /// Images that nodes import.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// What node `index` has of its own.
    pub fn node(&self, index: usize) -> PathBuf {
        self.0.join(plan::node_name(index))
    }

    /// What was changed on the machine outside the cluster's namespaces.
    pub fn changes(&self) -> PathBuf {
        self.0.join("changes.json")
    }
}

/// Where the programs of this Kubernetes version are kept between runs.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The programs.
    pub programs: PathBuf,
    /// Whether they were put there by somebody else, and so are not ours to build.
    pub foreign: bool,
    /// Where Go sources are laid out for a build.
    pub sources: PathBuf,
}

impl Cache {
    /// `BRINDLE_KUBE_BIN`, or `~/.cache/brindle/kubernetes/VERSION/bin`.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open() -> Result<Self> {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        let ours = home.join(".cache/brindle/kubernetes").join(versions::kubernetes());
        let chosen = std::env::var_os("BRINDLE_KUBE_BIN").map(PathBuf::from);
        let cache = Self {
            foreign: chosen.is_some(),
            programs: chosen.unwrap_or_else(|| ours.join("bin")),
            sources: ours.join("src"),
        };
        fs::create_dir_all(&cache.programs)
            .with_context(|| format!("make {}", cache.programs.display()))?;
        Ok(cache)
    }

    /// One program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}
