//! Settings under `/proc/sys/net`, of the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Says where the settings can be written, once and before anything else: containers see
/// `/proc/sys` read-only, and a mount of the node's elsewhere.
pub fn use_directory(directory: &Path) {
    DIRECTORY.get_or_init(|| directory.to_owned());
}

/// A setting could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} {}; is it writable?", path.display())]
pub struct SysctlError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Gives a setting a value, unless it has it. `key` is the path below `/proc/sys/net`. Returns
/// whether it was written.
///
/// # Errors
/// The setting does not exist or must not be written.
pub fn set(key: &str, value: &str) -> Result<bool, SysctlError> {
    if get(key)? == value {
        return Ok(false);
    }
    let path = path(key);
    fs::write(&path, value).map(|()| true).map_err(|source| SysctlError {
        operation: "write",
        path,
        source,
    })
}

/// The value of a setting.
///
/// # Errors
/// It does not exist or must not be read.
pub fn get(key: &str) -> Result<String, SysctlError> {
    let path = path(key);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(SysctlError { operation: "read", path, source }),
    }
}

/// Makes this node forward both families. An uplink that learns its address from router
/// advertisements would stop to do so on a forwarding node, so such ones are told to go on.
///
/// # Errors
/// A setting could not be written.
pub fn enable_forwarding() -> Result<bool, SysctlError> {
    let mut written = set("ipv4/ip_forward", "1")?;
    if get("ipv6/conf/all/forwarding")? == "0" {
        for name in interfaces() {
            let key = format!("ipv6/conf/{name}/accept_ra");
            if name != "all" && name != "default" && get(&key)? == "1" {
                set(&key, "2")?;
            }
        }
        written |= set("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(written)
}

fn interfaces() -> Vec<String> {
    let entries = fs::read_dir(path("ipv6/conf"));
    let names = entries.into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn directory() -> &'static Path {
    DIRECTORY.get().map_or(Path::new("/proc/sys/net"), PathBuf::as_path)
}

fn path(key: &str) -> PathBuf {
    directory().join(key)
}
