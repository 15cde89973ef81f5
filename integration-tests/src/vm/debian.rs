//! Debian's kernels, as packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::apt::{self, Suites};

/// The kernel without drivers of real hardware.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// Packages that hold a kernel or modules: one image, or two parts of it since Linux 7.0.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// A name for folders and logs.
    pub name: &'static str,
    /// What its version begins with; empty for whatever is newest.
    pub version: &'static str,
    /// The suites in which to look. The newest kernel counts.
    pub suites: &'static Suites,
}

/// A kernel with its modules.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    /// What a boot loader loads.
    pub image: PathBuf,
    /// The folder of this release's modules.
    pub modules: PathBuf,
}

/// Fetches the newest kernel of a source and unpacks it into `folder`.
///
/// # Errors
/// As [`apt::fetch`], or the suite has another kernel by now.
pub fn fetch(source: &Source, folder: &Path) -> Result<Kernel> {
    let place = format!("kernels/{}", source.name);
    let packages = apt::fetch(&place, source.suites, META_PACKAGE, is_part)
        .with_context(|| format!("no kernel {}", source.name))?;
    packages.unpack(folder)?;
    let kernel = unpacked(folder)?;
    ensure!(
        kernel.release.starts_with(source.version),
        "the suite of kernel {} has {} now: name another one",
        source.name,
        kernel.release
    );
    Ok(kernel)
}

/// `linux-image-6.1.0-57-cloud-amd64`, but not `linux-image-cloud-amd64`.
fn is_part(line: &str) -> bool {
    PARTS.iter().filter_map(|part| line.strip_prefix(part)).any(|rest| {
        rest.starts_with(|first: char| first.is_ascii_digit()) && rest.ends_with("-cloud-amd64")
    })
}

/// The kernel in unpacked packages: with its modules since Linux 7.0, in `/boot` before.
fn unpacked(folder: &Path) -> Result<Kernel> {
    for modules in ["lib/modules", "usr/lib/modules"].map(|place| folder.join(place)) {
        let Ok(mut entries) = fs::read_dir(&modules) else { continue };
        let entry = entries.next().with_context(|| format!("{} is empty", modules.display()))??;
        let release = entry.file_name().to_string_lossy().into_owned();
        let images =
            [folder.join("boot").join(format!("vmlinuz-{release}")), entry.path().join("vmlinuz")];
        let Some(image) = images.into_iter().find(|image| image.exists()) else { continue };
        return Ok(Kernel { release, image, modules: entry.path() });
    }
    bail!("no kernel with modules in {}", folder.display())
}
