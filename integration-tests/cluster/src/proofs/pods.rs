//! Pods at chosen nodes, whose network namespaces this program can enter.
//!
//! Sockets are then made by the prober itself, in the namespaces of pods that only sleep: one clock
//! for both ends, and nothing between a packet and its count.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use brindle_lab::netns::{Netns, run};
use serde_json::{Value, json};

use crate::images;
use crate::kubectl::Kubectl;
use crate::plan::{self, Family, PREFIX};

/// How long pods may take to be ready, and to be gone.
const PATIENCE: &str = "--timeout=240s";

/// A pod to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The number of its node.
    pub node: usize,
    /// Its labels, an object.
    pub labels: Value,
}

/// A pod that runs.
#[derive(Debug)]
pub struct Site {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its network namespace, under a name.
    pub netns: Netns,
}

impl Site {
    /// Its address of a family, or the one that it has.
    ///
    /// # Errors
    /// It has none.
    pub fn address(&self, family: Family) -> Result<IpAddr> {
        let of = |address: &&IpAddr| address.is_ipv6() == (family == Family::V6);
        let found = self.addresses.iter().find(of).or_else(|| self.addresses.first());
        found.copied().context("a pod has an address")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        Netns::delete(self.netns.name());
    }
}

/// A namespace of a proof, with its pods; removed when it is dropped.
#[derive(Debug)]
pub struct Group<'a> {
    kubectl: &'a Kubectl,
    /// The namespace's name.
    pub namespace: String,
    sites: BTreeMap<String, Site>,
}

impl<'a> Group<'a> {
    /// Makes a namespace, `objects` in it, and then the pods; waits until they are ready.
    ///
    /// # Errors
    /// They do not become so.
    pub fn start(
        kubectl: &'a Kubectl,
        namespace: &str,
        objects: Vec<Value>,
        pods: &[Wanted],
    ) -> Result<Self> {
        let mut group =
            Self { kubectl, namespace: namespace.to_owned(), sites: BTreeMap::default() };
        let own = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
        });
        kubectl.apply(&own.to_string())?;
        // Pods are refused before there is one.
        let account = ["-n", namespace, "get", "serviceaccount", "default", "-o", "name"];
        kubectl.wait_for(Duration::from_secs(30), &account)?;
        group.apply(objects)?;
        if !pods.is_empty() {
            let image = images::pause()?;
            group.apply(pods.iter().map(|pod| pod.object(namespace, &image)).collect())?;
            let ready = ["wait", "--for=condition=Ready", "pod", "--all", PATIENCE];
            kubectl.run(&[&["-n", namespace][..], &ready].concat())?;
            group.attach()?;
        }
        Ok(group)
    }

    /// Applies objects in the namespace.
    ///
    /// # Errors
    /// One was refused.
    pub fn apply(&self, objects: Vec<Value>) -> Result<()> {
        let placed = objects.into_iter().map(|mut object| {
            object["metadata"]["namespace"] = json!(self.namespace);
            object
        });
        let items: Vec<_> = placed.collect();
        if items.is_empty() {
            return Ok(());
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        self.kubectl.apply(&list.to_string()).map(drop)
    }

    /// A pod by name.
    ///
    /// # Errors
    /// There is none.
    pub fn site(&self, name: &str) -> Result<&Site> {
        self.sites.get(name).with_context(|| format!("there is no pod {name}"))
    }

    fn attach(&mut self) -> Result<()> {
        let pods = self.kubectl.run(&["-n", &self.namespace, "get", "pods", "-o", "json"])?;
        let pods: Value = serde_json::from_str(&pods)?;
        let processes = processes();
        for pod in pods["items"].as_array().into_iter().flatten() {
            let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
            let name = text("/metadata/name").context("a pod has a name")?;
            let group = format!("/pod{}/", text("/metadata/uid").context("a pod has an identity")?);
            let of_pod = |(_, groups): &&(String, String)| groups.contains(&group);
            let found = processes.iter().find(of_pod);
            let (pid, _) = found.with_context(|| format!("no process of pod {name}"))?;
            let netns = format!("{PREFIX}pod-{name}");
            Netns::delete(&netns);
            run("ip", &["netns", "attach", &netns, pid])?;
            let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(|entry| entry["ip"].as_str());
            let addresses = addresses.map(str::parse).collect::<Result<_, _>>()?;
            let site = Site { addresses, netns: Netns::existing(&netns) };
            self.sites.insert(name.to_owned(), site);
        }
        Ok(())
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.sites.clear();
        // Pods that only sleep need no time to end.
        let now = ["delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false"];
        let _ = self.kubectl.run(&[&["-n", self.namespace.as_str()][..], &now].concat());
        let gone = self.kubectl.run(&["delete", "namespace", &self.namespace, PATIENCE]);
        if let Err(error) = gone {
            eprintln!("{error:#}");
        }
    }
}

impl Wanted {
    fn object(&self, namespace: &str, image: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": namespace, "labels": self.labels},
            "spec": {
                "nodeName": plan::node_name(self.node),
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "containers": [{"name": "sleep", "image": image}],
            },
        })
    }
}

/// A NetworkPolicy of this name.
pub fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// Process ids of this machine with the control groups that they are in. A pod's name holds its uid.
fn processes() -> Vec<(String, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    ids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            Some((pid, groups))
        })
        .collect()
}
