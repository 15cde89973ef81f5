//! Stands before the CNI plugin on a node and writes down how long each of its calls took.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};

use super::figures::Figures;
use crate::paths::Paths;

const PLUGIN: &str = "brindle-cni";
const BEHIND: &str = "brindle-cni.timed";
/// Where a node sees its plugins.
const FOLDER: &str = "/opt/cni/bin";

/// Runs `plugin` as the runtime would, and adds its command and microseconds to `log`.
///
/// # Errors
/// It cannot be run, or nothing written.
pub fn call(log: &Path, plugin: &Path) -> Result<ExitCode> {
    let start = Instant::now();
    let status = Command::new(plugin).status().context("start the plugin")?;
    let took = start.elapsed().as_micros();
    let command = std::env::var("CNI_COMMAND").unwrap_or_default();
    let mut log = OpenOptions::new().create(true).append(true).open(log)?;
    log.write_all(format!("{command} {took}\n").as_bytes())?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// A node whose plugin is timed, until this is dropped.
#[derive(Debug)]
pub struct Timed {
    folder: PathBuf,
    log: PathBuf,
}

impl Timed {
    /// Puts a script before the plugin of node `index`.
    ///
    /// # Errors
    /// There is no plugin.
    pub fn node(paths: &Paths, index: usize) -> Result<Self> {
        let folder = paths.node(index).join("cni-plugins");
        let log = paths.node(index).join("log/plugin-times");
        File::create(&log).with_context(|| format!("write {}", log.display()))?;
        let timed = Self { folder, log };
        let (plugin, behind) = (timed.folder.join(PLUGIN), timed.folder.join(BEHIND));
        fs::copy(&plugin, &behind).with_context(|| format!("copy {}", plugin.display()))?;
        // The node shares the machine's disk, so it sees this program where it is.
        let script = format!(
            "#!/bin/sh\nexec {} plugin --log {} {FOLDER}/{BEHIND}\n",
            std::env::current_exe()?.display(),
            timed.log.display()
        );
        let new = timed.folder.join("brindle-cni.new");
        fs::write(&new, script)?;
        fs::set_permissions(&new, Permissions::from_mode(0o755))?;
        // In one step: the runtime may call it at any time.
        fs::rename(&new, &plugin)?;
        Ok(timed)
    }

    /// How long calls of ADD took so far.
    ///
    /// # Errors
    /// The log has another form.
    pub fn adds(&self) -> Result<Figures> {
        let mut figures = Figures::default();
        for line in fs::read_to_string(&self.log)?.lines() {
            if let Some(micros) = line.strip_prefix("ADD ") {
                figures.add(micros.parse::<f64>()? / 1000.0);
            }
        }
        Ok(figures)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if let Err(error) = fs::rename(self.folder.join(BEHIND), self.folder.join(PLUGIN)) {
            eprintln!("the plugin could not be put back: {error}");
        }
    }
}
