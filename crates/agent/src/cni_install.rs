//! The CNI plugin and its configuration on this node's disk.
//!
//! A node counts as ready once its runtime finds a configuration, so that is written last, when the
//! agent enforces and answers, and always whole (another name, then renamed). It stays when the
//! agent ends: a pod that starts then is told to try again rather than started without a network.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tracing::{info, warn};

/// Our configuration. Runtimes take the first by name.
const CONFIGURATION: &str = "10-brindle.conflist";
const PLUGIN: &str = "brindle-cni";
/// The reference plugin for host ports, if the node has it.
const PORTMAP: &str = "portmap";

/// Where the node's container runtime looks.
#[derive(Clone, Debug, Args)]
#[group(requires_all = ["cni_bin_dir", "cni_conf_dir"])]
pub struct CniDirectories {
    /// Folder of the node's CNI plugins, into which `brindle-cni` is copied from beside the agent.
    /// Together with --cni-conf-dir; without them nothing is installed.
    #[arg(long)]
    pub cni_bin_dir: Option<PathBuf>,
    /// Folder of the node's CNI configurations, into which ours is written once the agent enforces.
    #[arg(long)]
    pub cni_conf_dir: Option<PathBuf>,
}

/// Plugin or configuration could not be put in place.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} {}", path.display())]
pub struct InstallError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl CniDirectories {
    fn both(&self) -> Option<(&Path, &Path)> {
        Some((self.cni_bin_dir.as_deref()?, self.cni_conf_dir.as_deref()?))
    }

    /// Puts the plugin in place, then the configuration that leads the runtime to it and it to
    /// `socket`. What is there already in this form is not written. Other CNIs' files are left; one
    /// that the runtime would take before ours is warned of.
    ///
    /// # Errors
    /// A folder is missing or cannot be written.
    pub fn install(&self, socket: &Path) -> Result<(), InstallError> {
        let Some((plugins, configurations)) = self.both() else { return Ok(()) };
        let own = std::env::current_exe().map_err(failed("find", Path::new("/proc/self/exe")))?;
        let source = own.with_file_name(PLUGIN);
        let plugin = fs::read(&source).map_err(failed("read", &source))?;
        replace(&plugins.join(PLUGIN), &plugin, 0o755)?;
        let host_ports = plugins.join(PORTMAP).exists();
        if !host_ports {
            let folder = plugins.display();
            warn!("{folder} has no {PORTMAP}: host ports of pods will not work");
        }
        let path = configurations.join(CONFIGURATION);
        replace(&path, configuration(socket, host_ports).as_bytes(), 0o644)?;
        info!(path = %path.display(), "CNI configuration in place");
        for other in before_ours(configurations)? {
            warn!("the runtime takes {} before {CONFIGURATION}; remove it", other.display());
        }
        Ok(())
    }

    /// Removes what [`CniDirectories::install`] put there, configuration first.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove(&self) -> Result<(), InstallError> {
        let Some((plugins, configurations)) = self.both() else { return Ok(()) };
        for path in [configurations.join(CONFIGURATION), plugins.join(PLUGIN)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// In the version that every runtime speaks; newer ones choose from `cniVersions`, and so can ask
/// for STATUS and GC.
fn configuration(socket: &Path, host_ports: bool) -> String {
    let mut plugins = vec![json!({"type": PLUGIN, "socket": socket})];
    if host_ports {
        plugins.push(json!({"type": PORTMAP, "capabilities": {"portMappings": true}}));
    }
    let list = json!({
        "cniVersion": "1.0.0",
        "cniVersions": ["1.0.0", "1.1.0"],
        "name": "brindle",
        "plugins": plugins,
    });
    format!("{list:#}\n")
}

/// Gives `path` these contents in one step, unless it has them.
fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<(), InstallError> {
    if fs::read(path).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    // Runtimes go by the ending, which this is not.
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    fs::write(&partial, contents).map_err(failed("write", &partial))?;
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(&partial, permissions).map_err(failed("change", &partial))?;
    fs::rename(&partial, path).map_err(failed("replace", path))
}

/// Configurations of others that sort before ours.
fn before_ours(folder: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let entries = fs::read_dir(folder).map_err(failed("read", folder))?;
    let mut others: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    others.retain(|path| {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        ["conf", "conflist", "json"].contains(&ending) && *path < folder.join(CONFIGURATION)
    });
    others.sort();
    Ok(others)
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError { operation, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_reads_what_is_written_for_it() {
        let text = configuration(Path::new("/run/brindle/cni.sock"), true);
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["plugins"][1]["type"], PORTMAP);
        // What a runtime makes of it for the first plugin.
        let mut own = list["plugins"][0].clone();
        for key in ["cniVersion", "name"] {
            own[key] = list[key].clone();
        }
        let read = brindle_cni::config::decode_config(own.to_string().as_bytes()).unwrap();
        assert_eq!(read.socket, Path::new("/run/brindle/cni.sock"));
        let alone = configuration(Path::new("/s"), false);
        assert!(!alone.contains(PORTMAP), "{alone}");
    }

    #[test]
    fn files_are_whole_and_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CONFIGURATION);
        replace(&path, b"one", 0o644).unwrap();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        replace(&path, b"one", 0o644).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
        replace(&path, b"two", 0o755).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing partial is left");
    }

    #[test]
    fn a_configuration_that_wins_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["05-other.conflist", "10-a.conf", "99-other.conflist", "00-notes.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let others = before_ours(folder.path()).unwrap();
        let expected = ["05-other.conflist", "10-a.conf"].map(|name| folder.path().join(name));
        assert_eq!(others, expected);
    }

    #[test]
    fn removing_takes_only_ours() {
        let folder = tempfile::tempdir().unwrap();
        for name in [PLUGIN, CONFIGURATION, "05-other.conflist", PORTMAP] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let both = Some(folder.path().to_owned());
        let directories = CniDirectories { cni_bin_dir: both.clone(), cni_conf_dir: both };
        directories.remove().unwrap();
        directories.remove().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
