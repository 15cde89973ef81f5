//! Nodes with agents that read from a real API server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use brindle_lab::agent::Agent;
use brindle_lab::fabric::{Fabric, Node};
use brindle_lab::netns::Netns;
use brindle_lab::objects;
use brindle_lab::pod::Pod;
use serde_json::json;

use crate::apiserver::ApiServer;

/// Nodes, their router, and an API server in the router.
pub struct Cluster {
    /// The API server, in the router's namespace.
    pub server: ApiServer,
    /// Nodes and router.
    pub fabric: Fabric,
    /// What each node's agent reads from, with the rights that agents have.
    sources: Vec<String>,
}

impl Cluster {
    /// Builds one of two nodes; `flags` are the API server's.
    ///
    /// # Errors
    /// A part does not come up.
    pub fn build(name: &str, flags: &[&str]) -> Result<Self> {
        let dir = PathBuf::from(format!("/run/{name}"));
        let fabric = Fabric::without_agents(name, &dir, 2)?;
        let server = ApiServer::start(&fabric.tor, &dir.join("api"), flags)?;
        server.install_definitions()?;
        server.apply(&objects::cluster(&fabric))?;
        server.apply(&objects::namespace("shop", "retail"))?;
        let source = |node: &Node| -> Result<String> {
            let token = server.agent_token(&node.name)?;
            Ok(format!("kubernetes:{}", server.kubeconfig(Some(&token))?.display()))
        };
        let sources = fabric.nodes.iter().map(source).collect::<Result<_>>()?;
        let mut cluster = Self { server, fabric, sources };
        for node in 0..2 {
            cluster.start_agent(node)?;
        }
        cluster.fabric.wait_for_sessions()?;
        Ok(cluster)
    }

    /// Starts a node's agent, which may not be ready.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn_agent(&self, node: usize) -> Result<Agent> {
        let options = ["--source", &self.sources[node]];
        Agent::spawn(&self.fabric.nodes[node], &self.fabric.dir, &options)
    }

    fn start_agent(&mut self, node: usize) -> Result<()> {
        let agent = self.spawn_agent(node)?.ready(&self.fabric.nodes[node])?;
        self.fabric.nodes[node].agent = Some(agent);
        Ok(())
    }

    /// A pod as scheduler, kubelet and runtime make it.
    ///
    /// # Errors
    /// The plugin, or the API server, refuses it.
    pub fn pod(&self, node: usize, name: &str) -> Result<Pod> {
        let node_name = &self.fabric.nodes[node].name;
        self.server.apply(&objects::pod("shop", name, name, node_name, &[]))?;
        let mut pod = Pod {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            node,
            netns: Netns::create(&format!("{}-{name}", self.fabric.name))?,
            addresses: Vec::new(),
            added_in: Duration::ZERO,
        };
        let answer = pod.cni(&self.fabric, "ADD")?;
        for ip in answer["ips"].as_array().context("the CNI result has no ips")? {
            let net: ipnet::IpNet = ip["address"].as_str().context("no address")?.parse()?;
            pod.addresses.push(net.addr());
        }
        let ips: Vec<_> = pod.addresses.iter().map(|ip| json!({ "ip": ip })).collect();
        let status = json!({ "status": {
            "phase": "Running", "podIP": pod.addresses[0], "podIPs": ips,
        }});
        let patch = status.to_string();
        let arguments = ["patch", "pod", "-n", "shop", name, "--subresource=status"];
        self.server.kubectl(&[&arguments[..], &["--type=merge", "-p", &patch]].concat())?;
        Ok(pod)
    }
}
