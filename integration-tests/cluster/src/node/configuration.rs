//! What containerd, kubelet and kube-proxy of a node are told.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::cgroups;
use crate::images;
use crate::node::CONTAINERD;
use crate::paths::Paths;
use crate::plan::{self, Families};

/// How kube-proxy does services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProxyMode {
    /// By nf_tables.
    #[default]
    Nftables,
    /// By iptables.
    Iptables,
}

impl fmt::Display for ProxyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        })
    }
}

/// Name of containerd's file in the node's folder.
pub const FOR_CONTAINERD: &str = "containerd.toml";
/// Name of the kubelet's file.
pub const FOR_KUBELET: &str = "kubelet.json";
/// Name of kube-proxy's file.
pub const FOR_PROXY: &str = "kube-proxy.json";

/// Writes the three files of node `index`.
///
/// # Errors
/// One cannot be written.
pub fn write(paths: &Paths, families: Families, mode: ProxyMode, index: usize) -> Result<()> {
    let folder = paths.node(index);
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    let resolver = paths.root().join("resolv.conf");
    let upstream = families.each().iter().map(|f| format!("nameserver {}\n", f.tor()));
    fs::write(&resolver, upstream.collect::<String>())?;
    put(FOR_CONTAINERD, containerd()?)?;
    put(FOR_KUBELET, kubelet(paths, families, &resolver, index).to_string())?;
    put(FOR_PROXY, proxy(paths, families, mode, index).to_string())
}

/// Also for containers of low score: root here may lack the right to lower it, and without the
/// option every sandbox would fail (`restrict_oom_score_adj`).
fn containerd() -> Result<String> {
    let pause = images::pause()?;
    Ok(format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
]

[grpc]
  address = "{CONTAINERD}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"#
    ))
}

fn kubelet(paths: &Paths, families: Families, resolver: &Path, index: usize) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": paths.pki().join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDomain": plan::DOMAIN,
        "clusterDNS": [families.primary().dns()],
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        "resolvConf": resolver,
        // No systemd here, and one tree of groups for all nodes.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups::root(index),
        "enforceNodeAllocatable": [],
        // Runs on machines with cgroup version 1 too.
        "failCgroupV1": false,
        "failSwapOn": false,
        // The nodes share one disk, of which no node may think it its own.
        "localStorageCapacityIsolation": false,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "rotateCertificates": false,
        "syncFrequency": "10s",
    })
}

fn proxy(paths: &Paths, families: Families, mode: ProxyMode, index: usize) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": paths.pki().join("proxy.kubeconfig")},
        "hostnameOverride": plan::node_name(index),
        "mode": mode.to_string(),
        "clusterCIDR": families.list(|family| family.pods().into()),
        // These are the machine's, and read-only in a namespace.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}
