//! What the machine must have: root, Debian packages, cargo tools.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::step::{Step, cargo};

/// The lab's router, and what looks at the kernel.
pub const DEMO_PACKAGES: &[&str] = &["bird2", "iproute2", "nftables", "util-linux"];

/// The same, the other BGP peers of the interoperation tests, and the firewalls that nodes may have.
pub const TEST_PACKAGES: &[&str] = &[
    "bgpdump",
    "bird2",
    "frr",
    "gobgpd",
    "openbgpd",
    "iproute2",
    "nftables",
    "iptables",
    "ipset",
    "util-linux",
    "conntrack",
    "iputils-ping",
    "dbus-daemon",
    "firewalld",
    "ufw",
    // Virtual machines with other kernels.
    "qemu-system-x86",
    "cpio",
    "kmod",
    "debian-archive-keyring",
];

/// What a cluster's nodes, router and images are made of, beside what is built.
pub const CLUSTER_PACKAGES: &[&str] = &[
    "bird2",
    "busybox-static",
    "conntrack",
    "containerd",
    "curl",
    "dnsutils",
    "iperf",
    "iproute2",
    "ipset",
    "iptables",
    "netcat-openbsd",
    "nftables",
    "openssl",
    "runc",
    "socat",
    "util-linux",
];

/// Cargo tools at the versions that are known to build with this toolchain.
const TOOLS: &[(&str, &str)] = &[("cargo-nextest", "0.9.151"), ("cargo-deny", "0.20.2")];

/// Network namespaces and nf_tables are root's.
///
/// # Errors
/// This is not root.
pub fn require_root() -> Result<()> {
    let id = Command::new("id").arg("-u").output()?;
    if id.stdout.trim_ascii() != b"0" {
        bail!("this makes network namespaces and needs root: run it again as root");
    }
    Ok(())
}

/// Installs the Debian packages that are missing, and says so.
///
/// # Errors
/// There is no `apt-get`, or it failed.
pub fn install_packages(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|p| !installed(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("These Debian packages are missing and will be installed: {}", missing.join(" "));
    let apt = || Step::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
    apt().arg("update").run("apt-get update")?;
    // A package's service must not start beside the lab's own instances.
    let install = missing
        .iter()
        .fold(apt().arg("install").arg("-y").arg("--no-install-recommends"), |s, p| s.arg(p));
    install.env("RUNLEVEL", "1").run("apt-get install")
}

fn installed(package: &str) -> bool {
    let status = Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output();
    status.is_ok_and(|o| o.stdout == b"installed")
}

/// Where cargo tools are kept between runs; a machine without this folder works the same, later.
pub fn tools() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    home.join(".cache/brindle/tools")
}

/// Installs the cargo tools that are missing, and says so.
///
/// # Errors
/// One does not build.
pub fn install_tools() -> Result<()> {
    let root = tools();
    for (name, version) in TOOLS {
        let binary = root.join("bin").join(name);
        let found = Command::new(&binary).arg("--version").stderr(Stdio::null()).output();
        let wanted = |out: &[u8]| String::from_utf8_lossy(out).contains(version);
        if found.is_ok_and(|o| wanted(&o.stdout)) {
            continue;
        }
        eprintln!("{name} {version} is missing and will be built into {}", root.display());
        cargo(["install", "--locked", "--force", name, "--version", version, "--root"])
            .arg(&root.to_string_lossy())
            .run(name)?;
    }
    let components = Command::new("cargo").args(["clippy", "--version"]).output();
    if !components.is_ok_and(|o| o.status.success()) {
        Step::new("rustup")
            .arg("component")
            .arg("add")
            .arg("clippy")
            .arg("rustfmt")
            .run("rustup")?;
    }
    Ok(())
}
