//! Child processes that end with their handle, and waiting with a deadline.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running program whose output goes to a log file. It is killed on drop unless it was let go.
#[derive(Debug)]
pub struct Daemon {
    child: Option<Child>,
    name: String,
}

impl Daemon {
    /// Starts a program.
    ///
    /// # Errors
    /// The log cannot be written, or the program not started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { child: Some(child), name: name.to_owned() })
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |c| i32::try_from(c.id()).unwrap_or(0))
    }

    /// Whether the process is gone, and how it ended.
    ///
    /// # Errors
    /// It could not be waited for.
    pub fn exited(&mut self) -> Result<Option<std::process::ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => bail!("{} was let go", self.name),
        }
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Errors
    /// The process could not be signalled or does not end within `deadline`.
    pub fn end(mut self, signal: Signal, deadline: Duration) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)
            .with_context(|| format!("signal {}", self.name))?;
        let ended = wait_until(deadline, "the process to end", || Ok(child.try_wait()?.is_some()));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        ended.with_context(|| format!("stop {}", self.name))
    }

    /// Leaves the process running on drop.
    pub fn let_go(&mut self) {
        self.child = None;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Polls a condition until it holds.
///
/// # Errors
/// The condition failed, or `deadline` passed first; the message names `what`.
pub fn wait_until(
    deadline: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        if holds()? {
            return Ok(());
        }
        if start.elapsed() > deadline {
            bail!("waited {deadline:?} in vain for {what}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}
