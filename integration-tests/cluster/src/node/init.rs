//! The first process of a node: makes the paths standard, starts the daemons, reaps.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;

use crate::node::configuration::{FOR_CONTAINERD, FOR_KUBELET, FOR_PROXY};
use crate::paths::Paths;
use crate::plan::{self, Families};

/// Folders of a node, and where it sees them.
pub const FOLDERS: [(&str, &str); 9] = [
    ("containerd", "/var/lib/containerd"),
    ("kubelet", "/var/lib/kubelet"),
    ("cni-state", "/var/lib/cni"),
    ("brindle", "/var/lib/brindle"),
    ("pod-logs", "/var/log/pods"),
    ("container-logs", "/var/log/containers"),
    ("cni-config", "/etc/cni/net.d"),
    ("cni-plugins", "/opt/cni/bin"),
    ("kubelet-plugins", "/usr/libexec/kubernetes"),
];

/// Runs as the first process of node `index` until it is killed.
///
/// # Errors
/// A mount was refused, or a daemon could not be started.
pub fn run(paths: &Paths, programs: &Path, families: Families, index: usize) -> Result<()> {
    make_paths_standard(&paths.node(index))?;
    install_plugins(programs)?;
    fs::write("/proc/sys/kernel/hostname", plan::node_name(index)).context("set the host name")?;
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let path = Path::new("/proc/sys/net").join(key);
        fs::write(&path, "1").with_context(|| format!("set {}", path.display()))?;
    }

    let daemons = daemons(paths, programs, families, index);
    let mut running = BTreeMap::new();
    for (name, command) in daemons {
        let pid = start(&paths.node(index), &name, command)?;
        running.insert(pid, name);
    }
    // Also reaps what containers orphan: shims, and processes that their own parent left.
    while let Ok(status) = wait() {
        let Some(name) = status.pid().and_then(|pid| running.remove(&pid)) else { continue };
        println!("{name} ended: {}; started again", words(status));
        // One that fails at once must not fill the disk with its log.
        std::thread::sleep(Duration::from_secs(1));
        if let Some((_, command)) =
            self::daemons(paths, programs, families, index).into_iter().find(|(n, _)| *n == name)
        {
            running.insert(start(&paths.node(index), &name, command)?, name);
        }
    }
    Ok(())
}

fn words(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit code {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("{signal}"),
        other => format!("{other:?}"),
    }
}

fn daemons(
    paths: &Paths,
    programs: &Path,
    families: Families,
    index: usize,
) -> Vec<(String, Command)> {
    let folder = paths.node(index);
    let name = plan::node_name(index);
    let mut containerd = Command::new("containerd");
    containerd.arg("--config").arg(folder.join(FOR_CONTAINERD));
    let mut kubelet = Command::new(programs.join("kubelet"));
    kubelet
        .arg("--config")
        .arg(folder.join(FOR_KUBELET))
        .arg("--kubeconfig")
        .arg(paths.pki().join(format!("{name}.kubeconfig")))
        .args(["--hostname-override", &name])
        .args(["--node-ip", &families.list(|family| family.node(index))]);
    let mut proxy = Command::new(programs.join("kube-proxy"));
    proxy.arg("--config").arg(folder.join(FOR_PROXY));
    let named = [("containerd", containerd), ("kubelet", kubelet), ("kube-proxy", proxy)];
    named.map(|(name, command)| (name.to_owned(), command)).into()
}

fn start(folder: &Path, name: &str, mut command: Command) -> Result<Pid> {
    let path = folder.join("log").join(format!("{name}.log"));
    let log = File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("open {}", path.display()))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {name}"))?;
    Ok(Pid::from_raw(i32::try_from(child.id())?))
}

fn make_paths_standard(folder: &Path) -> Result<()> {
    let none: Option<&str> = None;
    // Nothing of what follows may be seen outside.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("detach mounts")?;

    // /sys shows the network namespace that it was mounted in; the cgroup mounts below move over.
    let groups = folder.join("cgroup");
    fs::create_dir_all(&groups)?;
    bind(Path::new("/sys/fs/cgroup"), &groups)?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).context("mount /sys")?;
    bind(&groups, Path::new("/sys/fs/cgroup"))?;
    umount2(&groups, MntFlags::MNT_DETACH).context("move the cgroup mounts")?;
    // Not every kernel has it, and only some CNIs need it.
    let _ = mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none);

    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .context("mount /run")?;
    for below in ["lock", "netns"] {
        fs::create_dir_all(Path::new("/run").join(below))?;
    }
    for (own, standard) in FOLDERS {
        let own = folder.join(own);
        fs::create_dir_all(&own).with_context(|| format!("make {}", own.display()))?;
        bind(&own, Path::new(standard))?;
    }
    // Containers with mount propagation see what comes later.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none).context("share mounts")
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    let none: Option<&str> = None;
    mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("bind {} to {}", from.display(), to.display()))
}

/// The reference plugins, which Kubernetes' own packages put on every node.
fn install_plugins(programs: &Path) -> Result<()> {
    let folder = programs.join("cni");
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        fs::copy(entry.path(), Path::new("/opt/cni/bin").join(entry.file_name()))?;
    }
    Ok(())
}
