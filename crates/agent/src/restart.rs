//! Whether this start continues an earlier run: what graceful restart may promise.
//!
//! The F bit says that forwarding went on while the agent was away (RFC 4724 §3). That holds if
//! the kernel that forwards is the same one, with the network namespace that the routes are in. A
//! small file in the state directory remembers both; it is written when everything is in the
//! kernel for the first time.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Identity of what forwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Forwarder {
    boot_id: String,
    network_namespace: u64,
}

impl Forwarder {
    fn current() -> io::Result<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let network_namespace = fs::metadata("/proc/self/ns/net")?.ino();
        Ok(Self { boot_id, network_namespace })
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct RestartFile(PathBuf);

/// The file could not be written, or the kernel does not say who it is.
#[derive(Debug, thiserror::Error)]
#[error("could not note in {} that forwarding outlives this agent", path.display())]
pub struct RestartFileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl RestartFile {
    /// The file in this state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("forwarding.json"))
    }

    /// Whether the kernel still forwards as an earlier run left it. A file that is absent or
    /// unreadable promises nothing.
    pub fn forwarding_preserved(&self) -> bool {
        let noted = fs::read(&self.0).ok().and_then(|text| serde_json::from_slice(&text).ok());
        noted.is_some_and(|noted: Forwarder| Forwarder::current().is_ok_and(|now| now == noted))
    }

    /// Notes that from now on the kernel forwards.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self) -> Result<(), RestartFileError> {
        let write = || {
            let text = serde_json::to_vec(&Forwarder::current()?)?;
            let new = self.0.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &self.0)
        };
        write().map_err(|source| RestartFileError { path: self.0.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_kernel_and_namespace_preserve_forwarding() {
        let dir = tempfile::tempdir().unwrap();
        let file = RestartFile::new(dir.path());
        assert!(!file.forwarding_preserved(), "a first start continues nothing");
        file.write().unwrap();
        assert!(file.forwarding_preserved());
        let other = serde_json::json!({ "bootId": "another boot", "networkNamespace": 1 });
        fs::write(dir.path().join("forwarding.json"), other.to_string()).unwrap();
        assert!(!file.forwarding_preserved());
        fs::write(dir.path().join("forwarding.json"), "{").unwrap();
        assert!(!file.forwarding_preserved());
    }
}
