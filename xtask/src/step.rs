//! Running one program as a step that is announced and must succeed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// A program to run from the workspace's root.
pub struct Step(Command);

impl Step {
    /// A program without arguments.
    pub fn new(program: impl AsRef<std::ffi::OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root());
        Self(command)
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.0.arg(argument);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.0.env(key, value);
        self
    }

    /// Runs it to the end.
    ///
    /// # Errors
    /// It could not be started, or failed.
    pub fn run(mut self, what: &str) -> Result<()> {
        eprintln!("==> {what}");
        let start = Instant::now();
        let status =
            self.0.status().with_context(|| format!("start {:?}", self.0.get_program()))?;
        if !status.success() {
            bail!("{what} failed: {status}");
        }
        eprintln!("    {what}: {:.0} s", start.elapsed().as_secs_f64());
        Ok(())
    }
}

/// `cargo` with these arguments; the tools that the project installs are on its path.
pub fn cargo<const N: usize>(arguments: [&str; N]) -> Step {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", crate::machine::tools().join("bin").display());
    arguments.into_iter().fold(Step::new("cargo").env("PATH", &path), Step::arg)
}

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
