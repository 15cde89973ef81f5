//! Named network namespaces, and threads that work inside one.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

/// A network namespace under `/run/netns`, deleted on drop unless [`Netns::keep`] was called.
#[derive(Debug)]
pub struct Netns {
    name: String,
    keep: bool,
}

impl Netns {
    /// Makes a namespace with loopback up. One of this name that an earlier run left is replaced.
    ///
    /// # Errors
    /// `ip` refused: not root, or no iproute2.
    pub fn create(name: &str) -> Result<Self> {
        Self::delete(name);
        run("ip", &["netns", "add", name])?;
        let netns = Self { name: name.to_owned(), keep: false };
        netns.ip(&["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// A handle on a namespace that somebody else made and removes.
    pub fn existing(name: &str) -> Self {
        Self { name: name.to_owned(), keep: true }
    }

    /// Removes a namespace by name; silent if there is none.
    pub fn delete(name: &str) {
        let _ = Command::new("ip").args(["netns", "del", name]).output();
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is bound, as `CNI_NETNS` wants it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Leaves the namespace in place on drop.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Runs `ip` inside.
    ///
    /// # Errors
    /// The command failed; the message holds what it printed.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        run("ip", &all)
    }

    /// Sets a sysctl inside, by its path below `/proc/sys`.
    ///
    /// # Errors
    /// The kernel has no such key here.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = PathBuf::from("/proc/sys").join(key);
        let value = value.to_owned();
        self.enter(move || {
            std::fs::write(&path, value).with_context(|| format!("write {}", path.display()))
        })?
    }

    /// Runs a closure on a thread of its own inside the namespace. Sockets it makes stay there,
    /// whichever thread uses them later.
    ///
    /// # Errors
    /// The namespace is gone or may not be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("enter {}", path.display()))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that will run inside. `nsenter` rather than `ip netns exec`, which would hide
    /// the cgroup mounts behind a fresh sysfs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if !self.keep {
            Self::delete(&self.name);
        }
    }
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// It could not be started or failed; the message holds its standard error.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Joins two namespaces by a veth pair; both ends are up.
///
/// # Errors
/// A name is taken, or `ip` refused.
pub fn veth(a: (&Netns, &str), b: (&Netns, &str)) -> Result<()> {
    let [(a, a_name), (b, b_name)] = [a, b];
    a.ip(&["link", "add", a_name, "type", "veth", "peer", "name", b_name, "netns", b.name()])?;
    a.ip(&["link", "set", a_name, "up"])?;
    b.ip(&["link", "set", b_name, "up"])?;
    Ok(())
}
