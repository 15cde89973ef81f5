//! Release builds of the programs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::step::{Step, cargo, root};

/// The CNI plugin is linked statically, because it is copied to hosts of any distribution. With
/// the target named, the flag does not reach build scripts and procedural macros.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where a release program is.
pub fn release(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// Programs of a node and an administrator, and what the image has instead of the first three, each by
/// its package.
const PROGRAMS: [&str; 5] =
    ["brindle-agent", "brindle-operator", "brindle-ctl", "brindle", "brindle-lab"];

/// Builds the agent, the operator, `brindlectl` and the lab, and the CNI plugin beside them.
///
/// # Errors
/// Something does not compile.
pub fn binaries() -> Result<()> {
    let build = cargo(["build", "--release"]);
    PROGRAMS
        .iter()
        .fold(build, |build, package| build.arg("-p").arg(package))
        .run("building agent, operator, brindlectl and lab")?;
    cargo(["build", "--profile", "plugin", "-p", "brindle-cni", "--target", STATIC_TARGET])
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static -C relocation-model=static",
        )
        .run("building the CNI plugin, static")?;
    let built = target().join(STATIC_TARGET).join("plugin/brindle-cni");
    fs::copy(&built, release("brindle-cni"))
        .with_context(|| format!("copy {}", built.display()))?;
    Ok(())
}

/// Builds the archive of Brindle's image from static programs, and says where it is.
///
/// Only the last step differs from [`binaries`]: whether libc is linked statically is decided by
/// the linker, so nothing below is compiled again.
///
/// # Errors
/// Something does not compile.
pub fn image() -> Result<PathBuf> {
    binaries()?;
    let folder = target().join("image");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    cargo(["rustc", "--release", "--package", "brindle", "--bin", "brindle", "--"])
        .arg("-Ctarget-feature=+crt-static")
        .arg("-Crelocation-model=static")
        .arg("-Cstrip=symbols")
        .run("linking brindle, static")?;
    // By a new file, not over the old one: that may be running.
    let linked = folder.join("brindle");
    drop(fs::remove_file(&linked));
    fs::copy(release("brindle"), &linked).with_context(|| format!("copy {}", linked.display()))?;
    fs::copy(release("brindle-cni"), folder.join("brindle-cni"))?;
    let archive = folder.join("brindle.tar");
    cargo(["run", "--release", "--quiet", "--package", "brindle-packaging", "--", "image"])
        .arg("--programs")
        .arg(&folder.to_string_lossy())
        .arg("--out")
        .arg(&archive.to_string_lossy())
        .run("the image")?;
    Ok(archive)
}

/// Builds `brindle-cluster` and gives it as a program to run.
///
/// # Errors
/// It does not compile.
pub fn cluster() -> Result<Step> {
    // With the agent, so that libraries have the features that they have for it, and are not compiled
    // anew for the few that the harness asks for.
    cargo(["build", "--release", "--package", "brindle-cluster", "--package", "brindle-agent"])
        .run("building the harness")?;
    Ok(Step::new(release("brindle-cluster")))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
