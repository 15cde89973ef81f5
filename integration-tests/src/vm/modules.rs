//! The modules that the packet path can need, and what those need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use brindle_lab::netns::run;

use super::debian::Kernel;

/// What the paths of wanted modules begin with, below the folder of the release.
const WANTED: [&str; 7] = [
    "kernel/net/netfilter/",
    "kernel/net/ipv4/netfilter/",
    "kernel/net/ipv6/netfilter/",
    "kernel/net/sctp/",
    "kernel/drivers/net/dummy.",
    "kernel/drivers/net/veth.",
    "kernel/drivers/net/wireguard/",
];
/// What the kernel has without modules, so that nobody looks for it.
const BUILT_IN: [&str; 3] = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];

/// Copies wanted modules into the root of a machine, where the kernel loads them by itself when
/// something asks for them, as on any node.
///
/// # Errors
/// `depmod` is missing (Debian package kmod), or the kernel has no such modules.
pub fn copy(kernel: &Kernel, root: &Path) -> Result<()> {
    let to = root.join("lib/modules").join(&kernel.release);
    for name in BUILT_IN.iter().filter(|name| kernel.modules.join(name).exists()) {
        copy_file(&kernel.modules.join(name), &to.join(name))?;
    }
    let all = dependencies(kernel)?;
    let wanted = all.keys().filter(|path| WANTED.iter().any(|begin| path.starts_with(begin)));
    // Each one's list is complete: depmod writes the dependencies of dependencies too.
    let wanted: BTreeSet<&String> =
        wanted.flat_map(|path| all[path].iter().chain([path])).collect();
    ensure!(!wanted.is_empty(), "no modules of the packet path in {}", kernel.modules.display());
    for path in wanted {
        copy_file(&kernel.modules.join(path), &to.join(path))?;
    }
    run("depmod", &["-b", &root.to_string_lossy(), &kernel.release])?;
    Ok(())
}

/// Each module with those that it needs.
fn dependencies(kernel: &Kernel) -> Result<BTreeMap<String, Vec<String>>> {
    // The packages come without modules.dep. depmod wants the folders of an installed system.
    let base = kernel
        .modules
        .ancestors()
        .nth(3)
        .with_context(|| format!("{} is not below lib/modules", kernel.modules.display()))?;
    run("depmod", &["-b", &base.to_string_lossy(), &kernel.release])?;
    let text = fs::read_to_string(kernel.modules.join("modules.dep"))?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    Ok(lines
        .map(|(path, needs)| {
            (path.to_owned(), needs.split_whitespace().map(str::to_owned).collect())
        })
        .collect())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}
