//! `kubectl` beside the control plane, as administrator.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brindle_lab::netns::Netns;
use brindle_lab::process::wait_until;

use crate::paths::{Cache, Paths};
use crate::plan::CONTROL;

/// How the administrator asks the API server.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: String,
    kubeconfig: String,
}

impl Kubectl {
    /// Of the cluster in `paths`.
    pub fn new(cache: &Cache, paths: &Paths) -> Self {
        Self {
            program: cache.program("kubectl").display().to_string(),
            kubeconfig: paths.kubeconfig().display().to_string(),
        }
    }

    /// A command with these arguments.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Netns::existing(CONTROL).command(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        command
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// It failed; the message holds its standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).stdin(Stdio::null()).output();
        let output = output.context("start kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies objects, as a server-side apply that wins over earlier owners.
    ///
    /// # Errors
    /// The API server refused one.
    pub fn apply(&self, objects: &str) -> Result<String> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let mut child = self
            .command(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start kubectl")?;
        child.stdin.take().context("kubectl reads")?.write_all(objects.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl apply: {}", said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until `arguments` print something, and returns it.
    ///
    /// # Errors
    /// They did not by `deadline`.
    pub fn wait_for(&self, deadline: Duration, arguments: &[&str]) -> Result<String> {
        let mut printed = String::new();
        wait_until(deadline, &format!("kubectl {}", arguments.join(" ")), || {
            printed = self.run(arguments).unwrap_or_default();
            Ok(!printed.trim().is_empty())
        })?;
        Ok(printed)
    }
}
