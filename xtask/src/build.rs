//! Release builds of the programs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::step::{cargo, root};

/// The CNI plugin is linked statically, because it is copied to hosts of any distribution. With
/// the target named, the flag does not reach build scripts and procedural macros.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where a release program is.
pub fn release(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// Builds the agent, `brindlectl` and the lab, and the CNI plugin beside them.
///
/// # Errors
/// Something does not compile.
pub fn binaries() -> Result<()> {
    cargo(["build", "--release", "-p", "brindle-agent", "-p", "brindle-ctl", "-p", "brindle-lab"])
        .run("building agent, brindlectl and lab")?;
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

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
