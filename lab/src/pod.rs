//! Pods, made as a container runtime makes them: a namespace, then the CNI plugin.

use std::io::Write;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::agent::binary;
use crate::fabric::Fabric;
use crate::netns::Netns;

/// A pod with its network.
#[derive(Debug)]
pub struct Pod {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Index of its node in the fabric.
    pub node: usize,
    /// Its network namespace.
    pub netns: Netns,
    /// The addresses that the plugin answered with.
    pub addresses: Vec<IpAddr>,
    /// How long the ADD took.
    pub added_in: Duration,
}

impl Pod {
    /// Makes a pod: writes the object, calls ADD, writes the object again with its addresses.
    /// `object` renders it with the addresses it has by then.
    ///
    /// # Errors
    /// The plugin refused; the message is its own.
    pub fn create(
        fabric: &Fabric,
        node: usize,
        namespace: &str,
        name: &str,
        object: impl Fn(&[IpAddr]) -> String,
    ) -> Result<Self> {
        let file = format!("pods/{namespace}.{name}.yaml");
        fabric.write(&file, &object(&[]))?;
        let netns = Netns::create(&format!("{}-{namespace}-{name}", fabric.name))?;
        let mut pod = Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            node,
            netns,
            addresses: Vec::new(),
            added_in: Duration::ZERO,
        };
        let start = Instant::now();
        let result = pod.cni(fabric, "ADD")?;
        pod.added_in = start.elapsed();
        for ip in result["ips"].as_array().context("the CNI result has no ips")? {
            let address = ip["address"].as_str().context("an ip without address")?;
            let net: ipnet::IpNet = address.parse().with_context(|| address.to_owned())?;
            pod.addresses.push(net.addr());
        }
        fabric.write(&file, &object(&pod.addresses))?;
        Ok(pod)
    }

    /// The pod's address of a family.
    ///
    /// # Errors
    /// It has none.
    pub fn address(&self, v6: bool) -> Result<IpAddr> {
        let mut all = self.addresses.iter();
        let found = all.find(|a| a.is_ipv6() == v6).copied();
        found.with_context(|| format!("{}/{} has no such address", self.namespace, self.name))
    }

    /// Calls DEL, and removes the object and the namespace.
    ///
    /// # Errors
    /// The plugin refused.
    pub fn delete(self, fabric: &Fabric) -> Result<()> {
        self.cni(fabric, "DEL")?;
        fabric.remove(&format!("pods/{}.{}.yaml", self.namespace, self.name))
    }

    /// Executes the plugin in the node's namespace, as a runtime does.
    ///
    /// # Errors
    /// The plugin answered with an error, or not with JSON.
    pub fn cni(&self, fabric: &Fabric, command: &str) -> Result<Value> {
        let node = &fabric.nodes[self.node];
        let socket = fabric.dir.join(&node.name).join("cni.sock");
        let config = json!({
            "cniVersion": "1.1.0", "name": "brindle", "type": "brindle-cni", "socket": socket,
        });
        let plugin = binary("brindle-cni");
        let mut child = node
            .netns
            .command(plugin.to_str().context("the path of brindle-cni is not UTF-8")?)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", format!("{}-{}-{}", fabric.name, self.namespace, self.name))
            .env("CNI_NETNS", self.netns.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", plugin.parent().context("brindle-cni has no folder")?)
            .env(
                "CNI_ARGS",
                format!(
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={}",
                    self.namespace, self.name
                ),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start brindle-cni")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(config.to_string().as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("CNI {command} of {}/{}: {}", self.namespace, self.name, text.trim());
        }
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("CNI {command} answered {text}"))
    }
}
