//! Two pods on one node, as network namespaces of this thread: `a` and `b`, each on a veth pair,
//! routed by the node between them.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use brindle_model::cluster::link_group;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare};
use nix::unistd::Pid;

/// The node's interfaces.
pub const INTERFACES: [&str; 2] = ["brdbencha", "brdbenchb"];

/// A pod's addresses.
pub fn addresses(pod: usize) -> [IpAddr; 2] {
    let last = u8::try_from(pod).unwrap_or_default() + 2;
    [
        Ipv4Addr::new(10, 244, 0, last).into(),
        Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, last.into()).into(),
    ]
}

/// The node and its pods. The calling thread is in the node's namespace.
pub struct Pods {
    node: File,
    pods: [File; 2],
}

impl Pods {
    /// Builds them. The thread stays in the node's namespace, on one CPU.
    pub fn build() -> Result<Self> {
        let mut cpu = CpuSet::new();
        cpu.set(0).context("CPU 0")?;
        sched_setaffinity(Pid::from_raw(0), &cpu).context("pin the thread")?;
        let pods = [namespace()?, namespace()?];
        let this = Self { node: namespace()?, pods };
        this.enter_node()?;
        for (key, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
        ] {
            std::fs::write(format!("/proc/sys/{key}"), value).with_context(|| key.to_owned())?;
        }
        for (pod, interface) in INTERFACES.iter().enumerate() {
            this.attach(pod, interface)?;
        }
        Ok(this)
    }

    /// Runs something in a pod.
    pub fn within<T>(&self, pod: usize, run: impl FnOnce() -> Result<T>) -> Result<T> {
        setns(&self.pods[pod], CloneFlags::CLONE_NEWNET).context("enter the pod")?;
        let result = run();
        self.enter_node()?;
        result
    }

    fn enter_node(&self) -> Result<()> {
        setns(&self.node, CloneFlags::CLONE_NEWNET).context("enter the node")
    }

    fn attach(&self, pod: usize, interface: &str) -> Result<()> {
        let at = format!("/proc/{}/fd/{}", std::process::id(), self.pods[pod].as_raw_fd());
        let [v4, v6] = addresses(pod);
        let group = link_group(interface);
        let (host, guest) = ("02:00:00:00:01:00", format!("02:00:00:00:02:{pod:02x}"));
        ip(&format!(
            "link add {interface} address {host} type veth peer name eth0 address {guest} netns {at}
             link set {interface} group {group} up
             route add {v4} dev {interface}
             neigh replace {v4} lladdr {guest} dev {interface} nud permanent
             -6 route add {v6} dev {interface}
             -6 neigh replace {v6} lladdr {guest} dev {interface} nud permanent"
        ))?;
        self.within(pod, || {
            ip(&format!(
                "link set lo up
                 link set eth0 up
                 addr add {v4}/32 dev eth0
                 addr add {v6}/128 dev eth0 nodad
                 route add 169.254.1.1 dev eth0
                 route add default via 169.254.1.1
                 neigh replace 169.254.1.1 lladdr {host} dev eth0 nud permanent
                 -6 route add default via fe80::1 dev eth0
                 -6 neigh replace fe80::1 lladdr {host} dev eth0 nud permanent"
            ))
        })
    }
}

fn namespace() -> Result<File> {
    let made = std::thread::scope(|scope| {
        let made = scope.spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
            File::open("/proc/thread-self/ns/net").context("open the namespace")
        });
        made.join()
    });
    made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ip(lines: &str) -> Result<()> {
    for line in lines.lines() {
        let status = Command::new("ip").args(line.split_whitespace()).status().context("run ip")?;
        ensure!(status.success(), "ip {} failed", line.trim());
    }
    Ok(())
}

/// Runs `nft -f` in the thread's namespace: for what a bench compares with.
pub fn nft(script: &str) -> Result<()> {
    let mut child =
        Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("run nft")?;
    child.stdin.take().context("nft's input")?.write_all(script.as_bytes())?;
    if !child.wait()?.success() {
        bail!("nft -f failed");
    }
    Ok(())
}
