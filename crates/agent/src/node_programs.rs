//! What the image has instead of iptables and ipset: the node's own.
//!
//! In the image these names are links to this binary, and where it is started under one of them, it
//! goes into the node's root folder, which is mounted there, and becomes the program of that name.
//! So what writes the rules is of the version that the node's other programs read them with, and the
//! image has no second one to keep up to date
//! ([0023](../../../docs/decisions/0023-iptables-of-the-node.md)).

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Error;

/// Where the node's root folder is, unless [`ROOT_VARIABLE`] says otherwise.
const ROOT: &str = "/host/root";
/// Names another folder.
const ROOT_VARIABLE: &str = "BRINDLE_NODE_ROOT";
/// Where programs of a node are, for an agent whose own `PATH` is that of an image.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program of the node that a first argument names, if it names one: a link of the image.
pub fn named(first: &OsStr) -> Option<OsString> {
    let name = Path::new(first).file_name()?;
    let is_tool = name.to_str().is_some_and(|name| {
        name == "ipset" || name.starts_with("iptables") || name.starts_with("ip6tables")
    });
    is_tool.then(|| name.to_owned())
}

/// Becomes the node's program. Returns only if that fails, with the reason.
pub fn become_program(name: &OsStr, arguments: impl Iterator<Item = OsString>) -> Error {
    let root = std::env::var_os(ROOT_VARIABLE).map_or_else(|| PathBuf::from(ROOT), PathBuf::from);
    let entered = std::os::unix::fs::chroot(&root).and_then(|()| std::env::set_current_dir("/"));
    if let Err(error) = entered {
        return Error::new(error).context(format!(
            "enter the node's root at {}: mount it there, and grant SYS_CHROOT",
            root.display()
        ));
    }
    let error = Command::new(name).args(arguments).env("PATH", PATH).exec();
    Error::new(error).context(format!("run the node's {}: is it installed?", name.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tools_are_programs_of_the_node() {
        let name = |first: &str| named(OsStr::new(first));
        for tool in ["ipset", "iptables-nft-restore", "ip6tables-legacy-save", "iptables"] {
            assert_eq!(name(&format!("/usr/sbin/{tool}")).as_deref(), Some(OsStr::new(tool)));
        }
        for own in ["brindle-agent", "/brindle-agent", "./agent", ""] {
            assert_eq!(name(own), None);
        }
    }
}
